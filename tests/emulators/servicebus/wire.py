"""A TCP or TLS connection: bytes in and out, plain or inside WebSocket frames, and what faults do to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from .websocket import HandshakeError, WebSocket

__all__ = ["Listener", "Wire"]


class Listener(Protocol):
    """Who reads a wire."""

    def begun(self) -> None:
        """Learn that the peer speaks."""

    def feed(self, data: bytes) -> None:
        """Take bytes as they come."""

    def lost(self) -> None:
        """Learn that the connection is gone."""


class Wire(asyncio.Protocol):
    """One connection. Its first bytes decide: ``AMQP`` is a protocol header, ``GET `` a WebSocket; others close it.

    What is written goes out at the end of the event loop's turn, in one piece.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, listen: Callable[[Wire], Listener]) -> None:
        self._loop = loop
        self._listener = listen(self)
        self._transport: asyncio.Transport | None = None
        self._websocket: WebSocket | None = None
        self._first = b""
        self._has_begun = False
        self._is_silent = False
        self._held: bytes | None = None
        self._out: list[bytes] = []

    # ---- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._out.clear()
        self._listener.lost()

    def data_received(self, data: bytes) -> None:
        if self._is_silent or self._transport is None:
            return
        if not self._has_begun:
            data = self._first = self._first + data
            if len(data) < 4:
                return
            if not self._recognise(data[:4]):
                self.abort()
                return
        if self._websocket is not None:
            try:
                data, answer = self._websocket.feed(data)
            except HandshakeError:
                self.abort()
                return
            if answer:
                self._put(answer)
            if self._websocket.is_closed:
                self.close()
                return
        self._hand_on(data)

    def _recognise(self, first: bytes) -> bool:
        self._has_begun = True
        if first == b"GET ":
            self._websocket = WebSocket()
        elif first != b"AMQP":
            return False
        self._listener.begun()
        return True

    def _hand_on(self, data: bytes) -> None:
        if self._held is not None:
            self._held += data
        elif data and not self._is_silent:
            self._listener.feed(data)

    # ---- what the AMQP engine calls

    def write(self, data: bytes) -> None:
        """Send bytes soon."""
        self._put(data if self._websocket is None else self._websocket.wrap(data))

    def mark(self) -> int:
        """Return a place in what is waiting to go out."""
        return len(self._out)

    def take_back(self, mark: int) -> None:
        """Do not send what was written since ``mark``."""
        del self._out[mark:]

    def flush(self) -> None:
        """Send what is waiting."""
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def hold(self, seconds: float) -> None:
        """Hand nothing on that comes within the next ``seconds``, but afterwards."""
        self._held = b""

        def let_go() -> None:
            held, self._held = self._held or b"", None
            if self._transport is not None:
                self._hand_on(held)

        self._loop.call_later(seconds, let_go)

    def silence(self) -> None:
        """Read and write nothing from now on; the connection stays."""
        self.flush()
        self._is_silent = True

    def close(self) -> None:
        """Send what is waiting, and end the connection."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Reset the connection; what is waiting is lost."""
        self._out.clear()
        if self._transport is not None:
            self._transport.abort()

    def _put(self, data: bytes) -> None:
        if self._is_silent or self._transport is None:
            return
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(data)
