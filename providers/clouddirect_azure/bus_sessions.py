"""The receivers of one queue with sessions: each holds one session, and gives its messages out one at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from clouddirect.errors import CloudDirectError, LeaseLostError, TimeoutError
from clouddirect.retry import Interrupt
from clouddirect_azure.bus_delivery import Held
from clouddirect_azure.bus_receiver import Receiver
from clouddirect_azure.bus_receiving import Receivers
from clouddirect_azure.bus_worker import Job

__all__ = ["SessionReceivers"]

T = TypeVar("T")

#: Seconds for which an emptied session is waited on for another message before it is let go.
LINGER = 0.2
#: Seconds that the service looks for a session at least.
SHORTEST_ACCEPT = 0.1
#: Messages of one session handed out before another session gets its turn.
TURN = 100
#: Seconds between two looks at a caller's interrupt.
TICK = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class _Accepting:
    """A receiver that waits for the next available session.

    Attributes:
        receiver: the receiver.
        job: done when there is a session, or none.
        overdue: when, on ``time.monotonic``, it must be done, or else the service is silent.
    """

    receiver: Receiver
    job: Job[object]
    overdue: float


class SessionReceivers(Receivers):
    """Receivers of a queue with sessions, each of which holds one session.

    A session is received from only while none of its deliveries is unsettled, so that its order holds whatever becomes
    of them. It is let go when it is empty, after a number of messages, so that others get their turn, and by the
    receiver itself when nobody receives from it.

    Whoever finds all sessions busy waits for the next available one, and at the same time for one of those that are
    held to get free. If that comes first, the other wait goes on by itself: the next caller takes it over, and a
    session that it brings meanwhile is held for the next caller.
    """

    def __init__(self, make: Callable[[], Receiver], most: int, timeout: float) -> None:
        """As for all receivers; ``most`` sessions are held at the same time."""
        super().__init__(make, most, timeout)
        self._handed_out: dict[Receiver, int] = {}
        self._left: dict[Receiver, _Accepting] = {}  # those that nobody waits for
        self._changes = 0  # of what callers wait for

    def receive(self, count: int, wait: float, interrupt: Interrupt) -> list[Held]:
        """Receive from a session that is held and has nothing unsettled, else from the next available one."""
        ends = time.monotonic() + wait
        while True:
            receiver = self._next(ends, interrupt)
            if receiver is None:
                return []
            came = self._receive_by(receiver, count, interrupt)
            if came or interrupt.is_set():
                return came

    def close(self, timeout: float) -> None:
        """Close all connections, within ``timeout`` seconds; whatever waits for a session is ended at once."""
        with self._condition:
            waiting, self._left = list(self._left), {}
        for receiver in waiting:
            receiver.kill()
        super().close(timeout)

    # -- inside ---------------------------------------------------------------------------------------------

    def _share(
        self, held: Sequence[Held], begin: Callable[[Receiver, Sequence[Held]], Job[list[T | CloudDirectError]]],
        timeout: float,
    ) -> list[T | CloudDirectError]:  # fmt: skip
        try:
            return super()._share(held, begin, timeout)
        finally:
            self._tell()  # their sessions may be free now

    def _gone(self, error: CloudDirectError) -> CloudDirectError:
        return LeaseLostError("the connection that held the session is closed, and the session free for others",
                              code="session-lock-lost")  # fmt: skip

    def _receive_by(self, receiver: Receiver, count: int, interrupt: Interrupt) -> list[Held]:
        try:
            came = receiver.receive(count, LINGER, interrupt, self._timeout)
        except CloudDirectError as error:
            self._end(receiver)
            if error.code == "closed":
                return []  # it was let go in this very moment
            raise
        if not came:
            self._end(receiver)
            return []
        self._handed_out[receiver] = self._handed_out.get(receiver, 0) + len(came)
        self._give_back(receiver)
        self._tell()
        return came

    def _next(self, ends: float, interrupt: Interrupt) -> Receiver | None:
        """Return a session with nothing unsettled, to be received from; None if there is none until ``ends``."""
        accepting: _Accepting | None = None
        until = ends
        try:
            while not interrupt.is_set():
                seen = self._changes
                receiver = self._borrow()
                if receiver is not None:
                    return receiver
                if accepting is None:
                    accepting, until = self._begin(ends)
                elif accepting.job.wait(0.0):
                    done, accepting, until = accepting, None, ends
                    if self._has_accepted(done):
                        return done.receiver
                    if time.monotonic() > ends - SHORTEST_ACCEPT:
                        return None
                    continue
                now = time.monotonic()
                if accepting is not None and now > accepting.overdue:
                    overdue, accepting = accepting, None
                    raise self._overrun(overdue)
                if now > until:
                    return None
                with self._condition:
                    self._condition.wait_for(lambda: self._changes != seen, TICK)  # noqa: B023 - called at once
            return None
        finally:
            if accepting is not None:
                self._leave(accepting, interrupt)

    def _borrow(self) -> Receiver | None:
        ended = []
        found = None
        with self._condition:
            for receiver in list(self._idle):
                if receiver.dead:
                    self._forget(receiver)
                elif not receiver.outstanding:
                    self._idle.remove(receiver)
                    if self._handed_out.get(receiver, 0) < TURN:
                        found = receiver
                        break
                    self._forget(receiver)
                    ended.append(receiver)
        for receiver in ended:
            self._end(receiver)
        return found

    # -- accepting the next session ---------------------------------------------------------------------------

    def _begin(self, ends: float) -> tuple[_Accepting | None, float]:
        """Begin to wait for a session, or take over a wait that nobody is interested in any more.

        Returns:
            The wait, None if as many sessions are held as may be; and until when to wait for it. The service itself
            ends one that begins now; whether there is a session is not known before.
        """
        with self._condition:
            if self._left:
                return self._left.popitem()[1], max(ends, time.monotonic() + SHORTEST_ACCEPT)
            if len(self._all) >= self._most:
                return None, ends
            receiver = self._add()
        now = time.monotonic()
        wait = max(ends - now, SHORTEST_ACCEPT)
        job = receiver.accept(wait, lambda: self._accept_ended(receiver))
        return _Accepting(receiver, job, now + wait + self._timeout), math.inf

    def _has_accepted(self, accepting: _Accepting) -> bool:
        """Return whether there was a session.

        Raises:
            CloudDirectError: the service could not be asked.
        """
        try:
            accepting.job.result()
        except TimeoutError:
            self._end(accepting.receiver)
            return False
        except CloudDirectError:
            self._end(accepting.receiver)
            raise
        return True

    def _overrun(self, accepting: _Accepting) -> TimeoutError:
        error = accepting.receiver.overrun(self._timeout)
        self._end(accepting.receiver)
        return error

    def _leave(self, accepting: _Accepting, interrupt: Interrupt) -> None:
        """Let the wait go on without the caller; an interrupted one ends it."""
        if interrupt.is_set():
            accepting.receiver.kill()  # a session that is just being accepted is freed with the connection
            self._end(accepting.receiver)
            return
        with self._condition:
            self._left[accepting.receiver] = accepting
        if accepting.job.wait(0.0):
            self._accept_ended(accepting.receiver)

    def _accept_ended(self, receiver: Receiver) -> None:
        """Keep a session that came when nobody waited for it; wake those who wait."""
        with self._condition:
            if self._left.pop(receiver, None) is not None:
                self._give_back(receiver)  # a dead one, which brought none, is forgotten
        self._tell()

    def _tell(self) -> None:
        """Wake those who wait for a session."""
        with self._condition:
            self._changes += 1
            self._condition.notify_all()

    def _end(self, receiver: Receiver) -> None:
        """Close the link, which frees the session."""
        with self._condition:
            self._forget(receiver)
            self._handed_out.pop(receiver, None)
        self._tell()
        receiver.end(self._timeout)
