"""Acks are gathered where calls cost, and never at the price of order, of an idle worker or of a stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.messaging import Consumer, ConsumerOptions, Delivery, Message
from clouddirect.messaging.acks import AckBatches
from unit.core.conftest import OpenBroker, eventually
from unit.core.memory_broker import RICH, MemoryBroker

LINGERING = replace(RICH, ack_linger=5.0)


def deliveries(count: int, key: str | None = None) -> Any:
    return [SimpleNamespace(message=Message(body=b"", ordering_key=key)) for _ in range(count)]


def held(clock: ManualClock, count: int, key: str | None = None) -> AckBatches:
    acks = AckBatches(10, 5.0, clock, threading.Lock())
    for delivery in deliveries(count, key):
        acks.add(delivery)
    return acks


def test_an_incomplete_batch_waits_while_more_will_come(clock: ManualClock) -> None:
    acks = held(clock, 9)
    assert acks.due(more=True) == 5.0
    clock.advance(4.0)
    assert acks.due(more=True) == 1.0
    clock.advance(1.5)
    assert acks.due(more=True) == 0.0
    assert len(acks.take()) == 9


def test_it_does_not_wait_when_nothing_more_will_come(clock: ManualClock) -> None:
    assert held(clock, 1).due(more=False) == 0.0
    assert held(clock, 0).due(more=False) is None


def test_a_full_batch_does_not_wait(clock: ManualClock) -> None:
    acks = held(clock, 12)
    clock.advance(3.0)
    assert acks.due(more=True) == 0.0
    assert len(acks.take()) == 10
    assert len(acks) == 2
    acks.flushed()
    assert acks.due(more=True) == 5.0  # what is left begins to wait anew


def test_an_ordering_key_does_not_wait(clock: ManualClock) -> None:
    acks = held(clock, 9)
    acks.add(deliveries(1, "key")[0])
    acks.add(deliveries(1, "key")[0])
    assert len(acks.take()) == 10
    acks.flushed()
    assert acks.due(more=True) == 0.0
    assert len(acks.take()) == 1
    acks.flushed()
    acks.add(deliveries(1)[0])
    assert acks.due(more=True) == 5.0  # its key has gone


def test_while_a_flush_is_under_way_the_next_gather(clock: ManualClock) -> None:
    acks = AckBatches(10, 0.0, clock, threading.Lock())
    acks.add(deliveries(1)[0])
    assert acks.due(more=True) == 0.0
    acks.take()
    acks.add(deliveries(1)[0])
    assert acks.due(more=False) is None
    for delivery in deliveries(9):
        acks.add(delivery)
    assert acks.due(more=False) == 0.0
    acks.flushed()
    acks.take()
    assert acks.due(more=False) is None


class Steps:
    """A handler that finishes one message for each `step`, and then waits for the next."""

    def __init__(self) -> None:
        self._steps = threading.Semaphore(0)
        self.begun = 0

    def __call__(self, delivery: Delivery) -> None:
        self.begun += 1
        assert self._steps.acquire(timeout=30), "nobody let the handler go on"
        if delivery.message.body == b"bad":
            raise ValueError

    def step(self, count: int) -> None:
        target = self.begun + count
        self._steps.release(count)
        assert eventually(lambda: self.begun >= target)

    def finish(self, count: int) -> None:
        self._steps.release(count)


Started = Callable[..., tuple[MemoryBroker, Steps, Consumer]]


@pytest.fixture
def started(open_broker: OpenBroker, clock: ManualClock) -> Iterator[Started]:
    """Start a consumer with one worker, busy with the first of 26 messages; it has received all of them."""
    steps = Steps()

    def start(**options: Any) -> tuple[MemoryBroker, Steps, Consumer]:
        broker = open_broker(LINGERING, clock=clock)
        consumer = broker.consume("q", steps, options=ConsumerOptions(**options))
        broker.send("q", Message(body=b"one that shows how long handling takes"))
        steps.finish(1)
        assert eventually(lambda: broker.service.depth("q") == 0)
        assert all(one.ok for one in broker.send_many("q", [Message(body=b"") for _ in range(26)]))
        assert eventually(lambda: consumer._in_flight == 26 and steps.begun == 2)
        broker.calls.clear()
        return broker, steps, consumer

    yield start
    steps.finish(1000)


def test_a_busy_consumer_acks_full_batches(started: Started) -> None:
    broker, steps, _ = started()
    steps.step(9)
    assert broker.named("ack") == []
    steps.step(1)
    assert eventually(lambda: broker.service.depth("q") == 16)
    assert len(broker.named("ack")) == 1
    steps.step(10)
    assert eventually(lambda: broker.service.depth("q") == 6)
    assert len(broker.named("ack")) == 2
    steps.finish(1000)
    assert eventually(lambda: broker.service.depth("q") == 0)


def test_what_is_held_back_goes_when_its_time_has_come(started: Started, clock: ManualClock) -> None:
    broker, steps, _ = started()
    steps.step(3)
    clock.advance(4.9)
    assert broker.service.depth("q") == 26
    clock.advance(0.2)
    assert eventually(lambda: broker.service.depth("q") == 23)
    steps.step(2)
    clock.advance(5.1)
    assert eventually(lambda: broker.service.depth("q") == 21)
    steps.finish(1000)


def test_it_is_held_back_for_a_tenth_of_a_lease_at_most(started: Started, clock: ManualClock) -> None:
    broker, steps, _ = started(lease=10.0)
    steps.step(3)
    clock.advance(1.1)
    assert eventually(lambda: broker.service.depth("q") == 23)
    steps.finish(1000)


def test_the_last_ones_are_acked_at_once(started: Started) -> None:
    broker, steps, _ = started()
    steps.finish(1000)
    assert eventually(lambda: broker.service.depth("q") == 0)


def test_nothing_is_held_back_behind_a_failure(started: Started) -> None:
    broker, steps, consumer = started()
    broker.send("q", Message(body=b"bad"))
    assert eventually(lambda: consumer._in_flight == 27)
    steps.step(20)
    assert eventually(lambda: broker.service.depth("q") == 7)
    steps.step(3)
    assert eventually(lambda: consumer._acks._timing)
    steps.finish(1000)
    assert eventually(lambda: broker.service.depth("q") == 1)  # it waits for its next attempt


@pytest.mark.parametrize("ending", ["stop", "close"])
def test_ending_flushes_what_is_held_back(started: Started, ending: str) -> None:
    broker, steps, consumer = started()
    steps.step(3)
    assert broker.named("ack") == []
    stopper = threading.Thread(target=consumer.stop if ending == "stop" else broker.close)
    stopper.start()
    assert eventually(lambda: len(broker.named("ack")) == 1)
    steps.finish(1000)
    stopper.join(10)
    assert not stopper.is_alive()
    assert broker.service.depth("q") == 22
