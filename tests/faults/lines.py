"""The client's way to a server, on which everything that can happen to a line can be made to happen."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from emulators.http_line import HttpLine
from emulators.sockets import Listener
from emulators.tcp_line import TcpLine

__all__ = ["Route", "TurnLine"]

_PLACE = re.compile(r"(?:127\.0\.0\.1|localhost):(\d+)")
_PIECE = 256 << 10


class TurnLine:
    """A line that counts how often its client speaks, and breaks one connection at the turn that it is told.

    A turn begins when the client sends something on a new connection, or after the server has answered. With HTTP that
    is a request; with AMQP and HTTP/2, where both sides may speak at any time, about one.

    Attributes:
        port: where clients connect.
        turns: how often clients have spoken, on all connections.
        struck: set when the connection has been broken.
    """

    def __init__(self, to: int) -> None:
        self._target = to
        self._lock = threading.Lock()
        self._at = 0
        self._answered = False
        self.turns = 0
        self.struck = threading.Event()
        self._listener = Listener(self._serve)
        self.port = self._listener.port

    def cut_at(self, turn: int, *, answered: bool = False) -> None:
        """Break the connection at this turn, counted from now and 1 for the next: before the server hears of it, or,
        with ``answered``, when the server has done the work, in place of its answer."""
        with self._lock:
            self.turns, self._at, self._answered = 0, turn, answered
            self.struck.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _serve(self, client: socket.socket) -> None:
        server = self._listener.hold(socket.create_connection(("127.0.0.1", self._target), timeout=10))
        server.settimeout(None)
        talk = _Talk()
        back = threading.Thread(target=self._answer, args=(server, client, talk), name="line", daemon=True)
        back.start()
        with contextlib.suppress(OSError):
            while piece := client.recv(_PIECE):
                if self._is_the_one(talk) and not self._answered:
                    self._break(client, server)
                    break
                server.sendall(piece)
        self._listener.end(client, server)
        back.join()
        self._listener.drop(server)

    def _answer(self, server: socket.socket, client: socket.socket, talk: _Talk) -> None:
        with contextlib.suppress(OSError):
            while piece := server.recv(_PIECE):
                if talk.chosen and not self.struck.is_set():
                    self._break(client, server)
                    break
                talk.client_speaks = False
                client.sendall(piece)
        self._listener.end(server, client)

    def _is_the_one(self, talk: _Talk) -> bool:
        """Count what the client says; whether the connection breaks here."""
        with self._lock:
            if not talk.client_speaks:
                talk.client_speaks = True
                self.turns += 1
                talk.chosen = self.turns == self._at
            return talk.chosen

    def _break(self, client: socket.socket, server: socket.socket) -> None:
        self.struck.set()
        self._listener.snap(client, server)


class _Talk:
    """Whose turn it is on one connection, and whether it breaks at this one."""

    def __init__(self) -> None:
        self.client_speaks = False
        self.chosen = False


class Route:
    """The lines between the client and one server, one behind the other. Use it in a ``with`` statement.

    Attributes:
        turns: breaks a connection at a turn of the conversation.
        tcp: cuts, refuses and stalls.
        http: answers requests in the server's place; None where the server does not speak HTTP.
    """

    def __init__(self, settings: Mapping[str, Any], *, http: bool) -> None:
        """Lead to the server that the settings of an endpoint or a store name."""
        found = {int(place) for value in settings.values() if isinstance(value, str) for place in _PLACE.findall(value)}
        (self._server,) = found
        with ExitStack() as lines:
            self.http = lines.enter_context(HttpLine(self._server)) if http else None
            self.tcp = lines.enter_context(TcpLine(self.http.port if self.http else self._server))
            self.turns = lines.enter_context(TurnLine(self.tcp.port))
            self._lines = lines.pop_all()

    def through(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return settings that take this way instead of the direct one."""
        old, new = f":{self._server}", f":{self.turns.port}"
        return {name: value.replace(old, new) if isinstance(value, str) else value for name, value in settings.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
