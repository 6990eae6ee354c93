"""`TcpLine`: a TCP proxy that cuts, stalls, refuses, throttles and delays what goes by, whatever it is."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from emulators.sockets import Listener, Pace

__all__ = ["TcpLine"]


class TcpLine:
    """A line from a port of its own to ``port``, both on 127.0.0.1. Use it in a ``with`` statement.

    Attributes:
        port: where clients connect.
        rate: bytes a second in each direction of each connection; None for no limit. Given at the beginning it also
            keeps the buffers small, as a slow line's are.
        latency: seconds by which every piece is held back in each direction.
        connections: how many connections have been accepted.
    """

    def __init__(self, port: int, *, rate: float | None = None, latency: float = 0.0) -> None:
        self._target = port
        self.rate = rate
        self.latency = latency
        self.connections = 0
        self._refusing = False
        self._moving = threading.Event()
        self._moving.set()
        self._listener = Listener(self._serve, buffer=None if rate is None else 128 << 10)
        self.port = self._listener.port

    def cut(self) -> None:
        """Break every open connection; new ones are accepted at once."""
        self._listener.cut()

    def stall(self) -> None:
        """Move nothing any more, in either direction; new connections are accepted and silent."""
        self._moving.clear()

    def resume(self) -> None:
        """Move bytes again, those that were held back first."""
        self._moving.set()

    def refuse(self) -> None:
        """Break new connections as soon as they are made."""
        self._refusing = True

    def accept(self) -> None:
        """Take new connections again."""
        self._refusing = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._moving.set()
        self._listener.close()

    def _serve(self, client: socket.socket) -> None:
        self.connections += 1
        if self._refusing:
            self._listener.snap(client)
            return
        server = self._listener.hold(socket.create_connection(("127.0.0.1", self._target), timeout=10))
        server.settimeout(None)
        back = threading.Thread(target=self._pump, args=(server, client), name="line", daemon=True)
        back.start()
        self._pump(client, server)
        back.join()
        self._listener.drop(server)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        pace = Pace(self.rate)
        with contextlib.suppress(OSError):
            while piece := source.recv(pace.piece()):
                if self.latency:
                    self._listener.closed.wait(self.latency)
                pace.rate = self.rate
                pace.wait(len(piece), self._listener.closed)
                self._moving.wait()
                target.sendall(piece)
        self._listener.end(source, target)
