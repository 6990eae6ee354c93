"""Connections: opened once and per direction, left with no credit, looked after while idle, released on close."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusReceivedMessage

from clouddirect.errors import AlreadySettledError, LeaseLostError
from clouddirect.messaging import Delivery, Message, MessageBroker
from clouddirect_azure import bus_receiver, bus_sender
from clouddirect_azure.broker import AzureNative
from clouddirect_azure.bus_delivery import Leases
from emulators.servicebus import LISTEN, SEND, Point, ServiceBusServer, Stall
from unit.azure.bus_fixtures import BrokerMaker


def _until(predicate: Callable[[], object], what: str) -> None:
    ends, tick = time.monotonic() + 60, threading.Event()
    while not predicate():
        assert time.monotonic() < ends, f"not within 60 s: {what}"
        tick.wait(0.02)


def _links(bus: ServiceBusServer) -> list[str]:
    """The links to entities, by direction as the client sees them."""
    found = [link for connection in list(bus.connections) for link in list(connection.links())]
    return sorted("receive" if link.we_send else "send" for link in found if link.endpoint.path)


def _send(broker: MessageBroker, count: int, queue: str = "q") -> None:
    assert all(result.ok for result in broker.send_many(queue, [Message(body=b"x") for _ in range(count)]))


def _send_singly(broker: MessageBroker, count: int) -> None:
    for _ in range(count):
        broker.send("q", Message(body=b"x"))


def test_one_connection_serves_many_calls(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers()
    for _ in range(5):
        broker.send("q", Message(body=b"x"))
    assert _links(bus) == ["send"]
    for _ in range(5):
        (delivery,) = broker.receive("q", wait=5)
        delivery.ack()
    assert _links(bus) == ["receive", "send"]


def test_a_receiver_never_opens_a_sender_nor_the_other_way_round(
    bus: ServiceBusServer, bus_brokers: BrokerMaker
) -> None:
    sender = bus_brokers(connection_string=bus.connection_string("q", rights=[SEND]))
    receiver = bus_brokers(connection_string=bus.connection_string("q", rights=[LISTEN]))
    _send(sender, 3)
    assert _links(bus) == ["send"]
    for delivery in receiver.receive("q", 3, wait=5):
        delivery.extend(30)
        delivery.nack()
    assert _links(bus) == ["receive", "send"]


def test_concurrent_calls_get_connections_of_their_own_up_to_the_limit(
    bus: ServiceBusServer, bus_brokers: BrokerMaker
) -> None:
    broker = bus_brokers(receivers=3)
    threads = [threading.Thread(target=broker.receive, args=("q", 1, 2.0)) for _ in range(6)]
    for thread in threads:
        thread.start()
    _until(lambda: _links(bus) == ["receive"] * 3, "three links")
    for thread in threads:
        thread.join()
    assert _links(bus) == ["receive"] * 3


@pytest.mark.parametrize("wait", [0.0, 0.3])
def test_an_empty_receive_leaves_no_credit_behind(bus: ServiceBusServer, bus_brokers: BrokerMaker, wait: float) -> None:
    """Else the next message would be locked for a receiver that nobody waits at."""
    broker, other = bus_brokers(), bus_brokers()
    assert broker.receive("q", 10, wait=wait) == []
    _send(other, 1)
    assert bus.counts("q").locked == 0
    (delivery,) = other.receive("q", wait=5)
    assert delivery.delivery_count == 1


def test_a_receive_that_brought_less_than_asked_leaves_no_credit_behind(
    bus: ServiceBusServer, bus_brokers: BrokerMaker
) -> None:
    broker, other = bus_brokers(), bus_brokers()
    _send(other, 3)
    assert len(broker.receive("q", 100, wait=5)) == 3
    _send(other, 1)
    assert bus.counts("q").locked == 3
    assert len(other.receive("q", wait=5)) == 1


def test_a_receive_takes_all_that_is_there_at_once(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers()
    _send(broker, 40)
    assert len(broker.receive("q", 100, wait=5)) == 40
    _send(broker, 7)
    assert len(broker.receive("q", 5, wait=0)) == 5
    assert len(broker.receive("q", 5, wait=0)) == 2


def test_closing_releases_what_is_unsettled_without_counting_it(
    bus: ServiceBusServer, bus_brokers: BrokerMaker
) -> None:
    broker = bus_brokers()
    _send(broker, 5)
    assert len(broker.receive("q", 5, wait=5)) == 5
    broker.close()
    assert bus.wait_for_counts("q", active=5, locked=0)
    _until(lambda: not bus.connections, "the server has seen them close")
    assert {one.delivery_count for one in bus_brokers().receive("q", 5, wait=5)} == {1}


def test_stopping_a_consumer_releases_by_the_link_not_by_abandon(
    bus: ServiceBusServer, bus_brokers: BrokerMaker
) -> None:
    broker, begun, go = bus_brokers(), threading.Event(), threading.Event()

    def handle(delivery: Delivery) -> None:
        begun.set()
        assert go.wait(20)

    _send(broker, 10)
    consumer = broker.consume("q", handle, 1)
    assert begun.wait(20)
    threading.Timer(0.3, go.set).start()
    assert consumer.stop(20)
    bus.wait_for_counts("q", active=9, locked=0)
    assert {one.delivery_count for one in bus_brokers().receive("q", 20, wait=5)} == {1}


def test_a_receive_is_ended_by_close(bus_brokers: BrokerMaker) -> None:
    broker, got = bus_brokers(), list[object]()
    thread = threading.Thread(target=lambda: got.append(broker.receive("q", wait=60)))
    thread.start()
    _until(lambda: broker.inside, "begun")
    broker.close(timeout=20)
    thread.join(20)
    assert got in ([], [[]])  # or the closed broker refused it


def test_idle_connections_are_closed_before_the_service_does_and_opened_again(
    bus: ServiceBusServer, bus_brokers: BrokerMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (bus_receiver, bus_sender):
        monkeypatch.setattr(module, "IDLE_LIMIT", 0.5)
    broker = bus_brokers()
    _send(broker, 2)
    (delivery,) = broker.receive("q", 1, wait=5)
    delivery.ack()
    assert _links(bus) == ["receive", "send"]
    _until(lambda: not bus.connections, "both were closed")
    _send(broker, 1)
    assert len(broker.receive("q", 2, wait=5)) == 2


def test_an_idle_connection_keeps_its_promise_to_send_something(bus_brokers: BrokerMaker) -> None:
    """A server that hangs up on those who send nothing for three seconds does not hang up on us."""
    from emulators.servicebus import Limits

    with ServiceBusServer(["q"], limits=Limits(connection_idle=3.0)) as strict:
        broker = bus_brokers(connection_string=strict.connection_string())
        _send(broker, 1)
        (delivery,) = broker.receive("q", wait=5)
        before = set(strict.connections)
        assert len(before) == 2
        threading.Event().wait(7)
        assert set(strict.connections) == before
        delivery.ack()
        strict.wait_for_counts("q", active=0, locked=0)


def test_nothing_is_left_behind(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers()
    _send(broker, 10)
    consumer = broker.consume("q", lambda delivery: None, 4)
    bus.wait_for_counts("q", active=0, locked=0)
    assert consumer.stop(20)
    broker.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("clouddirect-azure")]
    _until(lambda: not bus.connections, "the server has seen them close")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals for single threads")
def test_a_send_whose_caller_was_interrupted_leaves_a_usable_broker(
    bus: ServiceBusServer, bus_brokers: BrokerMaker
) -> None:
    broker = bus_brokers()
    bus.faults.add(Point.TRANSFER, Stall(), skip=20)
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(1.0, signal.pthread_kill, (main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        _send_singly(broker, 100)
    broker.send("q", Message(body=b"after"))
    assert len(broker.receive("q", 100, wait=5)) == 21


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals for single threads")
def test_the_callers_interrupt_loses_no_message(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    """A receive whose caller was interrupted gives back what comes for it."""
    broker = bus_brokers()
    broker.receive("q", wait=0)
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        broker.receive("q", 5, wait=60.0)
    assert time.monotonic() - began < 30
    _send(broker, 1)
    (delivery,) = bus_brokers().receive("q", wait=10)
    delivery.ack()
    assert broker.receive("q", wait=0) == []  # the connection serves on


# -- leases -------------------------------------------------------------------------------------------------


def test_a_lease_is_renewed_for_all_in_one_request_and_lost_ones_are_told_apart(
    bus: ServiceBusServer, bus_brokers: BrokerMaker
) -> None:
    broker = bus_brokers()
    _send(broker, 3, "brief")
    deliveries = broker.receive("brief", 3, wait=5)
    deliveries[1].ack()
    handles = [delivery._raw for delivery in deliveries]
    granted = broker._extend("brief", handles, 30.0, 10.0)
    assert isinstance(granted[1], LeaseLostError)
    for seconds in (granted[0], granted[2]):
        assert isinstance(seconds, float)
        assert 1.5 < seconds <= 2.0


def test_leases_do_not_trust_a_wrong_clock() -> None:
    from datetime import UTC, datetime, timedelta

    service = datetime(2026, 1, 1, tzinfo=UTC)
    for error in (0.0, 12.0, -12.0, 3600.0, -3600.0):
        here = service + timedelta(seconds=error)
        leases = Leases(None, lambda here=here: here)  # type: ignore[misc]
        length = leases.length(service + timedelta(seconds=30), service)
        if error == 0:
            assert length == 30
        else:
            assert length is None or 0 < length <= 30  # at most as long as it is
    assert Leases(45.0, lambda: service).length(service, service) == 45
    assert Leases(None, lambda: service).length(None, None) is None


def test_a_queue_with_a_known_lock_duration(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers(lock_duration=2.0)
    _send(broker, 1, "brief")
    (delivery,) = broker.receive("brief", wait=5)
    assert delivery._raw.lease is not None
    assert 1.5 < delivery._raw.lease <= 2.0


# -- the SDK's own ------------------------------------------------------------------------------------------


def test_defer_through_the_native_object(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers()
    native = broker.native
    assert isinstance(native, AzureNative)
    _send(broker, 1)
    (delivery,) = broker.receive("q", wait=5)
    assert isinstance(delivery.native, ServiceBusReceivedMessage)
    number = native.defer(delivery)
    assert bus.counts("q").deferred == 1
    assert native.defer(delivery) == number
    delivery.ack()  # only ends its bookkeeping
    with pytest.raises(AlreadySettledError):
        delivery.nack()
    assert bus.counts("q").deferred == 1
    _send(broker, 1)
    (other,) = broker.receive("q", wait=5)
    other.ack()
    with pytest.raises(AlreadySettledError):
        native.defer(other)
    with native.client() as client:
        assert isinstance(client, ServiceBusClient)
        with client.get_queue_receiver("q") as receiver:
            (found,) = receiver.receive_deferred_messages(number)
            receiver.complete_message(found)
    assert bus.counts("q").deferred == 0


def test_check_says_what_it_saw_and_takes_nothing(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers()
    _send(broker, 1)
    broker.send("ordered", Message(body=b"x", ordering_key="a"))
    assert broker.check("q", "send").status == "ok"
    assert broker.check("q", "receive").status == "ok"
    found = broker.check("ordered", "receive")
    assert (found.status, "session" in found.detail) == ("likely", True)
    assert (bus.counts("q").active, bus.counts("ordered").active) == (1, 1)
    (delivery,) = bus_brokers().receive("ordered", wait=5)
    assert delivery.message.ordering_key == "a"
    narrow = bus_brokers(connection_string=bus.connection_string("ordered", rights=[SEND]))
    assert narrow.check("ordered", "receive").status == "failed"
    assert broker.check("missing", "send").status == "failed"
    bus.faults.add(Point.ATTACH, Stall())
    silent = bus_brokers({"call_timeout": 1.0, "retry": broker.runtime.retry})
    assert silent.check("q", "send").status == "failed"
