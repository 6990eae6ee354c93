"""Brokers in memory for the tests of core: closed, and checked for broken rules, when a test ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.messaging import BrokerRuntime, Delivery, Message
from clouddirect.retry import RetryPolicy
from unit.core.memory_broker import RICH, MemoryBroker
from unit.core.memory_service import MemoryService

#: Retries at once: for tests whose time does not pass by itself.
NO_WAIT = RetryPolicy(max_attempts=4, base_delay=0.0, max_delay=0.0)

OpenBroker = Callable[..., MemoryBroker]


def receive(broker: MemoryBroker, count: int = 1, **fields: Any) -> list[Delivery]:
    """Send and receive so many messages."""
    broker.send_many("q", [Message(body=b"x", id=f"m{number}", **fields) for number in range(count)])
    got: list[Delivery] = []
    while len(got) < count:
        got += broker.receive("q", count)
    return got


def eventually(predicate: Callable[[], object], timeout: float = 60.0) -> bool:
    """Wait, in real time, until ``predicate`` holds; for what no event tells."""
    condition = threading.Condition()
    with condition:
        for _ in range(int(timeout / 0.002)):
            if predicate():
                return True
            condition.wait(0.002)
    return bool(predicate())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def open_broker(tmp_path: Path) -> Iterator[OpenBroker]:
    """Open brokers, each on a service of its own with the queue ``q`` unless one is given."""
    opened: list[MemoryBroker] = []

    def open_one(
        can: Any = RICH, *, clock: Any = None, service: Any = None, rights: Any = ("send", "receive"), **runtime: Any
    ) -> MemoryBroker:
        if service is None:
            service = MemoryService(clock)
            service.create("q")
        runtime.setdefault("retry", NO_WAIT)
        runtime.setdefault("quarantine", tmp_path / "quarantine")
        if clock is not None:
            runtime["clock"] = clock
        opened.append(MemoryBroker(service, BrokerRuntime(**runtime), can, rights))
        return opened[-1]

    yield open_one
    for broker in opened:
        broker.close(timeout=5)
        assert broker.violations == []
