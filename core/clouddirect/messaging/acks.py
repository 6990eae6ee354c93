"""`AckBatches`: what a consumer has handled and not yet acked, gathered into as few calls as is reasonable."""

from __future__ import annotations

import threading
from collections import deque

from clouddirect.clock import Clock
from clouddirect.messaging.delivery import Delivery

__all__ = ["AckBatches"]


class AckBatches:
    """Deliveries to be acked. Not thread-safe: the consumer calls it under its lock.

    A full batch is flushed at once, and an incomplete one as soon as no flush is under way: while one is, the next acks
    gather. Where each call is paid for (``linger``), an incomplete batch is also held back while more is sure to come,
    but never for an ordering key, whose next message waits for the ack.
    """

    def __init__(self, size: int, linger: float, clock: Clock, lock: threading.Lock) -> None:
        """``size`` is a full batch; ``linger`` the most seconds for which an incomplete one is held back."""
        self.ready = threading.Condition(lock)
        self._size = size
        self._linger = linger
        self._clock = clock
        self._waiting: deque[Delivery] = deque()
        self._since = 0.0  # when the oldest that waits began to, or a little later
        self._under_way = 0
        self._timing = False  # whether somebody in `wait` watches the time of what is held back

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, delivery: Delivery) -> None:
        """Put in what was handled."""
        if not self._waiting:
            self._since = self._clock.monotonic()
        self._waiting.append(delivery)

    def may_flush(self, more: bool) -> bool:
        """Whether an ack call is worth making now; ``more`` says that other acks are sure to come."""
        if len(self._waiting) >= self._size:
            return True
        return bool(self._waiting) and not self._under_way and not (more and self._is_held())

    def patience(self, more: bool) -> float | None:
        """Seconds until what is held back has to be flushed; None if nothing is."""
        if not self._waiting or self._under_way or not (more and self._is_held()):
            return None
        return max(0.0, self._since + self._linger - self._clock.monotonic())

    def take(self) -> list[Delivery]:
        """Take out a batch to flush; follow up with `flushed`."""
        self._under_way += 1
        self._since = self._clock.monotonic()
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._size))]

    def flushed(self) -> None:
        """A batch that was taken has been flushed, or has failed."""
        self._under_way -= 1

    def wait(self, more: bool) -> None:
        """Wait on ``ready`` until there may be something to flush; one alone watches the time of what is held back."""
        patience = None if self._timing else self.patience(more)
        self._timing = self._timing or patience is not None
        self._clock.wait(self.ready, patience)
        if patience is not None:
            self._timing = False

    def call(self, more: bool) -> None:
        """Wake one of those in `wait`, if there is something for it to do."""
        if self.may_flush(more) or (not self._timing and self.patience(more) is not None):
            self.ready.notify()

    def _is_held(self) -> bool:
        if not self._linger or any(one.message.ordering_key is not None for one in self._waiting):
            return False
        return self._clock.monotonic() < self._since + self._linger
