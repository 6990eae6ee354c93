"""``clouddirect submit --csv``: send the rows of a CSV file as orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clouddirect.cli.app import App
from clouddirect.cli.exits import DONE, InputError
from clouddirect.cli.ordering import refuse
from clouddirect.cli.output import Rows, emit_json

if TYPE_CHECKING:
    from clouddirect.orders.csv_import import CsvImport, CsvRow

__all__ = ["csv_options", "submit_csv"]

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(exists=True, dir_okay=False, readable=True)
_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t"}
_SHOWN_AS = {"checked": "(checked, not sent)", "sent_before": "(sent by an earlier run)"}


def csv_options(command: F) -> F:
    """``--csv`` and the options that go with it; passed as ``csv``, ``mapping``, ``delimiter`` and ``progress``."""
    for option in (
        click.option(
            "--progress", type=click.Path(dir_okay=False), metavar="FILE",
            help="Where to keep which rows were sent; FILE.progress beside the CSV file otherwise.",
        ),
        click.option("--delimiter", type=click.Choice(list(_DELIMITERS)), help="Found out otherwise."),
        click.option("--mapping", type=_FILE, metavar="FILE", help="What the headers of the CSV file mean (TOML)."),
        click.option("--csv", type=_FILE, metavar="FILE", help="Send the rows of a CSV file, each as an order."),
    ):  # fmt: skip
        command = option(command)
    return command


def submit_csv(
    app: App, options: Mapping[str, Any], beside: Mapping[str, object], force: bool, dry_run: bool, as_json: bool
) -> int | None:
    """Send the rows of ``options["csv"]``; None when there is no CSV file.

    ``beside`` is what does not go with one. Raises click.UsageError if any of it is given nevertheless.
    """
    if options["csv"] is None:
        for name in ("mapping", "delimiter", "progress"):
            if options[name] is not None:
                raise click.UsageError(f"--{name} goes with --csv")
        return None
    for name, value in beside.items():
        if value:
            raise click.UsageError(f"--csv does not go with {name}")
    from clouddirect.orders.csv_import import CsvImport

    shown = _Shown(options["csv"], as_json)
    with (
        app.client() as client,
        CsvImport(
            client, options["csv"], mapping=options["mapping"], delimiter=_DELIMITERS.get(options["delimiter"]),
            progress=options["progress"],
        ) as batch,
    ):  # fmt: skip
        batch.check()
        _refuse(batch, force or dry_run)
        if dry_run:
            for row in batch.checked_rows():
                shown.row(row)
            return DONE
        try:
            batch.send(told=shown.row)
        except KeyboardInterrupt:
            raise click.ClickException("interrupted; run the same command again to send the rest") from None
    return DONE


def _refuse(batch: CsvImport, force: bool) -> None:
    try:
        refuse([batch.path], [[*batch.errors, *batch.warnings]], force)
    except InputError as error:
        if batch.more:
            error.details = [*error.details, f"and {batch.more} more"]
        raise


class _Shown:
    """Tells of each row, as a row of a table or as a JSON line."""

    def __init__(self, file: str, as_json: bool) -> None:
        self._file = file
        self._as_json = as_json
        self._rows = Rows([("Line", 6), ("Order", 36), ("Message", 36)])

    def row(self, row: CsvRow) -> None:
        """Tell of one row."""
        if self._as_json:
            emit_json(
                {
                    "file": self._file,
                    "line": row.line,
                    "local_id": row.local_id,
                    "message_id": row.message_id,
                    "waiting": row.status == "waiting",
                    "sent_before": row.status == "sent_before",
                    "warnings": [{"path": one.path, "message": one.message} for one in row.warnings],
                }
            )
            return
        details = ["waits in the outbox"] if row.status == "waiting" else []
        details += [f"warning: {one.path}: {one.message}" for one in row.warnings]
        self._rows.add((row.line, row.local_id, _SHOWN_AS.get(row.status, row.message_id)), details)
