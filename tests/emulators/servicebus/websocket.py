"""The server's side of WebSocket (RFC 6455), as far as AMQP over WebSocket needs it.

"AMQP over WebSocket binding" names the subprotocol ``amqp``; Service Bus and its SDKs use ``AMQPWSB10`` and the path
``/$servicebus/websocket``. Bytes are bytes: AMQP frames and WebSocket frames need not begin at the same place.
"""

from __future__ import annotations

import base64
import hashlib

__all__ = ["HandshakeError", "WebSocket"]

PATH = "/$servicebus/websocket"
SUBPROTOCOLS = ("AMQPWSB10", "amqp")
_ACCEPT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_MAX_HEAD = 16 * 1024


class HandshakeError(Exception):
    """The peer does not speak WebSocket as it must; the connection is to be dropped."""


class WebSocket:
    """What one connection has received and not used yet; ``is_closed`` once the peer has sent a close frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._is_open = False
        self.is_closed = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the application's bytes in ``data``, and what is to be answered.

        Raises:
            HandshakeError: the request is no upgrade to AMQP over WebSocket, or a frame is not masked.
        """
        self._buffer += data
        answers, received = [], []
        if not self._is_open:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > _MAX_HEAD:
                    raise HandshakeError("the request's head is too long")
                return b"", b""
            answers.append(_handshake(bytes(self._buffer[:end]).decode("latin-1")))
            del self._buffer[: end + 4]
            self._is_open = True
        while (found := self._next_frame()) is not None:
            kind, payload = found
            if kind in (_BINARY, _CONTINUATION, _TEXT):
                received.append(payload)
            elif kind == _PING:
                answers.append(_frame(_PONG, payload))
            elif kind == _CLOSE:
                answers.append(_frame(_CLOSE, payload[:2]))
                self.is_closed = True
        return b"".join(received), b"".join(answers)

    def wrap(self, data: bytes) -> bytes:
        """Return ``data`` as one binary frame."""
        return _frame(_BINARY, data)

    def _next_frame(self) -> tuple[int, bytes] | None:
        """Take a whole frame (5.2) out of the buffer: its kind and its unmasked payload."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        if not buffer[1] & 0x80:
            raise HandshakeError("a client's frames are masked")
        size, start = buffer[1] & 0x7F, 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, start = int.from_bytes(buffer[2 : 2 + width], "big"), 2 + width
        end = start + 4 + size
        if len(buffer) < end:
            return None
        kind, key = buffer[0] & 0x0F, bytes(buffer[start : start + 4])
        payload = _unmask(bytes(buffer[start + 4 : end]), key)
        del buffer[:end]
        return kind, payload


def _handshake(head: str) -> bytes:
    request, *lines = head.split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    offered = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
    chosen = next((name for name in SUBPROTOCOLS if name in offered), None)
    key = headers.get("sec-websocket-key")
    method, _, rest = request.partition(" ")
    path = rest.partition(" ")[0].partition("?")[0].lower()
    if method != "GET" or path != PATH or chosen is None or key is None:
        raise HandshakeError(f"not a request for {PATH} with one of {SUBPROTOCOLS}")
    accept = base64.b64encode(hashlib.sha1((key + _ACCEPT).encode(), usedforsecurity=False).digest()).decode()
    answer = (
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
        f"Sec-WebSocket-Protocol: {chosen}",
    )
    return ("\r\n".join(answer) + "\r\n\r\n").encode()


def _frame(kind: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | kind, size))
    elif size < 1 << 16:
        head = bytes((0x80 | kind, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | kind, 127)) + size.to_bytes(8, "big")
    return head + payload


def _unmask(payload: bytes, key: bytes) -> bytes:
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")
