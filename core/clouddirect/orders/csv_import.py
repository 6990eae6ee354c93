"""`CsvImport`: the rows of a CSV file, sent as orders. All are read and checked before the first one is sent.

A run that was cut off goes on where it stopped. Before a row is sent, the ids that it is sent under are on the disk;
when it is confirmed, that is noted as well. A row that was begun and not confirmed may have arrived: it is sent again
under the same message id, so that a broker that knows ids drops the repeat, and only one that does not delivers it
twice.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from clouddirect.errors import ChangedError, CloudDirectError, InvalidMessageError
from clouddirect.orders.csv_checking import UNCHANGED, CheckedRow, RowChecker
from clouddirect.orders.csv_mapping import CsvMapping
from clouddirect.orders.csv_progress import Progress, Seen
from clouddirect.orders.csv_reading import CsvFile, RowProblem
from clouddirect.orders.models import Order

if TYPE_CHECKING:
    from clouddirect.orders.client import CloudDirect
    from clouddirect.settings import Settings

__all__ = ["CsvImport", "CsvReport", "CsvRow"]

#: How many problems are kept; the rest is counted.
_MOST_KEPT = 1000
#: How many of them the text of an error says.
_MOST_SAID = 20


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A row and what became of it.

    Attributes:
        line: the line of the file at which it begins; the first line is 1.
        local_id: ``Order.LocalId``; None for one that will be made when the row is sent.
        message_id: the id it was sent under; None where it was only checked.
        status: ``checked``; ``sent`` and confirmed; ``waiting`` in the outbox; or ``sent_before`` by an earlier run.
        warnings: what looks wrong with it.
    """

    line: int
    local_id: str | None
    message_id: str | None
    status: Literal["checked", "sent", "waiting", "sent_before"]
    warnings: list[RowProblem] = field(default_factory=list)


@dataclass(slots=True)
class CsvReport:
    """What an import has done: how many ``rows`` there are, ``sent`` now, and ``sent_before`` by earlier runs."""

    rows: int = 0
    sent: int = 0
    sent_before: int = 0


class CsvImport:
    """One CSV file to be sent; use it as a context manager, or close it.

    Attributes:
        rows: how many rows there are.
        errors: what keeps the file from being sent; the first 1,000.
        warnings: what looks wrong; the first 1,000.
        more: how many errors and warnings there are beyond those.

    All four are known once `check` has run.
    """

    def __init__(
        self,
        client: CloudDirect,
        path: str | os.PathLike[str],
        *,
        mapping: CsvMapping | str | os.PathLike[str] | None = None,
        delimiter: str | None = None,
        progress: str | os.PathLike[str] | None = None,
    ) -> None:
        """Prepare to send the rows of the file at ``path``; reads the mapping, and nothing else yet.

        Args:
            client: sends the orders; it stays open.
            path: the CSV file. It is read twice, so it cannot be a pipe.
            mapping: what the file's headers mean where they are not the published ones; or the path of a mapping file.
            delimiter: ``,``, ``;`` or a tab; found out by default.
            progress: the progress file; the CSV file's name with ``.progress`` behind it by default.

        Raises:
            ConfigurationError: the mapping cannot be read, or is wrong.
        """
        if mapping is None:
            mapping = CsvMapping()
        elif not isinstance(mapping, CsvMapping):
            mapping = CsvMapping.load(mapping)
        self.path = os.fspath(path)
        self.rows = 0
        self.errors: list[RowProblem] = []
        self.warnings: list[RowProblem] = []
        self.more = 0
        self._client = client
        file = CsvFile(path, mapping, delimiter)
        self._progress = Progress(progress or f"{self.path}.progress", _target(client.settings))
        self._checker = RowChecker(client, file, self._progress)
        self._seen: Seen | None = None

    def check(self) -> bool:
        """Read and check all rows; return whether there is neither an error nor a warning. Sends nothing.

        Raises:
            ConfigurationError: the file cannot be read, or the progress file is that of another import.
            CloudDirectError: the progress file cannot be used.
        """
        self._progress.open()
        self._restart()
        for row in self._checker.read(self.errors, self._seen):
            self.rows += 1
            for problem in row.problems:
                self._keep(problem)
        last = self._progress.last()
        if not self.errors and self.rows == 0:
            self._keep(RowProblem("", "there are no rows below the header"))
        elif not self.errors and last > self.rows:
            self._keep(RowProblem("", f"an earlier run sent more rows ({last}) than the file holds: {UNCHANGED}"))
        return not self.errors and not self.warnings

    def checked_rows(self) -> Iterator[CsvRow]:
        """Yield the rows as they would be sent; call `check` before."""
        for row in self._checker.read([]):
            begun = row.begun
            if begun is not None and begun.sent:
                yield CsvRow(row.line, begun.local_id, begun.message_id, "sent_before")
            else:
                local_id = begun.local_id if begun else row.own_local_id
                yield CsvRow(row.line, local_id, None, "checked", row.problems)

    def send(self, *, strict: bool = False, told: Callable[[CsvRow], object] | None = None) -> CsvReport:
        """Send the rows that no run has sent, in their order; `check` runs first unless it has.

        Args:
            strict: refuse the file for warnings too.
            told: called with each row, once it is confirmed, or known to have been sent before.

        Raises:
            InvalidMessageError: the file is refused, and nothing was sent; ``problems`` holds why (at most 1,000).
            ChangedError: the file was changed while it was being sent.
            CloudDirectError: a row could not be sent (``maybe_sent`` tells), or the progress file could not be written.
                Those before it were sent; another `send`, here or in another process, sends the rest.
        """
        if self._seen is None:
            self.check()
        self._refuse(strict)
        report = CsvReport(rows=self.rows)
        trouble: list[RowProblem] = []
        for row in self._checker.read(trouble):
            if self._seen is None or not self._seen.is_as_before(row.number, row.digest):
                raise self._changed(row.line)
            if row.begun is not None and row.begun.sent:
                shown = CsvRow(row.line, row.begun.local_id, row.begun.message_id, "sent_before")
                report.sent_before += 1
            else:
                shown = self._send(row, report)
                report.sent += 1
            if told is not None:
                told(shown)
        if report.sent + report.sent_before < self.rows:
            raise self._changed(trouble[0].line if trouble else 1)
        return report

    def close(self) -> None:
        """Let go of the progress file."""
        self._progress.close()
        if self._seen is not None:
            self._seen.close()
            self._seen = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- sending --------------------------------------------------------------------------------------------

    def _send(self, row: CheckedRow, report: CsvReport) -> CsvRow:
        order, begun = row.order, row.begun
        place = order.order = order.order or Order()
        if begun is None:
            message_id = str(uuid.uuid4())
            self._progress.begin(row.number, row.line, row.digest, place.local_id, message_id)
        else:
            place.local_id, message_id = begun.local_id, begun.message_id
        try:
            submission = self._client.submit(order, message_id=message_id)
        except CloudDirectError as error:
            # with an outbox, what was refused may have been kept there
            if begun is None and not error.maybe_sent and not self._client.settings.outbox.enabled:
                self._progress.forget(row.number)
            raise self._partly(error, row.line, report) from error
        self._progress.confirm(row.number)
        status: Literal["sent", "waiting"] = "sent" if submission.receipt is not None else "waiting"
        return CsvRow(row.line, place.local_id, message_id, status, row.problems)

    def _partly(self, error: CloudDirectError, line: int, report: CsvReport) -> CloudDirectError:
        told = error.copy()
        told.message = (
            f"{self.path}, line {line}: {error.message}; {report.sent} of {self.rows} rows were sent before it"
            f"{f' and {report.sent_before} by earlier runs' if report.sent_before else ''}. Run the same import again "
            "to send the rest"
        )
        return told

    def _changed(self, line: int) -> ChangedError:
        return ChangedError(
            f"{self.path}, line {line}: the file was changed while its rows were being sent; those before this line "
            "were sent. Leave the file alone, and run the import again",
            operation="import",
        )

    def _refuse(self, strict: bool) -> None:
        found = self.errors or (self.warnings if strict else [])
        if not found:
            return
        said = "; ".join(str(one) for one in found[:_MOST_SAID])
        more = len(found) - _MOST_SAID + self.more
        rest = f"; and {more} more" if more > 0 else ""
        error = InvalidMessageError(f"{self.path}: nothing was sent: {said}{rest}", operation="import")
        error.problems = tuple(found)
        raise error

    def _restart(self) -> None:
        if self._seen is not None:
            self._seen.close()
        self._seen = Seen()
        self.rows = self.more = 0
        self.errors, self.warnings = [], []

    def _keep(self, problem: RowProblem) -> None:
        kept = self.errors if problem.severity == "error" else self.warnings
        if len(kept) < _MOST_KEPT:
            kept.append(problem)
        else:
            self.more += 1


def _target(settings: Settings) -> str:
    """Where orders go to, as far as it stays the same when credentials and other options of the endpoint change."""
    endpoint = settings.endpoints.orders
    return json.dumps([endpoint.provider if endpoint else "", endpoint.queue if endpoint else "", settings.client_guid])
