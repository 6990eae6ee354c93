"""`LocalBroker`: queues in one SQLite file, safe for many processes and threads at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from clouddirect.errors import (
    CloudDirectError,
    LeaseLostError,
    NotFoundError,
    PermissionDeniedError,
    UnsupportedError,
)
from clouddirect.messaging import (
    Access,
    BrokerRuntime,
    Capabilities,
    CheckResult,
    Message,
    MessageBroker,
    RawDelivery,
    SendReceipt,
)
from clouddirect.retry import Interrupt
from clouddirect_local import queue_send, queue_settle, queue_take
from clouddirect_local.broker_options import LocalBrokerOptions
from clouddirect_local.queue_errors import translate
from clouddirect_local.queue_file import QueueFile
from clouddirect_local.queue_schema import (
    DEAD_SUFFIX,
    MAX_SECONDS,
    Queue,
    QueueSettings,
    find_queue,
    insert_queue,
    try_writing,
)
from clouddirect_local.queue_settle import Lease
from clouddirect_local.queue_take import Moment, Outlook, Row

__all__ = ["LocalBroker", "LocalNative"]

#: Messages in one transaction. Larger ones save little: writing them takes much longer than making them durable.
_BATCH = 1000
#: Bytes in one transaction, as it is all held in memory.
_BATCH_BYTES = 16 * 1024 * 1024
#: Seconds between two looks for changes that other processes made; each look costs a few microseconds.
_POLL = 0.02
#: A waiting receiver looks for itself at least this often, whatever it was told: the wall clock may have been set, say.
_LOOK = 1.0


@dataclass(frozen=True, slots=True)
class LocalNative:
    """What `LocalBroker.native` is: the way to the file itself. ``path`` is the SQLite file."""

    path: Path
    _connect: Callable[[], sqlite3.Connection]

    def connect(self) -> sqlite3.Connection:
        """Return a new connection to the file, for the caller to close. Its tables may differ in a later version.

        It is in autocommit mode and as durable as the broker's own. Keep transactions short, and do not carry it
        across a fork.

        Raises:
            NotFoundError, ConfigurationError, PermissionDeniedError, UnavailableError: the file cannot be opened.
        """
        return self._connect()


class LocalBroker(MessageBroker):
    """Queues in an SQLite file.

    A message is on the disk when ``send`` returns, and leaves it when it is acknowledged. Many threads and processes
    of one machine may use a file at once. The file must be on a disk of that machine: network file systems are not
    supported.

    - Leases and the delays of nacks are kept on the monotonic clock that all processes of a machine share, so that
      setting the system clock disturbs none. A restart of the machine ends them early.
    - `Message.delay`, `Message.time_to_live` and the deduplication window run on the wall clock. The time to live
      begins when the message becomes visible. An expired message is never delivered; it is deleted, not dead-lettered,
      when a receiver comes upon it.
    - A settlement that comes after the lease has ended counts if nobody else has been given the message since,
      otherwise it raises `LeaseLostError`. A lease that has ended cannot be extended.
    - Messages of one ordering key are delivered in the order they were sent, several to one receiver if it asks for
      several, and none while an earlier one is on lease to somebody else, delayed or given back. Others come oldest
      first as a rule.
    - ``<queue>/$dead`` is the queue's dead-letter queue. It is received from like any other, and cannot be sent to.
    - The space of deleted messages is used for new ones; the file does not shrink.
    - After a ``fork``, both processes may go on using the broker, if no other thread was in the middle of a call.
    """

    provider = "local"

    def __init__(self, options: LocalBrokerOptions, runtime: BrokerRuntime | None = None) -> None:
        """Open nothing yet; the file is opened by the first operation."""
        super().__init__(runtime)
        self._options = options
        self._file = QueueFile(options.path, create=options.create)
        self._settings = QueueSettings(
            lease=options.lease,
            max_deliveries=options.max_deliveries,
            deduplication_window=options.deduplication_window,
        )
        self._known: dict[str, Capabilities] = {}
        self._voided: set[tuple[int, int]] = set()

    # -- what it can do -------------------------------------------------------------------------------------

    def _capabilities(self, queue: str) -> Capabilities:
        known = self._known.get(queue)
        if known is None:
            known = self._known[queue] = self._describe_queue(queue, self._settings.max_deliveries)
        return known

    def _describe_queue(self, name: str, max_deliveries: int | None) -> Capabilities:
        is_dead = name.endswith(DEAD_SUFFIX)
        return Capabilities(
            max_message_bytes=self._options.max_message_bytes,
            max_send_count=_BATCH,
            max_send_bytes=max(_BATCH_BYTES, self._options.max_message_bytes),
            atomic_send=True,
            max_receive_count=_BATCH,
            max_settle_count=_BATCH,
            ack_is_checked=True,
            settable_lease=True,
            max_lease=MAX_SECONDS,
            max_nack_delay=MAX_SECONDS,
            free_release=True,
            delivery_count=True,
            native_dead_letter=not is_dead,
            dead_letter_queue=None if is_dead else name + DEAD_SUFFIX,
            max_delivery_count=None if is_dead else max_deliveries,
            ordering=True,
            max_delay=366 * 86400.0,
            time_to_live=True,
            deduplication=True,
        )

    def _validate(self, queue: str, message: Message) -> None:
        if queue.endswith(DEAD_SUFFIX):
            raise UnsupportedError(
                f"{queue!r} is a dead-letter queue, which only the broker itself fills; send to "
                f"{queue.removesuffix(DEAD_SUFFIX)!r}"
            )

    # -- sending --------------------------------------------------------------------------------------------

    def _send(self, queue: str, messages: Sequence[Message], timeout: float) -> list[SendReceipt]:
        self._allow("send")
        now = self.runtime.clock.now().timestamp()
        with self._file.write(timeout, sending=True) as connection:
            receipts = queue_send.store(connection, self._find(connection, queue), messages, now)
        self._file.shared.ring()
        return receipts

    # -- receiving ------------------------------------------------------------------------------------------

    def _receive(
        self, queue: str, max_messages: int, wait: float, lease: float | None, interrupt: Interrupt
    ) -> list[RawDelivery]:
        self._allow("receive")
        ends = self.runtime.clock.monotonic() + wait
        with self._file.shared.listening(interrupt):
            while True:
                seen = self._news() if wait else (0, (0, 0))
                outlook = self._look(queue)
                while outlook.now:
                    deliveries, dropped = self._take(queue, max_messages, lease)
                    if deliveries:
                        return deliveries
                    if not dropped or interrupt.is_set():
                        break  # somebody else was quicker
                left = ends - self.runtime.clock.monotonic()
                if left > 0:
                    self._await_news(seen, min(left, _LOOK, outlook.wait or _LOOK), interrupt)
                if left <= 0 or interrupt.is_set():
                    return []

    def _look(self, queue: str) -> Outlook:
        with self._file.read() as connection:
            found = find_queue(connection, queue)
            if found is None:
                return Outlook(now=True)  # for _take to make or refuse it
            moment = self._moment()
            if (self._file.epoch, found.id) not in self._voided:
                if queue_take.has_void_leases(connection, found, moment):
                    return Outlook(now=True)
                self._voided.add((self._file.epoch, found.id))
            return queue_take.look(connection, found, moment)

    def _take(self, queue: str, most: int, lease: float | None) -> tuple[list[RawDelivery], bool]:
        with self._file.write(self.runtime.call_timeout) as connection:
            found = self._find(connection, queue)
            moment = self._moment()
            if (self._file.epoch, found.id) not in self._voided:
                queue_take.void_leases(connection, found, moment)
            ends = moment.monotonic + (lease or found.lease)
            rows, dropped = queue_take.take(connection, found, most, lease or found.lease, moment)
        self._voided.add((self._file.epoch, found.id))
        if dropped:
            self._file.shared.ring()  # something may have come to the dead-letter queue
        left = ends - self.runtime.clock.monotonic()
        return [_to_delivery(row, left) for row in rows], dropped

    def _news(self) -> tuple[int, tuple[int, int]]:
        return self._file.shared.rings, self._file.version()

    def _await_news(self, seen: tuple[int, tuple[int, int]], seconds: float, interrupt: Interrupt) -> None:
        """Wait until something has changed in the file since ``seen``, or ``seconds`` have passed."""
        clock = self.runtime.clock
        ends = clock.monotonic() + seconds
        while not interrupt.is_set() and self._news() == seen:
            left = ends - clock.monotonic()
            if left <= 0:
                return
            interrupt.wait_for(lambda: self._file.shared.rings != seen[0], min(left, _POLL))

    # -- settling -------------------------------------------------------------------------------------------

    def _ack(self, queue: str, deliveries: Sequence[RawDelivery], timeout: float) -> list[CloudDirectError | None]:
        leases = _leases(deliveries)
        done = self._settle(queue, timeout, lambda connection, found, moment: queue_settle.remove(
            connection, found, leases, moment))  # fmt: skip
        if any(lease.ordering_key for lease in leases):
            self._file.shared.ring()
        return _outcomes(queue, "ack", done)

    def _nack(
        self, queue: str, deliveries: Sequence[RawDelivery], delay: float, timeout: float
    ) -> list[CloudDirectError | None]:
        leases = _leases(deliveries)
        done = self._settle(queue, timeout, lambda connection, found, moment: queue_settle.give_back(
            connection, leases, moment, delay=delay))  # fmt: skip
        self._file.shared.ring()
        return _outcomes(queue, "nack", done)

    def _release(self, queue: str, deliveries: Sequence[RawDelivery], timeout: float) -> list[CloudDirectError | None]:
        leases = _leases(deliveries)
        done = self._settle(queue, timeout, lambda connection, found, moment: queue_settle.give_back(
            connection, leases, moment, counted=False))  # fmt: skip
        self._file.shared.ring()
        return _outcomes(queue, "release", done)

    def _extend(
        self, queue: str, deliveries: Sequence[RawDelivery], seconds: float, timeout: float
    ) -> list[float | CloudDirectError]:
        leases, seconds = _leases(deliveries), min(seconds, MAX_SECONDS)
        done = self._settle(queue, timeout, lambda connection, found, moment: queue_settle.extend(
            connection, leases, moment, seconds))  # fmt: skip
        return [seconds if error is None else error for error in _outcomes(queue, "extend", done)]

    def _dead_letter(
        self, queue: str, delivery: RawDelivery, reason: str, description: str | None, timeout: float
    ) -> None:
        lease = _leases([delivery])[0]
        done = self._settle(queue, timeout, lambda connection, found, moment: [queue_settle.bury_held(
            connection, found, lease, moment, reason, description)])  # fmt: skip
        self._file.shared.ring()
        error = _outcomes(queue, "dead_letter", done)[0]
        if error is not None:
            raise error

    def _settle(
        self, queue: str, timeout: float, work: Callable[[sqlite3.Connection, Queue, Moment], list[bool]]
    ) -> list[bool]:
        self._allow("receive")
        with self._file.write(timeout) as connection:
            return work(connection, self._find(connection, queue), self._moment())

    # -- the rest -------------------------------------------------------------------------------------------

    def _check(self, queue: str, access: Access, timeout: float) -> CheckResult:
        self._allow(access)
        try:
            with closing(QueueFile(self._options.path, create=False).connect()) as connection:
                if find_queue(connection, queue) is None:
                    raise self._missing(queue)
                try_writing(connection, timeout)
        except NotFoundError:
            if not self._options.create:
                raise
            return CheckResult(access, "likely", f"{queue!r} is not there yet; the first use makes it (option create)")
        return CheckResult(access, "ok", f"{queue!r} is there, and {self._file.path} can be written")

    def _classify(self, error: Exception) -> CloudDirectError | None:
        return translate(error, self._file.path)

    def _native(self) -> LocalNative:
        return LocalNative(self._file.path, self._file.connect)

    def _close(self, timeout: float) -> None:
        self._file.close()

    # -- inside ---------------------------------------------------------------------------------------------

    def _allow(self, access: Access) -> None:
        if self._options.access not in (access, "both"):
            raise PermissionDeniedError(
                f"this local broker was opened with access = {self._options.access!r}; it may not {access}"
            )

    def _find(self, connection: sqlite3.Connection, name: str) -> Queue:
        """Return the queue, made if it is missing and may be made."""
        found = find_queue(connection, name)
        if found is None and self._options.create:
            insert_queue(connection, name.removesuffix(DEAD_SUFFIX), self._settings)
            found = find_queue(connection, name)
        if found is None:
            raise self._missing(name)
        if self._capabilities(name).max_delivery_count != found.max_deliveries:
            self._known[name] = self._describe_queue(name, found.max_deliveries)
        return found

    def _missing(self, name: str) -> NotFoundError:
        return NotFoundError(
            f"there is no queue {name!r} in {self._file.path}; make it with create_queue of "
            "clouddirect_local.queue_admin, or set the option create"
        )

    def _moment(self) -> Moment:
        clock = self.runtime.clock
        return Moment(clock.now().timestamp(), clock.monotonic())


def _to_delivery(row: Row, lease: float) -> RawDelivery:
    return RawDelivery(
        message=queue_take.to_message(row),
        handle=Lease(row.id, row.lease + 1, row.ordering_key),
        lease=lease,
        delivery_count=row.deliveries + 1,
        enqueued_at=queue_take.to_time(row.enqueued_at),
        native=row.id,
    )


def _leases(deliveries: Sequence[RawDelivery]) -> list[Lease]:
    return [delivery.handle for delivery in deliveries]  # type: ignore[misc]  # our own handles


def _outcomes(queue: str, operation: str, done: Sequence[bool]) -> list[CloudDirectError | None]:
    return [
        None
        if counted
        else LeaseLostError(
            f"the lease on {queue!r} ended and the message was given to somebody else, or given back; the {operation} "
            "was not carried out",
            provider="local", operation=operation, resource=queue,
        )
        for counted in done
    ]  # fmt: skip
