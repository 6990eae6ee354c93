"""`Crew`: a few threads that work on one transfer while its caller's thread reads, counts and tells."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from clouddirect.storage.transfer import Transfer

__all__ = ["Crew"]


def _idle() -> bool:
    return False


class Crew:
    """At most ``size`` tasks at once. All methods are called by the transfer's own thread, which alone calls the
    progress callback.

    Use it as a context manager: leaving it by an exception cancels the transfer; leaving it waits for the threads.
    """

    def __init__(self, transfer: Transfer, size: int, meanwhile: Callable[[], bool] = _idle) -> None:
        """``meanwhile`` is called while there is nothing else to do; it returns whether it did something."""
        self._transfer = transfer
        self._size = size
        self._meanwhile = meanwhile
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="clouddirect-transfer")
        self._condition = threading.Condition()
        self._running = 0
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._transfer.cancel()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def give(self, task: Callable[[], object]) -> None:
        """Wait until a thread is free, then give it ``task``; raises what an earlier task raised."""
        self._until(lambda: self._running < self._size)
        with self._condition:
            self._running += 1
        self._threads.submit(self._run, task)

    def finish(self) -> None:
        """Wait until all tasks are done; raises what one of them raised."""
        self._until(lambda: not self._running)
        self._transfer.progress.tell()

    def moved(self) -> None:
        """A task made progress: have it told."""
        with self._condition:
            self._condition.notify_all()

    def _run(self, task: Callable[[], object]) -> None:
        error: BaseException | None = None
        try:
            task()
        except BaseException as problem:  # noqa: BLE001 - handed to the caller's thread, which raises it
            error = problem
        with self._condition:
            self._running -= 1
            self._error = self._error or error
            self._condition.notify_all()

    def _until(self, reached: Callable[[], bool]) -> None:
        while True:
            self._transfer.progress.tell()
            busy = self._meanwhile()
            with self._condition:
                if self._error is not None:
                    raise self._error
                if reached():
                    return
                self._transfer.check()
                if not busy and not self._transfer.progress.pending:
                    self._transfer.clock.wait(self._condition, self._transfer.left())
