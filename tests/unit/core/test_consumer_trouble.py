"""Consumer: nothing stops silently, and stopping leaves nothing behind."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import (
    CloudDirectError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from clouddirect.messaging import Delivery, Message
from unit.core.conftest import OpenBroker, eventually
from unit.core.consuming import SOON, Gate, Handler, empty, fill, on_lease
from unit.core.memory_broker import Hang
from unit.core.memory_service import SECRET, SdkError

# -- trouble ------------------------------------------------------------------------------------------------


def test_pollers_reconnect_for_ever(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    broker.script("receive", *[SdkError("Down")] * 40)
    handler = Handler()
    consumer = broker.consume("q", handler)
    fill(broker, 1)
    while broker._faults["receive"]:
        assert clock.wait_for_sleepers(timeout=20) or not broker._faults["receive"]
        clock.advance(30)
    assert empty(broker)
    assert consumer.running


@pytest.mark.parametrize(("status", "kind"), [("NoSuchQueue", NotFoundError), ("Forbidden", PermissionDeniedError)])
def test_what_cannot_pass_ends_the_consumer_and_is_raised(
    open_broker: OpenBroker, status: str, kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    broker = open_broker()
    broker.script("receive", SdkError(status))
    consumer = broker.consume("q", print, 4)
    with pytest.raises(kind):
        consumer.wait(10)
    assert not consumer.running
    assert f"the consumer of 'q' has ended ({kind.__name__})" in caplog.text
    assert SECRET not in caplog.text
    broker.send("q", Message(body=b""))  # the broker itself goes on


def test_a_bug_in_a_provider_ends_the_consumer_and_is_raised(open_broker: OpenBroker) -> None:
    broker = open_broker()
    broker.script("receive", ZeroDivisionError())
    with pytest.raises(CloudDirectError, match="bug in the provider"):
        broker.consume("q", print).wait(10)


def test_trouble_in_settling_does_not_end_the_consumer(open_broker: OpenBroker) -> None:
    broker = open_broker()
    broker.script("ack", ZeroDivisionError(), PermissionDeniedError("no"))
    broker.service.queues["q"].lease = 0.2
    consumer = broker.consume("q", Handler(), 2)
    fill(broker, 5)
    assert empty(broker)
    assert consumer.running


def test_system_exit_in_a_handler_ends_the_consumer_and_gives_the_message_back(open_broker: OpenBroker) -> None:
    broker = open_broker()

    def leave(delivery: Delivery) -> None:
        raise SystemExit(3)

    fill(broker, 1)
    consumer = broker.consume("q", leave, options=SOON)
    with pytest.raises(SystemExit):
        consumer.wait(10)
    assert len(broker.named("nack")) == 1
    assert broker.service.depth("q") == 1


def test_waiting_in_vain_returns_false(open_broker: OpenBroker) -> None:
    consumer = open_broker().consume("q", print)
    assert consumer.wait(0.01) is False


# -- stopping -----------------------------------------------------------------------------------------------


def test_stop_finishes_handlers_flushes_acks_and_releases_the_rest_without_counting(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill(broker, 30)
    gate = Gate()
    consumer = broker.consume("q", gate, 4)
    for _ in range(4):
        assert gate.has_begun()
    assert eventually(lambda: on_lease(broker) >= 8)
    stopped: list[bool] = []
    thread = threading.Thread(target=lambda: stopped.append(consumer.stop(20)), daemon=True)
    thread.start()
    assert eventually(lambda: sum(len(call.ids) for call in broker.named("release")) >= 4)
    assert not stopped
    gate.go.set()
    thread.join(10)
    assert stopped == [True]
    assert broker.service.depth("q") == 26
    assert on_lease(broker) == 0
    assert {one.count for one in broker.service.queues["q"].stored} == {0}
    assert consumer.stop(1)


def test_stop_gives_back_what_a_stuck_handler_holds(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill(broker, 1)
    gate = Gate()
    outcome: list[Any] = []

    def handle(delivery: Delivery) -> None:
        gate(delivery)
        outcome.append((delivery.lease_lost.is_set(), delivery.settled))

    consumer = broker.consume("q", handle)
    assert gate.has_begun()
    assert consumer.stop(0.05) is False
    other = open_broker(service=broker.service)
    assert len(other.receive("q")) == 1
    gate.go.set()
    assert consumer.wait(10)
    assert outcome == [(True, "release")]
    assert broker.named("ack") == []


def test_stop_from_a_handler_only_begins_it(open_broker: OpenBroker) -> None:
    broker = open_broker()
    returned: list[bool] = []
    consumer = broker.consume("q", lambda delivery: returned.append(consumer.stop(30)))
    fill(broker, 1)
    assert consumer.wait(10)
    assert returned == [False]
    assert broker.service.depth("q") == 0


def test_closing_the_broker_from_a_handler_ends_everything(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill(broker, 3)
    consumer = broker.consume("q", lambda delivery: broker.close(timeout=5))
    assert consumer.wait(20)
    assert broker.closed.is_set()
    assert broker.service.depth("q") == 3
    assert on_lease(broker) == 0


def test_closing_the_broker_stops_its_consumers_and_flushes_their_acks(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill(broker, 50)
    handler = Handler()
    consumers = [broker.consume("q", handler, 3) for _ in range(2)]
    assert eventually(lambda: len(handler.seen) > 10)
    broker.close()
    assert all(consumer.wait(0) for consumer in consumers)
    assert broker.service.depth("q") == 50 - len(handler.seen)
    assert on_lease(broker) == 0


def test_closing_while_acks_fail_tries_them_again(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill(broker, 1)
    handled = threading.Event()
    broker.script("ack", UnavailableError("down"), UnavailableError("down"))
    broker.consume("q", lambda delivery: handled.set())
    assert handled.wait(10)
    broker.close()
    assert len(broker.named("ack")) == 3
    assert broker.service.depth("q") == 0


def test_a_poll_that_brings_messages_while_stopping_gives_them_back(open_broker: OpenBroker) -> None:
    broker = open_broker()
    hang = Hang()
    broker.script("receive", hang)
    handler = Handler()
    consumer = broker.consume("q", handler)
    assert hang.begun.wait(10)
    fill(broker, 1)
    consumer.begin_stop()
    hang.go.set()
    assert consumer.wait(10)
    assert handler.seen == []
    assert on_lease(broker) == 0
    assert broker.service.depth("q") == 1


def test_consumers_come_and_go_under_load(open_broker: OpenBroker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    broker = open_broker(retry=replace(open_broker().runtime.retry, max_attempts=10))
    ids = fill(broker, 1000)
    handler = Handler()
    while broker.service.depth("q"):
        consumer = broker.consume("q", handler, 4)
        target = len(handler.seen) + 100
        eventually(lambda target=target: len(handler.seen) >= target or not broker.service.depth("q"))
        assert consumer.stop(10)
    assert sorted(handler.seen) == sorted(ids)
