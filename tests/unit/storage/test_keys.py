"""Which keys and prefixes are permitted."""

from __future__ import annotations

import posixpath
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clouddirect.errors import InvalidKeyError
from clouddirect.storage import MAX_KEY_BYTES, validate_key, validate_prefix

SEGMENT = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/"), min_size=1, max_size=20)
GOOD = st.lists(SEGMENT.filter(lambda text: text not in (".", "..")), min_size=1, max_size=8).map("/".join)


@given(GOOD)
def test_every_key_of_good_segments_is_permitted(key: str) -> None:
    assert validate_key(key) == key


@given(st.one_of(st.text(max_size=60), st.text(alphabet="ab./\\\0\n \x7f\x85é\ud800", max_size=12)))
@example("a/..")
@example("..a/b..")
@example("/")
def test_what_is_permitted_leads_nowhere_else(key: str) -> None:
    """A permitted key is its own normal form, stays below where it is joined to, and can be written down as UTF-8."""
    try:
        validate_key(key)
    except InvalidKeyError:
        return
    assert posixpath.normpath(key) == key
    assert not posixpath.isabs(key)
    assert ".." not in key.split("/")
    assert 0 < len(key.encode()) <= MAX_KEY_BYTES
    assert not any(unicodedata.category(character) == "Cc" for character in key)


@given(GOOD, st.integers(min_value=0, max_value=200))
def test_every_beginning_of_a_key_is_a_prefix(key: str, length: int) -> None:
    assert validate_prefix(key[:length]) == key[:length]


@given(st.text(alphabet="ab./\n", max_size=8))
def test_a_prefix_that_is_refused_begins_no_key(prefix: str) -> None:
    try:
        validate_prefix(prefix)
    except InvalidKeyError:
        for rest in ("", "a", "/a", "a/b"):
            with pytest.raises(InvalidKeyError):
                validate_key(prefix + rest)


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("", "empty"), ("/a", "begin with"), ("a/", "end with"), ("a//b", "'//'"), ("a/../b", "'..'"), (".", "'.'"),
        ("a\nb", "control character (U+000A at 1)"), ("\ud800", "surrogate"), ("é" * 600, "1,200 bytes"),
        (b"bytes", "must be text, not bytes"), (None, "must be text"),
    ],
)  # fmt: skip
def test_the_error_names_the_rule(key: str, rule: str) -> None:
    with pytest.raises(InvalidKeyError) as refused:
        validate_key(key)
    assert rule in str(refused.value)
    str(refused.value).encode()


def test_limits_are_in_bytes() -> None:
    assert validate_key("é" * 512)
    with pytest.raises(InvalidKeyError):
        validate_key("é" * 512 + "a")
    assert validate_prefix("") == ""
    with pytest.raises(InvalidKeyError):
        validate_prefix("a" * 1025)
    with pytest.raises(InvalidKeyError, match="must be text"):
        validate_prefix(7)  # type: ignore[arg-type]
