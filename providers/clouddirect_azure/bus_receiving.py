"""The receivers of one queue: how many there are, which one serves a call, and whom a settlement goes to."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

from clouddirect.errors import CloudDirectError, UnavailableError
from clouddirect.retry import Interrupt
from clouddirect_azure.bus_delivery import Held, Settlement
from clouddirect_azure.bus_receiver import Receiver
from clouddirect_azure.bus_worker import GRACE, Job

__all__ = ["PlainReceivers", "Receivers"]

T = TypeVar("T")


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
            receiver.open(timeout)
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
