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
    from clouddirect.settings import FaultSettings

__all__ = ["sandbox"]


@click.command(short_help="Play the other side, to rehearse against.")
@click.option(
    "--fault", "faults", multiple=True, metavar="NAME=CHANCE",
    help="Make a fault on purpose, with a chance from 0 to 1; may be repeated.",
)  # fmt: skip
@json_option
@pass_app
def sandbox(app: App, faults: tuple[str, ...], as_json: bool) -> int:
    """Play the part of IRIS until Ctrl-C: take orders, look for their images, send the events, grade, send the results.

    It works on the queues and stores that the settings name under [sandbox]; "clouddirect init --provider local" writes
    such settings. Orders that are under way when it ends come again when it is started again.

    Faults, to see how a program copes: "duplicates", "delays" (by up to longest_delay=SECONDS, 30 where not given),
    "reordering", "unknown_kinds" (events that no client knows), "malformed" (messages that cannot be read). Such as:
    --fault duplicates=0.2 --fault malformed=0.05. They come on top of those in the settings, under [sandbox.faults].

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

    settings = app.settings()
    with Sandbox(settings, on_sent=show, faults=_faults(settings.sandbox.faults, faults)) as playing:
        if not as_json:
            click.echo("The sandbox waits for orders; Ctrl-C ends it.", err=True)
        run_until_interrupted(playing.run, playing.stop)
        made = ", ".join(f"{name} {count}" for name, count in sorted(playing.faults_made.items()))
        if made and not as_json:
            click.echo(f"Faults made on purpose: {made}.", err=True)
    return DONE


def _faults(configured: FaultSettings, given: tuple[str, ...]) -> FaultSettings:
    """The faults of the settings, with those of the command line in their place."""
    from pydantic import ValidationError

    from clouddirect.settings import FaultSettings

    chosen = dict(one.partition("=")[::2] for one in given)
    try:
        return FaultSettings.model_validate(configured.model_dump() | chosen)
    except ValidationError as error:
        detail = error.errors(include_input=False, include_url=False)[0]
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = ", ".join(FaultSettings.model_fields)
        raise click.BadParameter(f"{name!r} is not a fault; there are: {known}", param_hint="--fault")
    raise click.BadParameter(f"{name}: {detail['msg'].lower()}; write such as {name}=0.2", param_hint="--fault")
