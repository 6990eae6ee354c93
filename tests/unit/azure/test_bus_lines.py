"""Lines that are slow, and peers that accept and say nothing: patience with the one, an end to the other."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from clouddirect.errors import AuthenticationError, NotFoundError, PermissionDeniedError, TimeoutError
from clouddirect.messaging import Message
from clouddirect.retry import RetryPolicy
from clouddirect_azure import bus_sender
from clouddirect_azure.broker import AzureBroker
from emulators.servicebus import LISTEN, ServiceBusServer
from emulators.tcp_line import TcpLine
from unit.azure.bus_fixtures import BrokerMaker, Certificates, open_bus

ONCE = RetryPolicy(max_attempts=1)


def test_a_slow_line_is_not_a_lost_one(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    """The SDK lets Linux break a connection whose peer has taken nothing for a second."""
    with TcpLine(bus.port, rate=100_000) as line:
        through = bus.connection_string().replace(f":{bus.port}", f":{line.port}")
        broker = bus_brokers({"retry": ONCE}, connection_string=through)
        broker.send("q", Message(body=bytes(250_000)))
        assert line.connections == 1
        line.rate = None
        (delivery,) = broker.receive("q", wait=10)
        assert len(delivery.message.body) == 250_000


def test_a_slow_line_with_tls_is_not_a_lost_one(bus_certificates: Certificates) -> None:
    with (
        ServiceBusServer(["q"], tls=(bus_certificates.chain, bus_certificates.key)) as server,
        TcpLine(server.port, rate=100_000) as line,
        open_bus(
            server, {"retry": ONCE}, endpoint=f"127.0.0.1:{line.port}", ca_file=bus_certificates.authority
        ) as broker,
    ):
        broker.send("q", Message(body=bytes(250_000)))
        assert line.connections == 1
        line.rate = None


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_silent_peer_leaves_no_thread_behind(
    bus: ServiceBusServer, bus_brokers: BrokerMaker, silent_port: int
) -> None:
    silent = bus.connection_string().replace(f":{bus.port}", f":{silent_port}")
    broker = bus_brokers({"retry": ONCE, "call_timeout": 0.5}, connection_string=silent)
    began = time.monotonic()
    for queue in ("q", "ordered"):
        found = broker.check(queue, "receive")
        assert (found.status, getattr(found.error, "code", None)) == ("failed", "silent")
        with pytest.raises(TimeoutError):
            broker.receive(queue, wait=0)
    with pytest.raises(TimeoutError):
        broker.send("q", Message(body=b"x"))
    broker.close()
    assert time.monotonic() - began < 20
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("clouddirect-azure")]


def test_a_connection_that_is_busy_with_itself_does_not_hang_a_send(
    bus_brokers: BrokerMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is looked after a token may be renewed, and whoever gives that may be slow."""
    monkeypatch.setattr(bus_sender, "IDLE_CHECK", 60.0)  # so that the caller's own thread sends
    broker = bus_brokers({"retry": ONCE, "call_timeout": 0.5})
    assert isinstance(broker, AzureBroker)
    broker.send("q", Message(body=b"first"))
    (sender,) = broker._senders["q"]._all
    holds, done = threading.Event(), threading.Event()

    def look_after_long() -> None:
        with sender._turn:  # type: ignore[attr-defined]
            holds.set()
            assert done.wait(20)

    thread = threading.Thread(target=look_after_long)
    thread.start()
    assert holds.wait(20)
    try:
        with pytest.raises(TimeoutError) as caught:
            broker.send("q", Message(body=b"second"))
        assert not caught.value.maybe_sent
    finally:
        done.set()
        thread.join()
    broker.send("q", Message(body=b"third"))
    assert [one.message.body for one in broker.receive("q", 5, wait=5)] == [b"first", b"third"]


def test_errors_name_the_queue(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    with pytest.raises(NotFoundError, match="'missing': there is no such queue"):
        bus_brokers().send("missing", Message(body=b"x"))
    with pytest.raises(NotFoundError, match="'missing/\\$DeadLetterQueue': there is no such queue"):
        bus_brokers().receive("missing/$DeadLetterQueue")
    narrow = bus_brokers(connection_string=bus.connection_string("q", rights=[LISTEN]))
    with pytest.raises(PermissionDeniedError, match="'q': the credential may not"):
        narrow.send("q", Message(body=b"x"))


def test_a_signature_that_has_ended_says_when(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    for seconds, ended in ((-3600, True), (3600, False)):
        text = bus.connection_string("q", signature_for=seconds)
        if not ended:
            text = text.replace("sig=", "sig=a")
        with pytest.raises(AuthenticationError) as caught:
            bus_brokers(connection_string=text).send("q", Message(body=b"x"))
        assert ("the signature has ended at 20" in str(caught.value)) is ended


def test_opening_waits_for_answers_only(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    """The SDK sleeps between the answers, half a second for each connection, which adds up for sessions."""
    began = time.monotonic()
    for _ in range(40):
        with open_bus(bus) as broker:
            broker.send("q", Message(body=b"x"))
    assert time.monotonic() - began < 16  # of at least 20 s that the sleeps would take
