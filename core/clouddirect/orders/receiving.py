"""`ResultReceiver`: the receiving half of the client: events, results and shared images."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from clouddirect.errors import CloudDirectError, InvalidMessageError
from clouddirect.orders.inbox import Inbox
from clouddirect.orders.incoming import Incoming, Once, give_back, read_or_put_aside
from clouddirect.orders.ledger import Ledger
from clouddirect.orders.models import Event, OrderResult, read_event, read_result
from clouddirect.orders.shared_images import SavedImage, fetch_image, list_images
from clouddirect.retry import Interrupt

if TYPE_CHECKING:
    from clouddirect.messaging import Consumer, ConsumerOptions, Delivery
    from clouddirect.orders.connections import Connections
    from clouddirect.storage import StoredFile

__all__ = ["ResultReceiver"]

log = logging.getLogger("clouddirect.orders")
T = TypeVar("T", Event, OrderResult)

#: How long `run`, and `events` and `results`, wait for the end of a copy that is handled elsewhere, in seconds, and how
#: often they look. The iterators have one message at a time, and somebody who waits for the next.
_COPY_PATIENCE, _COPY_PATIENCE_ALONE, _COPY_LOOK = 120.0, 30.0, 0.5

#: How long one poll of `events` and `results` waits, in seconds; they look for a reason to end in between.
_POLL = 20.0


class ResultReceiver:
    """What `CloudDirect` receives."""

    inbox: Inbox
    _connections: Connections
    _ledger: Ledger | None
    _stopping: Interrupt

    def events(self, *, timeout: float | None = None, once: bool = False) -> Iterator[Incoming[Event]]:
        """Yield the events as they arrive; end when none came for ``timeout`` seconds (None: never).

        One that cannot be read is dead-lettered with the reason and skipped. Use each as a context manager: see
        `Incoming`. For many at once, see `run`, which also sits out an outage. With ``once``, what the inbox knows to
        have been handled is acknowledged and skipped: see `run`.

        Raises:
            CloudDirectError: from the iterator, which is at its end then: the queue cannot be received from, or could
                not for as long as the retry policy permits. Nothing is lost; call again.
        """
        return self._incoming("events", read_event, timeout, once)

    def results(self, *, timeout: float | None = None, once: bool = False) -> Iterator[Incoming[OrderResult]]:
        """Yield the results as they arrive; like `events`."""
        return self._incoming("results", read_result, timeout, once)

    def run(
        self,
        on_event: Callable[[Event], object] | None = None,
        on_result: Callable[[OrderResult], object] | None = None,
        *,
        concurrency: int = 4,
        max_deliveries: int = 10,
        once: bool = False,
    ) -> None:
        """Handle events and results until `stop` is called or the program is interrupted (Ctrl-C).

        A handler that returns has handled the message; one that raises gets it again later, with growing delays, and
        after ``max_deliveries`` deliveries it is dead-lettered. Handlers run in up to ``concurrency`` threads for
        each queue. Stopping lets running handlers finish and gives back the rest.

        With ``once``, the inbox notes in ``data_dir`` what has been handled, by its TransactionId, and repeats are
        acknowledged without a handler being called: each message is handled effectively once. A process that dies
        between a handler's end and the note handles that message again; see `Inbox.transaction` for what rules that
        out.

        Raises:
            CloudDirectError: a queue cannot be received from, for a reason that does not pass.
        """
        from clouddirect.messaging import ConsumerOptions

        options = ConsumerOptions(max_deliveries=max_deliveries)
        ended = Interrupt(self._connections.clock)
        consumers: list[Consumer] = []
        try:
            if on_event is not None:
                consumers.append(self._consume("events", read_event, on_event, concurrency, options, once, ended))
            if on_result is not None:
                consumers.append(self._consume("results", read_result, on_result, concurrency, options, once, ended))
            while consumers and not self._stopping.wait(0.2):
                if any(consumer.wait(0) for consumer in consumers):
                    return
        finally:
            ended.set()
            for consumer in consumers:
                consumer.begin_stop()
            for consumer in consumers:
                consumer.stop()

    def shared_images(self, prefix: str = "") -> Iterator[StoredFile]:
        """Yield the images that IRIS shared, in the order of their keys, with media type and metadata.

        Raises:
            CloudDirectError: from the iterator: the store cannot be listed or read.
        """
        return list_images(self._connections.store("shared_images").store, prefix)

    def fetch_shared_image(self, key: str, directory: str | os.PathLike[str], *, replace: bool = False) -> SavedImage:
        """Download a shared image into ``directory``, verified and whole or not at all, with its metadata beside it.

        The file is called after its key, with whatever a file system does not permit replaced by ``_``. The image is
        ``NAME`` and its metadata ``NAME.json``: ``{"key", "content_type", "metadata"}``. Where either is of another
        image, the name gets a number.

        Raises:
            AlreadyExistsError: the file is there already, and ``replace`` is false.
            CloudDirectError: the image cannot be read or saved.
        """
        store = self._connections.store("shared_images").store
        return fetch_image(store, key, Path(directory), replace=replace)

    def stop(self) -> None:
        """End `run`, `events` and `results`, for good: a client that was stopped sends, but receives nothing more.

        May be called from a handler or a signal handler.
        """
        self._stopping.set()

    # -- inside ---------------------------------------------------------------------------------------------

    def _incoming(
        self, endpoint: str, read: Callable[[bytes], T], timeout: float | None, once: bool
    ) -> Iterator[Incoming[T]]:
        queue, clock = self._connections.queue(endpoint), self._connections.clock
        ends = None if timeout is None else clock.monotonic() + timeout
        while not self._stopping.is_set():
            left = _POLL if ends is None else max(0.0, ends - clock.monotonic())
            # one at a time: what waits here unseen would run out of its lease
            with queue.broker.inside:  # `take` rather than `receive`, so that `stop` ends the wait at once
                deliveries = queue.broker.take(queue.name, 1, min(left, _POLL), None, self._stopping)
            for delivery in deliveries:
                value = self._read(delivery, read)
                if value is None:
                    continue
                begun = self._begin(value, delivery) if once else None
                if begun is not None or not once:
                    yield Incoming(value, delivery, begun)
            if deliveries:
                ends = None if timeout is None else clock.monotonic() + timeout
            elif ends is not None and clock.monotonic() >= ends:
                return

    def _begin(self, value: Event | OrderResult, delivery: Delivery) -> Once | None:
        ends = self._connections.clock.monotonic() + _COPY_PATIENCE_ALONE

        def again(key: str) -> bool:
            if self.inbox.has_begun(key):  # it may be for whoever asks for the next message to finish it
                return False
            delivery.keep_lease()
            return not self._stopping.wait(_COPY_LOOK) and self._connections.clock.monotonic() < ends

        try:
            begun = Once.begin(self.inbox, value, delivery, again)
            if begun is not None:
                delivery.stop_keeping()
            return begun
        except CloudDirectError:
            give_back(delivery)  # who calls again shall not have to wait for the end of its lease
            raise

    def _consume(
        self,
        endpoint: str,
        read: Callable[[bytes], T],
        handler: Callable[[T], object],
        concurrency: int,
        options: ConsumerOptions,
        once: bool,
        ended: Interrupt,
    ) -> Consumer:
        queue, clock = self._connections.queue(endpoint), self._connections.clock

        def handle(delivery: Delivery) -> None:
            value = self._read(delivery, read)
            if value is None:
                if delivery.settled is None:  # returning would ack it, and with that lose it
                    raise InvalidMessageError("the message cannot be read, and could not be dead-lettered either")
                return
            if not once:
                handler(value)
                return
            ends = clock.monotonic() + _COPY_PATIENCE

            def again(key: str) -> bool:
                return not ended.wait(_COPY_LOOK) and clock.monotonic() < ends

            if (begun := Once.begin(self.inbox, value, delivery, again, hold=True)) is not None:
                try:
                    handler(value)
                except BaseException:
                    begun.note(handled=False)
                    raise
                begun.note(handled=True)

        return queue.broker.consume(queue.name, handle, concurrency, options)

    def _read(self, delivery: Delivery, read: Callable[[bytes], T]) -> T | None:
        value = read_or_put_aside(delivery, read)
        if value is not None:
            self._enter_arrived(value, delivery)
        return value

    def _enter_arrived(self, value: Event | OrderResult, delivery: Delivery) -> None:
        """Enter what has come in the ledger, if there is one."""
        if self._ledger is None:
            return
        try:
            self._ledger.event(value) if isinstance(value, Event) else self._ledger.result(value)
        except CloudDirectError as error:  # what is tracked matters less than what has come
            log.error("message %s is missing in the ledger: %s", delivery.message.id, error)
