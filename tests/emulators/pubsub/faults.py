"""Faults on demand, by RPC: what a test orders happens to the next calls of that RPC.

server.faults.add("Publish", Status(StatusCode.UNAVAILABLE), times=2)
server.faults.add("Acknowledge", Drop(applied=True))       # the work is done, the answer is lost
server.faults.add("StreamingPull", CutStream(after=10))    # ends the stream after ten messages
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from .refusals import Refusal

__all__ = ["CutStream", "Delay", "Drop", "Fault", "Faults", "Stall", "Status"]


@dataclass(frozen=True)
class Status:
    """Answer with this status in place of doing anything."""

    code: grpc.StatusCode
    message: str = "a fault that the test ordered"


@dataclass(frozen=True)
class Delay:
    """Wait so many seconds, then serve the call."""

    seconds: float


@dataclass(frozen=True)
class Stall:
    """Do not answer until `Faults.release`, then serve the call. A caller with a deadline gives up before."""


@dataclass(frozen=True)
class Drop:
    """Lose the call as a broken connection does: the caller gets UNAVAILABLE.

    ``applied``: whether the server had done the work before.
    """

    applied: bool = False


@dataclass(frozen=True)
class CutStream:
    """End a streaming pull in the middle, after so many messages, as a broken connection does."""

    after: int
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE


Fault = Status | Delay | Stall | Drop | CutStream


class Faults:
    """The faults that are ordered. Tests call it from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ordered: dict[str, deque[tuple[Fault, Callable[[Any], bool] | None]]] = defaultdict(deque)
        self._released = threading.Event()

    def add(self, rpc: str, fault: Fault, times: int = 1, when: Callable[[Any], bool] | None = None) -> None:
        """Order a fault for the next ``times`` calls of an RPC ("Publish", "Pull", "StreamingPull", …).

        Args:
            rpc: the RPC's name.
            fault: what happens.
            times: to how many calls.
            when: looks at a request and tells whether it is meant; the faults behind wait their turn.
        """
        with self._lock:
            self._released.clear()
            self._ordered[rpc].extend([(fault, when)] * times)

    def clear(self) -> None:
        """Forget what is ordered and has not happened, and let go of what is stalled."""
        with self._lock:
            self._ordered.clear()
        self.release()

    def release(self) -> None:
        """Let the stalled calls go on."""
        self._released.set()

    def pending(self, rpc: str) -> int:
        """Return how many ordered faults of an RPC have not happened yet."""
        with self._lock:
            return len(self._ordered[rpc])

    def next(self, rpc: str, request: Any) -> Fault | None:
        """Take the fault that this call meets (for the server)."""
        if rpc not in self._ordered:  # what nearly every call sees
            return None
        with self._lock:
            ordered = self._ordered[rpc]
            if not ordered or (ordered[0][1] is not None and not ordered[0][1](request)):
                return None
            return ordered.popleft()[0]

    async def before(self, fault: Fault | None) -> None:
        """Do what a fault does before the server works on a call (for the server)."""
        if isinstance(fault, Status):
            raise Refusal(fault.code, fault.message)
        if isinstance(fault, Delay):
            await asyncio.sleep(fault.seconds)
        elif isinstance(fault, Stall):
            while not self._released.is_set():
                await asyncio.sleep(0.01)
        elif isinstance(fault, Drop) and not fault.applied:
            raise broken()

    def after(self, fault: Fault | None) -> None:
        """Do what a fault does once the work is done (for the server)."""
        if isinstance(fault, Drop) and fault.applied:
            raise broken()


def broken() -> Refusal:
    """What a caller gets when its connection breaks."""
    return Refusal(grpc.StatusCode.UNAVAILABLE, "Connection reset by peer")
