"""What both lines share: a listener with its connections, and pacing."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

__all__ = ["Listener", "Pace", "reset"]

PIECE = 256 << 10


class Pace:
    """Lets through ``rate`` bytes a second; None lets all through. Threads may share one."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate
        self._lock = threading.Lock()
        self._free = 0.0

    def wait(self, size: int, until: threading.Event) -> None:
        """Wait for the turn of ``size`` bytes, or until the event is set."""
        if self.rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now) + size / self.rate
            left = self._free - now
        until.wait(left)

    def piece(self) -> int:
        """How many bytes to take at a time, so that they flow rather than jump."""
        return PIECE if self.rate is None else max(1024, min(PIECE, int(self.rate / 20)))


def reset(connection: socket.socket) -> None:
    """Break a connection: the peer's next call fails, instead of seeing an orderly end."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RD)  # wakes the threads that read from it, and tells the peer nothing
    connection.close()


class Listener:
    """Accepts connections on a port of 127.0.0.1 and gives each to a thread of its own."""

    def __init__(self, serve: Callable[[socket.socket], None], port: int = 0, buffer: int | None = None) -> None:
        self._serve = serve
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.closed = threading.Event()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if buffer is not None:  # else the system's buffers swallow megabytes before a sender feels the pace
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self._socket.bind(("127.0.0.1", port))
        self._socket.listen(128)
        self.port: int = self._socket.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="line", daemon=True)
        self._acceptor.start()

    def hold(self, connection: socket.socket) -> socket.socket:
        """Remember a connection, to be broken by `cut` and `close`."""
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open.add(connection)
        return connection

    def end(self, *connections: socket.socket) -> None:
        """End connections in an orderly way, those excepted that are broken already."""
        for connection in connections:
            with self._lock, contextlib.suppress(OSError):
                if connection in self._open:
                    connection.shutdown(socket.SHUT_RDWR)

    def drop(self, connection: socket.socket) -> None:
        """End a connection, close it and forget it."""
        self.end(connection)
        with self._lock:
            self._open.discard(connection)
        connection.close()

    def snap(self, *connections: socket.socket) -> None:
        """Break these connections."""
        with self._lock:
            self._open.difference_update(connections)
        for connection in connections:
            reset(connection)

    def cut(self) -> None:
        """Break every connection that is open now."""
        with self._lock:
            found, self._open = self._open, set()
        for connection in found:
            reset(connection)

    def close(self) -> None:
        """Accept no more, break what is open and wait for the threads."""
        self.closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._acceptor.join(10)
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while not self.closed.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._run, args=(self.hold(connection),), name="line", daemon=True)
            self._threads = [one for one in self._threads if one.is_alive()] + [thread]
            thread.start()

    def _run(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # a peer that goes away ends the connection, nothing else
            self._serve(connection)
        self.drop(connection)
