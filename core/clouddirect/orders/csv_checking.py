"""Checking the rows of a CSV file: each by itself, against the rows before it, and against what was sent before."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clouddirect.orders.csv_columns import COLUMNS, columns_of_path, read_cells
from clouddirect.orders.csv_progress import BegunRow, Progress, Seen
from clouddirect.orders.csv_reading import CsvFile, CsvRecord, RowProblem
from clouddirect.orders.models import WIRE_VERSION, Order, OrderControlCode, OrderRequest, Problem, to_wire

if TYPE_CHECKING:
    from clouddirect.orders.client import CloudDirect

__all__ = ["CheckedRow", "RowChecker", "UNCHANGED"]

UNCHANGED = (
    "rows that were sent, or may have been, must stay as they are and where they are; add others below them. If this "
    "is another file, give it another progress file"
)


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """A row, the order it asks for, and what is wrong with it.

    Attributes:
        number: its number among the rows.
        line: the line it begins at.
        order: what it asks for; with an ``Order.LocalId`` that was made for it where a new order has none.
        own_local_id: ``Order.LocalId`` as the row says it.
        digest: of what it says.
        begun: what is known of it from earlier runs.
        problems: what is wrong with it; nothing is looked for in one that was sent before.
    """

    number: int
    line: int
    order: OrderRequest
    own_local_id: str | None
    digest: bytes
    begun: BegunRow | None
    problems: list[RowProblem]


class RowChecker:
    """Reads a file as orders and checks them; sends nothing."""

    def __init__(self, client: CloudDirect, file: CsvFile, progress: Progress) -> None:
        """Check the rows of ``file`` with ``client``, and compare them with ``progress``."""
        self._client = client
        self._file = file
        self._progress = progress
        self._told: set[object] = set()

    def read(self, trouble: list[RowProblem], seen: Seen | None = None) -> Iterator[CheckedRow]:
        """Yield the rows; what ends the reading before the end of the file is added to ``trouble``.

        With ``seen``, rows are compared with those before them, and remembered there.

        Raises:
            ConfigurationError: the file cannot be opened.
            CloudDirectError: the progress file cannot be read.
        """
        self._told.clear()
        for record in self._file.read(trouble):
            if record.problem is not None:
                yield CheckedRow(record.number, record.line, OrderRequest(), None, b"", None, [record.problem])
                continue
            yield self._check(record, seen)

    def _check(self, record: CsvRecord, seen: Seen | None) -> CheckedRow:
        order, found = read_cells(record.cells)
        digest = self._progress.digest(to_wire(order))
        begun = self._progress.row(record.number)
        order.order = order.order or Order()
        own_local_id = order.order.local_id
        if own_local_id is None and order.order_control_code in (None, OrderControlCode.NW):
            order.order.local_id = f"CSV-{uuid.uuid4().hex}"
        repeated = self._repeated(order, own_local_id, record.line, seen) if seen is not None else []
        if seen is not None:
            seen.remember(record.number, digest)
        if begun is not None and begun.digest != digest:
            found = [] if "moved" in self._told else [Problem("", f"is not what an earlier run sent: {UNCHANGED}")]
            self._told.add("moved")
        elif begun is not None and begun.sent:
            found = []
        else:
            found += [*self._order_problems(order, found), *repeated]
        problems = list(self._located(found, record.line, record.cells))
        return CheckedRow(record.number, record.line, order, own_local_id, digest, begun, problems)

    def _order_problems(self, order: OrderRequest, known: Iterable[Problem]) -> Iterator[Problem]:
        complained = {one.path for one in known}
        if order.version is not None and order.version != WIRE_VERSION:
            yield Problem("Version", f"is not {WIRE_VERSION}, which is the version of all orders sent", "warning")
        for problem in self._client.check(order):
            if problem.path == "CameraOperatorUserName":
                continue  # deprecated in orders; among the columns it is the only one for operators without an NPI
            if problem.path not in complained:
                yield problem

    def _repeated(self, order: OrderRequest, local_id: str | None, line: int, seen: Seen) -> list[Problem]:
        """What the row has in common with one before it, and should not."""
        found = []
        if local_id is not None:
            first = self._first(seen, line, "id", local_id)
            if first is not None:
                found.append(Problem("Order.LocalId", f"is that of line {first}; each row needs its own"))
        patient = order.patient.local_id if order.patient else None
        if patient is not None and order.order_control_code == OrderControlCode.NW:
            evaluations = order.order.evaluation_types if order.order else []
            lines = [self._first(seen, line, "exam", patient, evaluation) for evaluation in set(evaluations)]
            first = min((one for one in lines if one is not None), default=None)
            if first is not None:
                text = f"has an order for the same evaluation in line {first}; IRIS may cancel the first of the two"
                found.append(Problem("Patient.LocalId", text, "warning"))
        return found

    def _first(self, seen: Seen, line: int, *key: str) -> int | None:
        return seen.first(self._progress.digest("\0".join(key).encode()), line)

    def _located(self, found: Iterable[Problem], line: int, cells: Mapping[str, str]) -> Iterator[RowProblem]:
        """The problems by column. What is wrong because there is no such column at all is told once."""
        complained: set[tuple[str, str]] = set()
        for problem in found:
            for column in columns_of_path(problem.path, cells):
                # a cell that cannot be read is also reported as missing: one error a column will do
                key = (column, "error" if problem.severity == "error" else problem.message)
                if key in complained or (column, "error") in complained:
                    continue
                complained.add(key)
                if column not in COLUMNS or column in self._file.columns:
                    yield RowProblem(column, problem.message, problem.severity, line=line)
                elif key not in self._told:
                    self._told.add(key)
                    text = f"{problem.message}; there is no such column in the file"
                    yield RowProblem(column, text, problem.severity, line=self._file.header_line)
