"""The server's side of a message broker in memory: queues on a clock."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from clouddirect.clock import Clock, SystemClock
from clouddirect.messaging import (
    DEAD_LETTER_DESCRIPTION,
    DEAD_LETTER_REASON,
    Capabilities,
    Message,
)

__all__ = ["MemoryService", "QueueState", "SECRET", "SdkError", "Stored"]

SECRET = "memory-SECRET-key"


class SdkError(Exception):
    """What an SDK would raise; the text holds a secret, as real ones do."""

    def __init__(self, status: str) -> None:
        super().__init__(f"{status}: request signed with {SECRET} refused")
        self.status = status


@dataclass(eq=False)
class Stored:
    """One message in a queue."""

    message: Message
    serial: int
    enqueued_at: datetime
    visible_at: float
    expires_at: float | None
    count: int = 0
    token: int | None = None  # of the lease
    lease_ends: float = 0.0


@dataclass
class QueueState:
    """One queue: its messages in the order they were sent, and how it was set up."""

    lease: float = 30.0
    max_deliveries: int | None = None
    can: Capabilities | None = None
    stored: list[Stored] = field(default_factory=list)
    seen: dict[str, float] = field(default_factory=dict)


class MemoryService:
    """The server's side. Its lock guards everything; `changed` is notified when something may have become visible."""

    def __init__(self, clock: Clock | None = None, dedup_window: float = 300.0) -> None:
        self.clock = clock or SystemClock()
        self.dedup_window = dedup_window
        self.queues: dict[str, QueueState] = {}
        self.changed = threading.Condition()
        self._serial = itertools.count(1)

    def create(self, name: str, **wishes: Any) -> str:
        """Make a queue and its dead-letter queue."""
        self.queues[name] = QueueState(**wishes)
        self.queues[f"{name}/$dead"] = QueueState()
        return name

    def depth(self, name: str) -> int:
        """How many messages are in a queue, on lease or not."""
        with self.changed:
            return len(self.queues[name].stored)

    def put(self, queue: QueueState, message: Message, deduplicate: bool = False) -> int:
        """Store a message; the caller holds the lock."""
        now = self.clock.monotonic()
        if deduplicate and queue.seen.get(message.id, -1.0) > now:
            return 0
        queue.seen[message.id] = now + self.dedup_window
        expires = None if message.time_to_live is None else now + message.time_to_live
        stored = Stored(message, next(self._serial), datetime.now(UTC), now + (message.delay or 0.0), expires)
        queue.stored.append(stored)
        self.changed.notify_all()
        return stored.serial

    def take(self, name: str, count: int, lease: float | None) -> list[Stored]:
        """Put up to ``count`` messages on lease; the caller holds the lock."""
        queue, now = self.queues[name], self.clock.monotonic()
        taken: list[Stored] = []
        busy: set[str] = set()
        for stored in list(queue.stored):
            key = stored.message.ordering_key
            if stored.expires_at is not None and stored.expires_at <= now and stored.token is None:
                queue.stored.remove(stored)
            elif key is not None and key in busy:
                continue
            elif stored.visible_at > now or (stored.token is not None and stored.lease_ends > now):
                busy.update({key} if key is not None else ())
            elif queue.max_deliveries is not None and stored.count >= queue.max_deliveries:
                self.bury(name, stored, "MaxDeliveryCountExceeded", None)
            elif len(taken) < count:
                stored.count += 1
                stored.token = next(self._serial)
                stored.lease_ends = now + (queue.lease if lease is None else lease)
                taken.append(stored)
            else:
                busy.update({key} if key is not None else ())
        return taken

    def bury(self, name: str, stored: Stored, reason: str, description: str | None) -> None:
        """Move a message to the dead-letter queue."""
        attributes = {**stored.message.attributes, DEAD_LETTER_REASON: reason}
        if description:
            attributes[DEAD_LETTER_DESCRIPTION] = description
        self.queues[name].stored.remove(stored)
        dead = self.queues.setdefault(f"{name}/$dead", QueueState())
        self.put(dead, replace(stored.message, attributes=attributes, delay=None, time_to_live=None))
