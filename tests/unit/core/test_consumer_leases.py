"""Consumer: no more is taken than is handled within its lease, and leases are kept alive."""

from __future__ import annotations

import threading

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import (
    LeaseLostError,
    PermissionDeniedError,
)
from clouddirect.messaging import ConsumerOptions, Delivery
from unit.core.conftest import OpenBroker, eventually
from unit.core.consuming import Gate, Handler, empty, fill, on_lease
from unit.core.memory_broker import partial


def test_as_many_again_are_taken_until_it_is_known_how_long_handling_takes(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill(broker, 100)
    gate = Gate()
    broker.consume("q", gate, 2)
    assert gate.has_begun()
    assert gate.has_begun()
    assert eventually(lambda: on_lease(broker) == 4)
    gate.go.set()


def test_slow_handlers_keep_the_rest_available_to_others(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    fill(broker, 50)

    def slow(delivery: Delivery) -> None:
        clock.advance(20)
        most.append(on_lease(broker))

    most: list[int] = []
    handler = Handler(slow)
    consumer = broker.consume("q", handler)
    assert eventually(lambda: len(handler.seen) >= 10)
    consumer.stop(10)
    assert max(most[3:]) <= 2


def test_waiting_messages_are_limited(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill(broker, 100)
    gate = Gate()
    broker.consume("q", gate, 2, ConsumerOptions(max_waiting=0))
    assert gate.has_begun()
    assert gate.has_begun()
    assert on_lease(broker) == 2
    gate.go.set()


# -- leases -------------------------------------------------------------------------------------------------


def test_a_handler_longer_than_three_leases_keeps_its_message(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    fill(broker, 1)
    gate = Gate()
    broker.consume("q", gate)
    assert gate.has_begun()
    for turn in range(1, 6):
        assert clock.wait_for_sleepers()
        clock.advance(21)
        assert eventually(lambda turn=turn: len(broker.named("extend")) == turn)
    assert on_lease(broker) == 1
    gate.go.set()
    assert empty(broker)
    assert len(broker.named("ack")) == 1


def test_a_lease_of_unknown_length_is_made_known(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    broker.tell_lease = False
    fill(broker, 1)
    gate = Gate()
    broker.consume("q", gate)
    assert gate.has_begun()
    assert eventually(lambda: len(broker.named("extend")) == 1)
    gate.go.set()
    assert empty(broker)


def test_the_end_of_renewing_is_signalled_and_the_late_ack_attempted(
    open_broker: OpenBroker, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = open_broker(clock=clock)
    fill(broker, 1)
    signalled = threading.Event()

    def handle(delivery: Delivery) -> None:
        if delivery.delivery_count == 1:
            assert delivery.lease_lost.wait(20)
            signalled.set()

    handler = Handler(handle)
    broker.consume("q", handler, options=ConsumerOptions(max_handling=10))
    assert eventually(lambda: handler.seen)
    for seconds in (21, 9):
        assert clock.wait_for_sleepers()
        clock.advance(seconds)
    assert signalled.wait(10)
    assert empty(broker)
    assert handler.seen == ["m0", "m0"]
    assert "an ack on 'q' did not count (LeaseLostError)" in caplog.text


def test_a_message_whose_lease_is_lost_before_its_turn_is_neither_handled_nor_acked(
    open_broker: OpenBroker, clock: ManualClock
) -> None:
    broker = open_broker(clock=clock)
    fill(broker, 2)
    gate = Gate()
    handler = Handler(gate)
    broker.consume("q", handler)
    assert gate.has_begun()
    assert eventually(lambda: on_lease(broker) == 2)
    broker.script("extend", partial({1: LeaseLostError("gone")}))
    assert clock.wait_for_sleepers()
    clock.advance(21)
    assert eventually(lambda: broker.named("extend"))
    gate.go.set()
    assert eventually(lambda: len(broker.named("ack")) == 1)
    assert handler.seen == ["m0"]
    clock.advance(31)
    assert empty(broker)
    assert handler.seen == ["m0", "m1"]


@pytest.mark.parametrize("failing", ["ack", "nack", "release"])
def test_what_could_not_be_settled_comes_again_when_its_lease_ends(
    open_broker: OpenBroker, clock: ManualClock, failing: str
) -> None:
    broker = open_broker(clock=clock)
    fill(broker, 2)
    gate = Gate()

    def handle(delivery: Delivery) -> None:
        gate(delivery)
        if failing == "nack":
            raise KeyError

    broker.script(failing, *[PermissionDeniedError("no")] * 3)
    consumer = broker.consume("q", handle, 2 if failing != "release" else 1)
    assert gate.has_begun()
    assert eventually(lambda: on_lease(broker) == 2)
    if failing == "release":
        consumer.begin_stop()
    gate.go.set()
    assert eventually(lambda: broker.named(failing))
    consumer.stop(10)
    assert eventually(lambda: not broker.settlement.keeper._kept)  # nobody renews what nobody handles
    clock.advance(31)
    assert len(open_broker(clock=clock, service=broker.service).receive("q", 10)) >= 1
