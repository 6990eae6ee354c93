"""The door of a broker or store: counts the calls inside, refuses new ones once closed."""

from __future__ import annotations

import threading
from types import TracebackType

from clouddirect.clock import Clock
from clouddirect.errors import ClosedError

__all__ = ["Gate"]


class Gate:
    """Enter it for the length of each public call. Closing refuses newcomers and waits for those inside."""

    def __init__(self, what: str, clock: Clock, provider: str | None = None) -> None:
        """``what`` names in errors what has been closed, such as ``this local broker``."""
        self._what = what
        self._provider = provider
        self._clock = clock
        self._condition = threading.Condition(threading.Lock())
        self._inside = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the gate refuses newcomers."""
        return self._closed

    def __enter__(self) -> None:
        with self._condition:
            if self._closed:
                raise ClosedError(f"{self._what} has been closed; open a new one", provider=self._provider)
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._condition:
            self._inside -= 1
            if self._closed and not self._inside:
                self._condition.notify_all()

    def close(self) -> bool:
        """Refuse newcomers from now on; returns False if that was so already."""
        with self._condition:
            first, self._closed = not self._closed, True
            return first

    def drain(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until nobody is inside; returns whether that came true."""
        ends = self._clock.monotonic() + timeout
        with self._condition:
            while self._inside:
                left = ends - self._clock.monotonic()
                if left <= 0:
                    return False
                self._clock.wait(self._condition, left)
            return True
