"""`Worker`: a thread that owns one connection of the SDK, whose objects may be used by one thread only.

Callers hand it jobs and wait for them with a deadline. A job that overruns it is abandoned, together with its
connection: so a server that accepts and says nothing cannot hang a call.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from clouddirect.errors import TimeoutError, UnavailableError

__all__ = ["Job", "Worker"]

T = TypeVar("T")
log = logging.getLogger("clouddirect.azure")

#: Seconds between two looks at an idle connection: for a link that the service has closed, a token that must be renewed
#: or an empty frame that is due.
TICK = 1.0
#: Seconds that a caller waits beyond a job's own deadline before it gives the connection up.
GRACE = 1.0


class Job(Generic[T]):
    """One piece of work for a worker's thread, and what came of it."""

    __slots__ = ("_abandoned", "_done", "_error", "_lock", "_result", "_then", "_work")

    def __init__(self, work: Callable[[], T], then: Callable[[], None] | None = None) -> None:
        """``work`` runs in the worker's thread; ``then`` is called once it is done, in whichever thread ended it."""
        self._work = work
        self._then = then
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._abandoned: Callable[[T], None] | None = None
        self._result: T
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do the work; called in the worker's thread."""
        try:
            result = self._work()
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is waited for
            self.fail(error)
            return
        with self._lock:
            self._result = result
            self._done.set()
            abandoned = self._abandoned
        if abandoned is not None:
            abandoned(result)
        if self._then is not None:
            self._then()

    def fail(self, error: BaseException) -> None:
        """Let the work count as failed, unless it is done."""
        with self._lock:
            if self._done.is_set():
                return
            self._error = error
            self._done.set()
        if self._then is not None:
            self._then()

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; returns whether the work is done."""
        return self._done.wait(timeout)

    def result(self) -> T:
        """Return what the work returned, or raise what it raised; only after it is done."""
        if self._error is not None:
            raise self._error
        return self._result

    def abandon(self, instead: Callable[[T], None]) -> None:
        """Give a result that nobody waits for any more to ``instead``, in whichever thread notices it."""
        with self._lock:
            self._abandoned = instead
            done = self._done.is_set() and self._error is None
        if done:
            instead(self._result)


class Worker:
    """A thread with a queue of jobs. Subclasses hold the connection and say how to look after it.

    `look_after`, `shut` and everything in jobs run in the thread, `abort` in any.
    """

    def __init__(self, name: str) -> None:
        """Start nothing yet: the thread comes with the first job and ends when the connection is closed."""
        self.name = name
        self.dead = False  # abandoned, or told to end: takes no job any more
        self._condition = threading.Condition()
        self._jobs: deque[Job[Any]] = deque()
        self._thread: threading.Thread | None = None

    # -- any thread -----------------------------------------------------------------------------------------

    def submit(self, work: Callable[[], T], then: Callable[[], None] | None = None) -> Job[T]:
        """Let ``work`` run in the thread, and call ``then`` when it is done.

        Raises:
            UnavailableError: the worker has ended.
        """
        job = Job(work, then)
        with self._condition:
            if self.dead:
                raise UnavailableError("the connection has just been closed", code="closed")
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                self._thread.start()
            else:
                self._condition.notify()
        return job

    def call(self, work: Callable[[], T], timeout: float) -> T:
        """Run ``work`` in the thread and return what it returns; within ``timeout`` seconds, which it keeps itself.

        Raises:
            TimeoutError: it overran, and the connection has been given up.
            UnavailableError: the worker has ended.
        """
        job = self.submit(work)
        if not job.wait(timeout + GRACE):
            raise self.overrun(timeout)
        return job.result()

    def overrun(self, timeout: float) -> TimeoutError:
        """Give the connection up because a job overran ``timeout`` seconds; return the error to raise."""
        self.kill()
        return TimeoutError(f"Service Bus did not answer within {timeout:.3g} s; the connection was given up",
                            code="silent")  # fmt: skip

    def kill(self) -> None:
        """Take no more jobs, fail the waiting ones and break the connection, so that the thread ends."""
        with self._condition:
            self.dead = True
            waiting, self._jobs = list(self._jobs), deque()
            self._condition.notify()
        for job in waiting:
            job.fail(UnavailableError("the connection was given up before this call's turn", code="closed"))
        self.abort()

    def end(self, timeout: float) -> None:
        """Close the connection after the jobs that wait, within ``timeout`` seconds, and end the thread."""
        with self._condition:
            self.dead = True
            thread = self._thread
            self._condition.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
            if thread.is_alive():
                self.kill()
                thread.join(GRACE)

    # -- for subclasses -------------------------------------------------------------------------------------

    def look_after(self) -> None:
        """Look at the idle connection; called every second or so."""

    def shut(self) -> None:
        """Close the connection in good order."""

    def abort(self) -> None:
        """Break the connection, which ends whatever waits for it; must not block."""

    def run_waiting(self) -> None:
        """Run the jobs that have come meanwhile; for jobs that take long."""
        while (job := self._next(0.0)) is not None:
            job.run()

    # -- inside ---------------------------------------------------------------------------------------------

    def _next(self, timeout: float) -> Job[Any] | None:
        with self._condition:
            if not self._jobs and timeout and not self.dead:
                self._condition.wait(timeout)
            return self._jobs.popleft() if self._jobs else None

    def _run(self) -> None:
        looked = time.monotonic()
        while True:
            job = self._next(TICK)
            if job is not None:
                job.run()
                continue
            if self.dead:
                break
            if time.monotonic() - looked >= TICK:
                looked = time.monotonic()
                self._quietly(self.look_after)
        self._quietly(self.shut)

    def _quietly(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - nobody waits for it; the next job opens a new connection
            log.debug("%s: the idle connection was lost (%s)", self.name, type(error).__name__)
