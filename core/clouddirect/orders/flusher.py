"""`Flusher`: keeps an outbox empty, in a thread of its own, for as long as the client is open."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from clouddirect.errors import CloudDirectError
from clouddirect.forking import Forked, around_fork
from clouddirect.orders.connections import Connections
from clouddirect.orders.outbox import Destination, FlushReport, Outbox, Waiting
from clouddirect.orders.outbox_images import StoredImage, WaitingImage
from clouddirect.retry import Interrupt

if TYPE_CHECKING:
    import sqlite3

    from clouddirect.messaging import SendReceipt

__all__ = ["ClientDestination", "Flusher"]

log = logging.getLogger("clouddirect.orders")

#: Seconds between attempts while an endpoint cannot be used: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
#: Stands among the endpoints for the journal, when that cannot be read or written.
_JOURNAL = ""


class ClientDestination(Destination):
    """Sends what an outbox holds over a client's connections."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def put_image(self, image: WaitingImage, content: StoredImage) -> None:
        """Store an image under its key unless something is there."""
        store = self._connections.store("images").store
        store.put(image.key, content, content_type=image.content_type, if_absent=True)

    def send(self, endpoint: str, message_id: str, body: bytes, local_id: str | None) -> SendReceipt:
        """Send a message under this id."""
        from clouddirect.messaging import Message

        queue = self._connections.queue(endpoint)
        message = Message(body=body, id=message_id, content_type="application/json", correlation_id=local_id)
        return queue.broker.send(queue.name, message)


class Flusher(Forked):
    """Flushes an outbox whenever something was accepted, and again and again while something cannot be sent.

    The pauses grow from 1 to 60 seconds, jittered. The thread starts with the first `wake`.
    """

    def __init__(self, outbox: Outbox, connections: Connections, patience: float) -> None:
        """``patience``: seconds that `submit` waits for the confirmation."""
        self._outbox = outbox
        self._patience = patience
        self._destination = ClientDestination(connections)
        self._clock = connections.clock
        self._stopping = Interrupt(self._clock)
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wanted = self._done = 0
        self._expected: set[str] = set()
        self._receipts: dict[str, SendReceipt] = {}
        self._refusals: dict[str, CloudDirectError] = {}
        #: The endpoints that could not be used, each with how often in a row, and when it is tried again; the journal
        #: itself is the one without a name.
        self._away: dict[str, tuple[int, float]] = {}
        #: Whether sending takes longer than senders should wait.
        self._slow = False
        around_fork(self)

    def after_fork_in_child(self) -> None:
        """Go on with locks of the child's own, and with a thread of its own once something is to be sent."""
        self._condition = threading.Condition()
        stopped, self._stopping = self._stopping.is_set(), Interrupt(self._clock)
        if stopped:
            self._stopping.set()

    def wake(self) -> None:
        """Have the outbox looked at soon; an endpoint that is known to be away has a pace of its own."""
        with self._condition:
            if self._stopping.is_set():
                return
            self._wanted += 1
            if self._thread is None or not self._thread.is_alive():  # on the child's side of a fork it has ended
                self._thread = threading.Thread(target=self._run, name="clouddirect-outbox", daemon=True)
                self._thread.start()
        self._stopping.wake()

    def submit(
        self,
        endpoint: str,
        message_id: str,
        body: bytes,
        local_id: str | None,
        operation: str,
        images: Sequence[WaitingImage],
        noting: Callable[[sqlite3.Connection], object] | None = None,
    ) -> SendReceipt | None:
        """Have a message accepted by the outbox, and wait a moment for its confirmation; None if that takes longer.

        ``noting``: as for `Outbox.accept`.

        Raises:
            CloudDirectError: the outbox cannot take it; or it took it, but the broker refused it, and it is on hold.
        """
        with self._condition:
            self._expected.add(message_id)
        try:
            self._outbox.accept(
                message_id, endpoint, body, local_id=local_id, operation=operation, images=images, noting=noting
            )
        except BaseException:
            self._expected.discard(message_id)
            raise
        self.wake()
        return self._receipt(message_id, endpoint)

    def _receipt(self, message_id: str, endpoint: str) -> SendReceipt | None:
        """Wait for the confirmation; not at all if others wait already."""
        ends = self._clock.monotonic() + self._patience
        with self._condition:
            try:
                while message_id not in self._receipts and message_id not in self._refusals:
                    left = ends - self._clock.monotonic()
                    if self._away.keys() & {endpoint, _JOURNAL} or self._slow or self._stopping.is_set():
                        return None
                    if left <= 0:
                        self._slow = True  # who comes next need not wait as well
                        return None
                    self._clock.wait(self._condition, left)
                if message_id in self._refusals:
                    raise self._refusals[message_id]
                return self._receipts[message_id]
            finally:
                self._expected.discard(message_id)
                self._receipts.pop(message_id, None)
                self._refusals.pop(message_id, None)

    def stop(self, timeout: float) -> None:
        """Send what can be sent within ``timeout`` seconds, and end the thread. What is left stays in the outbox."""
        ends = self._clock.monotonic() + timeout
        if self._thread is not None and self._thread.is_alive():
            self.wake()  # another flush may have kept this one from what is waiting, and have ended since
        with self._condition:
            while self._thread is not None and self._done < self._wanted and _JOURNAL not in self._away:
                left = ends - self._clock.monotonic()
                if left <= 0:
                    break
                self._clock.wait(self._condition, left)
            thread = self._thread
        self._stopping.set()
        with self._condition:
            self._condition.notify_all()
        if thread is not None:
            thread.join(max(1.0, ends - self._clock.monotonic()))

    def join(self, timeout: float) -> None:
        """Wait for the end of a send that outlasted `stop`: what it has confirmed is to be noted."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._condition:
                target, now = self._wanted, self._clock.monotonic()
                skipped = {endpoint for endpoint, (_, until) in self._away.items() if until > now}
            report = self._flush(skipped)
            with self._condition:
                self._learn(report, skipped)
                busy = report is not None and report.busy
                self._done = self._done if busy else target
                due = min((until for _, until in self._away.values()), default=now + _LONGEST_PAUSE)
                self._condition.notify_all()
            if report is None:  # nothing can be done before the pause is over
                self._stopping.wait(max(0.0, due - self._clock.monotonic()))
            elif (
                busy
            ):  # another flush is at it, here or elsewhere; what was accepted meanwhile is a reason to look again
                self._stopping.wait_for(partial(self._is_wanted_since, target), 1.0)
            else:  # looks now and then by itself: another process may have left something when it ended
                self._stopping.wait_for(lambda: self._wanted > self._done, max(0.0, due - self._clock.monotonic()))

    def _is_wanted_since(self, target: int) -> bool:
        return self._wanted > target

    def _learn(self, report: FlushReport | None, skipped: Collection[str]) -> None:
        """Take in what a flush has told. Caller holds the lock."""
        self._slow = False
        for one, error in report.held if report else []:
            if one.message_id in self._expected:
                self._refusals[one.message_id] = _on_hold(one, error)
        failed = {_JOURNAL} if report is None else set(report.errors)
        kept = {endpoint: self._away[endpoint] for endpoint in skipped if endpoint in self._away}
        for endpoint in failed:
            failures = self._away.get(endpoint, (0, 0.0))[0] + 1
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(failures - 1, 10)) * random.uniform(0.5, 1)
            kept[endpoint] = (failures, self._clock.monotonic() + pause)
        if report is None or not report.busy:
            self._away = kept

    def _flush(self, skip: Collection[str]) -> FlushReport | None:
        try:
            return self._outbox.flush(self._destination, self._confirmed, self._stopping.is_set, skip)
        except CloudDirectError as error:
            log.error("the outbox cannot be flushed: %s", error)
        except Exception as error:  # noqa: BLE001 - the thread must live on; what it was to send is not lost
            log.error("the outbox cannot be flushed: unexpected %s", type(error).__name__)
        return None

    def _confirmed(self, message_id: str, receipt: SendReceipt) -> None:
        with self._condition:
            if message_id in self._expected:
                self._receipts[message_id] = receipt
                self._condition.notify_all()


def _on_hold(one: Waiting, error: CloudDirectError) -> CloudDirectError:
    """The same error, saying where the message is now, and what it stands in the way of."""
    told = error.copy()
    told.message = (
        f"{error.message}; it is number {one.seq} in the outbox, on hold, and what follows of the same order waits "
        "behind it: discard it, or retry it once the reason is gone"
    )
    return told
