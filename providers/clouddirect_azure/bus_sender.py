"""`Sender`: sends to one queue or topic over one connection. `Senders`: those of one queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from azure.servicebus import ServiceBusMessage, ServiceBusSender

from clouddirect.errors import CloudDirectError, TimeoutError, TooLargeError, UnavailableError
from clouddirect_azure.bus_line import Line
from clouddirect_azure.bus_message import BATCH_OVERHEAD
from clouddirect_azure.bus_receiver import IDLE_CHECK, IDLE_LIMIT
from clouddirect_azure.bus_worker import GRACE, Worker

__all__ = ["Limits", "Sender", "Senders"]


class Limits:
    """The sizes that a queue accepts, in bytes: of a message, and of all messages of a batch together.

    They are assumed until the first link has told them.
    """

    def __init__(self, assumed: int) -> None:
        """``assumed`` is for one message and for a batch."""
        self.message = assumed
        self.batch = assumed - BATCH_OVERHEAD

    def learn(self, message: int, batch: int) -> None:
        """Take what a link has told; ``batch`` is for the batch as a whole."""
        self.message, self.batch = message, batch - BATCH_OVERHEAD


class Sender(Worker):
    """One link to send by, reopened when it was lost."""

    def __init__(
        self,
        name: str,
        connect: Callable[[], ServiceBusSender],
        translate: Callable[[BaseException], CloudDirectError],
        limits: Limits,
    ) -> None:
        """``connect`` makes the SDK's object, unopened."""
        super().__init__(name)
        self._connect = connect
        self._translate = translate
        self._limits = limits
        self._line: Line | None = None
        self._turn = threading.RLock()  # held by whoever uses the line
        self._overdue: float | None = None  # when a send in its caller's thread must have ended

    def send(self, messages: Sequence[ServiceBusMessage], timeout: float) -> None:
        """Send messages as one atomic batch, or one message by itself; return when the service has stored them.

        Raises:
            CloudDirectError: they were not confirmed; ``maybe_sent`` says whether they may be stored nevertheless.
        """
        ends = time.monotonic() + timeout
        try:
            if not self._send_here(messages, ends):
                self.call(lambda: self._send(messages, ends), timeout)
        except TimeoutError as error:
            error.maybe_sent = error.maybe_sent or error.code == "silent"
            raise

    def open(self, timeout: float) -> None:
        """Open the link if it is not; so existence and rights are known."""
        self.call(self._open, timeout)

    def abort(self) -> None:
        """Break the connection."""
        line = self._line
        if line is not None:
            line.abort()

    def _send_here(self, messages: Sequence[ServiceBusMessage], ends: float) -> bool:
        """Send in the caller's own thread, if the line is open and in use; returns whether it was.

        That saves two changes of thread for each send. The worker's thread watches over it meanwhile: only reads and
        writes of the socket can last, and those it can break.
        """
        line = self._line
        if line is None or line.idle > IDLE_CHECK:
            return False
        if not self._turn.acquire(timeout=max(0.0, ends - time.monotonic())):
            self.kill()
            raise TimeoutError("the connection had to be given up; nothing was sent", code="busy")
        try:
            if self._line is not line or self.dead:
                return False
            self._overdue = ends + GRACE
            try:
                self._send_by(line, messages, ends)
            except CloudDirectError as error:
                if self.dead and error.maybe_sent:
                    raise TimeoutError(
                        "Service Bus did not answer in time; the connection was given up", code="silent"
                    ) from error
                raise
            except BaseException:
                self._drop()  # Ctrl-C, say: a frame may have been cut in two
                raise
            finally:
                self._overdue = None
        finally:
            self._turn.release()
        return True

    # -- the worker's thread --------------------------------------------------------------------------------

    def look_after(self) -> None:
        """Look for a lost link, close one that has not been used for long, and break one whose send overruns."""
        if not self._turn.acquire(blocking=False):
            overdue = self._overdue
            if overdue is not None and time.monotonic() > overdue:
                self.kill()
            return
        try:
            line = self._line
            if line is None:
                return
            try:
                line.look()
            except Exception:
                self._drop()
                raise
            if line.idle > IDLE_LIMIT:
                self.shut()
        finally:
            self._turn.release()

    def shut(self) -> None:
        """Close the connection."""
        with self._turn:
            line, self._line = self._line, None
            if line is not None:
                line.close()

    def _drop(self) -> None:
        self._quietly(self.shut)

    def _open(self) -> None:
        with self._turn:
            self._opened()

    def _opened(self) -> Line:
        if self._line is not None and self._line.idle > IDLE_CHECK:
            self._quietly(self.look_after)
        if self._line is None:
            line = Line(self._connect())
            self._line = line  # so that it can be aborted while it opens
            try:
                line.open()
            except Exception as error:  # noqa: BLE001 - translated
                self._drop()
                translated = self._translate(error)
                raise translated from translated.__cause__
            self._limits.learn(*line.limits())
        self._line.used = time.monotonic()
        return self._line

    def _send(self, messages: Sequence[ServiceBusMessage], ends: float) -> None:
        with self._turn:
            self._send_by(self._opened(), messages, ends)

    def _send_by(self, line: Line, messages: Sequence[ServiceBusMessage], ends: float) -> None:
        sdk: ServiceBusSender = line.sdk
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("connecting took all the time there was; nothing was sent", code="late")
        try:
            if len(messages) == 1:
                sdk.send_messages(messages[0], timeout=left)
            else:
                batch = sdk.create_message_batch()
                for message in messages:
                    batch.add_message(message)
                sdk.send_messages(batch, timeout=left)
        except Exception as failure:  # noqa: BLE001 - translated
            error = self._translate(failure)
            if isinstance(error, (UnavailableError, TimeoutError)):
                error.maybe_sent = True
                self._drop()
            elif isinstance(error, TooLargeError) and len(messages) > 1:
                error.message = f"the batch of {len(messages)} messages is larger than the queue permits"
            raise error from error.__cause__
        line.used = time.monotonic()


class Senders:
    """The senders of one queue. Each call has one to itself; the one used last is used first."""

    def __init__(self, make: Callable[[], Sender], most: int) -> None:
        """``make`` makes a sender, unopened; there are at most ``most``."""
        self._make = make
        self._most = most
        self._condition = threading.Condition()
        self._idle: list[Sender] = []
        self._all: list[Sender] = []
        self._closed = False

    def send(self, messages: Sequence[ServiceBusMessage], timeout: float) -> None:
        """Send by an idle sender, a new one, or, when all are busy, the next that gets idle; see `Sender.send`."""
        self.use(lambda sender, left: sender.send(messages, left), timeout)

    def use(self, work: Callable[[Sender, float], None], timeout: float) -> None:
        """Let ``work`` have a sender to itself, and the seconds that are left of ``timeout``."""
        ends = time.monotonic() + timeout
        sender = self._borrow(ends)
        try:
            work(sender, max(0.001, ends - time.monotonic()))
        finally:
            with self._condition:
                if sender.dead:
                    self._all.remove(sender)
                else:
                    self._idle.append(sender)
                self._condition.notify()

    def close(self, timeout: float) -> None:
        """Close all connections, within ``timeout`` seconds."""
        ends = time.monotonic() + timeout
        with self._condition:
            self._closed = True
            everyone = list(self._all)
            self._condition.notify_all()
        for sender in everyone:
            sender.end(max(0.1, ends - time.monotonic()))

    def _borrow(self, ends: float) -> Sender:
        with self._condition:
            while not self._closed:
                if self._idle:
                    return self._idle.pop()
                if len(self._all) < self._most:
                    sender = self._make()
                    self._all.append(sender)
                    return sender
                left = ends - time.monotonic()
                if left <= 0:
                    raise TimeoutError("all connections to the queue were busy; nothing was sent", code="busy")
                self._condition.wait(left)
        raise UnavailableError("the broker is being closed; nothing was sent", code="closed", retryable=False)
