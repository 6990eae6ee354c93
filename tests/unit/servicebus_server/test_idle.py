"""Idle links and connections end by themselves, as the service's do."""

from __future__ import annotations

import socket

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import ServiceBusConnectionError

from emulators.servicebus import Limits
from emulators.servicebus.codec import UInt
from emulators.servicebus.protocol import AMQP_HEADER, OPEN, composite, frame


def test_an_idle_sender_is_detached(start, clients):
    server = start("orders", limits=Limits(link_idle=0.3))
    sender = clients.sender(server, "orders")
    server.wait_for_links("orders", 0)
    with pytest.raises(ServiceBusConnectionError):
        sender.send_messages(ServiceBusMessage("x"))
    sender.send_messages(ServiceBusMessage("x"))


def test_a_receiver_that_waits_is_not_idle(start, clients, receive_one):
    server = start("orders", limits=Limits(link_idle=0.3))
    receiver = clients.receiver(server, "orders", prefetch_count=1)
    assert receiver.receive_messages(1, max_wait_time=1.5) == []
    clients.sender(server, "orders").send_messages(ServiceBusMessage("x"))
    receiver.complete_message(receive_one(receiver))


def test_a_connection_without_links_is_closed(start):
    server = start("orders", limits=Limits(no_links_idle=0.2))
    assert b"inactive for more than the allowed 200 milliseconds" in open_and_wait(server.port)


def test_a_silent_connection_is_closed(start):
    server = start("orders", limits=Limits(connection_idle=0.2))
    said = open_and_wait(server.port)
    assert b"amqp:connection:forced" in said
    assert server.connections == set()


def test_the_limit_is_told_as_half(start):
    server = start("orders", limits=Limits(connection_idle=2.0, no_links_idle=0.3))
    assert b"\x70" + (1000).to_bytes(4, "big") in open_and_wait(server.port)


def test_a_client_with_a_limit_of_its_own_hears_something(start):
    server = start("orders", limits=Limits(no_links_idle=1.0))
    said = open_and_wait(server.port, idle=UInt(400))
    assert said.count(b"\x00\x00\x00\x08\x02\x00\x00\x00") >= 3


def open_and_wait(port, idle=None):
    """Open an AMQP connection and return what the server says until it closes."""
    heard = b""
    opened = composite(OPEN, ["client", None, None, None, idle])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(AMQP_HEADER + frame(0, opened))
        while more := line.recv(4096):
            heard += more
    return heard
