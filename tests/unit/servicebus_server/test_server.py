"""The server as an object of a test: from any thread, more than one, started and stopped."""

from __future__ import annotations

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from azure.servicebus import ServiceBusMessage

from emulators.servicebus import AccessKey, QueueSettings, ServiceBusServer, SubscriptionSettings, TopicSettings


def test_any_thread_may_ask(start, clients):
    server = start("orders")
    sender = clients.sender(server, "orders")

    def ask(number: int) -> int:
        server.add_queue(QueueSettings(f"queue-{number}"))
        server.add_topic(TopicSettings(f"topic-{number}", [SubscriptionSettings("s")]))
        assert server.counts(f"topic-{number}/subscriptions/s").active == 0
        return server.links("orders")

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, number) for number in range(50)]
        for _ in range(50):
            sender.send_messages(ServiceBusMessage("x"))
        assert [each.result() for each in asked] == [1] * 50
    assert server.counts("orders").active == 50


def test_servers_are_apart(start, clients):
    one, two = start("orders"), start("orders")
    clients.sender(one, "orders").send_messages(ServiceBusMessage("x"))
    assert (one.counts("orders").active, two.counts("orders").active) == (1, 0)


def test_a_queue_that_is_added_again_is_empty(start, clients):
    server = start("orders")
    clients.sender(server, "orders").send_messages(ServiceBusMessage("x"))
    server.add_queue("orders")
    assert server.counts("orders").active == 0


def test_nobody_listens_when_it_has_stopped():
    with ServiceBusServer(["orders"]) as server:
        line = socket.create_connection(("127.0.0.1", server.port), timeout=10)
        line.sendall(b"AMQP\x03\x01\x00\x00")
        assert line.recv(8)
    with line, contextlib.suppress(ConnectionResetError):
        while line.recv(4096):
            pass
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), timeout=10)


def test_a_port_that_is_taken(start):
    with pytest.raises(OSError), ServiceBusServer(port=start().port):
        pass


def test_what_does_not_come_is_a_timeout(start):
    server = start("orders")
    with pytest.raises(TimeoutError, match=r"active=0.*not.*'active': 1"):
        server.wait_for_counts("orders", active=1, timeout=0.05)
    with pytest.raises(TimeoutError, match="0 links"):
        server.wait_for_links("orders", 1, timeout=0.05)


def test_connection_strings_name_the_key_that_fits(start):
    keys = [AccessKey("listen", "a", ["Listen"], entity="orders"), AccessKey("all", "b")]
    server = start("orders", keys=keys)
    begin = f"Endpoint=sb://127.0.0.1:{server.port}/;"
    assert server.connection_string() == f"{begin}SharedAccessKeyName=all;SharedAccessKey=b;UseDevelopmentEmulator=true"
    assert "SharedAccessKeyName=listen;" in server.connection_string("Orders")
    assert "SharedAccessKeyName=listen;SharedAccessKey=a;EntityPath=orders" in server.connection_string(
        "orders", rights=["Listen"]
    )
    made = server.connection_string("orders", rights=["Send"])
    assert made == server.connection_string("orders", rights=["Send"]) != server.connection_string(rights=["Send"])
    assert "SharedAccessSignature=SharedAccessSignature sr=" in server.connection_string(key="all", signature_for=60)
    with pytest.raises(KeyError):
        server.connection_string(key="nobody")
