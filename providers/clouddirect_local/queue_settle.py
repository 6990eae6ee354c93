"""Settling messages on lease, within the caller's transaction.

A lease is named by the message's number and the number of the lease. The lease number grows whenever the message is
taken or given back, so a settlement counts exactly as long as nobody else has had to do with the message since: one
that comes after the lease has ended is carried out if nobody has taken the message meanwhile.
"""

# ruff: noqa: S608 - statements are put together from constants of ours alone

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from clouddirect_local.queue_schema import HELD, READY_OR_BEHIND, Queue
from clouddirect_local.queue_send import bury, promote
from clouddirect_local.queue_take import Moment

__all__ = ["Lease", "bury_held", "extend", "give_back", "remove"]


class Lease(NamedTuple):
    """What settling needs to know of a delivery; ``ordering_key`` is empty where there is none."""

    message: int
    number: int
    ordering_key: str


def remove(connection: sqlite3.Connection, queue: Queue, leases: Sequence[Lease], moment: Moment) -> list[bool]:
    """Delete the messages for good; whether each lease still counted."""
    done = _each(connection, "DELETE FROM message WHERE id = ? AND lease = ?", [lease[:2] for lease in leases])
    gone = [lease for lease, counted in zip(leases, done, strict=True) if counted]
    connection.executemany("DELETE FROM content WHERE id = ?", [(lease.message,) for lease in gone])
    promote(connection, queue, _keys(gone), moment.wall)
    return done


def give_back(
    connection: sqlite3.Connection, leases: Sequence[Lease], moment: Moment, *, delay: float = 0.0, counted: bool = True
) -> list[bool]:
    """Let the messages be delivered again after ``delay`` seconds; ``counted``: whether this delivery counts as one."""
    if delay:
        state, due, since = str(HELD), moment.monotonic + delay, moment.monotonic
    else:
        due, since = 0.0, 0.0
        state = READY_OR_BEHIND
    return _each(
        connection,
        f"""UPDATE message SET state = {state}, due = ?, since = ?, lease = lease + 1, deliveries = deliveries - ?
        WHERE id = ? AND lease = ?""",
        [(due, since, 0 if counted else 1, lease.message, lease.number) for lease in leases],
    )


def extend(connection: sqlite3.Connection, leases: Sequence[Lease], moment: Moment, seconds: float) -> list[bool]:
    """Let the leases run ``seconds`` from now. One that has ended is not revived."""
    now = moment.monotonic
    return _each(
        connection,
        f"""UPDATE message SET due = ? WHERE id = ? AND lease = ? AND state = {HELD} AND due > ? AND since <= ?""",
        [(now + seconds, lease.message, lease.number, now, now) for lease in leases],
    )


def bury_held(
    connection: sqlite3.Connection, queue: Queue, lease: Lease, moment: Moment, reason: str, description: str | None
) -> bool:
    """Move a message to the dead-letter queue; whether the lease still counted."""
    found = connection.execute("SELECT 1 FROM message WHERE id = ? AND lease = ?", lease[:2]).fetchone()
    if found is None:
        return False
    bury(connection, queue, lease.message, reason, description)
    promote(connection, queue, _keys([lease]), moment.wall)
    return True


def _each(connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]) -> list[bool]:
    """Run a statement for each row; whether it found the lease that the row names."""
    return [connection.execute(statement, row).rowcount == 1 for row in rows]


def _keys(leases: Sequence[Lease]) -> set[str]:
    return {lease.ordering_key for lease in leases if lease.ordering_key}
