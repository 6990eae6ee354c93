"""The receivers of one queue: how many there are, which one serves a call, and whom a settlement goes to."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from clouddirect.errors import CloudDirectError, LeaseLostError, TimeoutError, UnavailableError
from clouddirect.retry import Interrupt
from clouddirect_azure.bus_delivery import Held, Settlement
from clouddirect_azure.bus_receiver import Receiver
from clouddirect_azure.bus_worker import GRACE, Job

__all__ = ["PlainReceivers", "Receivers", "SessionReceivers"]

T = TypeVar("T")

#: Seconds for which an emptied session is waited on for another message before it is let go.
LINGER = 0.2
#: Seconds that the service looks for a session at least.
SHORTEST_ACCEPT = 0.1
#: Messages of one session handed out before another session gets its turn.
TURN = 100


class Receivers(ABC):
    """The receivers of one queue. All methods may be called from any thread."""

    def __init__(self, make: Callable[[], Receiver], most: int, timeout: float) -> None:
        """``make`` makes a receiver, unopened; there are at most ``most``; opening one takes ``timeout`` at most."""
        self._make = make
        self._most = most
        self._timeout = timeout
        self._condition = threading.Condition()
        self._idle: list[Receiver] = []
        self._all: list[Receiver] = []
        self._closed = False

    @abstractmethod
    def receive(self, count: int, wait: float, interrupt: Interrupt) -> list[Held]:
        """Return up to ``count`` messages as soon as there is one; none when none came within ``wait`` seconds."""

    def settle(self, held: Sequence[Held], how: Settlement, timeout: float) -> list[CloudDirectError | None]:
        """Settle deliveries of this queue, each by its own receiver, all receivers at the same time."""
        return self._share(held, lambda receiver, some: receiver.settle(some, how, timeout), timeout)

    def release(self, held: Sequence[Held], timeout: float) -> list[CloudDirectError | None]:
        """Give deliveries back without counting them."""
        return self._share(held, lambda receiver, some: receiver.release(some), timeout)

    def renew(self, held: Sequence[Held], timeout: float) -> list[float | CloudDirectError]:
        """Renew locks; the seconds granted, or the error, for each."""
        return self._share(held, lambda receiver, some: receiver.renew(some, timeout), timeout)

    def close(self, timeout: float) -> None:
        """Close all connections, within ``timeout`` seconds."""
        with self._condition:
            self._closed = True
            everyone = list(self._all)
            self._condition.notify_all()
        _end_all(everyone, timeout)

    # -- inside ---------------------------------------------------------------------------------------------

    def _share(
        self, held: Sequence[Held], begin: Callable[[Receiver, Sequence[Held]], Job[list[T | CloudDirectError]]],
        timeout: float,
    ) -> list[T | CloudDirectError]:  # fmt: skip
        """Let each receiver work on its own deliveries; those of one that is dead go to another."""
        by_receiver: dict[Receiver, list[Held]] = {}
        for one in held:
            by_receiver.setdefault(self._alive(one.receiver), []).append(one)
        jobs: list[tuple[Receiver, list[Held], Job[list[T | CloudDirectError]] | CloudDirectError]] = []
        for receiver, some in by_receiver.items():
            try:
                jobs.append((receiver, some, begin(receiver, some)))
            except CloudDirectError as error:
                jobs.append((receiver, some, self._gone(error)))
        ends, outcomes = time.monotonic() + timeout + GRACE, dict[Held, T | CloudDirectError]()
        for receiver, some, job in jobs:
            outcomes.update(zip(some, _outcomes(receiver, some, job, ends, timeout), strict=True))
        return [outcomes[one] for one in held]

    def _alive(self, receiver: Receiver) -> Receiver:
        """Return the receiver, or one that can settle in its place."""
        return receiver

    def _gone(self, error: CloudDirectError) -> CloudDirectError:
        """Return what it means for a delivery that its receiver takes no jobs any more."""
        return error

    def _add(self) -> Receiver:
        """Make a receiver; caller holds the lock."""
        if self._closed:
            raise UnavailableError("the broker is being closed", code="closed", retryable=False)
        receiver = self._make()
        self._all.append(receiver)
        return receiver

    def _give_back(self, receiver: Receiver) -> None:
        with self._condition:
            if receiver.dead:
                self._forget(receiver)
            else:
                self._idle.append(receiver)
            self._condition.notify()

    def _forget(self, receiver: Receiver) -> None:
        """Make room for another one; caller holds the lock."""
        if receiver in self._all:
            self._all.remove(receiver)
        if receiver in self._idle:
            self._idle.remove(receiver)


class PlainReceivers(Receivers):
    """Receivers of a queue without sessions. Each call has one to itself; the one used last is used first."""

    def receive(self, count: int, wait: float, interrupt: Interrupt) -> list[Held]:
        """Receive by an idle receiver, a new one, or, when all are busy, the next that gets idle in time."""
        ends = time.monotonic() + wait
        receiver = self._borrow(ends)
        if receiver is None:
            return []
        try:
            return receiver.receive(count, max(0.0, ends - time.monotonic()), interrupt, self._timeout)
        finally:
            self._give_back(receiver)

    def open(self, timeout: float) -> None:
        """Open a link, which shows that the queue is there and that the credential may receive; takes nothing.

        Raises:
            CloudDirectError: why it cannot be opened.
        """
        receiver = self._borrow(time.monotonic() + timeout)
        if receiver is None:
            return  # all are at work: it was opened before
        try:
            receiver.open(0.0, Interrupt(), timeout)
        finally:
            self._give_back(receiver)

    def _borrow(self, ends: float) -> Receiver | None:
        with self._condition:
            while True:
                while self._idle:
                    receiver = self._idle.pop()
                    if not receiver.dead:
                        return receiver
                    self._forget(receiver)
                if len(self._all) < self._most:
                    return self._add()
                left = ends - time.monotonic()
                if left <= 0:
                    return None
                self._condition.wait(min(left, 1.0))

    def _alive(self, receiver: Receiver) -> Receiver:
        if not receiver.dead:
            return receiver
        with self._condition:
            self._forget(receiver)
            for other in self._all:
                if not other.dead:
                    return other
            other = self._add()
            self._idle.append(other)
            return other


class SessionReceivers(Receivers):
    """Receivers of a queue with sessions, each of which holds one session.

    A session is received from only while none of its deliveries is unsettled, so that its order holds whatever becomes
    of them. It is let go when it is empty, after a number of messages, so that others get their turn, and by the
    receiver itself when nobody receives from it.
    """

    def __init__(self, make: Callable[[], Receiver], most: int, timeout: float) -> None:
        """As for all receivers; ``most`` sessions are held at the same time."""
        super().__init__(make, most, timeout)
        self._handed_out: dict[Receiver, int] = {}

    def receive(self, count: int, wait: float, interrupt: Interrupt) -> list[Held]:
        """Receive from a session that is held and has nothing unsettled, else from the next available one."""
        ends = time.monotonic() + wait
        while True:
            receiver = self._borrow()
            if receiver is None:
                left = max(0.0, ends - time.monotonic())
                receiver = self._accept(left, interrupt)
                if receiver is None:
                    return []
            came = self._receive_by(receiver, count, interrupt)
            if came or interrupt.is_set():
                return came

    # -- inside ---------------------------------------------------------------------------------------------

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
        return came

    def _borrow(self) -> Receiver | None:
        ended = []
        with self._condition:
            for receiver in list(self._idle):
                if receiver.dead:
                    self._forget(receiver)
                elif not receiver.outstanding:
                    self._idle.remove(receiver)
                    if self._handed_out.get(receiver, 0) < TURN:
                        return receiver
                    self._forget(receiver)
                    ended.append(receiver)
        for receiver in ended:
            self._end(receiver)
        return None

    def _accept(self, wait: float, interrupt: Interrupt) -> Receiver | None:
        """Accept the next available session; None if there was none within ``wait`` seconds."""
        with self._condition:
            if len(self._all) >= self._most:
                self._condition.wait(min(wait, 1.0))
                if len(self._all) >= self._most:
                    return None
            receiver = self._add()
        try:
            receiver.open(max(wait, SHORTEST_ACCEPT), interrupt, self._timeout)
        except TimeoutError as error:
            self._end(receiver)
            if error.code == "silent":
                raise
            return None
        except CloudDirectError:
            self._end(receiver)
            if interrupt.is_set():
                return None
            raise
        return receiver

    def _end(self, receiver: Receiver) -> None:
        """Close the link, which frees the session."""
        with self._condition:
            self._forget(receiver)
            self._handed_out.pop(receiver, None)
            self._condition.notify()
        receiver.end(self._timeout)


def _outcomes(
    receiver: Receiver, some: Sequence[Held], job: Job[list[T | CloudDirectError]] | CloudDirectError, ends: float,
    timeout: float,
) -> list[T | CloudDirectError]:  # fmt: skip
    if isinstance(job, CloudDirectError):
        return [job.copy() for _ in some]
    if not job.wait(max(0.0, ends - time.monotonic())):
        for one in some:
            one.unconfirmed = True
        error = receiver.overrun(timeout)
        return [error.copy() for _ in some]
    try:
        return job.result()
    except CloudDirectError as error:
        return [error.copy() for _ in some]


def _end_all(everyone: Sequence[Receiver], timeout: float) -> None:
    """End workers at the same time."""
    ends = time.monotonic() + timeout
    threads = [threading.Thread(target=one.end, args=(timeout,), daemon=True) for one in everyone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, ends - time.monotonic()))
