"""``clouddirect results``: receive the graded results and save their reports."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clouddirect.cli.app import App, json_option, pass_app, patient_option
from clouddirect.cli.exits import FAILED
from clouddirect.cli.output import Rows, emit_json, when
from clouddirect.cli.receiving import receive, receiving_options, refuse_following, wire_form
from clouddirect.errors import InvalidMessageError

if TYPE_CHECKING:
    from clouddirect.orders.incoming import Incoming
    from clouddirect.orders.models import EyeSideGrading, OrderResult
    from clouddirect.orders.naming import NamingTemplate

__all__ = ["RESULT_COLUMNS", "result_row", "results"]

log = logging.getLogger("clouddirect.cli")

#: The columns of `result_row`; 80 characters in all.
RESULT_COLUMNS = [("Time", 14), ("Order", 36), ("Code", 4), ("OD", 10), ("OS", None)]


def _template(context: click.Context, parameter: click.Parameter, value: str | None) -> NamingTemplate | None:
    from clouddirect.errors import ConfigurationError
    from clouddirect.orders.naming import NamingTemplate

    try:
        return None if value is None else NamingTemplate(value)
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from None


@click.command(short_help="Receive graded results and save their reports.")
@click.option(
    "--save-to", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Save the report of each result in this directory.",
)  # fmt: skip
@click.option(
    "--raw", is_flag=True, help="With --save-to: save the whole message beside the report. It names the patient."
)
@click.option(
    "--name", "template", metavar="TEMPLATE", callback=_template,
    help="With --save-to: how to name the files, such as {yyyyMMdd}/{orderLocalId}; /-separated parts are directories.",
)  # fmt: skip
@click.option("--replace", is_flag=True, help="With --save-to: take the place of files of the same name.")
@click.option(
    "--csv", "table", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Append a row for each result to this CSV file. It names the patients.",
)  # fmt: skip
@receiving_options
@json_option
@patient_option
@pass_app
def results(
    app: App, save_to: Path | None, raw: bool, template: NamingTemplate | None, replace: bool, table: Path | None,
    wait: float, follow: bool, limit: int | None, once: bool, from_dead_letters: bool, as_json: bool,
    show_patient_data: bool,
) -> int:  # fmt: skip
    """Print the results as they arrive, and acknowledge each once it is saved and printed.

    Reports are saved as ORDER.pdf, or as --name says, readable by you alone, and never over another file unless
    --replace is given. A result whose report cannot be decoded, or that lacks what --name asks for, goes to the
    dead-letter queue, and the exit code is 1. Otherwise ends as "events" does.

    With --from-dead-letters, results that could not be handled before are handled now, and removed from where they are;
    what fails again stays there. See "clouddirect deadletters --help".

    \b
    The tokens of --name: {patientId} {patientLocalId} {patientFirstName}
    {patientLastName} {orderId} {orderLocalId} {clientLocalId}
    {departmentLocalId}, and by the time of delivery {yyyy} {MM} {dd} {yyyyMMdd}
    {MMddyyyy} {yyyyMMdd_HHmmss}, each also of the day before: {YEST_yyyy} ...

    With --json, one result a line in its documented form, and with --save-to also "saved": {"report", "raw"}, the
    files. Whatever may identify the patient is masked without --show-patient-data.
    """
    refuse_following(from_dead_letters, follow)
    if save_to is None and (raw or replace or template):
        raise click.UsageError("--raw, --name and --replace need --save-to DIR")
    saving = None if save_to is None else _Saving(save_to, template, raw, replace)
    rows = Rows(RESULT_COLUMNS)
    broken = 0

    def handle(incoming: Incoming[Any]) -> None:
        nonlocal broken
        saved: dict[str, str | None] | None = None
        try:
            saved = saving.save(incoming) if saving else None
        except InvalidMessageError as error:
            broken += 1
            if from_dead_letters:
                log.error("message %s cannot be saved and stays where it is: %s", incoming.delivery.message.id, error)
                incoming.delivery.nack()
                return
            log.error("message %s cannot be saved and is dead-lettered: %s", incoming.delivery.message.id, error)
            incoming.delivery.dead_letter("cannot be saved", str(error))
            return
        if table is not None:
            from clouddirect.orders.result_table import append_results

            append_results(table, [incoming.value])
        if as_json:
            emit_json(wire_form(incoming.value, show_patient_data) | ({} if saved is None else {"saved": saved}))
            return
        cells, details = result_row(incoming.value, show_patient_data)
        rows.add(cells, [*details, *(path for path in (saved or {}).values() if path)])

    code = receive(
        app,
        lambda client, timeout: (
            client.dead_letters.results(once=once) if from_dead_letters else client.results(timeout=timeout, once=once)
        ),
        handle,
        wait=wait,
        follow=follow,
        limit=limit,
    )
    return FAILED if broken else code


@dataclass(frozen=True, slots=True)
class _Saving:
    directory: Path
    template: NamingTemplate | None
    raw: bool
    replace: bool

    def save(self, incoming: Incoming[Any]) -> dict[str, str | None]:
        from clouddirect.orders.reports import save_message, save_report

        result, now = incoming.value, datetime.now().astimezone()
        report = save_report(result, self.directory, template=self.template, replace=self.replace, at=now)
        message: Path | None = None
        if self.raw:
            body = incoming.delivery.message.body
            message = save_message(result, body, self.directory, template=self.template, replace=self.replace, at=now)
        return {"report": str(report) if report else None, "raw": str(message) if message else None}


def result_row(result: OrderResult, show_patient_data: bool) -> tuple[tuple[object, ...], list[str]]:
    """The cells of a result's row, and the lines below it."""
    gradings = result.gradings
    eyes = {"OD": gradings.od if gradings else None, "OS": gradings.os if gradings else None}
    details = []
    if result.success is False:
        shown = show_patient_data and result.error_message
        details.append(f"failed: {result.error_message}" if shown else "failed (why is shown with --show-patient-data)")
    if show_patient_data:
        details += _about(result)
        details += [f"{side} {_findings(eye)}" for side, eye in eyes.items() if eye is not None]
    order = result.order.local_id if result.order else None
    return (when(result.timestamp), order, result.result_code, _graded(eyes["OD"]), _graded(eyes["OS"])), details


def _graded(eye: EyeSideGrading | None) -> str:
    if eye is None or eye.missing_eye_reason:
        return "missing"
    return {True: "gradable", False: "ungradable", None: "?"}[eye.gradable]


def _about(result: OrderResult) -> list[str]:
    patient = result.patient
    if patient is None:
        return []
    name = ", ".join(part for part in (patient.name.last, patient.name.first) if part) if patient.name else ""
    born = patient.dob.isoformat() if patient.dob else ""
    return [f"patient {'; '.join(part for part in (name, born, patient.local_id) if part)}"]


def _findings(eye: EyeSideGrading) -> str:
    if eye.missing_eye_reason:
        return f"missing: {eye.missing_eye_reason}"
    if not eye.gradable:
        return f"ungradable: {', '.join(eye.ungradable_reasons)}"
    found = [f"{one.finding}: {one.result}" if one.result else str(one.finding) for one in eye.findings]
    return ", ".join(found) or "no findings"
