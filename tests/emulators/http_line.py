"""`HttpLine`: an HTTP/1.1 proxy that knows requests, so that a test says which of them suffers what.

As a process of its own, for benchmarks, with tests/ on PYTHONPATH::

    python -m emulators.http_line --to PORT [--port P] [--rate BYTES_A_SECOND] [--latency SECONDS]
"""

from __future__ import annotations

import argparse
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self
from urllib.parse import parse_qs, urlsplit

from emulators.http_stream import Head, HttpStream, body_framing
from emulators.sockets import Listener, Pace

__all__ = ["Cut", "Damage", "Fault", "HttpLine", "LoseReply", "Reply", "Request", "Stall"]

Of = Literal["request", "response"]


@dataclass(slots=True)
class Request:
    """One request that came by.

    Attributes:
        method, target: as in the request line.
        headers: by lower-case name.
        size: bytes of the body that were forwarded.
        status: what is answered, set before any of it is passed on; None if the answer was lost.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    size: int = 0
    status: int | None = None

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The target's query; the last value of each name."""
        pairs = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        return {name: values[-1] for name, values in pairs.items()}


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer without forwarding; the request's body is read first, unless the client waits for leave to send it."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Cut:
    """Break the connection after so many bytes of the body."""

    after: int
    of: Of = "request"


@dataclass(frozen=True, slots=True)
class Stall:
    """Move nothing any more after so many bytes of the body, and keep the connection open."""

    after: int
    of: Of = "request"


@dataclass(frozen=True, slots=True)
class Damage:
    """Flip the lowest bit of the body's byte at this offset."""

    offset: int
    of: Of = "request"


@dataclass(frozen=True, slots=True)
class LoseReply:
    """Forward the request, and break the connection in place of the answer."""


Fault = Reply | Cut | Stall | Damage | LoseReply


class _Broken(OSError):
    """The line broke the connection on purpose."""


class HttpLine:
    """A line from a port of its own to an HTTP server at ``to``, both on 127.0.0.1. Use it in a ``with`` statement.

    Attributes:
        port, url: where clients connect.
        rule: asked for each request when its head has come; returns what happens to it, or None.
        seen: the requests so far, in the order in which they came.
        rate: bytes of bodies a second in each direction of each connection; None for no limit.
        shared_rate: the same for all connections together.
        latency: seconds before a request is forwarded.
        bytes_up, bytes_down: bytes of bodies that were forwarded, and of what the client had sent of a broken one.
    """

    def __init__(
        self,
        to: int,
        *,
        rule: Callable[[Request], Fault | None] | None = None,
        rate: float | None = None,
        shared_rate: float | None = None,
        latency: float = 0.0,
        port: int = 0,
    ) -> None:
        self._target = to
        self.rule = rule
        self.rate = rate
        self.latency = latency
        self.seen: list[Request] = []
        self.bytes_up = 0
        self.bytes_down = 0
        self._lock = threading.Lock()
        self._shared = {"request": Pace(shared_rate), "response": Pace(shared_rate)}
        slow = rate is not None or shared_rate is not None
        self._listener = Listener(self._serve, port, buffer=256 << 10 if slow else None)
        self.port = self._listener.port
        self.url = f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break every open connection; new ones are accepted at once."""
        self._listener.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _serve(self, connection: socket.socket) -> None:
        client = HttpStream(connection)
        server: HttpStream | None = None
        try:
            while (head := client.head()) is not None:
                request = Request(*head.first.split(" ")[:2], headers=head.headers)
                with self._lock:
                    self.seen.append(request)
                fault = self.rule(request) if self.rule else None
                if isinstance(fault, Reply):
                    self._reply(client, head, request, fault)
                    continue
                if server is None or server.is_closed():
                    server = self._connect()
                if not self._exchange(client, server, head, request, fault):
                    break
        except _Broken:
            self._listener.snap(connection, *([server.socket] if server else []))
        finally:
            if server is not None:
                self._listener.drop(server.socket)

    def _connect(self) -> HttpStream:
        connection = socket.create_connection(("127.0.0.1", self._target), timeout=10)
        connection.settimeout(None)
        return HttpStream(self._listener.hold(connection))

    def _reply(self, client: HttpStream, head: Head, request: Request, reply: Reply) -> None:
        waits = head.headers.get("expect", "").lower() == "100-continue"
        if not waits:
            request.size = sum(len(raw) for raw, payload in client.body(body_framing(head.headers)) if payload)
        request.status = reply.status
        headers = {"Content-Length": str(len(reply.body)), **reply.headers}
        if waits:
            headers["Connection"] = "close"
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        body = b"" if request.method == "HEAD" else reply.body
        client.send(f"HTTP/1.1 {reply.status} Fault\r\n{lines}\r\n".encode() + body)

    def _exchange(
        self, client: HttpStream, server: HttpStream, head: Head, request: Request, fault: Fault | None
    ) -> bool:
        """Forward one request and its answer; whether the connections can be used again."""
        if self.latency:
            self._listener.closed.wait(self.latency)
        if head.headers.get("expect", "").lower() == "100-continue":
            client.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        server.send(head.without("expect"))
        whole = self._forward(client, server, request, _Flow(self, "request", fault))
        answer = server.head()
        while answer is not None and answer.first.split(" ")[1].startswith("1"):
            answer = server.head()
        if answer is None:
            return False
        if isinstance(fault, LoseReply):
            for _ in server.body(answer.framing(request.method)):
                pass
            raise _Broken
        return self._answer(client, server, answer, request, _Flow(self, "response", fault)) and whole

    def _forward(self, client: HttpStream, server: HttpStream, request: Request, flow: _Flow) -> bool:
        """Forward a request's body; whether the server took all of it."""
        flow.stop()
        for raw, payload in client.body(body_framing(request.headers)):
            passed = flow.take(raw) if payload else raw
            request.size = flow.passed
            try:
                server.send(passed)
            except OSError:  # it has answered early, and closed
                return False
            flow.stop()
        return True

    def _answer(self, client: HttpStream, server: HttpStream, answer: Head, request: Request, flow: _Flow) -> bool:
        """Forward an answer; whether the connections can be used again."""
        request.status = int(answer.first.split(" ")[1])
        client.send(answer.raw)
        flow.stop()
        framing = answer.framing(request.method)
        for raw, payload in server.body(framing):
            client.send(flow.take(raw) if payload else raw)
            flow.stop()
        return framing != "close" and answer.headers.get("connection", "").lower() != "close"

    def _count(self, of: Of, size: int) -> None:
        with self._lock:
            if of == "request":
                self.bytes_up += size
            else:
                self.bytes_down += size


class _Flow:
    """A body on its way in one direction: counted, paced and disturbed."""

    def __init__(self, line: HttpLine, of: Of, fault: Fault | None) -> None:
        self._line = line
        self._of: Of = of
        self._fault = fault if isinstance(fault, Cut | Stall | Damage) and fault.of == of else None
        self._pace = Pace(line.rate)
        self.passed = 0

    def take(self, raw: bytes) -> bytes:
        """Return what arrives of these bytes, when it is their turn."""
        fault = self._fault
        if isinstance(fault, Cut | Stall):
            raw = raw[: max(0, fault.after - self.passed)]
        elif isinstance(fault, Damage) and self.passed <= fault.offset < self.passed + len(raw):
            damaged = bytearray(raw)
            damaged[fault.offset - self.passed] ^= 1
            raw = bytes(damaged)
        self.passed += len(raw)
        self._line._count(self._of, len(raw))
        closed = self._line._listener.closed
        self._line._shared[self._of].wait(len(raw), closed)
        self._pace.wait(len(raw), closed)
        return raw

    def stop(self) -> None:
        """Break or halt here, if that is the fault and its place."""
        if isinstance(self._fault, Cut | Stall) and self.passed >= self._fault.after:
            if isinstance(self._fault, Stall):
                self._line._listener.closed.wait()
            raise _Broken


def main() -> None:
    """Run one line until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=int, required=True, help="port of the server")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; any free one by default")
    parser.add_argument("--rate", type=float, help="bytes a second, a connection and direction")
    parser.add_argument("--shared-rate", type=float, help="bytes a second of all connections together")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each request is forwarded")
    given = parser.parse_args()
    with HttpLine(
        given.to, port=given.port, rate=given.rate, shared_rate=given.shared_rate, latency=given.latency
    ) as line:
        print(line.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
