"""``clouddirect events``: receive what IRIS tells of the orders' progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clouddirect.cli.app import App, json_option, pass_app, patient_option
from clouddirect.cli.output import Rows, emit_json, when
from clouddirect.cli.receiving import receive, receiving_options, refuse_following, wire_form

if TYPE_CHECKING:
    from clouddirect.orders.incoming import Incoming
    from clouddirect.orders.models import Event

__all__ = ["EVENT_COLUMNS", "event_row", "events"]

#: The columns of `event_row`; 80 characters in all.
EVENT_COLUMNS = [("Time", 14), ("Event", 22), ("Order", 36), ("OK", None)]


@click.command(short_help="Receive the events of orders.")
@receiving_options
@json_option
@patient_option
@pass_app
def events(
    app: App, wait: float, follow: bool, limit: int | None, once: bool, from_dead_letters: bool, as_json: bool,
    show_patient_data: bool,
) -> int:  # fmt: skip
    """Print the events as they arrive, and acknowledge each once it is printed.

    Ends when nothing has arrived for --wait seconds; the exit code is 3 if nothing came at all. Ctrl-C ends it too
    and gives back what was not printed.

    With --from-dead-letters, events that could not be handled before are printed and removed from where they are; what
    fails again stays there. See "clouddirect deadletters --help".

    With --json, one event a line in its documented form. Ids of patients and error messages are masked without
    --show-patient-data.
    """
    refuse_following(from_dead_letters, follow)
    rows = Rows(EVENT_COLUMNS)

    def handle(incoming: Incoming[Any]) -> None:
        if as_json:
            emit_json(wire_form(incoming.value, show_patient_data))
        else:
            rows.add(*event_row(incoming.value, show_patient_data))

    return receive(
        app,
        lambda client, timeout: (
            client.dead_letters.events(once=once) if from_dead_letters else client.events(timeout=timeout, once=once)
        ),
        handle,
        wait=wait,
        follow=follow,
        limit=limit,
    )


def event_row(event: Event, show_patient_data: bool) -> tuple[tuple[object, ...], list[str]]:
    """The cells of an event's row, and the lines below it."""
    from clouddirect.orders.models import OrderCancelled

    # what an OrderCancelled says of success means nothing
    ok = None if isinstance(event, OrderCancelled) else event.success
    details = []
    if ok is False and event.error_message:
        details.append(event.error_message if show_patient_data else "(why is shown with --show-patient-data)")
    patient = getattr(event, "patient_local_id", None)
    if show_patient_data and patient:
        details.append(f"patient {patient}")
    order = getattr(event, "order_local_id", None)
    return (when(event.timestamp), event.result_object_type, order, {True: "yes", False: "NO", None: ""}[ok]), details
