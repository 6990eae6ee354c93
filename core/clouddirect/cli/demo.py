"""``clouddirect demo``: see orders go through on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clouddirect.cli.app import App, json_option, pass_app
from clouddirect.cli.exits import DONE, InputError
from clouddirect.cli.output import OutputClosedError, Rows, emit, emit_json, emit_rich, table
from clouddirect.errors import CloudDirectError, ConfigurationError

if TYPE_CHECKING:
    from clouddirect.sandbox import DemoOutcome, DemoStep
    from clouddirect.settings import Settings

__all__ = ["demo"]


@click.command(short_help="See orders go through on this machine; needs no settings.")
@click.option("--provider", default="local", show_default=True, metavar="NAME",
              help="Who provides queues and files; any other than local needs settings for both sides.")  # fmt: skip
@click.option("--dir", "directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              default=Path("clouddirect-demo"), show_default=True,
              help="Where the files go; one that is not empty gets a number.")  # fmt: skip
@json_option
@pass_app
def demo(app: App, provider: str, directory: Path, as_json: bool) -> int:
    """Submit three orders to a sandbox and show what happens to them.

    One order is graded in both eyes, one has an eye that cannot be graded, one is refused because an image is missing.
    Everything runs on this machine, offline; patients and pictures are invented. The orders, events, results and
    reports are left in a directory that is named at the end.

    With --json, one line a step: {"order", "at", "stage", "detail", "ok"}, and a last line
    {"directory", "seconds", "orders": [{"local_id", "title", "outcome", "directory", "report"}]}.
    """
    from clouddirect.sandbox import run_demo

    rows = Rows([("Secs", 5), ("Order", 6 if provider == "local" else 13), ("What", 22), ("Detail", None)])
    gone = False

    def show(step: DemoStep) -> None:
        nonlocal gone
        if gone:
            return
        try:
            if as_json:
                at = round(step.at, 3)
                emit_json({"order": step.order, "at": at, "stage": step.stage, "detail": step.detail, "ok": step.ok})
            else:
                detail = step.detail if step.ok or step.stage == "Refused" else f"refused: {step.detail}"
                rows.add((f"{step.at:5.2f}", step.order, step.stage, detail))
        except OutputClosedError:  # the demo is finished all the same: its files are what counts
            gone = True

    settings = None if provider == "local" else _both_sides(app, provider)
    try:
        outcome = run_demo(directory, provider=provider, settings=settings, observer=show)
    except CloudDirectError:
        raise
    except OSError as error:
        raise InputError(
            f"the demo cannot write its files in {directory} ({error.strerror}); choose another --dir"
        ) from None
    if gone:
        raise OutputClosedError
    _print_json(outcome) if as_json else _print_text(outcome)
    return DONE


def _both_sides(app: App, provider: str) -> Settings:
    """The settings for a demo on another provider. Raises ConfigurationError when they are for yet another one."""
    from clouddirect.plugins import load_provider

    load_provider(provider)
    settings = app.settings()
    found = settings.endpoints.require("orders").provider
    if found != provider:
        raise ConfigurationError(f"the settings have endpoints.orders with the provider {found!r}, not {provider!r}")
    return settings


def _print_json(outcome: DemoOutcome) -> None:
    orders = []
    for order in outcome.orders:
        report = str(order.report.absolute()) if order.report else None
        shown = {"local_id": order.local_id, "title": order.title, "outcome": order.outcome}
        orders.append(shown | {"directory": str(order.directory.absolute()), "report": report})
    emit_json({"directory": str(outcome.directory.absolute()), "seconds": round(outcome.seconds, 3), "orders": orders})


def _print_text(outcome: DemoOutcome) -> None:
    emit("")
    cells = [
        (order.local_id, order.title, order.outcome, order.report.name if order.report else "")
        for order in outcome.orders
    ]
    emit_rich(table([("Order", None), ("Shows that", None), ("Outcome", None), ("Report", None)], cells))
    emit(f"\nThe files of these orders are in {outcome.directory.absolute()}")
