"""`Backlog`: what a consumer has received and no handler has begun, one at a time for each ordering key."""

from __future__ import annotations

from collections import deque

from clouddirect.messaging.delivery import Delivery

__all__ = ["Backlog"]


class Backlog:
    """Deliveries waiting for a handler. Not thread-safe: the consumer calls it under its lock.

    Of each ordering key one delivery at a time is let out; the others wait in that key's lane until `done` says what
    became of it.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._ready: deque[Delivery] = deque()
        self._lanes: dict[str, deque[Delivery]] = {}  # a key is present while one of its deliveries is ready or out

    @property
    def ready(self) -> int:
        """How many deliveries could be taken at once."""
        return len(self._ready)

    def add(self, delivery: Delivery) -> None:
        """Put a received delivery in."""
        key = delivery.message.ordering_key
        if key is not None:
            lane = self._lanes.get(key)
            if lane is not None:
                lane.append(delivery)
                return
            self._lanes[key] = deque()
        self._ready.append(delivery)

    def take(self) -> Delivery:
        """Take the delivery that has been ready longest; follow up with `done`."""
        return self._ready.popleft()

    def done(self, delivery: Delivery, in_order: bool) -> list[Delivery]:
        """Let the next one of the key become ready.

        With ``in_order`` false the delivery will come again: those behind it are taken out and returned, in their
        order, to be given back.
        """
        key = delivery.message.ordering_key
        if key is None:
            return []
        lane = self._lanes[key]
        if in_order and lane:
            self._ready.append(lane.popleft())
            return []
        del self._lanes[key]
        return list(lane)

    def clear(self) -> list[Delivery]:
        """Take everything out and return it, each key in its order."""
        waiting: list[Delivery] = []
        for delivery in self._ready:
            waiting.append(delivery)
            key = delivery.message.ordering_key
            if key is not None:
                waiting.extend(self._lanes.pop(key))
        self._ready.clear()
        for lane in self._lanes.values():  # of those that are out
            waiting.extend(lane)
            lane.clear()
        return waiting
