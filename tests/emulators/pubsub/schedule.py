"""What is due when: a heap, and one timer of the event loop for the earliest element."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

__all__ = ["Schedule"]

_T = TypeVar("_T")


class Schedule(Generic[_T]):
    """Elements with a time each, on the event loop's clock; ``on_due`` is called when the earliest has come."""

    def __init__(self, on_due: Callable[[], None]) -> None:
        self._on_due = on_due
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, _T]] = []
        self._order = itertools.count()  # keeps the heap from comparing elements
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: float, what: _T) -> None:
        """Put in an element."""
        heapq.heappush(self._heap, (at, next(self._order), what))
        self._arm()

    def due(self) -> Iterator[_T]:
        """Take out what is due now."""
        while self._heap and self._heap[0][0] <= self._loop.time():
            yield heapq.heappop(self._heap)[2]

    def replace(self, change: Callable[[_T], _T | None]) -> None:
        """Replace each element; None drops it."""
        changed = ((at, number, change(what)) for at, number, what in self._heap)
        self._heap = [(at, number, what) for at, number, what in changed if what is not None]
        heapq.heapify(self._heap)

    def clear(self) -> None:
        """Drop everything."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        earliest = self._heap[0][0]
        if self._timer is not None:
            if self._timer.when() <= earliest:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(earliest, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._on_due()
        if self._heap:
            self._arm()
