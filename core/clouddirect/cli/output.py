"""What commands print: JSON lines for programs, tables for people. stdout holds nothing else."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from clouddirect.errors import UnavailableError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

__all__ = ["Column", "OutputClosedError", "Rows", "emit", "emit_json", "emit_rich", "plain", "table", "when"]

Column = tuple[str, int | None]
"""A heading and the width in characters; None for what is left."""


class OutputClosedError(Exception):
    """Whoever read our output has gone, as ``| head`` does. What was not printed has not been handled."""


def emit(text: str, *, newline: bool = True) -> None:
    """Write text to stdout; returns once it has been handed to the system.

    Raises:
        OutputClosedError: nobody reads it any more.
        UnavailableError: it cannot be written, such as to a full disk.
    """
    try:
        click.echo(text, nl=newline)
    except OSError as error:
        _forget_stdout()
        # Windows says "invalid argument" of a closed pipe
        if error.errno == errno.EPIPE or (os.name == "nt" and error.errno == errno.EINVAL):
            raise OutputClosedError from None
        raise UnavailableError(f"the output cannot be written ({error.strerror})", retryable=False) from error


def emit_json(value: Mapping[str, Any]) -> None:
    """Write one JSON object as one line. ASCII only, so that every console and pipe carries it."""
    emit(json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(", ", ": ")))


def emit_rich(renderable: RenderableType) -> None:
    """Write something that rich renders, as wide as the terminal."""
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(renderable)
    emit("\n".join(line.rstrip() for line in capture.get().splitlines()))


def plain(value: object) -> str:
    """Text from a message as one line that a terminal shows and does not obey."""
    text = "" if value is None else str(value)
    return (
        text
        if text.isprintable()
        else "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    )


def when(moment: datetime | None) -> str:
    """A moment in 14 characters, in the time zone of this machine: month, day, time."""
    if moment is None:
        return ""
    if moment.tzinfo is not None:
        # .NET's "unset" is the year 1, which no system can convert
        with contextlib.suppress(OverflowError, OSError, ValueError):
            moment = moment.astimezone()
    return moment.strftime("%m-%d %H:%M:%S")


def table(columns: Sequence[Column], rows: Sequence[Sequence[object]], *, headings: bool = True) -> Table:
    """A table without lines, its cells as plain text."""
    from rich.table import Table

    made = Table(box=None, show_header=headings, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading, width in columns:
        made.add_column(heading, width=width, overflow="fold", no_wrap=False)
    for row in rows:
        made.add_row(*(plain(cell) for cell in row))
    return made


class Rows:
    """A table that is printed row by row, as things arrive."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._headings = True

    def add(self, cells: Sequence[object], details: Sequence[str] = ()) -> None:
        """Print one row, and below it, indented, further lines; raises like `emit`."""
        emit_rich(table(self._columns, [cells], headings=self._headings))
        self._headings = False
        for line in details:
            emit(f"  {plain(line)}")

    def end(self, nothing: str) -> None:
        """Say ``nothing`` on stderr if no row was printed: an empty table looks like a failure."""
        if self._headings:
            click.echo(nothing, err=True)


def _forget_stdout() -> None:
    """Let what is still buffered go nowhere; else the interpreter fails over it while it ends, with its own code."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # no real stdout
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
