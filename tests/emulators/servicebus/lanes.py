"""Who receives what next: lanes of ready messages, their receivers, and sessions.

A queue without sessions has one lane that all its receivers share. A queue with sessions has a lane for each session,
which one receiver holds at a time, for as long as its lock lasts ("Message sessions", Service Bus documentation).
Within a lane the lowest sequence number is delivered first, so a message that comes back keeps its place.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

from .message import StoredMessage
from .protocol import AmqpError, Condition

__all__ = ["Holder", "Lane", "Lanes", "Runtime", "session_lock_lost"]


class Holder(Protocol):
    """A receiver: it holds locks, takes messages while it has credit, and can be told that it lost its session."""

    held: dict[UUID, StoredMessage]
    lane: Lane | None

    @property
    def credit(self) -> int:
        """How many messages it takes."""

    @property
    def wants_drain(self) -> bool:
        """Whether it wants to hear that there is nothing more."""

    def deliver(self, message: StoredMessage) -> None:
        """Take a message, and lock it."""

    def drained(self) -> None:
        """Learn that there is nothing for the credit that is left."""

    def session_opened(self, lane: Lane) -> None:
        """Learn which session it holds now."""

    def failed(self, error: AmqpError) -> None:
        """Learn that this receiver is over."""


class Runtime(Protocol):
    """What queues need of the namespace they are in."""

    def next_sequence(self) -> int:
        """Return a new sequence number."""

    def later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> asyncio.TimerHandle:
        """Call something in ``seconds``."""

    def wake(self, lanes: Lanes, lane: Lane) -> None:
        """Pump this lane soon."""


class Lane:
    """Messages in the order in which they are delivered: a session's, or all of a queue without sessions."""

    def __init__(self, session: str | None) -> None:
        self.session = session
        self.ready: list[int] = []  # heap of sequence numbers, among them such as are not ready any more
        self.receivers: deque[Holder] = deque()
        self.locked_until = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self.state: bytes | None = None

    @property
    def holder(self) -> Holder | None:
        """Who holds the session."""
        return self.receivers[0] if self.receivers else None


class Lanes:
    """All lanes of a queue.

    Args:
        runtime: the namespace.
        lock: seconds for which a session is locked; None for a queue without sessions.
        ready: returns the message of a sequence number if it can be delivered.
        give_back: releases what a holder had locked, with or without counting the delivery.
    """

    def __init__(
        self,
        runtime: Runtime,
        lock: float | None,
        ready: Callable[[int], StoredMessage | None],
        give_back: Callable[[Holder, bool], None],
    ) -> None:
        self._runtime = runtime
        self._lock = lock
        self._find_ready = ready
        self._give_back = give_back
        self._lanes: dict[str | None, Lane] = {}
        self._free: dict[str | None, Lane] = {}  # sessions with messages and no holder, oldest first
        self._waiting: dict[Holder, asyncio.TimerHandle] = {}  # for the next such session

    def lane(self, session: str | None) -> Lane:
        """Return the lane of a session (None: the queue's only one)."""
        lane = self._lanes.get(session)
        if lane is None:
            lane = self._lanes[session] = Lane(session)
        return lane

    def add(self, message: StoredMessage) -> None:
        """Add a message that is ready."""
        lane = self.lane(message.session_id if self._lock is not None else None)
        heapq.heappush(lane.ready, message.sequence)
        self._offer(lane)

    # ---- receivers

    def join(self, holder: Holder) -> None:
        """Let a receiver take part in a queue without sessions."""
        holder.lane = self.lane(None)
        holder.lane.receivers.append(holder)

    def leave(self, holder: Holder) -> None:
        """Let a receiver go; if it held a session, that is free, and what was delivered from it does not count."""
        waiting = self._waiting.pop(holder, None)
        if waiting is not None:
            waiting.cancel()
        lane = holder.lane
        if lane is not None and holder in lane.receivers:
            lane.receivers.remove(holder)
            if self._lock is not None:
                self._free_session(lane, holder, counts=False)

    def wake(self, holder: Holder) -> None:
        """Deliver to a receiver that has got credit."""
        if holder.lane is not None:
            self._runtime.wake(self, holder.lane)

    def pump(self, lane: Lane) -> None:
        """Deliver what is ready to those who have credit, in turn."""
        receivers, without_credit = lane.receivers, 0
        while without_credit < len(receivers):
            holder = receivers[0]
            receivers.rotate(-1)
            if holder.credit <= 0:
                without_credit += 1
                continue
            message = self._next(lane)
            if message is None:
                break
            without_credit = 0
            holder.deliver(message)
        for holder in list(receivers):
            if holder.wants_drain and holder.credit > 0:
                holder.drained()

    def _next(self, lane: Lane) -> StoredMessage | None:
        while lane.ready:
            message = self._find_ready(heapq.heappop(lane.ready))
            if message is not None:
                return message
        return None

    def _offer(self, lane: Lane) -> None:
        if self._lock is None or lane.receivers:
            self._runtime.wake(self, lane)
        elif lane.ready:
            self._free[lane.session] = lane
            self._hand_out()

    # ---- sessions

    def sessions_with_state(self) -> set[str | None]:
        """Return the sessions that have a state."""
        return {lane.session for lane in self._lanes.values() if lane.state is not None}

    def held_session(self, session: str | None) -> Lane:
        """Return the lane of a session that somebody holds.

        Raises:
            AmqpError: nobody does.
        """
        lane = self._lanes.get(session)
        if self._lock is None or lane is None or lane.holder is None:
            raise session_lock_lost()
        return lane

    def accept(self, holder: Holder, session: str) -> None:
        """Give a receiver the session it named, which need not have messages.

        Raises:
            AmqpError: somebody holds it.
        """
        lane = self.lane(session)
        if lane.receivers:
            raise AmqpError(
                Condition.SESSION_CANNOT_BE_LOCKED,
                f"The requested session '{session}' cannot be accepted. It may be locked by another receiver.",
            )
        self._give(lane, holder)

    def accept_next(self, holder: Holder, patience: float) -> None:
        """Give a receiver a session that has messages and no holder, now or within ``patience`` seconds."""
        self._waiting[holder] = self._runtime.later(patience, self._none_came, holder)
        self._hand_out()

    def renew(self, session: str) -> float:
        """Lock a session for another while, and return until when.

        Raises:
            AmqpError: nobody holds it.
        """
        lane = self.held_session(session)
        self._lock_session(lane)
        return lane.locked_until

    def _hand_out(self) -> None:
        while self._waiting and self._free:
            lane = self._free.pop(next(iter(self._free)))
            message = self._next(lane)
            if message is None:
                self._forget_if_empty(lane)
                continue
            heapq.heappush(lane.ready, message.sequence)
            holder = next(iter(self._waiting))
            self._waiting.pop(holder).cancel()
            self._give(lane, holder)

    def _none_came(self, holder: Holder) -> None:
        if self._waiting.pop(holder, None) is not None:
            holder.failed(AmqpError(Condition.TIMEOUT, "The operation did not complete within the allocated time."))

    def _give(self, lane: Lane, holder: Holder) -> None:
        self._free.pop(lane.session, None)
        lane.receivers.append(holder)
        holder.lane = lane
        self._lock_session(lane)
        holder.session_opened(lane)
        self._runtime.wake(self, lane)

    def _lock_session(self, lane: Lane) -> None:
        assert self._lock is not None
        if lane.timer is not None:
            lane.timer.cancel()
        lane.locked_until = time.time() + self._lock
        lane.timer = self._runtime.later(self._lock, self._lock_over, lane)

    def _lock_over(self, lane: Lane) -> None:
        """What was delivered counts, other than at a close ("Message sessions", message delivery count)."""
        holder = lane.receivers.popleft()
        self._free_session(lane, holder, counts=True)
        holder.failed(session_lock_lost())

    def _free_session(self, lane: Lane, holder: Holder, *, counts: bool) -> None:
        if lane.timer is not None:
            lane.timer.cancel()
            lane.timer = None
        self._give_back(holder, counts)
        self._offer(lane)
        self._forget_if_empty(lane)

    def _forget_if_empty(self, lane: Lane) -> None:
        if not lane.receivers and not lane.ready and lane.state is None:
            self._lanes.pop(lane.session, None)


def session_lock_lost() -> AmqpError:
    """Return the error of one who does not hold a session, or not any more."""
    return AmqpError(Condition.SESSION_LOCK_LOST, "The session lock was lost. Request a new session receiver.")
