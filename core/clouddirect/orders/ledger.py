"""`Ledger`: where each order stands, as far as this client's submissions and the events it has received tell.

IRIS answers nothing directly. What does not come in time is the only sign of a wrong ClientGuid, an unknown site or a
cancellation that matched nothing; the ledger notices. Of the patient it knows a keyed digest only, to tell whether a
change names another one; the reason that IRIS gives for a refusal is kept as it came.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clouddirect.clock import Clock, SystemClock
from clouddirect.orders.journal import Journal, storable
from clouddirect.orders.models import (
    Event,
    ImageReceipt,
    OrderCancelled,
    OrderCreationReceipt,
    OrderGradedEvent,
    OrderRequest,
    OrderResult,
    ReadyForGradingEvent,
)
from clouddirect.orders.models.events import GradingReceipt
from clouddirect.orders.outbox import SCHEMA as OUTBOX_SCHEMA

__all__ = ["Ledger", "Patience", "STAGES", "TrackedOrder"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
  local_id TEXT PRIMARY KEY, message_id TEXT, submitted_at TEXT, asked TEXT, asked_at TEXT, evaluations TEXT,
  patient TEXT, named INTEGER NOT NULL DEFAULT 0, iris_order_id INTEGER, stage INTEGER NOT NULL DEFAULT 0,
  stage_at TEXT NOT NULL, refusal TEXT
);
CREATE TABLE IF NOT EXISTS order_images (
  local_id TEXT NOT NULL, image TEXT NOT NULL, taken INTEGER NOT NULL, PRIMARY KEY (local_id, image)
);
CREATE TABLE IF NOT EXISTS ledger_key (id INTEGER PRIMARY KEY CHECK (id = 1), key BLOB NOT NULL)
"""

#: The stages of an order, in their order.
STAGES = ("submitted", "created", "images", "ready", "grading", "graded", "result", "refused", "cancelled")
#: The oldest beyond the ledger's capacity are forgotten each time that so many orders were added.
_PRUNE_EVERY = 1000
_RANK = {name: rank for rank, name in enumerate(STAGES)}
_BY_EVENT: dict[type[Event], str] = {
    OrderCreationReceipt: "created", ImageReceipt: "images", ReadyForGradingEvent: "ready", GradingReceipt: "grading",
    OrderGradedEvent: "graded", OrderCancelled: "cancelled",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """After how many seconds something is overdue.

    Attributes:
        receipt: until IRIS has confirmed an order, or a cancellation.
        grading: until an order that was confirmed is graded.
        result: until the result of a graded order has come.
    """

    receipt: float = 15 * 60.0
    grading: float = 3 * 24 * 3600.0
    result: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedOrder:
    """Where one order stands.

    Attributes:
        local_id: ``Order.LocalId``.
        message_id: the id that the last request for it was sent under; None if this client sent none.
        submitted_at: when it was submitted here, in UTC; None if it was not.
        asked: the last request: ``NW``, ``XO``, ``CA`` or ``ResendResult``; None if this client sent none.
        evaluations: the evaluation types it was submitted with.
        iris_order_id: IRIS's own id, once it is known.
        stage: one of `STAGES`.
        stage_at: when that became known, in UTC.
        images: images that the order named.
        images_taken: images that IRIS has confirmed.
        images_refused: images that IRIS has refused.
        refusal: why it was refused; may hold what identifies the patient.
        overdue: what has not come in time, and what that may mean; None if nothing is overdue.
    """

    local_id: str
    message_id: str | None
    submitted_at: datetime | None
    asked: str | None
    evaluations: tuple[str, ...]
    iris_order_id: int | None
    stage: str
    stage_at: datetime
    images: int
    images_taken: int
    images_refused: int
    refusal: str | None
    overdue: str | None

    def __repr__(self) -> str:
        return f"TrackedOrder(local_id={self.local_id!r}, stage={self.stage!r}, overdue={self.overdue!r})"


class Ledger:
    """The ledger in one journal. Thread-safe, and several processes may use it at once."""

    def __init__(
        self, journal: Journal, clock: Clock | None = None, patience: Patience | None = None, *, capacity: int = 100_000
    ) -> None:
        """Use ``journal``; opens nothing yet. At least the last ``capacity`` orders are remembered."""
        self._journal = journal
        self._clock = clock or SystemClock()
        self._patience = patience or Patience()
        self._capacity = capacity
        journal.define("ledger", _SCHEMA)
        journal.define("outbox", OUTBOX_SCHEMA)  # what waits there cannot have been confirmed

    def submitted(self, order: OrderRequest, message_id: str, since: datetime | None = None) -> None:
        """Note a request that the broker has confirmed, or the outbox accepted. A new order begins anew.

        What an event has told after ``since``, when the sending began, is of this order already, and stays.
        """
        with self._journal.write() as connection:
            self.enter(connection, order, message_id, since)

    def enter(
        self, connection: sqlite3.Connection, order: OrderRequest, message_id: str, since: datetime | None = None
    ) -> None:
        """`submitted`, within a transaction of the journal."""
        if order.order is None or order.order.local_id is None:
            return
        local_id, asked = storable(order.order.local_id), str(order.order_control_code or "NW")
        now = self._clock.now().isoformat()
        if asked != "NW":
            self._ensure(connection, local_id, now)
            connection.execute(
                "UPDATE orders SET message_id = ?, asked = ?, asked_at = ? WHERE local_id = ?",
                [message_id, asked, now, local_id],
            )
            return
        before = (since or datetime.max.replace(tzinfo=UTC)).isoformat()
        if connection.execute("DELETE FROM orders WHERE local_id = ? AND stage_at <= ?", [local_id, before]).rowcount:
            connection.execute("DELETE FROM order_images WHERE local_id = ?", [local_id])
        self._ensure(connection, local_id, now)
        patient = self._digest(connection, order.patient.local_id if order.patient else None)
        images = len(order.camera.images or []) if order.camera else 0
        connection.execute(
            "UPDATE orders SET message_id = ?, submitted_at = ?, asked = ?, asked_at = ?, evaluations = ?, patient = ?,"
            " named = ? WHERE local_id = ?",
            [message_id, now, asked, now, "|".join(map(str, order.order.evaluation_types)), patient, images, local_id],
        )

    def discarded(self, connection: sqlite3.Connection, message_id: str) -> None:
        """Note, within a transaction of the journal, that a request will never be sent."""
        connection.execute("DELETE FROM orders WHERE message_id = ? AND stage = 0 AND asked = 'NW'", [message_id])
        connection.execute(
            "UPDATE orders SET message_id = NULL, asked = NULL, asked_at = NULL WHERE message_id = ?", [message_id]
        )
        self._drop_images(connection)

    def event(self, event: Event) -> None:
        """Note an event; one that comes twice, late or out of order does no harm."""
        stage = _BY_EVENT.get(type(event))
        if event.order_local_id is None or stage is None:
            return
        refused, local_id = event.success is False, storable(event.order_local_id)
        with self._journal.write() as connection:
            now = self._clock.now().isoformat()
            self._ensure(connection, local_id, now)
            if isinstance(event, ImageReceipt):
                image = storable(event.image_local_id or str(event.iris_image_id or event.transaction_id))
                connection.execute(
                    "INSERT INTO order_images VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET taken = max(taken, ?)",
                    [local_id, image, not refused, not refused],
                )
            elif refused and isinstance(event, OrderCreationReceipt):
                connection.execute(
                    "UPDATE orders SET refusal = ? WHERE local_id = ?",
                    [storable(event.error_message or "no reason was given"), local_id],
                )
                stage = "refused"
            self._advance(connection, local_id, stage, event.iris_order_id, now)

    def result(self, result: OrderResult) -> None:
        """Note that a result has come."""
        if result.order is None or result.order.local_id is None:
            return
        with self._journal.write() as connection:
            now = self._clock.now().isoformat()
            local_id = storable(result.order.local_id)
            self._ensure(connection, local_id, now)
            self._advance(connection, local_id, "result", result.order.patient_order_id, now)

    def order(self, local_id: str) -> TrackedOrder | None:
        """Return where an order stands; None if nothing is known of it."""
        return next(iter(self.orders([local_id])), None)

    def orders(self, local_ids: Iterable[str] | None = None, *, overdue: bool = False) -> list[TrackedOrder]:
        """Return where orders stand, the given ones or all, oldest first; with ``overdue`` only those that are."""
        statement = (
            "SELECT local_id, message_id, submitted_at, asked, asked_at, evaluations, named, iris_order_id, stage,"
            " stage_at, refusal,"
            " (SELECT count(*) FROM order_images AS i WHERE i.local_id = o.local_id AND taken),"
            " (SELECT count(*) FROM order_images AS i WHERE i.local_id = o.local_id AND NOT taken),"
            " (SELECT held FROM outbox AS w WHERE w.message_id = o.message_id) FROM orders AS o"
        )
        with self._journal.read() as connection:
            if local_ids is None:
                rows = connection.execute(f"{statement} ORDER BY coalesce(submitted_at, stage_at), local_id").fetchall()
            else:
                rows = [
                    row for one in local_ids for row in connection.execute(f"{statement} WHERE local_id = ?", [one])
                ]
        now = self._clock.now()
        found = [self._tracked(row, now) for row in rows]
        return [one for one in found if one.overdue] if overdue else found

    def is_same_patient(self, order: OrderRequest) -> bool | None:
        """Whether an order names the patient that it was submitted for; None where that is not known."""
        local_id = order.order.local_id if order.order else None
        patient = order.patient.local_id if order.patient else None
        with self._journal.write() as connection:
            row = connection.execute("SELECT patient FROM orders WHERE local_id = ?", [local_id]).fetchone()
            if row is None or row[0] is None or patient is None:
                return None
            return hmac.compare_digest(row[0], self._digest(connection, patient) or "")

    def prune(self, older_than: timedelta) -> int:
        """Forget orders that nothing has been heard of for so long; returns how many."""
        before = (self._clock.now() - older_than).isoformat()
        with self._journal.write() as connection:
            gone = connection.execute(
                "DELETE FROM orders WHERE max(stage_at, coalesce(asked_at, '')) < ?", [before]
            ).rowcount
            self._drop_images(connection)
        return gone

    # -- inside ---------------------------------------------------------------------------------------------

    def _ensure(self, connection: sqlite3.Connection, local_id: str, now: str) -> None:
        added = connection.execute("INSERT OR IGNORE INTO orders (local_id, stage_at) VALUES (?, ?)", [local_id, now])
        if added.rowcount and added.lastrowid and added.lastrowid % _PRUNE_EVERY == 0:
            connection.execute("DELETE FROM orders WHERE rowid <= ?", [added.lastrowid - self._capacity])
            self._drop_images(connection)

    def _drop_images(self, connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM order_images WHERE local_id NOT IN (SELECT local_id FROM orders)")

    def _advance(
        self, connection: sqlite3.Connection, local_id: str, stage: str, iris_order_id: int | None, now: str
    ) -> None:
        if iris_order_id is not None:
            connection.execute("UPDATE orders SET iris_order_id = ? WHERE local_id = ?", [iris_order_id, local_id])
        connection.execute(
            "UPDATE orders SET stage = ?, stage_at = ? WHERE local_id = ? AND stage < ?",
            [_RANK[stage], now, local_id, _RANK[stage]],
        )

    def _digest(self, connection: sqlite3.Connection, patient: str | None) -> str | None:
        if patient is None:
            return None
        connection.execute("INSERT OR IGNORE INTO ledger_key VALUES (1, ?)", [os.urandom(32)])
        (key,) = connection.execute("SELECT key FROM ledger_key").fetchone()
        return hmac.new(key, patient.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def _tracked(self, row: tuple[object, ...], now: datetime) -> TrackedOrder:
        (local_id, message_id, submitted_at, asked, asked_at, evaluations, named, iris_order_id, stage, stage_at,
         refusal, taken, refused, held) = row  # fmt: skip
        name, since = STAGES[int(str(stage))], datetime.fromisoformat(str(stage_at))
        asked_since = datetime.fromisoformat(str(asked_at)) if asked_at else None
        return TrackedOrder(
            local_id=str(local_id),
            message_id=None if message_id is None else str(message_id),
            submitted_at=datetime.fromisoformat(str(submitted_at)) if submitted_at else None,
            asked=None if asked is None else str(asked),
            evaluations=tuple(str(evaluations).split("|")) if evaluations else (),
            iris_order_id=None if iris_order_id is None else int(str(iris_order_id)),
            stage=name,
            stage_at=since,
            images=int(str(named)),
            images_taken=int(str(taken)),
            images_refused=int(str(refused)),
            refusal=None if refusal is None else str(refusal),
            overdue=_unsent(held, self._patience.receipt < (now - (asked_since or since)).total_seconds())
            or self._overdue(name, since, None if asked is None else str(asked), asked_since, now),
        )

    def _overdue(
        self, stage: str, since: datetime, asked: str | None, asked_since: datetime | None, now: datetime
    ) -> str | None:
        waited = (now - since).total_seconds()
        if asked == "CA" and stage not in ("cancelled", "refused") and asked_since is not None:
            if (now - asked_since).total_seconds() <= self._patience.receipt:
                return None
            return "no OrderCancelled: the cancellation came too late, or matched no open order"
        if stage == "submitted" and asked is not None and waited > self._patience.receipt:
            return "no receipt: is ClientGuid right, and the site known to IRIS?"
        if stage in ("created", "images", "ready", "grading") and waited > self._patience.grading:
            return "not graded yet" if stage in ("ready", "grading") else "not ready for grading: are its images there?"
        if stage == "graded" and waited > self._patience.result:
            return "graded, but no result has come"
        return None


def _unsent(held: object, late: bool) -> str | None:
    """What there is to say of an order whose last request is in the outbox; ``held`` is None where it is not."""
    if held:
        return "on hold in the outbox: the broker has refused it; see clouddirect outbox list"
    return "still in the outbox: it could not be sent yet" if held is not None and late else None
