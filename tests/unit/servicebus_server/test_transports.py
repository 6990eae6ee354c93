"""TLS, WebSocket, and what is neither."""

from __future__ import annotations

import contextlib
import socket
import ssl

import pytest
from azure.servicebus import ServiceBusMessage, TransportType
from azure.servicebus.exceptions import ServiceBusError

from emulators.servicebus import Limits


def test_tls(start, clients, certificate, receive_one):
    server = start("orders", tls=certificate.files)
    options = {"custom_endpoint_address": server.endpoint, **certificate.options}
    client = clients.client(server, **options)
    clients.enter(client.get_queue_sender("orders")).send_messages(ServiceBusMessage("x"))
    receiver = clients.enter(client.get_queue_receiver("orders"))
    receiver.complete_message(receive_one(receiver))
    assert server.counts("orders").active == 0


def test_tls_with_an_unknown_authority_is_refused_by_the_client(start, clients, certificate):
    server = start("orders", tls=certificate.files)
    client = clients.client(
        server, custom_endpoint_address=server.endpoint, transport_type=TransportType.Amqp, retry_total=0
    )
    with pytest.raises(ServiceBusError):
        clients.enter(client.get_queue_sender("orders"))


def test_websocket_on_the_same_port(start, clients, receive_all):
    server = start("orders", limits=Limits(max_frame_bytes=1 << 20))
    options = {"custom_endpoint_address": server.endpoint, "transport_type": TransportType.AmqpOverWebsocket}
    client = clients.client(server, **options)
    sender = clients.enter(client.get_queue_sender("orders"))
    bodies = [b"", b"x" * 100, b"y" * 1000, b"z" * 200_000]  # the three forms of a frame's length
    for body in bodies:
        sender.send_messages(ServiceBusMessage(body))
    receiver = clients.enter(client.get_queue_receiver("orders"))
    received = receive_all(receiver, 4)
    assert [b"".join(message.body) for message in received] == bodies
    for message in received:
        receiver.complete_message(message)
    assert server.counts("orders").active == 0


def test_websocket_over_tls(start, clients, certificate):
    server = start("orders", tls=certificate.files)
    options = {**certificate.options, "transport_type": TransportType.AmqpOverWebsocket}
    client = clients.client(server, custom_endpoint_address=server.endpoint, **options)
    clients.enter(client.get_queue_sender("orders")).send_messages(ServiceBusMessage("x"))
    assert server.counts("orders").active == 1


def say(port: int, words: bytes) -> bytes:
    """Say something to the server and return what it says until it closes."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(words)
        with contextlib.suppress(ConnectionResetError):
            while more := line.recv(4096):
                heard += more
    return heard


@pytest.mark.parametrize(
    "words",
    [
        b"HELO there\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /$servicebus/websocket HTTP/1.1\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
        b"GET /" + b"x" * 20_000,
    ],
)
def test_what_is_not_amqp_is_hung_up_on(words, start):
    assert say(start("orders").port, words) == b""


def test_another_version_is_answered_with_the_right_one(start):
    assert say(start("orders").port, b"AMQP\x00\x00\x09\x01") == b"AMQP\x00\x01\x00\x00"


@pytest.mark.parametrize(
    "frame", [b"\x00\x00\x00\x07\x02\x00\x00\x00", b"\x00\x00\x00\x0b\x02\x00\x00\x00\x00\x53\x10"]
)
def test_a_malformed_frame_closes_with_a_decode_error(frame, start):
    assert b"amqp:decode-error" in say(start("orders").port, b"AMQP\x00\x01\x00\x00" + frame)


def test_the_certificate_is_the_servers(start, certificate):
    server = start("orders", tls=certificate.files)
    context = ssl.create_default_context(cafile=certificate.options["connection_verify"])
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as line,
        context.wrap_socket(line, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(b"AMQP\x03\x01\x00\x00")
        assert secure.recv(8) == b"AMQP\x03\x01\x00\x00"
