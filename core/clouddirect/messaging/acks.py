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
        self._hurry = False  # whether one that waits has an ordering key
        self._under_way = 0
        self._timing = False  # whether somebody in `wait` watches the time of what is held back

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, delivery: Delivery) -> None:
        """Put in what was handled."""
        if not self._waiting:
            self._since = self._clock.monotonic()
        self._waiting.append(delivery)
        self._hurry = self._hurry or delivery.message.ordering_key is not None

    def due(self, more: bool) -> float | None:
        """Seconds until a flush is worth making, 0 for now; None while there is nothing, or a flush is to be awaited.

        ``more`` says that other acks are sure to come.
        """
        if len(self._waiting) >= self._size:
            return 0.0
        if not self._waiting or self._under_way:
            return None
        if not more or not self._linger or self._hurry:
            return 0.0
        return max(0.0, self._since + self._linger - self._clock.monotonic())

    def take(self) -> list[Delivery]:
        """Take out a batch to flush; follow up with `flushed`."""
        self._under_way += 1
        self._since = self._clock.monotonic()
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._size))]
        self._hurry = any(one.message.ordering_key is not None for one in self._waiting)
        return batch

    def flushed(self) -> None:
        """A batch that was taken has been flushed, or has failed."""
        self._under_way -= 1

    def wait(self, more: bool) -> None:
        """Wait on ``ready`` until there may be something to flush; one alone watches the time of what is held back."""
        due = None if self._timing else self.due(more)
        self._timing = self._timing or due is not None
        self._clock.wait(self.ready, due)
        if due is not None:
            self._timing = False

    def call(self, more: bool) -> None:
        """Wake one of those in `wait`, if there is something for it to do."""
        due = self.due(more)
        if due == 0.0 or (due is not None and not self._timing):
            self.ready.notify()
