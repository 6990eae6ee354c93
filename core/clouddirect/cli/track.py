"""``clouddirect track`` and ``clouddirect watch``: where the orders stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from clouddirect.cli.app import App, json_option, pass_app, patient_option
from clouddirect.cli.exits import DONE, NOTHING_ARRIVED, InputError
from clouddirect.cli.interruption import run_until_interrupted
from clouddirect.cli.output import Rows, emit_json, when

if TYPE_CHECKING:
    from rich.table import Table

    from clouddirect.orders.client import CloudDirect
    from clouddirect.orders.ledger import TrackedOrder

__all__ = ["track", "watch"]

_COLUMNS = [("Order", 36), ("Stage", 9), ("Since", 14), ("Images", 6), ("", None)]


@click.command(short_help="Show where the orders stand.")
@click.argument("local_ids", nargs=-1, metavar="[ORDER]...")
@click.option("--overdue", is_flag=True, help="Only orders that something is overdue for.")
@json_option
@patient_option
@pass_app
def track(app: App, local_ids: tuple[str, ...], overdue: bool, as_json: bool, show_patient_data: bool) -> int:
    """Show where each ORDER stands, or all orders: what was submitted, what events have told, what is overdue.

    Needs [tracking] enabled = true in the settings, and somebody who receives the events: "clouddirect events" or a
    program. No receipt in time is the sign of a wrong ClientGuid or site, to which IRIS answers nothing. Why an order
    was refused is shown with --show-patient-data. Exit code 3 when there is nothing to show.

    With --json, one line an order: {"local_id", "stage", "since", "submitted_at", "asked", "evaluations", "message_id",
    "iris_order_id", "images": {"named", "taken", "refused"}, "refusal", "overdue"}.
    """
    with app.client(sends=False) as client:
        found = _tracked(client, local_ids, overdue)
    rows = Rows(_COLUMNS)
    for one in found:
        if as_json:
            emit_json(_shown(one, show_patient_data))
        else:
            rows.add(_cells(one), _details(one, show_patient_data))
    if not as_json:
        rows.end(
            "nothing is overdue" if overdue else "nothing is known of it" if local_ids else "no orders are known yet"
        )
    return DONE if found else NOTHING_ARRIVED


@click.command(short_help="Keep showing where the orders stand.")
@click.argument("local_ids", nargs=-1, metavar="[ORDER]...")
@click.option("--overdue", is_flag=True, help="Only orders that something is overdue for.")
@click.option("--every", type=click.FloatRange(min=0.2), default=2.0, show_default=True, metavar="SECONDS",
              help="How often to look.")  # fmt: skip
@patient_option
@json_option
@pass_app
def watch(
    app: App, local_ids: tuple[str, ...], overdue: bool, every: float, show_patient_data: bool, as_json: bool
) -> int:
    """Show what "track" shows, again and again, until Ctrl-C.

    With --json, a line like those of "track" for each order that has changed since it was shown last.
    """
    from rich.console import Console
    from rich.live import Live

    from clouddirect.retry import Interrupt

    stopping = Interrupt()
    last: dict[str, TrackedOrder] = {}

    def work() -> None:
        if as_json:
            while not stopping.is_set():
                for one in _tracked(client, local_ids, overdue):
                    if last.get(one.local_id) != one:
                        last[one.local_id] = one
                        emit_json(_shown(one, show_patient_data))
                stopping.wait(every)
            return
        console = Console(markup=False, emoji=False, highlight=False)
        with Live(console=console, auto_refresh=False) as live:
            while not stopping.is_set():
                live.update(_table(_tracked(client, local_ids, overdue), show_patient_data), refresh=True)
                stopping.wait(every)

    with app.client(sends=False) as client:
        run_until_interrupted(work, stopping.set)
    return DONE


def _tracked(client: CloudDirect, local_ids: Sequence[str], overdue: bool) -> list[TrackedOrder]:
    if not client.settings.tracking.enabled:
        raise InputError("nothing is tracked: set enabled = true under [tracking] in the settings")
    return client.ledger.orders(local_ids or None, overdue=overdue)


def _shown(one: TrackedOrder, show_patient_data: bool) -> dict[str, object]:
    return {
        "local_id": one.local_id,
        "stage": one.stage,
        "since": one.stage_at.isoformat(),
        "submitted_at": one.submitted_at.isoformat() if one.submitted_at else None,
        "asked": one.asked,
        "evaluations": list(one.evaluations),
        "message_id": one.message_id,
        "iris_order_id": one.iris_order_id,
        "images": {"named": one.images, "taken": one.images_taken, "refused": one.images_refused},
        "refusal": one.refusal if show_patient_data or one.refusal is None else "***",
        "overdue": one.overdue,
    }


def _cells(one: TrackedOrder) -> tuple[object, ...]:
    images = f"{one.images_taken}/{max(one.images, one.images_taken)}"
    note = "OVERDUE" if one.overdue else {"CA": "cancel", "XO": "change"}.get(one.asked or "", "")
    return (one.local_id, one.stage, when(one.stage_at), images, note)


def _details(one: TrackedOrder, show_patient_data: bool) -> list[str]:
    details = [one.overdue] if one.overdue else []
    if one.images_refused:
        details.append(f"{one.images_refused} of its images were refused")
    if one.refusal is not None:
        details.append(
            f"refused: {one.refusal}" if show_patient_data else "refused (why is shown with --show-patient-data)"
        )
    return details


def _table(found: list[TrackedOrder], show_patient_data: bool) -> Table:
    from clouddirect.cli.output import plain, table

    lines: list[tuple[object, ...]] = []
    for one in found:
        lines.append(_cells(one))
        lines += [(f"  {plain(detail)}", "", "", "", "") for detail in _details(one, show_patient_data)]
    return table([("Order", None), *_COLUMNS[1:4], ("", 8)], lines)
