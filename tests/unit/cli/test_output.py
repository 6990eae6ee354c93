"""What commands print."""

from __future__ import annotations

import errno
import io
import json
from typing import NoReturn

import pytest

from clouddirect.cli import output
from clouddirect.cli.output import OutputClosedError, Rows, emit, emit_json, plain
from clouddirect.errors import UnavailableError


class Broken(io.StringIO):
    """A stdout that fails."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> NoReturn:
        raise OSError(self.number, "broken")


def test_json_is_ascii_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"name": "Łukasz\n\x1b[2J", "half": "\ud83d", "list": [1, None]}
    emit_json(value)
    out = capsys.readouterr().out
    assert out.isascii()
    assert out.count("\n") == 1
    assert json.loads(out) == value


def test_a_closed_pipe_and_a_full_disk_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", Broken(errno.EPIPE))
    with pytest.raises(OutputClosedError):
        emit("x")
    monkeypatch.setattr("sys.stdout", Broken(errno.ENOSPC))
    with pytest.raises(UnavailableError, match="cannot be written"):
        emit("x")


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\nb", "\x9b2J", "\u202eback", "tab\t"])
def test_text_from_a_message_cannot_steer_the_terminal(text: str) -> None:
    assert plain(text).isprintable()
    assert plain("Zoë [bold]") == "Zoë [bold]"


def test_rows_show_their_heading_once_and_take_markup_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    rows = Rows([("One", 10), ("Two", None)])
    rows.add(("[red]a", None))
    rows.add((1, "b"), ["more :smile:"])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["One        Two", "[red]a", "1          b", "  more :smile:"]


def test_columns_fit_80_characters() -> None:
    from clouddirect.cli import events, results

    for columns in (events.EVENT_COLUMNS, results.RESULT_COLUMNS):
        fixed = sum(width + 1 for _, width in columns if width is not None)
        assert fixed + len("gradable") <= 80 or columns[-1][0] == "OK"


def test_nothing_but_names_in_all() -> None:
    assert output.__all__ == sorted(output.__all__)
