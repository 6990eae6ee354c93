"""Time, injected everywhere, so that leases, backoff and deadlines can be tested without waiting.

Wall-clock time (`Clock.now`) is for what is shown, stored or compared across machines. Leases and deadlines run on
`Clock.monotonic`, which a correction of the system's clock cannot move.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "ManualClock", "SystemClock"]


class Clock(Protocol):
    """What clouddirect asks of time. Implementations are thread-safe."""

    def now(self) -> datetime:
        """Return the wall-clock time, timezone-aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only ever grow; the zero point means nothing."""
        ...

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        """Wait on a condition that the caller holds; False when ``timeout`` seconds passed first.

        Like `threading.Condition.wait`, it may return early: callers loop over what they wait for.
        """
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Return the system's wall-clock time, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return `time.monotonic`."""
        return time.monotonic()

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        """Wait on ``condition`` in real time."""
        return condition.wait(timeout)


class ManualClock:
    """A clock for tests and rehearsals: time passes only when `advance` is called.

    Threads that wait on it wake when they are notified or when the time they wait for has come.
    """

    def __init__(self, start: datetime | None = None) -> None:
        """Start at ``start`` (timezone-aware; default 2026-01-01 00:00 UTC)."""
        self._lock = threading.Lock()
        self._start = start or datetime(2026, 1, 1, tzinfo=UTC)
        self._elapsed = 0.0
        self._skew = timedelta(0)
        self._sleepers: list[tuple[float, threading.Condition]] = []
        self._changed = threading.Condition(self._lock)
        self._reading = threading.local()

    def now(self) -> datetime:
        """Return the start plus what has been advanced, less what was set back."""
        with self._lock:
            return self._start + timedelta(seconds=self._elapsed) + self._skew

    def monotonic(self) -> float:
        """Return the seconds advanced so far."""
        with self._lock:
            self._reading.elapsed = self._elapsed
            return self._elapsed

    def wait(self, condition: threading.Condition, timeout: float | None) -> bool:
        """Wait on ``condition`` until it is notified or `advance` has let ``timeout`` seconds pass."""
        if timeout is None:
            return condition.wait()
        with self._lock:
            # callers work the timeout out from a reading; had time advanced since, they would sleep past their moment
            read = getattr(self._reading, "elapsed", None)
            self._reading.elapsed = None
            due = (self._elapsed if read is None else read) + timeout
            if due <= self._elapsed:
                return False
            entry = (due, condition)
            self._sleepers.append(entry)
            self._changed.notify_all()
        try:
            condition.wait()
        finally:
            with self._lock:
                if entry in self._sleepers:
                    self._sleepers.remove(entry)
                woken = self._elapsed < due
        return woken

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass and wake everybody who waited for a moment within them."""
        with self._lock:
            self._elapsed += seconds
            due = [entry for entry in self._sleepers if entry[0] <= self._elapsed]
            # gone at once, so that `wait_for_sleepers` does not count who has been woken and is about to run
            self._sleepers = [entry for entry in self._sleepers if entry[0] > self._elapsed]
        for _, condition in due:
            with condition:
                condition.notify_all()

    def set_back(self, seconds: float) -> None:
        """Move the wall clock alone, as a corrected system clock would; monotonic time is untouched."""
        with self._lock:
            self._skew -= timedelta(seconds=seconds)

    def wait_for_sleepers(self, count: int = 1, timeout: float = 10.0) -> bool:
        """Wait, in real time, until at least ``count`` threads are asleep on this clock."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._sleepers) >= count, timeout)
