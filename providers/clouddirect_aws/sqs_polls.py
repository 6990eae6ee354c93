"""Long polls that a caller can leave: botocore cannot call off a request that is under way.

Polls run in threads of their own, which are kept for the next ones. A caller that is interrupted leaves at once; what
its poll brings afterwards is given back to the queue, so that it is not hidden from others until its lease ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

from clouddirect.clock import Clock
from clouddirect.retry import Interrupt

__all__ = ["Polls"]

T = TypeVar("T")

#: Seconds between two looks at the interrupt; an idle poller costs a few thousandths of a core. `Interrupt.wake` would
#: cost a busy one more: all polls of a consumer share one interrupt, so that each answer would wake all of them.
_LOOK = 0.02


class _Poll(Generic[T]):
    def __init__(self, ask: Callable[[], T]) -> None:
        self.ask = ask
        self.done = threading.Event()
        self.left = False
        self.found: T | None = None
        self.error: Exception | None = None


class Polls(Generic[T]):
    """The polls of one broker."""

    def __init__(self, clock: Clock, give_back: Callable[[T], None]) -> None:
        """``give_back`` is called with what a poll brought after its caller had left; it must not raise."""
        self._clock = clock
        self._give_back = give_back
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._tasks: SimpleQueue[_Poll[T] | None] = SimpleQueue()
        self._threads = 0
        self._running = 0

    def run(self, ask: Callable[[], T], patience: float, interrupt: Interrupt) -> T | None:
        """Return what ``ask`` returns, or raise what it raises; None if interrupted, or not within ``patience``."""
        poll = _Poll(ask)
        with self._lock:
            self._running += 1
            if self._running > self._threads:
                self._threads += 1
                threading.Thread(target=self._work, name="clouddirect-sqs-poll", daemon=True).start()
        self._tasks.put(poll)
        ends = self._clock.monotonic() + patience
        try:
            while not poll.done.wait(_LOOK):
                if interrupt.is_set() or self._clock.monotonic() >= ends:
                    break
        except BaseException:  # Ctrl-C, for one, which the caller may survive
            if not self._leave(poll) and poll.found is not None:
                self._give_back(poll.found)
            raise
        if self._leave(poll):
            return None
        if poll.error is not None:
            raise poll.error
        return poll.found

    def _leave(self, poll: _Poll[T]) -> bool:
        """Leave a poll to its thread; returns False if it has ended by now."""
        with self._lock:
            poll.left = not poll.done.is_set()
            return poll.left

    def close(self, timeout: float) -> bool:
        """Wait until no poll is under way, at most ``timeout`` seconds, and end the threads as they become free.

        Returns whether all polls have ended.
        """
        ends = self._clock.monotonic() + timeout
        with self._lock:
            while self._running and (left := ends - self._clock.monotonic()) > 0:
                self._clock.wait(self._ended, left)
            for _ in range(self._threads):
                self._tasks.put(None)
            self._threads = 0
            return not self._running

    def _work(self) -> None:
        while self._work_once():  # a call of its own, so that an idle thread holds on to nothing
            pass

    def _work_once(self) -> bool:
        poll = self._tasks.get()
        if poll is None:
            return False
        self._answer(poll)
        with self._lock:
            self._running -= 1
            self._ended.notify_all()
        return True

    def _answer(self, poll: _Poll[T]) -> None:
        try:
            poll.found = poll.ask()
        except Exception as error:  # noqa: BLE001 - raised where the poll was begun
            poll.error = error
        with self._lock:
            if not poll.left:
                poll.done.set()
        if poll.left and poll.found is not None:
            self._give_back(poll.found)
