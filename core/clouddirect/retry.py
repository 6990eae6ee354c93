"""One retry policy for both interfaces: bounded attempts, exponential backoff with full jitter, an overall deadline."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from clouddirect.clock import Clock, SystemClock
from clouddirect.errors import CloudDirectError, ConfigurationError

__all__ = ["Interrupt", "RetryPolicy"]

T = TypeVar("T")
log = logging.getLogger("clouddirect.retry")


class Interrupt:
    """A switch, thrown once, that ends waits early: what `threading.Event` is, on an injected clock."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._condition = threading.Condition()
        self._set = False

    def set(self) -> None:
        """Throw the switch and wake every waiter."""
        with self._condition:
            self._set = True
            self._condition.notify_all()

    def is_set(self) -> bool:
        """Whether the switch has been thrown."""
        return self._set

    def wait(self, seconds: float | None = None) -> bool:
        """Wait up to ``seconds`` (None: for ever) for the switch; returns whether it has been thrown."""
        deadline = None if seconds is None else self._clock.monotonic() + seconds
        with self._condition:
            while not self._set:
                left = None if deadline is None else deadline - self._clock.monotonic()
                if left is not None and left <= 0:
                    break
                self._clock.wait(self._condition, left)
            return self._set

    def wait_for(self, predicate: Callable[[], bool], seconds: float) -> bool:
        """Wait up to ``seconds`` for the switch, or for ``predicate``, which is looked at after each `wake`.

        Returns whether one of the two came true.
        """
        deadline = self._clock.monotonic() + seconds
        with self._condition:
            while not self._set and not predicate():
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    return False
                self._clock.wait(self._condition, left)
            return True

    def wake(self) -> None:
        """Let those in `wait_for` look at their predicate again; the switch stays as it is."""
        with self._condition:
            self._condition.notify_all()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a failed call is made again.

    Only errors whose ``retryable`` is true are retried. Before attempt *n* + 1 a call waits a random time between 0 and
    ``min(max_delay, base_delay * 2 ** (n - 1))`` seconds (full jitter), or as long as the service asked for, if that is
    longer.

    Attributes:
        max_attempts: attempts in all, the first included; at least 1.
        base_delay: seconds; the upper bound of the first wait.
        max_delay: seconds; the upper bound of any jittered wait.
        deadline: seconds for all attempts together; None sets no limit. An attempt is not begun when the wait
            before it would end after the deadline.
    """

    max_attempts: int = 6
    base_delay: float = 0.25
    max_delay: float = 20.0
    deadline: float | None = 120.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ConfigurationError(f"retry.max_attempts is {self.max_attempts}; it must be at least 1")
        if self.base_delay < 0 or self.max_delay < 0:
            raise ConfigurationError("retry.base_delay and retry.max_delay must not be negative")
        if self.deadline is not None and self.deadline <= 0:
            raise ConfigurationError("retry.deadline must be positive, or left out for no limit")

    def backoff(self, attempt: int, error: CloudDirectError | None = None) -> float:
        """Return the seconds to wait after failed attempt number ``attempt`` (1 = the first)."""
        ceiling = min(self.max_delay, self.base_delay * 2.0 ** min(attempt - 1, 60))
        wait = random.uniform(0, ceiling)
        if error is not None and error.retry_after is not None:
            wait = max(wait, error.retry_after)
        return wait

    def call(
        self,
        operation: Callable[[], T],
        *,
        clock: Clock,
        interrupt: Interrupt | None = None,
        deadline: float | None = None,
        what: str = "the call",
    ) -> T:
        """Run ``operation`` until it succeeds, fails for good, or attempts or time run out.

        Args:
            operation: raises `CloudDirectError` on failure; anything else passes through at once.
            clock: the clock that waits and deadlines run on.
            interrupt: once thrown, no further attempt is made and the last error is raised.
            deadline: a moment on ``clock.monotonic()`` that caps this policy's own deadline.
            what: names the operation in the log; never holds message content.

        Raises:
            CloudDirectError: the last error; ``maybe_sent`` and ``maybe_own_write`` are true if they were on any
                attempt.
        """
        ends = self.ends(clock, deadline)
        attempt, maybe_sent, maybe_own_write = 0, False, False
        while True:
            attempt += 1
            try:
                return operation()
            except CloudDirectError as error:
                maybe_sent = error.maybe_sent = error.maybe_sent or maybe_sent
                maybe_own_write = error.maybe_own_write = error.maybe_own_write or maybe_own_write
                if not error.retryable or attempt >= self.max_attempts:
                    raise
                wait = self.backoff(attempt, error)
                if ends is not None and clock.monotonic() + wait >= ends:
                    raise
                kind = type(error).__name__
                log.info("%s failed (%s); attempt %d of %d", what, kind, attempt + 1, self.max_attempts)
                if (interrupt or Interrupt(clock)).wait(wait):
                    raise

    def ends(self, clock: Clock, deadline: float | None = None) -> float | None:
        """Return when retrying ends, on ``clock.monotonic()``: the earlier of this policy's moment and ``deadline``."""
        if self.deadline is None:
            return deadline
        own = clock.monotonic() + self.deadline
        return own if deadline is None else min(own, deadline)
