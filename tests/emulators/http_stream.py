"""HTTP/1.1 framing on a socket: heads, and bodies piece by piece as they come. After RFC 9112."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["Head", "HttpStream", "body_framing"]

#: How a body ends: after so many bytes, with a last chunk, or with the connection.
Framing = int | str

PIECE = 64 << 10


@dataclass(frozen=True, slots=True)
class Head:
    """A request's or response's head: its first line, its headers by lower-case name, and all of it as it came."""

    first: str
    headers: Mapping[str, str]
    raw: bytes

    def without(self, name: str) -> bytes:
        """The head as it came, less the header with this lower-case name."""
        if name not in self.headers:
            return self.raw
        lines = self.raw.split(b"\r\n")
        return b"\r\n".join(line for line in lines if not line.lower().startswith(name.encode() + b":"))

    def framing(self, method: str) -> Framing:
        """How the body of a response to ``method`` ends."""
        status = self.first.split(" ")[1]
        if method == "HEAD" or status in ("204", "304"):
            return 0
        if "transfer-encoding" not in self.headers and "content-length" not in self.headers:
            return "close"
        return body_framing(self.headers)


def body_framing(headers: Mapping[str, str]) -> Framing:
    """How the body of a request with these headers ends."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return "chunked"
    return int(headers.get("content-length", "0"))


class HttpStream:
    """One side of a connection. Reading raises OSError when the peer goes away in the middle of something."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._buffer = b""

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def is_closed(self) -> bool:
        """Whether the peer has closed an idle connection."""
        if self._buffer:
            return False
        try:
            readable, _, _ = select.select([self.socket], [], [], 0)
            return bool(readable) and not self.socket.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True

    def head(self) -> Head | None:
        """Read a head; None when the peer has closed the connection before one."""
        while b"\r\n\r\n" not in self._buffer:
            piece = self.socket.recv(PIECE)
            if not piece:
                return None
            self._buffer += piece
        raw, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return Head(first, headers, raw + b"\r\n\r\n")

    def body(self, framing: Framing) -> Iterator[tuple[bytes, bool]]:
        """Read a body; yields what came, and whether it is content (framing otherwise)."""
        if framing == "chunked":
            yield from self._chunks()
        elif framing == "close":
            while piece := self._some(PIECE):
                yield piece, True
        else:
            yield from self._counted(int(framing))

    def _chunks(self) -> Iterator[tuple[bytes, bool]]:
        while True:
            line = self._line()
            yield line, False
            size = int(line.split(b";")[0], 16)
            if not size:
                break
            yield from self._counted(size)
            yield self._line(), False
        while True:  # trailers, up to an empty line
            line = self._line()
            yield line, False
            if line == b"\r\n":
                return

    def _counted(self, size: int) -> Iterator[tuple[bytes, bool]]:
        while size:
            piece = self._some(min(size, PIECE))
            if not piece:
                raise ConnectionError("the body ended early")
            size -= len(piece)
            yield piece, True

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            piece = self.socket.recv(PIECE)
            if not piece:
                raise ConnectionError("the connection ended in the middle of a line")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line + b"\r\n"

    def _some(self, most: int) -> bytes:
        if self._buffer:
            piece, self._buffer = self._buffer[:most], self._buffer[most:]
            return piece
        return self.socket.recv(most)
