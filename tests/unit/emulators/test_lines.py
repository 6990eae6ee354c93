"""The lines with faults do what tests rely on."""

from __future__ import annotations

import http.client
import socket
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from emulators.http_line import Cut, Damage, Fault, HttpLine, LoseReply, Reply, Request, Stall
from emulators.tcp_line import TcpLine


class _Echo(BaseHTTPRequestHandler):
    """Answers with the body it got; `chunked` in the path makes it answer in chunks."""

    protocol_version = "HTTP/1.1"
    got: list[bytes]

    def do_PUT(self) -> None:
        size = int(self.headers["Content-Length"])
        body = self.rfile.read(size)
        if len(body) < size:
            raise ConnectionError("the body ended early")
        self.got.append(body)
        self.send_response(200)
        if "chunked" in self.path:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(body), 1000):
                piece = body[start : start + 1000]
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that breaks is what is tested."""


@pytest.fixture
def got() -> list[bytes]:
    return []


@pytest.fixture
def line(got: list[bytes]) -> Iterator[HttpLine]:
    handler = type("Handler", (_Echo,), {"got": got})
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with HttpLine(server.server_address[1]) as opened:
                yield opened
        finally:
            server.shutdown()
            thread.join()


def _put(line: HttpLine, body: bytes, path: str = "/x", timeout: float = 20) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", line.port, timeout=timeout)
    try:
        connection.request("PUT", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _first(fault: Fault) -> object:
    """A rule by which the first request suffers."""
    left = [fault]
    return lambda request: left.pop() if left else None


@pytest.mark.parametrize("path", ["/x", "/chunked"])
def test_what_goes_by_arrives(line: HttpLine, got: list[bytes], path: str) -> None:
    body = bytes(range(256)) * 4000
    assert _put(line, body, path) == (200, body)
    assert got == [body]
    (request,) = line.seen
    assert (request.method, request.path, request.size, request.status) == ("PUT", path, len(body), 200)
    assert (line.bytes_up, line.bytes_down) == (len(body), len(body))


def test_a_connection_is_used_again(line: HttpLine) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", line.port, timeout=20)
    for body in (b"one", b"", b"three" * 1000):
        connection.request("PUT", "/x?a=1&b=%20", body)
        assert connection.getresponse().read() == body
    connection.close()
    assert line.seen[-1].query == {"a": "1", "b": " "}


def test_a_reply_of_its_own_reaches_no_server(line: HttpLine, got: list[bytes]) -> None:
    line.rule = lambda request: Reply(503, {"Retry-After": "1"}, b"busy")
    assert _put(line, b"body") == (503, b"busy")
    assert got == []


@pytest.mark.parametrize(
    ("fault", "arrived"), [(Cut(1000), 0), (Cut(1000, "response"), 1), (LoseReply(), 1)], ids=lambda v: str(v)
)
def test_a_cut_breaks_the_connection_once(line: HttpLine, got: list[bytes], fault: Fault, arrived: int) -> None:
    line.rule = _first(fault)
    with pytest.raises((ConnectionError, http.client.IncompleteRead)):
        _put(line, b"x" * 500_000)
    assert len(got) == arrived
    assert _put(line, b"again") == (200, b"again")


@pytest.mark.parametrize("of", ["request", "response"])
def test_damage_flips_one_bit(line: HttpLine, got: list[bytes], of: str) -> None:
    line.rule = lambda request: Damage(100_000, of)
    sent = bytes(300_000)
    _, back = _put(line, sent)
    damaged = sent[:100_000] + b"\x01" + sent[100_001:]
    assert got == [damaged if of == "request" else sent]
    assert back == damaged


@pytest.mark.parametrize("of", ["request", "response"])
def test_a_stall_is_silence_on_an_open_connection(line: HttpLine, of: str) -> None:
    line.rule = lambda request: Stall(1000, of)
    with pytest.raises(TimeoutError):
        _put(line, b"x" * 10_000, timeout=0.5)


def test_rules_see_the_head(line: HttpLine) -> None:
    heads: list[Request] = []
    line.rule = lambda request: heads.append(request)
    _put(line, b"body")
    assert heads[0].headers["content-length"] == "4"


def test_leave_to_send_is_given_by_the_line(line: HttpLine, got: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", line.port), timeout=20) as client:
        client.sendall(b"PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"body")
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    assert got == [b"body"]


class _Back(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while piece := self.request.recv(1000):
            self.request.sendall(piece)


@pytest.fixture
def echo() -> Iterator[TcpLine]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Back) as server:
        server.daemon_threads = True
        server.handle_error = lambda request, address: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with TcpLine(server.server_address[1]) as opened:
                yield opened
        finally:
            server.shutdown()
            thread.join()


def _connect(line: TcpLine, timeout: float = 20) -> socket.socket:
    return socket.create_connection(("127.0.0.1", line.port), timeout=timeout)


def test_bytes_go_there_and_back(echo: TcpLine) -> None:
    with _connect(echo) as client:
        client.sendall(b"hello")
        assert client.recv(10) == b"hello"
    assert echo.connections == 1


def test_cut_breaks_what_is_open_and_takes_new_ones(echo: TcpLine) -> None:
    with _connect(echo) as client:
        client.sendall(b"hello")
        assert client.recv(10) == b"hello"
        echo.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(10)
    with _connect(echo) as client:
        client.sendall(b"again")
        assert client.recv(10) == b"again"


def test_stalled_bytes_come_when_it_goes_on(echo: TcpLine) -> None:
    echo.stall()
    with _connect(echo, timeout=0.3) as client:
        client.sendall(b"hello")
        with pytest.raises(TimeoutError):
            client.recv(10)
        client.settimeout(20)
        echo.resume()
        assert client.recv(10) == b"hello"


def test_refused_connections_break(echo: TcpLine) -> None:
    echo.refuse()
    with _connect(echo) as client, pytest.raises(ConnectionError):
        client.recv(10)
    echo.accept()
    with _connect(echo) as client:
        client.sendall(b"hello")
        assert client.recv(10) == b"hello"
