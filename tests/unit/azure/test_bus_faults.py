"""What goes wrong on the way: connections that break or fall silent, a service that is busy, full or restarting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from clouddirect.errors import (
    AuthenticationError,
    CloudDirectError,
    LeaseLostError,
    NotFoundError,
    PermissionDeniedError,
    ThrottledError,
    TimeoutError,
    UnavailableError,
)
from clouddirect.messaging import Delivery, Message, MessageBroker
from clouddirect.retry import RetryPolicy
from clouddirect_azure import bus_connection
from emulators.servicebus import (
    Close,
    Condition,
    Delay,
    Detach,
    Drop,
    Point,
    QueueSettings,
    Refuse,
    ServiceBusServer,
    Stall,
    idle_link,
    quota_exceeded,
    server_busy,
)
from emulators.tcp_line import TcpLine
from unit.azure.bus_fixtures import BrokerMaker, Certificates, open_bus

ONCE = {"retry": RetryPolicy(max_attempts=1)}


def _one(broker: MessageBroker, queue: str = "q") -> Delivery:
    (delivery,) = broker.receive(queue, 1, wait=10)
    return delivery


def _send_singly(broker: MessageBroker, count: int) -> None:
    for _ in range(count):
        broker.send("q", Message(body=b"x"))


# -- sending ------------------------------------------------------------------------------------------------


def test_a_connection_dropped_before_storing_costs_a_retry(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers()
    fault = bus.faults.add(Point.TRANSFER, Drop())
    broker.send("q", Message(body=b"x"))
    assert fault.struck == 1
    assert bus.counts("q").active == 1


def test_a_connection_dropped_after_storing_may_send_twice_and_says_so(
    bus: ServiceBusServer, bus_brokers: BrokerMaker
) -> None:
    bus.faults.add(Point.TRANSFER, Drop(after=True))
    with pytest.raises(UnavailableError) as caught:
        bus_brokers(ONCE).send("q", Message(body=b"x"))
    assert caught.value.maybe_sent
    assert bus.counts("q").active == 1
    bus.faults.add(Point.TRANSFER, Drop(after=True))
    message = Message(body=b"y")
    broker = bus_brokers()
    broker.send("q", message)
    copies = [one.message.id for one in broker.receive("q", 10, wait=5)].count(message.id)
    assert copies == 2  # under the same id, so that a queue that detects duplicates drops one


def test_duplicate_detection_drops_the_repetition(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    bus.add_queue(QueueSettings("single", duplicates=300))
    bus.faults.add(Point.TRANSFER, Drop(after=True))
    assert all(result.ok for result in bus_brokers().send_many("single", [Message(body=b"x") for _ in range(20)]))
    assert bus.counts("single").active == 20


def test_what_was_never_sent_is_not_called_maybe_sent(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    bus.faults.add(Point.ATTACH, Close())
    with pytest.raises(UnavailableError) as caught:
        bus_brokers(ONCE).send("q", Message(body=b"x"))
    assert not caught.value.maybe_sent


def test_a_batch_is_atomic_and_is_sent_again_as_a_whole(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    fault = bus.faults.add(Point.TRANSFER, Drop(), times=2)
    results = bus_brokers().send_many("q", [Message(body=bytes(1000)) for _ in range(500)])
    assert all(result.ok for result in results)
    assert fault.struck == 2
    assert bus.counts("q").active == 500


@pytest.mark.parametrize("point", [Point.CONNECT, Point.TOKEN, Point.ATTACH, Point.TRANSFER])
def test_a_silent_server_cannot_hang_a_send(bus: ServiceBusServer, bus_brokers: BrokerMaker, point: Point) -> None:
    broker = bus_brokers({**ONCE, "call_timeout": 1.0})
    bus.faults.add(point, Stall())
    began = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        broker.send("q", Message(body=b"x"))
    assert time.monotonic() - began < 10
    assert caught.value.maybe_sent or point is not Point.TRANSFER
    bus.faults.clear()
    broker.send("q", Message(body=b"x"))  # over a new connection
    _threads_end("clouddirect-azure-send-q", 1)


def test_a_server_that_falls_silent_in_the_middle_of_its_work_cannot_hang_a_send(
    bus: ServiceBusServer, bus_brokers: BrokerMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sends that follow each other at once run in their caller's thread; the connection's own one watches over them."""
    monkeypatch.setattr(bus_connection, "STALL", 60.0)  # the socket's own timeout would end it too, later
    broker = bus_brokers({**ONCE, "call_timeout": 1.0})
    bus.faults.add(Point.TRANSFER, Stall(), skip=50)
    began = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        _send_singly(broker, 100)
    assert caught.value.maybe_sent
    assert time.monotonic() - began < 15
    assert bus.counts("q").active == 50
    broker.send("q", Message(body=b"x"))


def test_a_server_that_is_busy_is_asked_again_later(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    bus.faults.add(Point.TRANSFER, server_busy())
    with pytest.raises(ThrottledError) as caught:
        bus_brokers(ONCE).send("q", Message(body=b"x"))
    assert (caught.value.retryable, caught.value.retry_after) == (True, 2.0)  # as its text asks
    assert not caught.value.maybe_sent
    fault = bus.faults.add(Point.TRANSFER, Refuse(Condition.SERVER_BUSY, "Too many requests."), times=2)
    bus_brokers().send("q", Message(body=b"x"))
    assert fault.struck == 2


def test_a_full_queue_is_said_at_once(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    fault = bus.faults.add(Point.TRANSFER, quota_exceeded(), times=None)
    with pytest.raises(ThrottledError, match="full") as caught:
        bus_brokers().send("q", Message(body=b"x"))
    assert not caught.value.retryable
    assert fault.struck == 1


@pytest.mark.parametrize("happens", ["detach", "close", "cut"])
def test_a_sender_that_was_let_go_while_idle_costs_no_error(
    bus: ServiceBusServer, bus_brokers: BrokerMaker, happens: str
) -> None:
    """The service detaches links that are idle for ten minutes; that is noticed, and the next send opens a new one."""
    broker = bus_brokers(ONCE)
    broker.send("q", Message(body=b"x"))
    idle = idle_link()
    if happens == "detach":
        assert bus.detach_links("q", idle.condition, idle.text) == 1
    elif happens == "close":
        bus.close_connections()
    else:
        bus.cut_connections()
    _until(lambda: not bus.connections, "the connection is gone")
    threading.Event().wait(0.1)  # a connection that has just been used is not looked at
    broker.send("q", Message(body=b"y"))
    assert bus.counts("q").active == 2


def test_a_detach_in_the_middle_of_a_send_costs_a_retry(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    for action in (Detach(), Detach(after=True), Close(), Close(after=True)):
        bus.faults.add(Point.TRANSFER, action)
        bus_brokers().send("q", Message(body=b"x"))


# -- receiving ----------------------------------------------------------------------------------------------


def test_what_came_before_the_connection_was_closed_is_handed_out(
    bus: ServiceBusServer, bus_brokers: BrokerMaker
) -> None:
    """Where locks outlive the link it would else be locked for nobody until they end."""
    bus.limits = replace(bus.limits, release_on_close=False)
    broker = bus_brokers()
    assert all(result.ok for result in broker.send_many("brief", [Message(body=b"x") for _ in range(50)]))
    bus.faults.add(Point.DELIVERY, Close(), skip=20)
    first = broker.receive("brief", 50, wait=10)
    assert len(first) == 20
    assert all(result.ok for result in broker.ack_many(first))  # over the next connection
    got = {delivery.message.id for delivery in first}
    while len(got) < 50:
        deliveries = broker.receive("brief", 50, wait=10)
        assert deliveries
        assert all(result.ok for result in broker.ack_many(deliveries))
        got |= {delivery.message.id for delivery in deliveries}
    bus.wait_for_counts("brief", active=0, locked=0)


def test_a_silent_server_cannot_hang_a_receive(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers({**ONCE, "call_timeout": 0.5})
    for point in (Point.CONNECT, Point.TOKEN, Point.ATTACH):
        bus.faults.add(point, Stall())
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            broker.receive("q", wait=0.2)
        assert time.monotonic() - began < 10
    assert broker.receive("q", wait=0) == []


def test_a_line_that_falls_silent_is_noticed(bus: ServiceBusServer) -> None:
    """A stalled line looks like an empty queue; settling over it times out, and is made again."""
    retry = RetryPolicy(max_attempts=4, base_delay=0.1, max_delay=0.2)
    with (
        TcpLine(bus.port) as line,
        open_bus(bus, {"retry": retry, "call_timeout": 1.0}, endpoint=f"127.0.0.1:{line.port}") as broker,
    ):
        broker.send("q", Message(body=b"x"))
        delivery = _one(broker)
        line.stall()
        settled: list[CloudDirectError | None] = []
        settling = threading.Thread(target=lambda: settled.extend(r.error for r in broker.ack_many([delivery])))
        settling.start()
        settling.join(2.5)
        assert settling.is_alive()  # at a later attempt by now
        line.resume()
        settling.join(30)
        (error,) = settled
        assert error is None or error.code == "unconfirmed"
        bus.wait_for_counts("q", active=0, locked=0)


def test_tls_to_a_silent_server_cannot_hang(bus_certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_connection, "NEGOTIATION", 3.0)
    with (
        ServiceBusServer(["q"], tls=(bus_certificates.chain, bus_certificates.key)) as server,
        TcpLine(server.port) as line,
    ):
        broker = open_bus(
            server, {**ONCE, "call_timeout": 1.0}, endpoint=f"127.0.0.1:{line.port}", ca_file=bus_certificates.authority
        )
        with broker:
            line.stall()
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                broker.send("q", Message(body=b"x"))
            assert time.monotonic() - began < 10
            _threads_end("clouddirect-azure-send-q", 0)  # while the line is still silent
            line.resume()
            broker.send("q", Message(body=b"x"))


def test_nobody_listens(bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers(ONCE, endpoint="127.0.0.1:1")
    with pytest.raises(UnavailableError) as caught:
        broker.send("q", Message(body=b"x"))
    assert caught.value.retryable
    assert not caught.value.maybe_sent


# -- settling -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", [Drop(), Detach(), Close()])
def test_an_ack_that_was_cut_off_is_made_again_by_its_lock_token(
    bus: ServiceBusServer, bus_brokers: BrokerMaker, action: Drop | Detach | Close
) -> None:
    """Where the lock outlives the link, the ack is carried out over another connection."""
    bus.limits = replace(bus.limits, release_on_close=False)
    broker = bus_brokers()
    broker.send("q", Message(body=b"x"))
    delivery = _one(broker)
    fault = bus.faults.add(Point.DISPOSITION, action)
    delivery.ack()
    assert fault.struck == 1
    bus.wait_for_counts("q", active=0, locked=0)


@pytest.mark.parametrize("action", [Drop(after=True), Detach(after=True), Close(after=True)])
def test_an_ack_whose_answer_was_lost_says_that_nobody_knows(
    bus: ServiceBusServer, bus_brokers: BrokerMaker, action: Drop | Detach | Close
) -> None:
    """It was carried out, but all that can be seen is that the lock is gone; nothing comes again in this case."""
    broker = bus_brokers()
    broker.send("q", Message(body=b"x"))
    delivery = _one(broker)
    bus.faults.add(Point.DISPOSITION, action)
    with pytest.raises(LeaseLostError, match="either it was carried out, or") as caught:
        delivery.ack()
    assert caught.value.code == "unconfirmed"
    bus.wait_for_counts("q", active=0, locked=0)


def test_an_ack_over_a_lost_connection_whose_lock_is_lost_says_so(
    bus: ServiceBusServer, bus_brokers: BrokerMaker
) -> None:
    """Service Bus frees locks with the link: then the message comes again, which the caller is told."""
    broker = bus_brokers()
    broker.send("q", Message(body=b"x"))
    delivery = _one(broker)
    bus.cut_connections()
    bus.wait_for_counts("q", active=1, locked=0)
    with pytest.raises(LeaseLostError):
        delivery.ack()
    _one(broker).ack()


def test_a_late_answer_to_one_settlement_does_not_hold_the_others(
    bus: ServiceBusServer, bus_brokers: BrokerMaker
) -> None:
    broker = bus_brokers()
    broker.send_many("q", [Message(body=b"x") for _ in range(30)])
    deliveries = broker.receive("q", 30, wait=10)
    bus.faults.add(Point.DISPOSITION, Delay(0.5))
    assert all(result.ok for result in broker.ack_many(deliveries))
    bus.wait_for_counts("q", active=0, locked=0)


def test_all_settlements_are_on_the_way_before_the_first_is_answered(
    bus: ServiceBusServer, bus_brokers: BrokerMaker
) -> None:
    """With a second for each answer, thirty acks one by one would take thirty."""
    broker = bus_brokers()
    broker.send_many("q", [Message(body=b"x") for _ in range(30)])
    deliveries = broker.receive("q", 30, wait=10)
    bus.faults.add(Point.DISPOSITION, Delay(1.0), times=None)
    began = time.monotonic()
    assert all(result.ok for result in broker.ack_many(deliveries))
    assert time.monotonic() - began < 15


# -- rights and certificates --------------------------------------------------------------------------------


def test_a_wrong_key_is_not_tried_twice(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    fault = bus.faults.add(Point.TOKEN, Delay(0.0), times=None)
    wrong = bus.connection_string().replace("SharedAccessKey=", "SharedAccessKey=x")
    for use in _uses(bus_brokers(connection_string=wrong)):
        before = fault.struck
        with pytest.raises(AuthenticationError) as caught:
            use()
        assert caught.value.code == "401"
        assert fault.struck == before + 1


def test_an_expired_signature_is_an_authentication_error(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers(connection_string=bus.connection_string("q", signature_for=-5))
    with pytest.raises(AuthenticationError):
        broker.send("q", Message(body=b"x"))


def test_a_missing_right_and_a_missing_queue_are_told_apart(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    with pytest.raises(PermissionDeniedError, match="right"):
        bus_brokers(connection_string=bus.connection_string("q", rights=["Listen"])).send("q", Message(body=b"x"))
    with pytest.raises(NotFoundError, match="name"):
        bus_brokers().send("q2", Message(body=b"x"))


def test_an_untrusted_certificate_is_not_tried_twice(bus_certificates: Certificates) -> None:
    with (
        ServiceBusServer(["q"], tls=(bus_certificates.chain, bus_certificates.key)) as server,
        open_bus(server, endpoint=server.endpoint.removeprefix("sb://")) as broker,
    ):
        with pytest.raises(UnavailableError, match="certificate") as caught:
            broker.send("q", Message(body=b"x"))
        assert not caught.value.retryable
        result = broker.check("q", "receive")
        assert result.status == "failed"
        assert "ca_file" in result.detail


def _uses(broker: MessageBroker) -> list[Callable[[], object]]:
    return [lambda: broker.send("q", Message(body=b"x")), lambda: broker.receive("q")]


def _until(predicate: Callable[[], object], what: str) -> None:
    ends, tick = time.monotonic() + 60, threading.Event()
    while not predicate():
        assert time.monotonic() < ends, f"not within 60 s: {what}"
        tick.wait(0.02)


def _threads_end(name: str, left: int) -> None:
    """Threads whose server fell silent must not stay behind."""
    _until(lambda: sum(thread.name == name for thread in threading.enumerate()) <= left, f"at most {left} {name}")
