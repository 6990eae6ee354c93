"""`Outbox`: messages and images that have been accepted and are not yet confirmed, kept in the journal.

What is accepted is on the disk, with the message id that it will be sent under, before anything is sent. It is sent in
the order in which it was accepted, by one process at a time, and removed once the broker has confirmed it. A process
that dies in between leaves it there: it is sent again under the same id, so that a broker that knows ids drops the
repeat, and only one that does not delivers it twice.

A message that cannot be sent for a reason of its own (too large, refused as malformed) is put on hold and no longer
tried; so are the later ones of the same order, lest a cancellation overtake its order. Any other failure stops all that
goes to the same endpoint until the next flush.
"""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from clouddirect.clock import Clock, SystemClock
from clouddirect.errors import (
    AlreadyExistsError,
    CloudDirectError,
    InvalidKeyError,
    InvalidMessageError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from clouddirect.orders.flush_lock import FlushLock
from clouddirect.orders.journal import Journal, storable
from clouddirect.orders.outbox_images import SCHEMA as IMAGES_SCHEMA
from clouddirect.orders.outbox_images import StoredImage, WaitingImage, images_of, keep_image, note_image

if TYPE_CHECKING:
    import sqlite3

    from clouddirect.messaging import SendReceipt

__all__ = ["Destination", "FlushReport", "Outbox", "SCHEMA", "Waiting"]

log = logging.getLogger("clouddirect.orders")

SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT NOT NULL UNIQUE, endpoint TEXT NOT NULL, local_id TEXT,
  operation TEXT NOT NULL, body BLOB NOT NULL, accepted_at TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
  error TEXT, held INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS outbox_held ON outbox (local_id, endpoint, seq) WHERE held;
"""
    + IMAGES_SCHEMA
)

#: The next one to send: none before which another of the same order is on hold.
_NEXT = """
SELECT seq, message_id, endpoint, local_id, operation, accepted_at, attempts, error, held FROM outbox AS one
WHERE NOT held AND seq > ? AND endpoint NOT IN (SELECT value FROM json_each(?)) AND NOT EXISTS (
  SELECT 1 FROM outbox AS before
  WHERE before.held AND before.seq < one.seq AND before.local_id = one.local_id AND before.endpoint = one.endpoint
) ORDER BY seq LIMIT 1
"""

#: Copies of images are forgotten after this time if their message was never accepted: its process has died.
_ABANDONED = timedelta(days=1)

#: Reasons of a message's own: no other message need wait for it, and trying again does not help.
_OWN_FAULT = (InvalidMessageError, TooLargeError, InvalidKeyError, UnsupportedError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A message in the outbox.

    Attributes:
        seq: its place; what was accepted earlier has a smaller one.
        message_id: the id that it is, or will be, sent under.
        endpoint: where it goes, such as ``orders``.
        local_id: ``Order.LocalId``.
        operation: ``NW``, ``XO``, ``CA``, ``ResendResult``, or ``Grading``.
        accepted_at: when it was accepted, in UTC.
        attempts: how often sending it has failed.
        error: what the last failure was.
        held: whether it is on hold: not tried again before `Outbox.retry`.
        images: how many of its images are not in the store yet.
        behind: the place of an earlier message of the same order that is on hold: this one waits for it to be retried
            or discarded.
    """

    seq: int
    message_id: str
    endpoint: str
    local_id: str | None
    operation: str
    accepted_at: datetime
    attempts: int
    error: str | None
    held: bool
    images: int = 0
    behind: int | None = None


@dataclass(slots=True)
class FlushReport:
    """What a flush has done.

    Attributes:
        sent: how many messages were confirmed.
        held: those that were put on hold, each with the reason.
        errors: for each endpoint that could not be used, why.
        busy: another flush was under way, here or in another process; nothing was done.
    """

    sent: int = 0
    held: list[tuple[Waiting, CloudDirectError]] = field(default_factory=list)
    errors: dict[str, CloudDirectError] = field(default_factory=dict)
    busy: bool = False


class Destination(ABC):
    """Where an outbox sends to; implemented by the client."""

    @abstractmethod
    def put_image(self, image: WaitingImage, content: StoredImage) -> None:
        """Store an image under its key unless something is there. Raises AlreadyExistsError if there is."""

    @abstractmethod
    def send(self, endpoint: str, message_id: str, body: bytes, local_id: str | None) -> SendReceipt:
        """Send a message under this id; returns once it is confirmed."""


class Outbox:
    """The outbox in one journal. Thread-safe, and several processes may use it at once."""

    def __init__(
        self, journal: Journal, clock: Clock | None = None, *,
        discarding: Callable[[sqlite3.Connection, str], object] | None = None,
    ) -> None:  # fmt: skip
        """Use ``journal``; opens nothing yet. ``discarding`` is called with the id of each message that is discarded,
        in the transaction that removes it."""
        self._journal = journal
        self._clock = clock or SystemClock()
        self._lock = FlushLock(journal.path)
        self._discarding = discarding
        self._confirmed: set[int] = set()
        journal.define("outbox", SCHEMA)

    def accept(
        self,
        message_id: str,
        endpoint: str,
        body: bytes,
        *,
        local_id: str | None,
        operation: str,
        images: Sequence[WaitingImage] = (),
        noting: Callable[[sqlite3.Connection], object] | None = None,
    ) -> int:
        """Keep a message, with its images, until it is confirmed; returns its place, when all is on the disk.

        One with an id that is there already is not kept twice; one that is on hold there is taken off hold. ``noting``
        is called in the transaction that keeps it, for what is to be known of it from that moment on.

        Raises:
            InvalidMessageError: an image cannot be read; nothing is kept.
            UnavailableError: the journal cannot be written; nothing is kept.
        """
        message = (message_id, endpoint, None if local_id is None else storable(local_id), operation, body)
        if not images:
            with self._journal.write() as connection:
                return self._keep(connection, None, message, [], noting)
        seq = self._begin()
        try:
            kept = [(image, keep_image(self._journal, seq, number, image)) for number, image in enumerate(images)]
            with self._journal.write() as connection:
                if connection.execute("DELETE FROM outbox_begun WHERE seq = ?", [seq]).rowcount == 0:
                    raise UnavailableError("copying the images took longer than a day; try again", operation="outbox")
                place = self._keep(connection, seq, message, kept, noting)
                if place != seq:
                    connection.execute("DELETE FROM outbox_pieces WHERE seq = ?", [seq])
                return place
        except BaseException:
            self._undo(seq)
            raise

    def flush(
        self, destination: Destination, sent: Callable[[str, SendReceipt], None] | None = None,
        stopping: Callable[[], bool] = lambda: False, skip: Collection[str] = (),
    ) -> FlushReport:  # fmt: skip
        """Send what waits, in order, until all is sent or every endpoint has failed.

        Args:
            destination: where to.
            sent: called with the id and the receipt of each message that was confirmed.
            stopping: asked before each message; True ends the flush.
            skip: endpoints that are known to be away, and not tried.

        Raises:
            UnavailableError: the journal cannot be read or written.
        """
        report = FlushReport()
        with self._lock.held() as alone:
            if not alone:
                report.busy = True
                return report
            last = 0
            while not stopping() and (one := self._next(last, [*skip, *report.errors])) is not None:
                last = one.seq
                try:
                    told = self._deliver(one, destination)
                except _OWN_FAULT as error:
                    self._note(one, error, held=True)
                    report.held.append((one, error))
                except CloudDirectError as error:
                    self._note(one, error, held=False)
                    report.errors[one.endpoint] = error
                else:
                    self._remove(one.seq)
                    report.sent += told != "discarded"
                    if sent is not None and not isinstance(told, str):
                        sent(one.message_id, told)
        return report

    def waiting(self) -> list[Waiting]:
        """Return all that is there, in order; contents stay on the disk."""
        with self._journal.read() as connection:
            rows = connection.execute(
                "SELECT seq, message_id, endpoint, local_id, operation, accepted_at, attempts, error, held,"
                " (SELECT count(*) FROM outbox_images AS i WHERE i.seq = o.seq AND NOT stored),"
                " (SELECT min(seq) FROM outbox AS b WHERE b.held AND b.seq < o.seq AND b.local_id = o.local_id"
                " AND b.endpoint = o.endpoint)"
                " FROM outbox AS o ORDER BY seq"
            ).fetchall()
        return [_waiting(row) for row in rows]

    def count(self) -> int:
        """Return how many messages are there, those on hold included."""
        with self._journal.read() as connection:
            return int(connection.execute("SELECT count(*) FROM outbox").fetchone()[0])

    def body(self, seq: int) -> bytes | None:
        """Return a message as it will be sent; None if it is not there any more. It names the patient."""
        with self._journal.read() as connection:
            row = connection.execute("SELECT body FROM outbox WHERE seq = ?", [seq]).fetchone()
        return None if row is None else bytes(row[0])

    def retry(self, seqs: Sequence[int] | None = None) -> int:
        """Take messages off hold, all or the given ones, so that the next flush tries them; returns how many."""
        with self._journal.write() as connection:
            if seqs is None:
                return connection.execute("UPDATE outbox SET held = 0 WHERE held").rowcount
            statement = "UPDATE outbox SET held = 0 WHERE held AND seq = ?"
            return sum(connection.execute(statement, [seq]).rowcount for seq in seqs)

    def discard(self, seqs: Sequence[int]) -> int:
        """Remove messages, with their images, for good; returns how many were there.

        One that is being sent at this moment may arrive all the same.
        """
        with self._journal.write() as connection:
            rows = [connection.execute("SELECT message_id FROM outbox WHERE seq = ?", [seq]).fetchone() for seq in seqs]
            if self._discarding is not None:
                for message_id in {row[0] for row in rows if row}:
                    self._discarding(connection, message_id)
            return sum(_delete(connection, seq) for seq in seqs)

    # -- inside ---------------------------------------------------------------------------------------------

    def _keep(
        self, connection: sqlite3.Connection, seq: int | None, message: tuple[object, ...],
        images: Sequence[tuple[WaitingImage, int]], noting: Callable[[sqlite3.Connection], object] | None,
    ) -> int:  # fmt: skip
        there = connection.execute("SELECT seq FROM outbox WHERE message_id = ?", message[:1]).fetchone()
        if there is not None:
            connection.execute("UPDATE outbox SET held = 0 WHERE seq = ?", there)
            return int(there[0])
        cursor = connection.execute(
            "INSERT INTO outbox (seq, message_id, endpoint, local_id, operation, body, accepted_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [seq, *message, self._clock.now().isoformat()],
        )
        place = int(cursor.lastrowid or 0)
        for number, (image, size) in enumerate(images):
            note_image(connection, place, number, image, size)
        if noting is not None:
            noting(connection)
        return place

    def _begin(self) -> int:
        """Take a place for a message whose images are copied next; forget those that never got further."""
        now = self._clock.now()
        with self._journal.write() as connection:
            rows = connection.execute("SELECT seq FROM outbox_begun WHERE at < ?", [(now - _ABANDONED).isoformat()])
            for (abandoned,) in rows.fetchall():
                _forget(connection, abandoned)
            place = connection.execute(
                "INSERT INTO outbox (message_id, endpoint, operation, body, accepted_at) VALUES ('', '', '', '', '')"
            ).lastrowid
            connection.execute("DELETE FROM outbox WHERE seq = ?", [place])  # the number is not given again
            connection.execute("INSERT INTO outbox_begun VALUES (?, ?)", [place, now.isoformat()])
        return int(place or 0)

    def _undo(self, seq: int) -> None:
        try:
            with self._journal.write() as connection:
                _forget(connection, seq)
        except CloudDirectError as error:  # the first error is the one to tell; these are forgotten a day later
            log.debug("copies of images are left in the journal for now: %s", error)

    def _next(self, after: int, skip: Sequence[str]) -> Waiting | None:
        with self._journal.read() as connection:
            row = connection.execute(_NEXT, [after, json.dumps(skip)]).fetchone()
        return None if row is None else _waiting((*row, 0, None))

    def _deliver(self, one: Waiting, destination: Destination) -> SendReceipt | Literal["sent before", "discarded"]:
        if one.seq in self._confirmed:
            return "sent before"  # but the journal could not be told: sending it again would double it
        try:
            for image in self._images(one.seq):
                self._store(one, image, destination)
        except CloudDirectError:
            if self.body(one.seq) is None:
                return "discarded"  # meanwhile, and its images with it
            raise
        body = self.body(one.seq)
        if body is None:
            return "discarded"
        receipt = destination.send(one.endpoint, one.message_id, body, one.local_id)
        self._confirmed.add(one.seq)
        return receipt

    def _store(self, one: Waiting, image: WaitingImage, destination: Destination) -> None:
        with StoredImage(self._journal, one.seq, image.number, image.size) as content:
            try:
                destination.put_image(image, content)
            except AlreadyExistsError:
                pass  # nobody else knows this key: it is there, whole, from an attempt whose confirmation was lost
        self._image_stored(one.seq, image.number)

    def _images(self, seq: int) -> list[WaitingImage]:
        with self._journal.read() as connection:
            return images_of(connection, seq)

    def _image_stored(self, seq: int, number: int) -> None:
        with self._journal.write() as connection:
            place = [seq, number]
            connection.execute("UPDATE outbox_images SET stored = 1 WHERE seq = ? AND number = ?", place)
            connection.execute("DELETE FROM outbox_pieces WHERE seq = ? AND number = ?", place)

    def _note(self, one: Waiting, error: CloudDirectError, *, held: bool) -> None:
        log.warning(
            "message %s to %s is not sent yet, %s: %s", one.message_id, one.endpoint,
            "on hold until it is retried or discarded" if held else "it waits in the outbox", error,
        )  # fmt: skip
        with self._journal.write() as connection:
            connection.execute(
                "UPDATE outbox SET attempts = attempts + 1, error = ?, held = ? WHERE seq = ?",
                [f"{type(error).__name__}: {error}", held, one.seq],
            )

    def _remove(self, seq: int) -> None:
        with self._journal.write() as connection:
            _delete(connection, seq)
        self._confirmed.discard(seq)


def _forget(connection: sqlite3.Connection, seq: int) -> None:
    """Remove the copies of images whose message was never accepted."""
    connection.execute("DELETE FROM outbox_pieces WHERE seq = ?", [seq])
    connection.execute("DELETE FROM outbox_begun WHERE seq = ?", [seq])


def _delete(connection: sqlite3.Connection, seq: int) -> int:
    connection.execute("DELETE FROM outbox_pieces WHERE seq = ?", [seq])
    connection.execute("DELETE FROM outbox_images WHERE seq = ?", [seq])
    return connection.execute("DELETE FROM outbox WHERE seq = ?", [seq]).rowcount


def _waiting(row: Sequence[object]) -> Waiting:
    seq, message_id, endpoint, local_id, operation, accepted_at, attempts, error, held, images, behind = row
    return Waiting(
        seq=int(seq), message_id=str(message_id), endpoint=str(endpoint),  # type: ignore[call-overload]
        local_id=None if local_id is None else str(local_id), operation=str(operation),
        accepted_at=datetime.fromisoformat(str(accepted_at)), attempts=int(attempts),  # type: ignore[call-overload]
        error=None if error is None else str(error), held=bool(held), images=int(images),  # type: ignore[call-overload]
        behind=None if behind is None else int(behind),  # type: ignore[call-overload]
    )  # fmt: skip
