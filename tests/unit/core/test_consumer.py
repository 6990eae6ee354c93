"""Consumer: every message handled and settled once, in order, and given up on as told."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import (
    ConfigurationError,
    PermissionDeniedError,
)
from clouddirect.messaging import ConsumerOptions, Delivery, Message
from unit.core.conftest import OpenBroker, eventually
from unit.core.consuming import SOON, Handler, consumer_threads, empty, fill, fill_keys
from unit.core.memory_broker import POOR, RICH, Hang, partial

# -- handling -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("can", [RICH, POOR, replace(RICH, max_settle_count=1, max_receive_count=1)])
def test_each_message_is_handled_once_and_acked(open_broker: OpenBroker, can: Any) -> None:
    broker, handler = open_broker(can), Handler()
    ids = fill(broker, 200)
    consumer = broker.consume("q", handler, concurrency=4)
    assert empty(broker)
    assert consumer.running
    assert consumer.stop(10)
    assert not consumer.running
    assert sorted(handler.seen) == sorted(ids)
    assert 1 <= handler.most <= 4


def test_threads_end_with_the_consumer(open_broker: OpenBroker) -> None:
    broker = open_broker()
    assert consumer_threads() == []
    consumer = broker.consume("q", print, concurrency=3)
    assert len([name for name in consumer_threads() if "work" in name]) == 3
    assert consumer.stop(10)
    assert consumer.wait()
    assert eventually(lambda: consumer_threads() == [])
    assert eventually(lambda: not broker._consumers)


def test_full_queues_are_polled_and_acked_in_batches(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill(broker, 300)
    broker.consume("q", Handler(), concurrency=4)
    assert empty(broker)
    assert len(broker.named("receive")) < 100  # 30 is the least; one a message would be 300


def test_acks_overlap_where_the_broker_takes_one_at_a_time(open_broker: OpenBroker) -> None:
    broker = open_broker(replace(RICH, max_settle_count=1))
    fill(broker, 3)
    hangs = [Hang(), Hang(), Hang()]
    broker.script("ack", *hangs)
    broker.consume("q", Handler(), concurrency=4)
    assert all(hang.begun.wait(10) for hang in hangs)
    for hang in hangs:
        hang.go.set()
    assert empty(broker)


def test_a_lone_message_is_acked_at_once(open_broker: OpenBroker) -> None:
    broker = open_broker()
    broker.consume("q", Handler(), concurrency=4)
    for _ in range(3):
        broker.send("q", Message(body=b""))
        assert empty(broker)


def test_a_failing_handler_gives_the_message_back_with_growing_jittered_delay(
    open_broker: OpenBroker, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = open_broker(clock=clock)

    def fail(delivery: Delivery) -> None:
        raise ValueError("patient MARLOWE")

    handler = Handler(fail)
    fill(broker, 1)
    broker.consume("q", handler, options=ConsumerOptions(first_retry_delay=1.0, max_retry_delay=8.0))
    for turn in range(1, 8):
        assert eventually(lambda turn=turn: len(broker.named("nack")) == turn)
        delay = broker.named("nack")[-1].seconds
        assert delay is not None
        assert 0 <= delay <= min(8.0, 2.0 ** (turn - 1))
        clock.advance(8)
    assert len({call.seconds for call in broker.named("nack")}) > 4
    assert "MARLOWE" not in caplog.text
    assert "(ValueError) on message m0" in caplog.text


@pytest.mark.parametrize("can", [RICH, POOR])
def test_a_hundred_failures_all_come_again(open_broker: OpenBroker, can: Any) -> None:
    broker = open_broker(can)
    ids = set(fill(broker, 100))
    failed: set[str] = set()

    def fail_first(delivery: Delivery) -> None:
        if delivery.message.id not in failed:
            failed.add(delivery.message.id)
            raise KeyError

    handler = Handler(fail_first)
    broker.consume("q", handler, 8, ConsumerOptions(first_retry_delay=0.01))  # held by core where the broker cannot
    assert empty(broker)
    assert failed == ids
    assert set(Counter(handler.seen).values()) == {2}


def test_a_handler_may_settle_the_delivery_itself(open_broker: OpenBroker) -> None:
    broker = open_broker()

    def settle(delivery: Delivery) -> None:
        if delivery.delivery_count == 1:
            {"m0": delivery.ack, "m1": delivery.nack, "m2": lambda: delivery.dead_letter("odd")}[delivery.message.id]()
            raise RuntimeError("after settling")

    fill(broker, 3)
    handler = Handler(settle)
    broker.consume("q", handler)
    assert empty(broker)
    assert Counter(handler.seen) == {"m0": 1, "m1": 2, "m2": 1}
    assert broker.service.depth("q/$dead") == 1


# -- order --------------------------------------------------------------------------------------------------


def test_one_handler_at_a_time_for_each_key_in_order(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill_keys(broker, 20)
    at_work: dict[str, int] = defaultdict(int)
    together: list[int] = []

    def handle(delivery: Delivery) -> None:
        key = delivery.message.ordering_key or ""
        at_work[key] += 1
        together.append(at_work[key])
        at_work[key] -= 1

    handler = Handler(handle)
    broker.consume("q", handler, 8)
    assert empty(broker)
    assert set(together) == {1}
    for key in "abc":
        assert [name for name in handler.seen if name[0] == key] == [f"{key}{turn:02}" for turn in range(20)]


def test_the_next_of_a_key_waits_for_the_ack_before_it(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill_keys(broker, 2, "a")
    hang = Hang()
    broker.script("ack", hang)
    handler = Handler()
    broker.consume("q", handler, 4)
    assert hang.begun.wait(10)
    assert handler.seen == ["a00"]
    hang.go.set()
    assert empty(broker)
    assert handler.seen == ["a00", "a01"]


@pytest.mark.parametrize("trouble", ["handler", "ack"])
def test_after_a_failure_those_behind_are_given_back_and_order_holds(open_broker: OpenBroker, trouble: str) -> None:
    broker = open_broker()
    fill_keys(broker, 10, "ab")
    if trouble == "ack":
        broker.script("ack", partial({0: PermissionDeniedError("no")}))

    def fail_once(delivery: Delivery) -> None:
        if trouble == "handler" and delivery.message.id == "a03" and delivery.delivery_count == 1:
            raise KeyError

    handler = Handler(fail_once)
    broker.consume("q", handler, 4, SOON)
    assert empty(broker)
    first_time = {key: list(dict.fromkeys(name for name in handler.seen if name[0] == key)) for key in "ab"}
    for key, names in first_time.items():
        assert names == [f"{key}{turn:02}" for turn in range(10)]
    if trouble == "handler":
        again = [name for name in handler.seen if name[0] == "a"]
        assert again == sorted(again)
        assert again.count("a03") == 2


def test_a_dead_lettered_message_does_not_hold_its_key_back(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill_keys(broker, 4, "a")

    def bury(delivery: Delivery) -> None:
        if delivery.message.id == "a01":
            delivery.dead_letter("odd")

    handler = Handler(bury)
    broker.consume("q", handler, 4)
    assert empty(broker)
    assert handler.seen == ["a00", "a01", "a02", "a03"]
    assert broker.named("release") == []


# -- limits -------------------------------------------------------------------------------------------------


def test_poison_goes_to_dead_letter_without_reaching_the_handler(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill(broker, 2)
    for _ in range(3):
        for delivery in broker.receive("q", 10):
            if delivery.message.id == "m0":
                delivery.nack()
            elif delivery.delivery_count == 1:
                delivery.nack(600)
    handler = Handler()
    broker.consume("q", handler, options=ConsumerOptions(max_deliveries=3))
    assert eventually(lambda: broker.service.depth("q/$dead") == 1)
    assert handler.seen == []
    (dead,) = broker.receive("q/$dead")
    assert dead.message.attributes["DeadLetterReason"] == "MaxDeliveryCountExceeded"
    assert "at most 3" in dead.message.attributes["DeadLetterErrorDescription"]


def test_failing_on_the_last_permitted_delivery_is_dead_lettered_at_once(open_broker: OpenBroker) -> None:
    broker = open_broker()

    def fail(delivery: Delivery) -> None:
        raise ValueError("patient MARLOWE")

    fill(broker, 1)
    handler = Handler(fail)
    broker.consume("q", handler, options=replace(SOON, max_deliveries=3))
    assert eventually(lambda: broker.service.depth("q/$dead") == 1)
    assert handler.seen == ["m0"] * 3
    description = broker.receive("q/$dead")[0].message.attributes["DeadLetterErrorDescription"]
    assert "(ValueError)" in description
    assert "MARLOWE" not in description


@pytest.mark.parametrize("kind", ["poison", "last delivery"])
def test_a_dead_letter_that_fails_never_acks_the_message(open_broker: OpenBroker, kind: str) -> None:
    broker = open_broker()
    fill(broker, 1)
    if kind == "poison":
        broker.receive("q")[0].nack()
    broker.script("dead_letter", PermissionDeniedError("no"))

    def fail(delivery: Delivery) -> None:
        raise KeyError

    broker.consume("q", Handler(fail), options=replace(SOON, max_deliveries=1))
    assert eventually(lambda: broker.service.depth("q/$dead") == 1)
    assert broker.named("ack") == []
    assert len(broker.named("dead_letter")) == 2


def test_max_deliveries_where_the_broker_does_not_count_is_said_to_be_idle(
    open_broker: OpenBroker, caplog: pytest.LogCaptureFixture
) -> None:
    open_broker(POOR).consume("q", print, options=ConsumerOptions(max_deliveries=3))
    assert "max_deliveries has no effect" in caplog.text


@pytest.mark.parametrize(
    "values", [{"max_deliveries": 0}, {"max_waiting": -1}, {"poll_wait": -1.0}, {"max_handling": float("nan")}]
)
def test_senseless_options_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(values))):
        ConsumerOptions(**values)


def test_senseless_concurrency_is_refused(open_broker: OpenBroker) -> None:
    with pytest.raises(ConfigurationError, match="concurrency"):
        open_broker().consume("q", print, concurrency=0)
