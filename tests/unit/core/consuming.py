"""What the tests of consumers share: filling a queue, and handlers that note what they are given."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from clouddirect.messaging import ConsumerOptions, Delivery, Message
from unit.core.conftest import eventually
from unit.core.memory_broker import MemoryBroker

__all__ = ["Gate", "Handler", "SOON", "consumer_threads", "empty", "fill", "fill_keys", "on_lease"]

SOON = ConsumerOptions(first_retry_delay=0.0)


def fill(broker: MemoryBroker, count: int, **fields: Any) -> list[str]:
    sent = [Message(body=b"x", id=f"m{number}", **fields) for number in range(count)]
    assert all(result.ok for result in broker.send_many("q", sent))
    return [message.id for message in sent]


def fill_keys(broker: MemoryBroker, turns: int, keys: str = "abc") -> None:
    sent = [Message(body=b"", id=f"{key}{turn:02}", ordering_key=key) for turn in range(turns) for key in keys]
    assert all(result.ok for result in broker.send_many("q", sent))


class Handler:
    """Notes what it is given; ``then`` decides what becomes of it."""

    def __init__(self, then: Callable[[Delivery], object] = lambda delivery: None) -> None:
        self.then = then
        self.seen: list[str] = []
        self.now = 0
        self.most = 0
        self._lock = threading.Lock()

    def __call__(self, delivery: Delivery) -> None:
        with self._lock:
            self.seen.append(delivery.message.id)
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            self.then(delivery)
        finally:
            with self._lock:
                self.now -= 1


class Gate:
    """A handler that waits in the middle until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()

    def __call__(self, delivery: Delivery) -> None:
        self.begun.release()
        assert self.go.wait(30), "nobody let the handler go"

    def has_begun(self) -> bool:
        return self.begun.acquire(timeout=10)


def empty(broker: MemoryBroker) -> bool:
    return eventually(lambda: broker.service.depth("q") == 0)


def consumer_threads() -> list[str]:
    roles = ("clouddirect-poll", "clouddirect-work", "clouddirect-ack")
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(roles)]


def on_lease(broker: MemoryBroker) -> int:
    with broker.service.changed:
        return sum(stored.token is not None for stored in broker.service.queues["q"].stored)
