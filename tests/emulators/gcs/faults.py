"""Faults on demand, by method and path: what a test orders happens to the next requests that match.

server.faults.add("PUT", "upload_id=", Reply(503), times=2)
server.faults.add("POST", "/upload/", LoseReply())           # the work is done, the answer is lost
server.faults.add("GET", "alt=media", CutResponse(after=100_000))
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["CutRequest", "CutResponse", "Delay", "Fault", "Faults", "LoseReply", "Reply", "Stall"]


@dataclass(frozen=True)
class Reply:
    """Answer with this status in place of doing anything."""

    status: int
    body: bytes = b"a fault that the test ordered"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Delay:
    """Wait so many seconds, then serve the request."""

    seconds: float


@dataclass(frozen=True)
class Stall:
    """Do not answer until `Faults.release`, then serve the request."""


@dataclass(frozen=True)
class LoseReply:
    """Serve the request, then break the connection in place of the answer."""


@dataclass(frozen=True)
class CutRequest:
    """Break the connection after so many bytes of the request's body; a resumable session keeps them."""

    after: int


@dataclass(frozen=True)
class CutResponse:
    """Break the connection after so many bytes of the response's body."""

    after: int


Fault = Reply | Delay | Stall | LoseReply | CutRequest | CutResponse


class Faults:
    """The faults that are ordered. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ordered: list[tuple[str, str, Fault]] = []
        self.released = threading.Event()

    def add(self, method: str, part: str, fault: Fault, times: int = 1) -> None:
        """Order a fault for the next ``times`` requests of a method whose target (path and query) contains ``part``."""
        with self._lock:
            self.released.clear()
            self._ordered.extend([(method, part, fault)] * times)

    def clear(self) -> None:
        """Forget what is ordered and has not happened, and let go of what is stalled."""
        with self._lock:
            self._ordered.clear()
        self.release()

    def release(self) -> None:
        """Let the stalled requests go on."""
        self.released.set()

    def pending(self) -> int:
        """Return how many ordered faults have not happened yet."""
        with self._lock:
            return len(self._ordered)

    def next(self, method: str, target: str) -> Fault | None:
        """Take the fault that this request meets (for the server)."""
        if not self._ordered:
            return None
        with self._lock:
            for position, (wanted, part, fault) in enumerate(self._ordered):
                if wanted == method and part in target:
                    del self._ordered[position]
                    return fault
        return None
