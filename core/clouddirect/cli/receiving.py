"""What ``events`` and ``results`` have in common: receive, print, and acknowledge only what has been printed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clouddirect.cli.app import App
from clouddirect.cli.exits import DONE, NOTHING_ARRIVED
from clouddirect.cli.interruption import run_until_interrupted

if TYPE_CHECKING:
    from clouddirect.orders.client import CloudDirect
    from clouddirect.orders.incoming import Incoming
    from clouddirect.orders.models import WireModel

__all__ = ["receive", "receiving_options", "refuse_following", "wire_form"]

log = logging.getLogger("clouddirect.cli")
F = TypeVar("F", bound=Callable[..., Any])


def receiving_options(command: F) -> F:
    """``--wait``, ``--follow``, ``--max``, ``--once`` and ``--from-dead-letters``."""
    options = (
        click.option(
            "--wait", type=click.FloatRange(min=0), default=30.0, show_default=True, metavar="SECONDS",
            help="End when nothing has arrived for so long.",
        ),
        click.option("--follow", is_flag=True, help="Never end by itself; Ctrl-C ends it."),
        click.option(
            "--once", is_flag=True,
            help="Pass over what was handled before: by its TransactionId, noted in the data directory.",
        ),
        click.option(
            "--from-dead-letters", is_flag=True,
            help="Instead of what arrives, handle once more what could not be handled before, and end.",
        ),
        click.option("--max", "limit", type=click.IntRange(min=1), metavar="N", help="End after N messages."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def refuse_following(from_dead_letters: bool, follow: bool) -> None:
    """Refuse ``--follow`` beside ``--from-dead-letters``, which ends when all was tried."""
    if from_dead_letters and follow:
        raise click.UsageError("--from-dead-letters ends when all was tried once: leave --follow out")


def wire_form(message: WireModel, show_patient_data: bool) -> dict[str, Any]:
    """The documented form of a message, masked unless asked otherwise."""
    from clouddirect.orders.models import masked, to_wire_dict

    return to_wire_dict(message) if show_patient_data else masked(message)


def receive(
    app: App,
    source: Callable[[CloudDirect, float | None], Iterator[Incoming[Any]]],
    handle: Callable[[Incoming[Any]], None],
    *,
    wait: float,
    follow: bool,
    limit: int | None,
) -> int:
    """Receive until nothing comes any more and return the exit code.

    ``handle`` prints one message; it is acknowledged once that has returned, and given back when that raises. Ctrl-C
    lets it finish. A closed pipe is an end like any other: the message that could not be printed is given back.
    """
    arrived = 0

    def work() -> None:
        nonlocal arrived
        for incoming in source(client, None if follow else wait):
            message = incoming.delivery.message
            log.info("received message %s, delivery %s", message.id, incoming.delivery.delivery_count or "unknown")
            with incoming:
                handle(incoming)
            log.debug("settled message %s: %s", message.id, incoming.delivery.settled)
            arrived += 1
            if arrived == limit:
                return

    with app.client(sends=False) as client:
        interrupted = run_until_interrupted(work, client.stop)
    return DONE if arrived or (follow and interrupted) else NOTHING_ARRIVED
