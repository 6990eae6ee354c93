from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clouddirect.sandbox.lettering import Lettering


@pytest.mark.parametrize(
    ("text", "shown", "lost"),
    [
        ("Müller-Núñez", "Müller-Núñez", False),
        ("Łódź", "Lódz", False),
        ("Nguyễn Thị", "Nguyen Thi", False),
        ("王小明", "???", True),
        ("Пушкин 7", "?????? 7", True),
        ("e\u0301cole", "école", False),
        ("“dash—here…”", '"dash-here..."', False),
        ("two\nlines\tand\x00more", "two lines and more", False),
        ("a\u200db", "ab", False),
        (None, "", False),
        (17, "17", False),
    ],
)
def test_letters(text: object, shown: str, lost: bool) -> None:
    lettering = Lettering()
    assert lettering(text) == shown
    assert lettering.lost is lost


@given(st.text())
def test_everything_becomes_latin_1_on_one_line(text: str) -> None:
    shown = Lettering()(text)
    shown.encode("latin-1")
    assert "\n" not in shown
    assert len(shown) <= 2000
