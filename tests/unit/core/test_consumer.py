"""Consumer: every message handled and settled once, in order, within its lease; nothing stops silently."""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import (
    CloudDirectError,
    ConfigurationError,
    LeaseLostError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from clouddirect.messaging import ConsumerOptions, Delivery, Message
from unit.core.conftest import OpenBroker, eventually
from unit.core.memory_broker import POOR, RICH, SECRET, Hang, MemoryBroker, SdkError, partial

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


def test_as_many_again_are_taken_until_it_is_known_how_long_handling_takes(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill(broker, 100)
    gate = Gate()
    broker.consume("q", gate, 2)
    assert gate.has_begun()
    assert gate.has_begun()
    assert eventually(lambda: _on_lease(broker) == 4)
    gate.go.set()


def _on_lease(broker: MemoryBroker) -> int:
    with broker.service.changed:
        return sum(stored.token is not None for stored in broker.service.queues["q"].stored)


def test_slow_handlers_keep_the_rest_available_to_others(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    fill(broker, 50)

    def slow(delivery: Delivery) -> None:
        clock.advance(20)
        most.append(_on_lease(broker))

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
    assert _on_lease(broker) == 2
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
    assert _on_lease(broker) == 1
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
    assert eventually(lambda: _on_lease(broker) == 2)
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
    assert eventually(lambda: _on_lease(broker) == 2)
    if failing == "release":
        consumer.begin_stop()
    gate.go.set()
    assert eventually(lambda: broker.named(failing))
    consumer.stop(10)
    assert eventually(lambda: not broker.settlement.keeper._kept)  # nobody renews what nobody handles
    clock.advance(31)
    assert len(open_broker(clock=clock, service=broker.service).receive("q", 10)) >= 1


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
    assert eventually(lambda: _on_lease(broker) >= 8)
    stopped: list[bool] = []
    thread = threading.Thread(target=lambda: stopped.append(consumer.stop(20)), daemon=True)
    thread.start()
    assert eventually(lambda: sum(len(call.ids) for call in broker.named("release")) >= 4)
    assert not stopped
    gate.go.set()
    thread.join(10)
    assert stopped == [True]
    assert broker.service.depth("q") == 26
    assert _on_lease(broker) == 0
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
    assert _on_lease(broker) == 0


def test_closing_the_broker_stops_its_consumers_and_flushes_their_acks(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill(broker, 50)
    handler = Handler()
    consumers = [broker.consume("q", handler, 3) for _ in range(2)]
    assert eventually(lambda: len(handler.seen) > 10)
    broker.close()
    assert all(consumer.wait(0) for consumer in consumers)
    assert broker.service.depth("q") == 50 - len(handler.seen)
    assert _on_lease(broker) == 0


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
    assert _on_lease(broker) == 0
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
