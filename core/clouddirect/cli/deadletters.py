"""``clouddirect deadletters``: what could not be processed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clouddirect.cli.app import App, json_option, pass_app, patient_option
from clouddirect.cli.exits import DONE, FAILED, InputError
from clouddirect.cli.interruption import run_until_interrupted
from clouddirect.cli.output import Rows, emit, emit_json, plain

if TYPE_CHECKING:
    from clouddirect.orders.client import CloudDirect
    from clouddirect.orders.dead_letters import DeadLetter, Handled, Outcome, Unread

__all__ = ["deadletters"]

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")

_PLACES = ("orders", "gradings", "events", "results", "quarantine")
#: Attributes that are not masked: what brokers and clouddirect note on a dead letter.
_OPEN_ATTRIBUTES = ("DeadLetterReason", "DeadLetterErrorDescription", "DeadLetterQueue", "ReplayOf")


class _PartlyError(InputError):
    """Something was done, or shown, and something failed."""

    exit_code = FAILED


def _from_option(command: F) -> F:
    return click.option(
        "--from", "where", multiple=True, type=click.Choice(_PLACES),
        help="Only the dead letters of this endpoint, or those in the local quarantine. Repeatable.",
    )(command)  # fmt: skip


def _limit_option(default: int) -> Callable[[F], F]:
    return click.option(
        "--limit", type=click.IntRange(min=1), default=default, show_default=True, metavar="N",
        help="Look at no more than N messages of each queue.",
    )  # fmt: skip


_IDS = click.argument("ids", nargs=-1, metavar="[ID]...")


@click.group("deadletters", short_help="See and settle what could not be processed.")
def deadletters() -> None:
    """Messages that could not be processed, in the services' dead-letter queues and in the local quarantine.

    \b
    Where they are, for each endpoint of the settings:
      its dead_letter_receive, if that is set; else
      what its provider has: QUEUE/$DeadLetterQueue on Service Bus,
        QUEUE/$dead on local, nothing on SQS and Pub/Sub; else
      its dead_letter_send; and in any case
      the quarantine directory on this machine.

    \b
    To look at a message is to take it on lease and to give it back. It needs
    the right to receive from the dead-letter queue, keeps the message from
    others meanwhile, and counts as a delivery on SQS and Pub/Sub; on
    Service Bus, local and in the quarantine it does not.

    \b
    command   right it needs                   counts as a delivery
    list      to receive the dead letters      on SQS and Pub/Sub
    show      the same                         the same, of all looked at
    replay    the same, and to send to the     of those looked at and
              endpoint                         not replayed
    discard   to receive the dead letters      of those looked at and
                                               not discarded

    Events and results, which are received, are handled where they are: clouddirect results --from-dead-letters.
    """


@deadletters.command("list", short_help="List dead letters.")
@_from_option
@_limit_option(100)
@json_option
@pass_app
def list_letters(app: App, where: tuple[str, ...], limit: int, as_json: bool) -> int:
    """List dead letters, with the reason where one was given. Nothing of their content is shown.

    Each is taken on lease and given back; see "clouddirect deadletters --help" for the right that it needs, and for
    where it counts as a delivery.

    With --json, one line a message: {"endpoint", "queue", "id", "file", "at", "delivery_count", "reason",
    "description", "kind", "local_id", "size"}. "file" is its id in the quarantine.
    """
    with app.client() as client:
        looked = _working(client, lambda: client.dead_letters.look(where=where or None, limit=limit))
    rows = Rows([("Of", 8), ("Age", 7), ("Seen", 4), ("Id", 36), ("Reason", None)])
    now = datetime.now(UTC)
    for letter in looked.letters:
        if as_json:
            emit_json(_as_json(letter))
            continue
        cells = (letter.endpoint or "?", _age(letter.at, now), letter.delivery_count, letter.message.id, letter.reason)
        details = [letter.description] if letter.description else []
        details.append(f"{_about(letter)}; {_place(letter.queue, letter.file)}")
        rows.add(cells, details)
    if not looked.letters and not as_json:
        emit("there are no dead letters where it was looked")
    return _end(looked.unread, looked.more, [], [])


@deadletters.command("show", short_help="Show dead letters whole.")
@_IDS
@_from_option
@_limit_option(1000)
@json_option
@patient_option
@pass_app
def show(
    app: App, ids: tuple[str, ...], where: tuple[str, ...], limit: int, as_json: bool, show_patient_data: bool
) -> int:
    """Show the messages with these IDs, what is wrong with them, and their content, masked.

    To find them, all that is in the dead-letter queues is taken on lease, up to --limit, and given back.

    With --json, one line a message: what "list" prints, and "attributes", "problems": [{"path", "message"}],
    "message", the content in its documented form, or null if it holds no JSON object, and "body", which is the content
    in base64 with --show-patient-data and null without.
    """
    if not ids:
        raise click.UsageError("say which: the IDs are in clouddirect deadletters list")
    with app.client() as client:
        looked = _working(client, lambda: client.dead_letters.look(ids, where=where or None, limit=limit))
    for letter in looked.letters:
        shown = _whole(letter, show_patient_data)
        emit_json(shown) if as_json else _print(letter, shown)
    known = {name for letter in looked.letters for name in letter.ids}
    return _end(looked.unread, looked.more, [], sorted(set(ids) - known))


@deadletters.command("replay", short_help="Send dead letters once more.")
@_IDS
@click.option("--all", "everything", is_flag=True, help="All of the endpoints that --from names.")
@_from_option
@click.option(
    "--to", metavar="QUEUE",
    help="Send to this queue (topic) instead, with the credential of the endpoint that the message belongs to.",
)  # fmt: skip
@_limit_option(1000)
@json_option
@pass_app
def replay(
    app: App, ids: tuple[str, ...], everything: bool, where: tuple[str, ...], to: str | None, limit: int, as_json: bool
) -> int:
    """Send the messages with these IDs to their endpoints once more, and remove each once that is confirmed.

    Each gets a new id, because brokers that find duplicates would drop it silently under the old one, which goes along
    as the attribute ReplayOf. The endpoint's credential must be one that may send; so events and results are refused
    without --to: handle them where they are, with --from-dead-letters of "clouddirect events" and "results".

    A message is replayed at least once: should this program be killed just after sending it, it is still there.

    With --json, one line a message: {"id", "endpoint", "queue", "file", "new_id", "error"}.
    """
    if bool(ids) == everything:
        raise click.UsageError("say which: IDs from clouddirect deadletters list, or --all with --from ENDPOINT")
    if everything and not where:
        raise click.UsageError("--all needs --from ENDPOINT: what is replayed at once shall be of one kind")
    with app.client() as client:
        handled = _working(
            client, lambda: client.dead_letters.replay(ids or None, where=where or None, to=to, limit=limit)
        )
    return _report(handled, "replayed", as_json)


@deadletters.command("discard", short_help="Remove dead letters for good.")
@_IDS
@click.option("--all", "everything", is_flag=True, help="All there are, or all of the endpoints that --from names.")
@click.option("--yes", is_flag=True, help="With --all: yes, remove them for good.")
@_from_option
@_limit_option(1000)
@json_option
@pass_app
def discard(
    app: App, ids: tuple[str, ...], everything: bool, yes: bool, where: tuple[str, ...], limit: int, as_json: bool
) -> int:
    """Remove the messages with these IDs for good. There is no way back.

    With --json, one line a message: {"id", "endpoint", "queue", "file", "new_id", "error"}.
    """
    if bool(ids) == everything:
        raise click.UsageError("say which: IDs from clouddirect deadletters list, or --all --yes")
    if everything and not yes:
        raise click.UsageError("--all removes dead letters for good; say --yes as well")
    with app.client() as client:
        handled = _working(client, lambda: client.dead_letters.discard(ids or None, where=where or None, limit=limit))
    return _report(handled, "discarded", as_json)


def _working(client: CloudDirect, work: Callable[[], R]) -> R:
    """Run the work; Ctrl-C lets it finish the message at hand and give back the others."""
    found: list[R] = []
    run_until_interrupted(lambda: found.append(work()), client.stop)
    return found[0]


def _report(handled: Handled, done: str, as_json: bool) -> int:
    rows = Rows([("Of", 8), ("Id", 36), ("What", None)])
    for one in handled.outcomes:
        if as_json:
            emit_json({
                "id": one.id, "endpoint": one.endpoint, "queue": one.queue, "file": one.file, "new_id": one.new_id,
                "error": str(one.error) if one.error else None,
            })  # fmt: skip
        elif one.ok:
            rows.add((one.endpoint or "?", one.id, done), [f"as {one.new_id}"] if one.new_id else [])
        else:
            rows.add((one.endpoint or "?", one.id, "FAILED"))
    if not handled.outcomes and not as_json:
        emit(f"nothing was {done}")
    return _end(handled.unread, handled.more, handled.outcomes, handled.missing)


def _end(unread: Sequence[Unread], more: Sequence[str], outcomes: Sequence[Outcome], missing: Sequence[str]) -> int:
    """Say on stderr what was not looked at and what went wrong; raises for what failed."""
    closed = [one.name for one in unread if one.expected]
    if closed:
        names = " and ".join(closed)
        click.echo(f"note: {names} not looked at: a credential that may only send cannot; see dead_letter_receive",
                   err=True)  # fmt: skip
    for name in more:
        click.echo(f"note: there may be more dead letters of {name}; see --limit", err=True)
    problems = [f"{one.name}: {one.error}" for one in unread if not one.expected]
    for outcome in outcomes:
        if outcome.error is not None:
            sent = f"was sent as {outcome.new_id}, but is still there" if outcome.new_id else "is still there"
            problems.append(f"{outcome.id} {sent}: {outcome.error}")
    if missing:
        found = "not found, or just being looked at by somebody else"
        problems += [f"{name}: {found}" for name in missing]
    if problems:
        raise _PartlyError("not all of it could be done", problems)
    return DONE


def _as_json(letter: DeadLetter) -> dict[str, Any]:
    kind, local_id = _kind(letter)
    return {
        "endpoint": letter.endpoint, "queue": letter.queue, "id": letter.message.id, "file": letter.file,
        "at": letter.at.isoformat() if letter.at else None, "delivery_count": letter.delivery_count,
        "reason": letter.reason, "description": letter.description, "kind": kind, "local_id": local_id,
        "size": len(letter.message.body),
    }  # fmt: skip


def _kind(letter: DeadLetter) -> tuple[str, str | None]:
    """What kind of IRIS message it is, and the Order.LocalId where it says one."""
    from clouddirect.orders.models import inspect_message

    found = inspect_message(letter.message.body)
    wire = found.message() or {}
    order = wire.get("Order")
    local_id = order.get("LocalId") if isinstance(order, dict) else wire.get("OrderLocalId")
    return str(found.kind), local_id if isinstance(local_id, str) else None


def _about(letter: DeadLetter) -> str:
    kind, local_id = _kind(letter)
    kind = "message of an unknown kind" if kind == "unknown" else kind
    return f"{kind}, {len(letter.message.body):,} bytes" + (f", order {local_id}" if local_id else "")


def _place(queue: str, file: str | None) -> str:
    return f"in the quarantine as {file}" if file else f"in {queue}"


def _whole(letter: DeadLetter, show_patient_data: bool) -> dict[str, Any]:
    from clouddirect.orders.models import inspect_message

    found = inspect_message(letter.message.body)
    shown = _as_json(letter)
    shown["attributes"] = {
        name: value if show_patient_data or name in _OPEN_ATTRIBUTES else "***"
        for name, value in letter.message.attributes.items()
    }
    shown["problems"] = [{"path": one.path, "message": one.message} for one in found.problems]
    shown["message"] = found.message(show_patient_data=show_patient_data)
    shown["body"] = base64.b64encode(letter.message.body).decode("ascii") if show_patient_data else None
    return shown


def _print(letter: DeadLetter, shown: dict[str, Any]) -> None:
    emit(f"{plain(letter.message.id)}: {plain(_about(letter))}")
    emit(f"  {plain(_place(letter.queue, letter.file))}, of {letter.endpoint or 'an unknown endpoint'}")
    if letter.at is not None:
        emit(f"  stored {letter.at.astimezone().isoformat(' ', 'seconds')}, {_age(letter.at, datetime.now(UTC))} ago")
    if letter.delivery_count is not None:
        emit(f"  deliveries: {letter.delivery_count}")
    for name, value in shown["attributes"].items():
        emit(f"  {plain(name)}: {plain(value)}")
    for problem in shown["problems"]:
        emit(f"  problem: {plain(problem['path'])} {plain(problem['message'])}")
    if shown["message"] is not None:
        emit(json.dumps(shown["message"], indent=2))
    elif shown["body"] is not None:
        emit(plain(letter.message.body.decode("utf-8", "replace")))


def _age(at: datetime | None, now: datetime) -> str:
    """How long ago, in two units at most, such as ``3d 4h``."""
    if at is None:
        return ""
    seconds = max(0, int((now - at).total_seconds()))
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d {hours}h" if days < 100 else f"{days}d"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m" if minutes else f"{seconds}s"
