"""Ways to connect: WebSocket, proxy, custom endpoint, own authority, and every kind of credential."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import pytest

from clouddirect.errors import AuthenticationError, CloudDirectError, UnavailableError
from clouddirect.messaging import Message, MessageBroker
from clouddirect.retry import RetryPolicy
from emulators.servicebus import DEFAULT_KEY, LISTEN, SEND, BearerToken, QueueSettings, ServiceBusServer, sign
from unit.azure.bus_fixtures import BrokerMaker, Certificates, make_certificates, open_bus
from unit.azure.connect_proxy import ConnectProxy

ONCE = {"retry": RetryPolicy(max_attempts=1)}
#: The name that the service is known by; nobody resolves it, for all connect to a custom endpoint.
NAMESPACE = "acme.servicebus.windows.net"


@pytest.fixture(scope="module")
def secure(bus_certificates: Certificates) -> Iterator[ServiceBusServer]:
    """A namespace behind TLS, as the service is."""
    tls = (bus_certificates.chain, bus_certificates.key)
    tokens = [BearerToken("a-token-of-entra", rights=[SEND, LISTEN])]
    with ServiceBusServer([QueueSettings("q", lock=30)], tls=tls, tokens=tokens) as server:
        yield server


def _round_trip(broker: MessageBroker, count: int = 30) -> None:
    with broker:
        assert all(result.ok for result in broker.send_many("q", [Message(body=b"x" * 5000) for _ in range(count)]))
        got = 0
        while got < count:
            deliveries = broker.receive("q", count, wait=10)
            assert deliveries
            deliveries[0].extend(30)
            assert all(result.ok for result in broker.ack_many(deliveries))
            got += len(deliveries)
        assert broker.receive("q", wait=0) == []


def _reached(server: ServiceBusServer, certificates: Certificates) -> dict[str, Any]:
    return {"endpoint": server.endpoint.removeprefix("sb://"), "ca_file": certificates.authority}


def test_websocket_plain(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers(transport="websocket")
    broker.send("q", Message(body=b"x"))
    assert [connection._wire._websocket is not None for connection in bus.connections] == [True]
    (delivery,) = broker.receive("q", wait=10)
    delivery.ack()
    _round_trip(broker)


def test_websocket_over_tls(secure: ServiceBusServer, bus_certificates: Certificates) -> None:
    _round_trip(open_bus(secure, transport="websocket", **_reached(secure, bus_certificates)))


def test_an_ack_beside_a_waiting_receive_over_websocket_does_not_wait_for_it(
    bus: ServiceBusServer, bus_brokers: BrokerMaker
) -> None:
    broker = bus_brokers(transport="websocket", endpoint=f"127.0.0.1:{bus.port}", receivers=1)
    broker.send("q", Message(body=b"x"))
    (delivery,) = broker.receive("q", wait=10)
    waiting = threading.Thread(target=broker.receive, args=("q", 1, 20.0))
    waiting.start()
    threading.Event().wait(0.2)
    began = time.monotonic()
    delivery.ack()
    assert time.monotonic() - began < 10
    assert waiting.is_alive()
    broker.send("q", Message(body=b"x"))
    waiting.join()


@pytest.mark.parametrize("user", [None, "clinic:p%40ss"])
def test_through_a_proxy(secure: ServiceBusServer, bus_certificates: Certificates, user: str | None) -> None:
    with ConnectProxy(credentials=None if user is None else "clinic:p@ss") as proxy:
        address = f"http://{user + '@' if user else ''}127.0.0.1:{proxy.port}"
        _round_trip(open_bus(secure, proxy=address, **_reached(secure, bus_certificates)))
        assert proxy.targets
        assert set(proxy.targets) == {secure.endpoint.removeprefix("sb://")}


def test_a_proxy_that_refuses_shows_no_password(secure: ServiceBusServer, bus_certificates: Certificates) -> None:
    with ConnectProxy(credentials="clinic:right") as proxy:
        address = f"http://clinic:wr0ngpass@127.0.0.1:{proxy.port}"
        with open_bus(secure, ONCE, proxy=address, **_reached(secure, bus_certificates)) as broker:
            with pytest.raises(CloudDirectError) as caught:
                broker.send("q", Message(body=b"x"))
            import traceback

            assert "wr0ngpass" not in "".join(traceback.format_exception(caught.value))


def test_a_proxy_that_refuses_says_so(secure: ServiceBusServer, bus_certificates: Certificates) -> None:
    with ConnectProxy(credentials="clinic:right") as proxy:
        address = f"http://127.0.0.1:{proxy.port}"
        with open_bus(secure, ONCE, proxy=address, **_reached(secure, bus_certificates)) as broker:
            with pytest.raises(AuthenticationError, match="option proxy") as caught:
                broker.send("q", Message(body=b"x"))
            assert (caught.value.code, caught.value.retryable) == ("proxy-407", False)
    # the SDK logs it, with a traceback, which is not for programs that have set up no logging
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("azure.servicebus").handlers)


@pytest.mark.parametrize(
    ("answer", "code", "retryable"),
    [
        ("403 Forbidden", "proxy-403", False),
        ("503 Busy", "proxy-503", True),
        ("200 Connected\r\n\r\nHTTP/1.1 404 Elsewhere", "websocket-404", True),
    ],
)
def test_what_a_proxy_answers(bus: ServiceBusServer, bus_brokers: BrokerMaker, answer: str, code: str,
                              retryable: bool) -> None:  # fmt: skip
    """To CONNECT, or to what comes after it."""
    with http_answer(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n") as port:
        broker = bus_brokers(ONCE, proxy=f"http://127.0.0.1:{port}")
        with pytest.raises(UnavailableError) as caught:
            broker.send("q", Message(body=b"x"))
    assert (caught.value.code, caught.value.retryable) == (code, retryable)


@pytest.mark.parametrize("options", [{}, {"transport": "websocket"}, {"proxy": "http://no.such.invalid:3128"}])
def test_a_name_that_cannot_be_resolved_is_no_wrong_credential(
    bus_brokers: BrokerMaker, options: dict[str, Any]
) -> None:
    """The SDK reports it as one over WebSocket, and a consumer would end for good while the network is away."""
    string = "Endpoint=sb://no.such.invalid/;SharedAccessKeyName=name-of-a-key;SharedAccessKey=c2VjcmV0"
    with pytest.raises(UnavailableError, match="cannot be resolved") as caught:
        bus_brokers(ONCE, connection_string=string, **options).send("q", Message(body=b"x"))
    assert caught.value.retryable


def test_a_custom_endpoint_is_whom_the_certificate_is_for(tmp_path: Any) -> None:
    """The namespace's name goes into tokens and addresses; the endpoint's is what TLS checks."""
    certificates = make_certificates(tmp_path, "localhost")
    with ServiceBusServer(["q"], tls=(certificates.chain, certificates.key)) as server:
        options: dict[str, Any] = {
            "fully_qualified_namespace": NAMESPACE, "key_name": DEFAULT_KEY.name, "key": DEFAULT_KEY.key,
            "ca_file": certificates.authority,
        }  # fmt: skip
        _round_trip(open_bus(server, endpoint=f"localhost:{server.port}", **options))
        with (
            open_bus(server, ONCE, endpoint=f"127.0.0.1:{server.port}", **options) as broker,
            pytest.raises(UnavailableError, match="certificate"),
        ):
            broker.send("q", Message(body=b"x"))


def test_a_signature_alone(secure: ServiceBusServer, bus_certificates: Certificates) -> None:
    token = sign(f"sb://{NAMESPACE}/q", DEFAULT_KEY, expires=time.time() + 600)
    options = {"fully_qualified_namespace": NAMESPACE, "sas_token": token}
    _round_trip(open_bus(secure, **options, **_reached(secure, bus_certificates)))


def test_a_connection_string_with_a_signature(secure: ServiceBusServer, bus_certificates: Certificates) -> None:
    string = secure.connection_string("q", signature_for=600)
    _round_trip(open_bus(secure, connection_string=string, **_reached(secure, bus_certificates)))


@pytest.mark.parametrize(("token", "good"), [("a-token-of-entra", True), ("another", False)])
def test_microsoft_entra_id(
    secure: ServiceBusServer, bus_certificates: Certificates, monkeypatch: pytest.MonkeyPatch, token: str, good: bool
) -> None:
    """`DefaultAzureCredential` finds a managed identity, here that of an App Service, and its token is used."""
    with managed_identity(token) as address:
        monkeypatch.setenv("IDENTITY_ENDPOINT", address)
        monkeypatch.setenv("IDENTITY_HEADER", "header")
        broker = open_bus(secure, ONCE, fully_qualified_namespace=NAMESPACE, **_reached(secure, bus_certificates))
        if good:
            _round_trip(broker)
        else:
            with broker, pytest.raises(AuthenticationError) as caught:
                broker.send("q", Message(body=b"x"))
            assert not caught.value.retryable


def test_no_entra_credential_at_all(
    secure: ServiceBusServer, bus_certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    with (
        open_bus(secure, fully_qualified_namespace=NAMESPACE, **_reached(secure, bus_certificates)) as broker,
        pytest.raises(AuthenticationError, match="Entra"),
    ):
        broker.send("q", Message(body=b"x"))


@contextmanager
def http_answer(answer: str) -> Iterator[int]:
    """A port where this is answered to the first bytes of each connection."""

    class Answer(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(answer.encode())
            self.request.settimeout(10)
            with suppress(OSError):
                while self.request.recv(65536):
                    pass

    with ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@contextmanager
def managed_identity(token: str) -> Iterator[str]:
    """What an App Service offers to its programs: an address that hands out tokens of its identity."""

    class Tokens(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = {"access_token": token, "expires_on": str(int(time.time()) + 3600), "token_type": "Bearer"}
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Tokens) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/token"
        server.shutdown()
        thread.join()
