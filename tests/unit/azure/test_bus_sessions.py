"""Sessions, topics and subscriptions, dead-letter queues by name."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import pytest

from clouddirect.errors import LeaseLostError, UnsupportedError
from clouddirect.messaging import DEAD_LETTER_REASON, Delivery, Message, MessageBroker
from clouddirect_azure import bus_receiver, bus_sessions
from clouddirect_azure.broker import AzureBroker
from emulators.servicebus import (
    LISTEN,
    SEND,
    CorrelationFilter,
    Drop,
    Point,
    QueueSettings,
    ServiceBusServer,
    SubscriptionSettings,
    TopicSettings,
)
from unit.azure.bus_fixtures import BrokerMaker


def _until(predicate: Callable[[], object], what: str) -> None:
    ends, tick = time.monotonic() + 60, threading.Event()
    while not predicate():
        assert time.monotonic() < ends, f"not within 60 s: {what}"
        tick.wait(0.02)


def _send(broker: MessageBroker, keys: str, turns: int = 1) -> None:
    sent = [Message(body=f"{key}{turn}".encode(), ordering_key=key) for turn in range(turns) for key in keys]
    assert all(result.ok for result in broker.send_many("ordered", sent))


def _one(broker: MessageBroker, queue: str = "ordered", wait: float = 10) -> Delivery:
    (delivery,) = broker.receive(queue, wait=wait)
    return delivery


# -- sessions -----------------------------------------------------------------------------------------------


def test_a_session_goes_on_with_the_broker_that_holds_it(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers()
    _send(broker, "a", 5)
    bodies = []
    for _ in range(5):
        delivery = _one(broker)
        bodies.append(delivery.message.body)
        delivery.ack()
        assert len(bus.connections) == 2  # the sender's and the session's: none is opened for each message
    assert bodies == [b"a0", b"a1", b"a2", b"a3", b"a4"]


def test_sessions_are_handled_side_by_side_and_each_in_order(bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers()
    _send(broker, "abcd", 10)
    handled: list[str] = []
    begun, together = itertools.count(), threading.Barrier(3, timeout=60)

    def handle(delivery: Delivery) -> None:
        if next(begun) < 3:
            together.wait()  # three sessions at the same time, or this breaks
        handled.append(delivery.message.body.decode())

    consumer = broker.consume("ordered", handle, 3)
    _until(lambda: len(handled) == 40, "all were handled")
    assert consumer.stop(20)
    assert not together.broken
    for key in "abcd":
        assert [body for body in handled if body[0] == key] == [f"{key}{turn}" for turn in range(10)]


def test_a_session_is_let_go_when_nobody_receives_from_it(bus_brokers: BrokerMaker) -> None:
    broker, other = bus_brokers(), bus_brokers()
    _send(broker, "a", 2)
    _one(broker).ack()
    began = time.monotonic()
    assert _one(other).message.body == b"a1"
    assert time.monotonic() - began < 10  # long before the lock of 30 s ends


def test_what_was_given_back_comes_first_to_whoever_is_next(bus_brokers: BrokerMaker) -> None:
    broker, other = bus_brokers(), bus_brokers()
    _send(broker, "a", 3)
    _one(broker).nack()
    again = _one(other)
    assert (again.message.body, again.delivery_count) == (b"a0", 2)
    again.ack()
    assert _one(other).message.body == b"a1"


def test_a_long_session_does_not_keep_the_others_waiting(
    bus_brokers: BrokerMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_sessions, "TURN", 3)
    broker = bus_brokers()
    _send(broker, "a", 6)
    _send(broker, "b")
    bodies = []
    for _ in range(7):
        delivery = _one(broker)
        bodies.append(delivery.message.body)
        delivery.ack()
    assert bodies == [b"a0", b"a1", b"a2", b"b0", b"a3", b"a4", b"a5"]


def _begin_receive(broker: MessageBroker, got: list[Delivery], wait: float) -> threading.Thread:
    thread = threading.Thread(target=lambda: got.extend(broker.receive("ordered", wait=wait)))
    thread.start()
    return thread


def test_whoever_waits_for_another_session_gets_the_one_that_is_free_again(
    bus: ServiceBusServer, bus_brokers: BrokerMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a consumer would handle one message of a lone session a second."""
    monkeypatch.setattr(bus_receiver, "SESSION_IDLE_LIMIT", 3600.0)  # it is not let go in between
    broker, got = bus_brokers(), list[Delivery]()
    _send(broker, "a", 3)
    first = _one(broker)
    thread = _begin_receive(broker, got, 30.0)
    _until(lambda: len(bus.connections) == 3, "it waits for another session")
    first.ack()
    thread.join(10)
    assert [one.message.body for one in got] == [b"a1"]
    # the wait that it left behind is gone on with, and what that brings is kept for the next caller
    _send(bus_brokers(), "b")
    assert isinstance(broker, AzureBroker)
    receivers = broker._receivers["ordered"]
    assert isinstance(receivers, bus_sessions.SessionReceivers)
    _until(lambda: not receivers._left, "the session was accepted")
    assert _one(broker).message.body == b"b0"
    got[0].ack()
    assert _one(broker).message.body == b"a2"


def test_closing_ends_the_wait_for_a_session_that_was_left_behind(
    bus: ServiceBusServer, bus_brokers: BrokerMaker
) -> None:
    broker, got = bus_brokers(), list[Delivery]()
    _send(broker, "a", 2)
    first = _one(broker)
    thread = _begin_receive(broker, got, 60.0)
    _until(lambda: len(bus.connections) == 3, "it waits for another session")
    first.ack()
    thread.join(20)
    got[0].ack()
    began = time.monotonic()
    broker.close()
    assert time.monotonic() - began < 15  # of the 20 s that the service waits for a session
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("clouddirect-azure")]


def test_a_session_that_had_its_turn_is_free_at_once(bus_brokers: BrokerMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_receiver, "SESSION_IDLE_LIMIT", 3600.0)
    monkeypatch.setattr(bus_sessions, "TURN", 2)
    broker, other = bus_brokers(), bus_brokers()
    _send(broker, "a", 3)
    _one(broker).ack()
    second = _one(broker)
    _send(broker, "b", 2)
    beside = _one(broker)
    assert (second.message.body, beside.message.body) == (b"a1", b"b0")
    second.ack()
    beside.ack()
    assert _one(broker).message.body == b"b1"
    assert _one(other).message.body == b"a2"


def test_a_session_lease_is_renewed(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    bus.add_queue(QueueSettings("ordered", lock=2, sessions=True))
    broker = bus_brokers()
    _send(broker, "a", 2)
    delivery = _one(broker)
    delivery.keep_lease()
    assert bus_brokers().receive("ordered", wait=3.5) == []
    delivery.ack()
    assert _one(broker).message.body == b"a1"


def test_a_lost_session_is_a_lost_lease(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers()
    _send(broker, "a", 2)
    lost, other = _one(broker), bus_brokers()
    bus.cut_connections()
    assert _one(other).message.body == b"a0"
    with pytest.raises(LeaseLostError):
        lost.ack()
    assert lost.lease_lost.is_set()
    bus.faults.add(Point.DISPOSITION, Drop())
    _send(broker, "b")
    unconfirmed = _one(broker)
    with pytest.raises(LeaseLostError):
        unconfirmed.ack()


def test_a_message_without_a_key_is_a_session_of_its_own(bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers()
    sent = [Message(body=b"x") for _ in range(3)]
    for message in sent:
        broker.send("ordered", message)
    got = [_one(broker) for _ in range(3)]  # at the same time
    assert sorted(one.message.id for one in got) == sorted(message.id for message in sent)
    assert all(one.message.ordering_key is None for one in got)
    for one in got:
        one.ack()


def test_a_queue_that_needs_sessions_says_which_option_is_missing(bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers(sessions=False)
    with pytest.raises(UnsupportedError, match="option sessions"):
        broker.receive("ordered", wait=1)
    with pytest.raises(UnsupportedError, match="sessions"):
        broker.send("ordered", Message(body=b"x"))
    with pytest.raises(UnsupportedError, match="ordering"):
        broker.send("q", Message(body=b"x", ordering_key="a"))
    with pytest.raises(UnsupportedError, match="option sessions"):
        bus_brokers(sessions=True).receive("q", wait=1)


def test_no_session_is_an_empty_answer_in_time(bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers()
    for wait in (0.0, 1.0):
        began = time.monotonic()
        assert broker.receive("ordered", wait=wait) == []
        assert wait <= time.monotonic() - began < wait + 10


def test_closing_frees_sessions_without_counting(bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers()
    _send(broker, "a", 2)
    _one(broker)
    broker.close()
    again = _one(bus_brokers())
    assert (again.message.body, again.delivery_count) == (b"a0", 1)


def test_dead_lettering_within_a_session_lets_it_go_on(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers()
    _send(broker, "a", 2)
    _one(broker).dead_letter("unreadable", "not JSON")
    assert _one(broker).message.body == b"a1"
    dead = _one(broker, "ordered/$DeadLetterQueue")
    assert dead.message.attributes[DEAD_LETTER_REASON] == "unreadable"
    assert dead.message.ordering_key == "a"
    dead.ack()
    assert bus.counts("ordered").dead == 0


# -- topics -------------------------------------------------------------------------------------------------


def test_a_topic_gives_each_subscription_a_copy(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    sender = bus_brokers(connection_string=bus.connection_string("t", rights=[SEND]))
    receiver = bus_brokers(connection_string=bus.connection_string("t", rights=[LISTEN]))
    sent = [Message(body=b"x") for _ in range(20)]
    assert all(result.ok for result in sender.send_many("t", sent))
    for name in ("t/one", "t/Subscriptions/two"):
        got = receiver.receive(name, 50, wait=5)
        assert {delivery.message.id for delivery in got} == {message.id for message in sent}
        got[0].extend(30)
        assert all(result.ok for result in receiver.ack_many(got))
    assert receiver.receive("t/one", wait=0) == []
    assert receiver.check("t/one", "receive").status == "ok"
    assert sender.check("t", "send").status == "ok"


def test_a_filter_sees_the_properties_it_knows(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    filters = [CorrelationFilter(label="order", properties={"site": "A"})]
    bus.add_topic(TopicSettings("events", [SubscriptionSettings("orders", rules=filters)]))
    broker = bus_brokers()
    broker.send("events", Message(body=b"no", subject="order", attributes={"site": "B"}))
    broker.send("events", Message(body=b"yes", subject="order", attributes={"site": "A"}))
    assert [one.message.body for one in broker.receive("events/orders", 10, wait=5)] == [b"yes"]


def test_the_dead_letter_queue_of_a_subscription(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers()
    broker.send("t", Message(body=b"x"))
    can = broker.capabilities("t/one")
    assert can.dead_letter_queue == "t/one/$DeadLetterQueue"
    _one(broker, "t/one").dead_letter("unreadable")
    dead = _one(broker, can.dead_letter_queue)
    assert dead.message.body == b"x"
    dead.ack()
    assert bus.counts("t/Subscriptions/one").dead == 0
    with pytest.raises(UnsupportedError, match="dead-letter"):
        broker.send(can.dead_letter_queue, Message(body=b"x"))


def test_a_queue_with_a_slash_in_its_name(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    bus.add_queue("site/orders")
    broker = bus_brokers(subscriptions=False)
    broker.send("site/orders", Message(body=b"x"))
    _one(broker, "site/orders").ack()
    broker.send("t", Message(body=b"x"))
    _one(broker, "t/Subscriptions/one").ack()


def test_sessions_in_a_subscription(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    bus.add_topic(TopicSettings("steps", [SubscriptionSettings("mine", sessions=True, lock=30)]))
    broker = bus_brokers(sessions=("steps", "steps/mine"))
    for turn in range(3):
        broker.send("steps", Message(body=str(turn).encode(), ordering_key="k"))
    for turn in range(3):
        delivery = _one(broker, "steps/mine")
        assert (delivery.message.body, delivery.message.ordering_key) == (str(turn).encode(), "k")
        delivery.ack()
    assert broker.check("steps/mine", "receive").status == "likely"


def test_a_session_goes_on_after_a_message_of_it_was_deferred(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers(max_sessions=1)
    _send(broker, "a", turns=2)
    with _one(broker) as delivery:
        broker.native.defer(delivery)
    delivery = _one(broker)
    assert delivery.message.body == b"a1"
    delivery.ack()
    assert bus.counts("ordered").deferred == 1
