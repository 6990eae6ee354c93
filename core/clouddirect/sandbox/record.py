"""`OrderRecord`: what the sandbox must know of its messages after a crash, in a small file."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path

from clouddirect.clock import Clock
from clouddirect.orders.journal import Journal

__all__ = ["Fate", "OrderRecord"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sandbox_message (
    id TEXT PRIMARY KEY,
    about TEXT NOT NULL,
    fate TEXT NOT NULL,
    noted REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS sandbox_message_order ON sandbox_message (about)
"""
#: What was noted longer ago than this is forgotten, in seconds; no queue keeps messages longer than two weeks.
_KEEP = 15 * 86_400.0


class Fate(StrEnum):
    """What became of a message.

    ``OPEN``: an order that was begun. ``GRADED``: it can be neither changed nor cancelled any more. ``CANCELLED``: so
    it ends, and if it comes again, that is all there is to say. ``FINISHED``: everything about it has been sent.
    ``TAKEN``: a change or a grading that belongs to an order that is not finished.
    """

    OPEN = "open"
    GRADED = "graded"
    CANCELLED = "cancelled"
    FINISHED = "finished"
    TAKEN = "taken"


class OrderRecord:
    """The fate of messages by their ids. It holds neither patient data nor ids of orders."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Use the file at ``path``, which is made, with its directory, when something is noted or asked."""
        self._journal = Journal(path)
        self._journal.define("sandbox", _SCHEMA)
        self._clock = clock
        self._pruned = False

    def fate(self, message_id: str) -> Fate | None:
        """Return what became of a message; None for one that nothing is known of.

        Raises:
            CloudDirectError: here and below: the file cannot be used.
        """
        with self._journal.read() as connection:
            found = connection.execute("SELECT fate FROM sandbox_message WHERE id = ?", (message_id,)).fetchone()
        return None if found is None else Fate(found[0])

    def note(self, message_id: str, key: tuple[str, str | None], fate: Fate) -> None:
        """Note what became of a message about the order ``key`` (ClientGuid and Order.LocalId)."""
        moment = self._clock.now().timestamp()
        with self._journal.write() as connection:
            if not self._pruned:
                connection.execute("DELETE FROM sandbox_message WHERE noted < ?", (moment - _KEEP,))
                self._pruned = True
            connection.execute(
                "INSERT OR REPLACE INTO sandbox_message VALUES (?, ?, ?, ?)", (message_id, _about(key), fate, moment)
            )

    def note_finished(self, message_id: str, key: tuple[str, str | None]) -> None:
        """Note that the order of a message is finished, and forget what was taken for it."""
        self.forget(message_id, key)
        self.note(message_id, key, Fate.FINISHED)

    def forget(self, message_id: str, key: tuple[str, str | None]) -> None:
        """Forget the message of an order and what was taken for it: sent again, they are new."""
        with self._journal.write() as connection:
            connection.execute(
                "DELETE FROM sandbox_message WHERE id = ? OR (about = ? AND fate = ?)",
                (message_id, _about(key), Fate.TAKEN),
            )

    def taken(self, key: tuple[str, str | None]) -> set[str]:
        """Return the ids of the messages that belong to the order ``key``, which come again when it does."""
        with self._journal.read() as connection:
            found = connection.execute(
                "SELECT id FROM sandbox_message WHERE about = ? AND fate = ?", (_about(key), Fate.TAKEN)
            ).fetchall()
        return {message_id for (message_id,) in found}

    def is_under_way(self, key: tuple[str, str | None]) -> bool:
        """Whether an order of this ``key`` was begun and is not finished: its message comes again."""
        with self._journal.read() as connection:
            found = connection.execute(
                "SELECT 1 FROM sandbox_message WHERE about = ? AND fate IN (?, ?)",
                (_about(key), Fate.OPEN, Fate.GRADED),
            ).fetchone()
        return found is not None

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


def _about(key: tuple[str, str | None]) -> str:
    """An order's key as text of a fixed length; ids of any characters fit, and none is on the disk."""
    return hashlib.sha256(repr(key).encode()).hexdigest()
