"""Reading a CSV file row by row: its encoding, its delimiter, its header, and the line each row begins at."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from clouddirect.errors import ConfigurationError
from clouddirect.orders.csv_columns import nearest, plain_header, published
from clouddirect.orders.csv_mapping import CsvMapping
from clouddirect.orders.models import Problem

__all__ = ["CsvFile", "CsvRecord", "RowProblem"]

_DELIMITERS = (",", ";", "\t")
#: What a column without a header fills: spreadsheets leave empty ones behind.
_NAMELESS = ("",)
_SAVE_AS = "save it as CSV in UTF-8 (in Excel: CSV UTF-8)"
_LINE_END = re.compile(rb"\r\n|\r|\n")
_CSV_FAULTS = (
    ("unexpected end of data", "a quotation mark is opened here and never closed"),
    ("field larger than field limit", "a cell is longer than any should be; is a quotation mark not closed?"),
    ("expected after", "text follows a closing quotation mark; a quotation mark inside a cell is written twice"),
)


@dataclass(frozen=True, slots=True)
class RowProblem(Problem):
    """Something that is wrong with a row of a CSV file; ``path`` is the column, empty for the row as a whole.

    Attributes:
        line: the line of the file at which the row begins; the first line is 1.
    """

    line: int = 1

    def __str__(self) -> str:
        where = f"line {self.line}, {self.path}" if self.path else f"line {self.line}"
        return f"{where}: {self.message}"


@dataclass(frozen=True, slots=True)
class CsvRecord:
    """A row: its number among the rows that are not blank, the line it begins at, and what it says.

    ``cells`` holds the cells by published column, constants included and the empty ones left out; it is empty when
    ``problem`` says why they cannot be told.
    """

    number: int
    line: int
    cells: Mapping[str, str]
    problem: RowProblem | None = None

    def __repr__(self) -> str:
        return f"CsvRecord(number={self.number}, line={self.line})"  # the cells name the patient


class _FaultError(Exception):
    """The file cannot be read on from here."""

    def __init__(self, problem: RowProblem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class CsvFile:
    """A CSV file with a header. It is read anew each time, so that it may be of any size."""

    def __init__(self, path: str | os.PathLike[str], mapping: CsvMapping, delimiter: str | None = None) -> None:
        """Read the file at ``path``; ``delimiter`` is found out where None. Opens nothing yet."""
        if delimiter is not None and delimiter not in _DELIMITERS:
            raise ConfigurationError("the delimiter must be a comma, a semicolon or a tab")
        self.path = os.fspath(path)
        self._mapping = mapping
        self._delimiter = delimiter
        self._headers = _headers(mapping)
        #: the columns that have a value: those of the header, and constants; known once reading has begun
        self.columns: frozenset[str] = frozenset()
        #: the line of the header
        self.header_line = 1

    def read(self, problems: list[RowProblem]) -> Iterator[CsvRecord]:
        """Yield the rows. What keeps the file from being read on is added to ``problems``, and ends it.

        Raises:
            ConfigurationError: the file cannot be opened.
        """
        try:
            yield from self._read(problems)
        except _FaultError as fault:
            problems.append(fault.problem)
        except UnicodeDecodeError:
            problems.append(self._not_utf8())
        except OSError as error:
            raise ConfigurationError(
                f"{self.path} cannot be read ({error.strerror or type(error).__name__})"
            ) from error

    def _read(self, problems: list[RowProblem]) -> Iterator[CsvRecord]:
        _sniff(self.path)
        delimiter = self._delimiter or self._find_delimiter()
        number = 0
        targets: list[tuple[str, ...]] | None = None
        for line, cells in _records(self.path, delimiter):
            if targets is None:
                self.header_line = line
                targets, wrong = self._targets(cells, line)
                self.columns = frozenset(self._mapping.constants).union(*targets) - set(_NAMELESS)
                if wrong:
                    problems += wrong
                    return
            else:
                number += 1
                yield self._record(number, line, cells, targets)
        if targets is None:
            raise _FaultError(RowProblem("", "the file is empty; its first line must name the columns"))

    def _find_delimiter(self) -> str:
        """The delimiter with which the header names the most columns that we know."""
        found = []
        for delimiter in self._delimiters_by_count():
            try:
                _, header = next(_records(self.path, delimiter))
            except (_FaultError, StopIteration):
                continue
            known = sum(plain_header(cell) in self._headers or published(cell) is not None for cell in header)
            found.append((known, delimiter))
        return max(found, key=lambda one: one[0], default=(0, ","))[1]

    def _delimiters_by_count(self) -> list[str]:
        with open(self.path, encoding="utf-8-sig", newline="") as file:
            first = file.readline(100_000)
        return sorted(_DELIMITERS, key=first.count, reverse=True)

    def _targets(self, header: Sequence[str], line: int) -> tuple[list[tuple[str, ...]], list[RowProblem]]:
        """The columns that each place of a row fills, and what is wrong with the header."""
        ignored = {plain_header(name) for name in self._mapping.ignore}
        targets: list[tuple[str, ...]] = []
        unknown: list[str] = []
        for cell in header:
            column = published(cell)
            if plain_header(cell) in self._headers:
                targets.append(self._headers[plain_header(cell)])
            elif plain_header(cell) in ignored:
                targets.append(())
            elif not cell:
                targets.append(_NAMELESS)
            elif column is None:
                unknown.append(cell)
            else:
                targets.append((column,))
        if not any(columns and columns != _NAMELESS for columns in targets):
            # nothing is quoted: what stands there may be a patient
            text = (
                "none of the published columns is named here; the first line must name them, separated by comma, "
                "semicolon or tab. A mapping file tells what other headers mean"
            )
            return targets, [RowProblem("", text, line=line)]
        return targets, [*self._unknown(unknown, line), *self._conflicts(header, targets, line)]

    def _unknown(self, headers: Sequence[str], line: int) -> Iterator[RowProblem]:
        for header in headers:
            near = nearest(header)
            hint = f"did you mean {near}? If not, say" if near else "say"
            text = f"is not a published column; {hint} in a mapping file what it stands for, or that it is ignored"
            yield RowProblem(repr(header), text, line=line)

    def _conflicts(self, header: Sequence[str], targets: list[tuple[str, ...]], line: int) -> Iterator[RowProblem]:
        given: set[str] = set()
        for column in [column for columns in targets if columns != _NAMELESS for column in columns]:
            if column in given:
                yield RowProblem(column, "stands twice in the header", line=line)
            given.add(column)
        for column in self._mapping.constants:
            if column in given:
                text = "stands in the file and among the constants of the mapping; one of them must go"
                yield RowProblem(column, text, line=line)
        present = {plain_header(cell) for cell in header}
        for column, name in self._mapping.columns.items():
            if plain_header(name) not in present:
                yield RowProblem(column, f"the mapping says {name!r}, and no column has this header", line=line)

    def _record(self, number: int, line: int, row: Sequence[str], targets: list[tuple[str, ...]]) -> CsvRecord:
        if len(row) != len(targets):
            text = f"has {len(row)} cells, and the header has {len(targets)}; is a cell with a delimiter not quoted?"
            return CsvRecord(number, line, {}, RowProblem("", text, line=line))
        cells = {column: text for column, text in self._mapping.constants.items() if text.strip()}
        for text, columns in zip(row, targets, strict=True):
            if text and columns == _NAMELESS:
                problem = RowProblem("", "has a cell under no header; name its column, or empty it", line=line)
                return CsvRecord(number, line, {}, problem)
            if "\0" in text:
                return CsvRecord(number, line, {}, RowProblem("", "holds a NUL character; remove it", line=line))
            if text:
                cells.update((column, self._mapping.value(column, text)) for column in columns)
        return CsvRecord(number, line, {column: text for column, text in cells.items() if text})

    def _not_utf8(self) -> RowProblem:
        """Where the bytes that are no UTF-8 are: the decoder reads ahead, so its error does not say."""
        line = 1
        with open(self.path, "rb") as file:
            for raw in file:  # up to each \n, which is never part of another character
                try:
                    raw.decode()
                except UnicodeDecodeError as error:
                    line += len(_LINE_END.findall(raw[: error.start]))
                    break
                line += len(_LINE_END.findall(raw))
        return RowProblem("", f"is not UTF-8; {_SAVE_AS}", line=line)


def _headers(mapping: CsvMapping) -> dict[str, tuple[str, ...]]:
    """The columns that each header of the mapping stands for; one may stand for several."""
    made: dict[str, tuple[str, ...]] = {}
    for column, header in mapping.columns.items():
        plain = plain_header(header)
        made[plain] = (*made.get(plain, ()), column)
    return made


def _sniff(path: str) -> None:
    """Refuse what is known not to be UTF-8 text, and say what it is."""
    with open(path, "rb") as file:
        start = file.read(4096)
    what = None
    if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        what = "this is an Excel workbook"
    elif start.startswith((b"\xff\xfe", b"\xfe\xff")) or start.count(b"\0") * 3 > len(start):
        what = "this is UTF-16"
    if what:
        raise _FaultError(RowProblem("", f"{what}, not CSV in UTF-8; {_SAVE_AS}"))


def _records(path: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, their cells without the space around them, with the line each begins at."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                what = next((text for sign, text in _CSV_FAULTS if sign in str(error)), "this is not CSV")
                fault = _FaultError(RowProblem("", what, line=line))
            else:
                cells = [cell.strip() for cell in row]
                if any(cells):
                    yield line, cells
                continue
            raise fault  # out here: the csv module's error may quote the file
