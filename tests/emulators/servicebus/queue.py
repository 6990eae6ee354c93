"""A queue: what is ready, locked, deferred, scheduled and dead.

The rules are those of the service's documentation: "Message transfers, locks, and settlement", "Message expiration",
"Dead-letter queues", "Message sequencing and timestamps" (schedules), "Message deferral". Deadlines are timers of the
event loop: no operation looks through all messages.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from uuid import UUID

from .lanes import Holder, Lanes, Runtime, session_lock_lost
from .message import Lock, State, StoredMessage
from .protocol import AmqpError, Condition
from .settings import QueueSettings

__all__ = ["DEAD_LETTER_QUEUE", "Queue", "QueueCounts"]

DEAD_LETTER_QUEUE = "/$DeadLetterQueue"


@dataclass(frozen=True)
class QueueCounts:
    """How many messages a queue has: ready, locked, set aside, waiting for their time, and in its dead-letter queue."""

    active: int
    locked: int
    deferred: int
    scheduled: int
    dead: int


class Queue:
    """One queue, subscription or dead-letter queue; ``dead_letters`` is None for the last."""

    def __init__(self, runtime: Runtime, path: str, settings: QueueSettings, *, is_dead_letter: bool = False) -> None:
        self.path = path
        self.settings = settings
        self.messages: dict[int, StoredMessage] = {}
        self.locked: dict[UUID, StoredMessage] = {}
        self.bytes = 0
        self.sessions = settings.sessions and not is_dead_letter
        self._runtime = runtime
        self.lanes = Lanes(runtime, settings.lock if self.sessions else None, self._ready, self._give_back)
        self.dead_letters = (
            None if is_dead_letter else Queue(runtime, path + DEAD_LETTER_QUEUE, settings, is_dead_letter=True)
        )

    # ---- messages coming in

    def check(self, message: StoredMessage) -> None:
        """Refuse what cannot be stored here.

        Raises:
            AmqpError: the queue has sessions and the message none.
        """
        if self.sessions and message.session_id is None:
            raise AmqpError(
                Condition.NOT_ALLOWED,
                "The SessionId was not set on a message, and it cannot be sent to the entity. Entities that have "
                "session support enabled can only receive messages that have the SessionId set to a valid value.",
            )

    def check_room(self, size: int) -> None:
        """Refuse what the queue has no room for.

        Raises:
            AmqpError: its quota would be exceeded.
        """
        limit = self.settings.max_bytes
        if limit is not None and self.bytes + size > limit:
            raise AmqpError(
                Condition.QUOTA_EXCEEDED,
                f"The maximum entity size has been reached or exceeded for Queue: '{self.path}'. "
                f"Size of entity in bytes: {self.bytes}, Max entity size in bytes: {limit}.",
            )

    def enqueue(self, message: StoredMessage, sequence: int) -> None:
        """Store a message, at once or for the time for which it is scheduled."""
        now = time.time()
        message.sequence, message.enqueued = sequence, now
        self._add(message)
        due = message.scheduled_for
        if due is not None and due > now:
            message.state = State.SCHEDULED
            message.timer = self._runtime.later(due - now, self._scheduled_is_due, message)
        else:
            self._start_life(message)
            self._make_ready(message)

    def cancel_scheduled(self, sequence: int) -> bool:
        """Remove a message that is not due yet; False if there is none of this number."""
        message = self.messages.get(sequence)
        if message is None or message.state is not State.SCHEDULED:
            return False
        self._remove(message)
        return True

    def _scheduled_is_due(self, message: StoredMessage) -> None:
        """It is appended as if sent now, with a new sequence number ("Message sequencing and timestamps")."""
        self._remove(message)
        message.sequence, message.enqueued = self._runtime.next_sequence(), time.time()
        self._add(message)
        self._start_life(message)
        self._make_ready(message)

    def _start_life(self, message: StoredMessage) -> None:
        limits = [limit for limit in (message.time_to_live, self.settings.time_to_live) if limit is not None]
        if limits and self.dead_letters is not None:
            message.expires = message.enqueued + min(limits)
            message.timer = self._runtime.later(min(limits), self._life_is_over, message)

    def _life_is_over(self, message: StoredMessage) -> None:
        if message.lock is None:  # a locked one lives on until it is settled or comes back
            self._expire(message)

    def _expire(self, message: StoredMessage) -> None:
        if self.settings.dead_letter_expired:
            self._bury(message, "TTLExpiredException", "The message expired and was dead lettered.")
        else:
            self._remove(message)

    def _add(self, message: StoredMessage) -> None:
        self.messages[message.sequence] = message
        self.bytes += message.size

    def _remove(self, message: StoredMessage) -> None:
        del self.messages[message.sequence]
        self.bytes -= message.size
        if message.timer is not None:
            message.timer.cancel()
            message.timer = None

    def _make_ready(self, message: StoredMessage) -> None:
        message.state = State.ACTIVE
        if message.expires is not None and message.expires <= time.time():
            self._expire(message)
            return
        self.lanes.add(message)

    # ---- receivers

    def leave(self, holder: Holder, *, release: bool) -> None:
        """Let a receiver go.

        Args:
            holder: the receiver.
            release: whether what it had locked is free at once; a session always is.
        """
        self.lanes.leave(holder)
        if release:
            self._give_back(holder, False)

    def _ready(self, sequence: int) -> StoredMessage | None:
        message = self.messages.get(sequence)
        if message is None or message.state is not State.ACTIVE or message.lock is not None:
            return None
        return message

    # ---- locks and settlement

    def lock(self, message: StoredMessage, holder: Holder | None) -> Lock:
        """Lock a message for a receiver, or for nobody in particular (through the management node).

        Raises:
            AmqpError: nobody holds the message's session.
        """
        if self.sessions:  # the session's lock is the message's
            lane = self.lanes.held_session(message.session_id)
            message.lock = lock = Lock(lane.locked_until, lane.holder)
        else:
            message.lock = lock = Lock(time.time() + self.settings.lock, holder)
            lock.timer = self._runtime.later(self.settings.lock, self._lock_over, message)
        self.locked[lock.token] = message
        if lock.holder is not None:
            lock.holder.held[lock.token] = message
        return lock

    def renew_lock(self, token: UUID) -> float:
        """Lock a message for another while, and return until when.

        Raises:
            AmqpError: the lock is lost.
        """
        message = self._locked(token)
        lock = message.lock
        assert lock is not None
        if lock.timer is not None:
            lock.timer.cancel()
            lock.timer = self._runtime.later(self.settings.lock, self._lock_over, message)
        lock.until = time.time() + self.settings.lock
        return lock.until

    def complete(self, token: UUID) -> None:
        """Remove a message. Raises AmqpError where the lock is lost, as all of these do."""
        self._remove(self._unlocked(token))

    def abandon(self, token: UUID) -> None:
        """Give a message back; the delivery counts."""
        self._failed(self._unlocked(token))

    def release(self, token: UUID) -> None:
        """Give a message back; the delivery does not count."""
        self._comes_back(self._unlocked(token))

    def defer(self, token: UUID) -> None:
        """Set a message aside: it is received by its sequence number only."""
        message = self._unlocked(token)
        message.deliveries += 1
        message.state = State.DEFERRED

    def dead_letter(self, token: UUID, reason: str | None, description: str | None) -> None:
        """Move a message to the dead-letter queue."""
        message = self._unlocked(token)
        message.deliveries += 1
        self._bury(message, reason, description)

    def _locked(self, token: UUID) -> StoredMessage:
        message = self.locked.get(token)
        if message is None:
            raise session_lock_lost() if self.sessions else self._lock_lost()
        return message

    def _lock_lost(self) -> AmqpError:
        return AmqpError(
            Condition.MESSAGE_LOCK_LOST,
            "The lock supplied is invalid. Either the lock expired, or the message has already been removed from the "
            f"queue '{self.path}', or was received by a different receiver instance.",
        )

    def _unlocked(self, token: UUID) -> StoredMessage:
        message = self._locked(token)
        del self.locked[token]
        lock, message.lock = message.lock, None
        if lock is not None:
            if lock.timer is not None:
                lock.timer.cancel()
            if lock.holder is not None:
                lock.holder.held.pop(token, None)
        return message

    def _lock_over(self, message: StoredMessage) -> None:
        if message.lock is not None:
            self.abandon(message.lock.token)

    def _give_back(self, holder: Holder, counts: bool) -> None:
        for token in list(holder.held):
            if counts:
                self.abandon(token)
            else:
                self.release(token)

    def _failed(self, message: StoredMessage) -> None:
        message.deliveries += 1
        if self.dead_letters is not None and message.deliveries >= self.settings.max_deliveries:
            text = f"Message could not be consumed after {message.deliveries} delivery attempts."
            self._bury(message, "MaxDeliveryCountExceeded", text)
        else:
            self._comes_back(message)

    def _comes_back(self, message: StoredMessage) -> None:
        if message.state is not State.DEFERRED:
            self._make_ready(message)
        elif message.expires is not None and message.expires <= time.time():
            self._expire(message)

    def _bury(self, message: StoredMessage, reason: str | None, description: str | None) -> None:
        if self.dead_letters is None:  # dead already: it stays where it is
            self._make_ready(message)
            return
        self._remove(message)
        message.expires, message.state = None, State.ACTIVE
        named = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
        given = {name: text for name, text in named.items() if text is not None}
        if given:
            message.set_application_properties(given)
        self.dead_letters.enqueue_dead(message)

    def enqueue_dead(self, message: StoredMessage) -> None:
        """Take a dead message; it keeps its sequence number and the time at which it was sent."""
        self._add(message)
        self._make_ready(message)

    # ---- looking in

    def counts(self) -> QueueCounts:
        """Count the messages."""
        rest = [message for message in self.messages.values() if message.lock is None]
        deferred = sum(message.state is State.DEFERRED for message in rest)
        scheduled = sum(message.state is State.SCHEDULED for message in rest)
        dead = len(self.dead_letters.messages) if self.dead_letters is not None else 0
        return QueueCounts(len(rest) - deferred - scheduled, len(self.locked), deferred, scheduled, dead)
