"""What one public call of a store carries through all its parts: deadline, cancellation, retries and progress."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from clouddirect.errors import CloudDirectError, ConfigurationError, TimeoutError
from clouddirect.retry import Interrupt

if TYPE_CHECKING:
    from clouddirect.storage.store import FileStore

__all__ = ["Progress", "ProgressCallback", "Transfer"]

T = TypeVar("T")

#: Called with the bytes that were confirmed since the last call.
ProgressCallback = Callable[[int], object]


class Progress:
    """Counts confirmed bytes, from any thread, and tells the caller of them, from the caller's own thread.

    What is told never shrinks: when an upload has to begin again, nothing is told until it has passed the place it had
        come to.
    """

    def __init__(self, callback: ProgressCallback | None) -> None:
        self._callback = callback
        self._lock = threading.Lock()
        self._confirmed = 0
        self._told = 0

    def add(self, count: int) -> None:
        """Note that ``count`` more bytes are confirmed."""
        with self._lock:
            self._confirmed += count

    def restart(self) -> None:
        """Begin to count at zero again."""
        with self._lock:
            self._confirmed = 0

    @property
    def pending(self) -> bool:
        """Whether there is something to tell."""
        return self._callback is not None and self._confirmed > self._told

    def tell(self) -> None:
        """Call the callback if there is news. What it raises cancels the transfer."""
        if self._callback is None:
            return
        with self._lock:
            news = max(0, self._confirmed - self._told)
            self._told += news
        if news:
            self._callback(news)


class Transfer:
    """One call on one key. Everything it does against the service goes through `attempt` or `retry`."""

    def __init__(
        self,
        store: FileStore,
        operation: str,
        key: str,
        *,
        deadline: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> None:
        """``deadline`` is seconds from now for the whole call, or None for no limit."""
        if deadline is not None and not deadline > 0:
            raise ConfigurationError(f"deadline is {deadline}; it must be a positive number of seconds, or None")
        self.store = store
        self.key = key
        self.runtime = store.runtime
        self.clock = store.runtime.clock
        self.progress = Progress(progress)
        #: Thrown once nothing more is to be done: cancelled, out of time, failed elsewhere.
        self.stop = Interrupt(self.clock)
        self.operation = operation
        self._reason: CloudDirectError | None = None
        self._deadline = deadline
        self._ends = None if deadline is None else self.clock.monotonic() + deadline
        # a transfer may take as long as bytes move: only attempts in a row without progress are bounded
        self._patience = replace(store.runtime.retry, deadline=None)

    def cancel(self, reason: CloudDirectError | None = None) -> None:
        """End the transfer soon: waits end, streams refuse to be read, nothing new is begun."""
        self._reason = self._reason or reason
        self.stop.set()

    def begin_again(self) -> None:
        """Take back that the transfer was ended because a part of it failed; not what `cancel` gave a reason for."""
        self.stop = Interrupt(self.clock)
        self.progress.restart()

    def check(self) -> None:
        """Raise if the transfer has been cancelled or is out of time."""
        if self._reason is not None:
            raise self._reason.copy()
        if self.stop.is_set():
            raise self._described(TimeoutError(f"this {self.operation} was cancelled", retryable=False))
        if self._ends is not None and self.clock.monotonic() >= self._ends:
            raise self._described(
                TimeoutError(
                    f"{self.operation} was not done within its deadline of {self._deadline:g} s; "
                    "allow more time, or none of it if the line is slow but works"
                )
            )

    def left(self) -> float | None:
        """Return the seconds until the deadline, or None if there is none."""
        return None if self._ends is None else max(0.0, self._ends - self.clock.monotonic())

    def timeout(self) -> float:
        """Return what a primitive may take without a byte of progress; raises if the transfer is over."""
        self.check()
        left = self.left()
        return self.runtime.stall_timeout if left is None else min(self.runtime.stall_timeout, max(left, 0.001))

    def attempt(self, call: Callable[[float], T]) -> T:
        """Call a primitive once, with its timeout; what fails because the transfer is over says why it is over."""
        timeout = self.timeout()
        try:
            return self.store.attempt(self.operation, self.key, lambda: call(timeout))
        except Exception:
            self.check()  # an SDK wraps in its own way what a part's stream raised
            raise

    def retry(self, step: Callable[[], T]) -> T:
        """Run ``step`` again after passing errors, with backoff, until attempts or time run out."""
        try:
            return self._patience.call(
                step, clock=self.clock, interrupt=self.stop, deadline=self._ends, what=self.operation
            )
        except CloudDirectError:
            self.check()  # a wait that was ended says why, not what it waited for
            raise

    def _described(self, error: TimeoutError) -> TimeoutError:
        error.provider, error.operation, error.resource = self.store.provider, self.operation, self.key
        return error
