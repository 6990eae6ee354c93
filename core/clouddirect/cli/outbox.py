"""``clouddirect outbox``: what was accepted and is not confirmed yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clouddirect.cli.app import App, json_option, pass_app
from clouddirect.cli.exits import DONE, FAILED, InputError
from clouddirect.cli.interruption import run_until_interrupted
from clouddirect.cli.output import Rows, emit, emit_json, when

if TYPE_CHECKING:
    from clouddirect.orders.client import CloudDirect
    from clouddirect.orders.outbox import FlushReport

__all__ = ["outbox"]

_SEQS = click.argument("numbers", nargs=-1, type=int, metavar="[NUMBER]...")


@click.group("outbox", short_help="See and send what waits to be sent.")
def outbox() -> None:
    """Orders that were accepted, with their images, and that the broker has not confirmed yet.

    The outbox is used when the settings say so: [outbox], enabled = true. A running client sends what is in it by
    itself.
    """


@outbox.command("list", short_help="List what waits.")
@json_option
@pass_app
def list_waiting(app: App, as_json: bool) -> int:
    """List what waits, in the order in which it will be sent; needs no connection.

    With --json, one line a message: {"number", "message_id", "endpoint", "local_id", "operation", "accepted_at",
    "attempts", "held", "behind", "error", "images"}, "images" being how many are not in the store yet, and "behind" the
    number on hold that it waits for.
    """
    rows = Rows([("No", 5), ("Accepted", 14), ("Order", 36), ("What", 12), ("State", None)])
    with app.client(sends=False) as client:
        for one in client.outbox.waiting():
            if as_json:
                emit_json({
                    "number": one.seq, "message_id": one.message_id, "endpoint": one.endpoint,
                    "local_id": one.local_id, "operation": one.operation, "accepted_at": one.accepted_at.isoformat(),
                    "attempts": one.attempts, "held": one.held, "behind": one.behind, "error": one.error,
                    "images": one.images,
                })  # fmt: skip
                continue
            state = "on hold" if one.held else "waits" if one.behind is None else f"waits for {one.behind}"
            details = [f"failed {one.attempts} time{'s' * (one.attempts != 1)}: {one.error}"] if one.error else []
            rows.add((one.seq, when(one.accepted_at), one.local_id, one.operation, state), details)
    if not as_json:
        rows.end("the outbox is empty")
    return DONE


@outbox.command("flush", short_help="Send what waits.")
@json_option
@pass_app
def flush(app: App, as_json: bool) -> int:
    """Send what waits, in order. Exit code 1 when something is left.

    With --json, one line: {"sent", "held", "left", "busy", "errors"}. "busy": another process is at it already.
    """
    reports: list[FlushReport] = []
    with app.client(sends=False) as client:
        # in a thread, so that Ctrl-C comes between two messages: what was sent and not noted would be sent again
        stopped = run_until_interrupted(lambda: reports.append(client.flush_outbox()), client.stop)
        report, waiting = reports[0], client.outbox.waiting()
    left, behind = len(waiting), [one for one in waiting if one.behind is not None and not one.held]
    errors = {endpoint: str(error) for endpoint, error in report.errors.items()}
    if as_json:
        emit_json({"sent": report.sent, "held": len(report.held), "left": left, "busy": report.busy, "errors": errors})
    else:
        emit("another process is sending already" if report.busy else f"{report.sent} sent, {left} left")
        for one, error in report.held:
            emit(f"  number {one.seq} is on hold: {error}")
        for one in behind:
            emit(f"  number {one.seq} waits for number {one.behind} of the same order, which is on hold")
        for endpoint, text in errors.items():
            emit(f"  {endpoint}: {text}")
    if stopped and left and not as_json:
        emit("  interrupted: the rest stays in the outbox")
    return FAILED if left else DONE


@outbox.command("retry", short_help="Take messages off hold.")
@_SEQS
@json_option
@pass_app
def retry(app: App, numbers: tuple[int, ...], as_json: bool) -> int:
    """Take messages off hold, the NUMBERs given or all, so that the next flush tries them again.

    With --json, one line: {"retried"}.
    """
    with app.client(sends=False) as client:
        _refuse_unknown(client, numbers, "retried")
        retried = client.outbox.retry(numbers or None)
    emit_json({"retried": retried}) if as_json else emit(f"{retried} will be tried again")
    return DONE


@outbox.command("discard", short_help="Give messages up.")
@_SEQS
@json_option
@pass_app
def discard(app: App, numbers: tuple[int, ...], as_json: bool) -> int:
    """Remove the messages with these NUMBERs, and their images, for good; they are never sent.

    With --json, one line: {"discarded"}.
    """
    if not numbers:
        raise click.UsageError("say which: the NUMBERs are in clouddirect outbox list")
    with app.client(sends=False) as client:
        _refuse_unknown(client, numbers, "discarded")
        discarded = client.outbox.discard(numbers)
    emit_json({"discarded": discarded}) if as_json else emit(f"{discarded} discarded")
    return DONE


def _refuse_unknown(client: CloudDirect, numbers: tuple[int, ...], what: str) -> None:
    missing = sorted(set(numbers) - {one.seq for one in client.outbox.waiting()})
    if missing:
        raise InputError(f"the outbox has no number {', '.join(map(str, missing))}; nothing was {what}")
