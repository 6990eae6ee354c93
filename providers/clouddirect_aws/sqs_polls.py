"""Long polls that a caller can leave: botocore cannot call off a request that is under way.

A poll runs in a thread of its own. A caller that is interrupted leaves at once; what its poll brings afterwards is
given back to the queue, so that it is not hidden from others until its lease ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from clouddirect.clock import Clock
from clouddirect.retry import Interrupt

__all__ = ["Polls"]

T = TypeVar("T")


class _Poll(Generic[T]):
    def __init__(self) -> None:
        self.done = False
        self.left = False
        self.found: T | None = None
        self.error: Exception | None = None


class Polls(Generic[T]):
    """The polls of one broker that are under way."""

    def __init__(self, clock: Clock, give_back: Callable[[T], None]) -> None:
        """``give_back`` is called with what a poll brought after its caller had left; it must not raise."""
        self._clock = clock
        self._give_back = give_back
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._running = 0

    def run(self, ask: Callable[[], T], patience: float, interrupt: Interrupt) -> T | None:
        """Return what ``ask`` returns, or raise what it raises; None if interrupted, or not within ``patience``."""
        poll = _Poll[T]()
        with self._lock:
            self._running += 1
        threading.Thread(
            target=self._ask, args=(poll, ask, interrupt), name="clouddirect-sqs-poll", daemon=True
        ).start()
        interrupt.wait_for(lambda: poll.done, patience)
        with self._lock:
            if not poll.done:
                poll.left = True
                return None
        if poll.error is not None:
            raise poll.error
        return poll.found

    def wait(self, timeout: float) -> bool:
        """Wait until no poll is under way, at most ``timeout`` seconds; returns whether that is so."""
        ends = self._clock.monotonic() + timeout
        with self._lock:
            while self._running:
                left = ends - self._clock.monotonic()
                if left <= 0:
                    return False
                self._clock.wait(self._ended, left)
        return True

    def _ask(self, poll: _Poll[T], ask: Callable[[], T], interrupt: Interrupt) -> None:
        try:
            try:
                poll.found = ask()
            except Exception as error:  # noqa: BLE001 - raised where the poll was begun
                poll.error = error
            with self._lock:
                poll.done = not poll.left
            if poll.left and poll.found is not None:
                self._give_back(poll.found)
        finally:
            with self._lock:
                self._running -= 1
                self._ended.notify_all()
            interrupt.wake()
