"""Putting messages into a queue, within the caller's transaction."""

# ruff: noqa: S608 - statements are put together from constants of ours alone

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence

from clouddirect.messaging import (
    DEAD_LETTER_DESCRIPTION,
    DEAD_LETTER_QUEUE,
    DEAD_LETTER_REASON,
    Message,
    SendReceipt,
)
from clouddirect_local.queue_schema import BEHIND, LATER, READY, Queue

__all__ = ["bury", "pack_attributes", "promote", "store"]

_INSERT_MESSAGE = """INSERT INTO message (id, queue, state, due, since, lease, deliveries, expires_at, ordering_key)
VALUES (?, ?, ?, ?, 0, 0, 0, ?, ?)"""
_INSERT_CONTENT = """INSERT INTO content
(id, message_id, correlation_id, content_type, subject, attributes, enqueued_at, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""


def store(connection: sqlite3.Connection, queue: Queue, messages: Sequence[Message], now: float) -> list[SendReceipt]:
    """Store the messages; ``now`` is the wall clock's time in seconds since 1970.

    A message whose id was seen within the queue's window is not stored again; its receipt names the first one's number.
    """
    numbered = list(enumerate(messages, _next_ids(connection, len(messages))))
    numbers = [number for number, _ in numbered]
    fresh = numbered
    if queue.deduplication_window:
        numbers = _remember(connection, queue, numbered, now)
        fresh = [one for one, first in zip(numbered, numbers, strict=True) if one[0] == first]
    behind = _keys_in_use(connection, queue, messages)
    rows = []
    for number, message in fresh:
        due = now + message.delay if message.delay else 0.0
        state = LATER if due else READY
        key = message.ordering_key or ""
        if key:
            state = BEHIND if key in behind else state
            behind.add(key)
        expires_at = (due or now) + message.time_to_live if message.time_to_live else 0.0
        rows.append((number, queue.id, state, due, expires_at, key))
    connection.executemany(_INSERT_MESSAGE, rows)
    connection.executemany(
        _INSERT_CONTENT,
        [
            (
                number, message.id, message.correlation_id or "", message.content_type or "", message.subject or "",
                pack_attributes(message.attributes) if message.attributes else "", now, message.body,
            )
            for number, message in fresh
        ],
    )  # fmt: skip
    return [SendReceipt(message.id, str(number)) for message, number in zip(messages, numbers, strict=True)]


def bury(connection: sqlite3.Connection, queue: Queue, number: int, reason: str, description: str | None) -> None:
    """Move message ``number`` of ``queue`` to its dead-letter queue, where it is a new message that does not expire."""
    attributes, key = connection.execute(
        "SELECT attributes, ordering_key FROM content JOIN message USING (id) WHERE id = ?", (number,)
    ).fetchone()
    noted = {**json.loads(attributes or "{}"), DEAD_LETTER_REASON: reason, DEAD_LETTER_QUEUE: queue.name}
    if description:
        noted[DEAD_LETTER_DESCRIPTION] = description
    new = _next_ids(connection, 1)
    state = BEHIND if key and _in_use(connection, queue.dead, key) else READY
    connection.execute("DELETE FROM message WHERE id = ?", (number,))
    connection.execute(_INSERT_MESSAGE, (new, queue.dead, state, 0.0, 0.0, key))
    connection.execute("UPDATE content SET id = ?, attributes = ? WHERE id = ?", (new, pack_attributes(noted), number))


def promote(connection: sqlite3.Connection, queue: Queue, keys: set[str], now: float) -> None:
    """Let the first message of each ordering key come forward, after the one before it has left the queue."""
    connection.executemany(
        f"""UPDATE message SET state = CASE WHEN due > :now THEN {LATER} ELSE {READY} END,
            due = CASE WHEN due > :now THEN due ELSE 0 END
        WHERE id = (SELECT min(id) FROM message WHERE queue = :queue
            AND ordering_key = :key AND ordering_key <> '') AND state = {BEHIND}""",
        [{"now": now, "queue": queue.id, "key": key} for key in keys],
    )


def pack_attributes(attributes: Mapping[str, str]) -> str:
    """Return the attributes as they are stored."""
    return json.dumps(dict(attributes), ensure_ascii=False, separators=(",", ":"))


def _next_ids(connection: sqlite3.Connection, count: int) -> int:
    first: int = connection.execute("SELECT next FROM sequence").fetchone()[0]
    connection.execute("UPDATE sequence SET next = ?", (first + count,))
    return first


def _remember(
    connection: sqlite3.Connection, queue: Queue, numbered: Sequence[tuple[int, Message]], now: float
) -> list[int]:
    """Remember the ids of the messages; return for each the number of the message first sent with its id."""
    connection.execute(
        """DELETE FROM seen WHERE queue = ? AND message_id IN
            (SELECT message_id FROM seen WHERE queue = ? AND until <= ? ORDER BY until LIMIT ?)""",
        (queue.id, queue.id, now, 100 + 2 * len(numbered)),  # in portions, so that no transaction takes long
    )
    until = now + queue.deduplication_window
    added = connection.executemany(
        """INSERT INTO seen (queue, message_id, until, message) VALUES (?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET until = excluded.until, message = excluded.message WHERE until <= ?""",
        [(queue.id, message.id, until, number, now) for number, message in numbered],
    ).rowcount
    if added == len(numbered):
        return [number for number, _ in numbered]
    find = "SELECT message FROM seen WHERE queue = ? AND message_id = ?"
    return [connection.execute(find, (queue.id, message.id)).fetchone()[0] for _, message in numbered]


def _keys_in_use(connection: sqlite3.Connection, queue: Queue, messages: Sequence[Message]) -> set[str]:
    keys = {message.ordering_key for message in messages if message.ordering_key}
    return {key for key in keys if _in_use(connection, queue.id, key)}


def _in_use(connection: sqlite3.Connection, queue: int | None, key: str) -> bool:
    found = connection.execute(
        "SELECT 1 FROM message WHERE queue = ? AND ordering_key = ? AND ordering_key <> '' LIMIT 1", (queue, key)
    )
    return found.fetchone() is not None
