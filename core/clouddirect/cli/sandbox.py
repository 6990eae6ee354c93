"""``clouddirect sandbox``: play the other side, to rehearse against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clouddirect.cli.app import App, json_option, pass_app
from clouddirect.cli.events import EVENT_COLUMNS, event_row
from clouddirect.cli.exits import DONE
from clouddirect.cli.interruption import run_until_interrupted
from clouddirect.cli.output import Rows, emit_json, when

if TYPE_CHECKING:
    from clouddirect.orders.models import Event, OrderResult

__all__ = ["sandbox"]


@click.command(short_help="Play the other side, to rehearse against.")
@json_option
@pass_app
def sandbox(app: App, as_json: bool) -> int:
    """Play the part of IRIS until Ctrl-C: take orders, look for their images, send the events, grade, send the results.

    It works on the queues and stores that the settings name under [sandbox]; "clouddirect init --provider local" writes
    such settings. Orders that are under way when it ends come again when it is started again.

    Prints a line for each event and result that it sends; with --json {"kind", "message"}. Patient data is masked.
    """
    from clouddirect.orders.models import MessageKind, OrderResult, masked
    from clouddirect.sandbox import Sandbox

    rows = Rows(EVENT_COLUMNS)

    def show(sent: Event | OrderResult) -> None:
        if as_json:
            kind = MessageKind.ORDER_RESULT if isinstance(sent, OrderResult) else MessageKind.EVENT
            emit_json({"kind": str(kind), "message": masked(sent)})
        elif isinstance(sent, OrderResult):
            rows.add((when(sent.timestamp), "OrderResult", sent.order.local_id if sent.order else None, ""))
        else:
            rows.add(*event_row(sent, show_patient_data=False))

    with Sandbox(app.settings(), on_sent=show) as playing:
        if not as_json:
            click.echo("The sandbox waits for orders; Ctrl-C ends it.", err=True)
        run_until_interrupted(playing.run, playing.stop)
    return DONE
