"""`Consumer`: handles a queue's messages in several threads, keeps their leases, and stops without losing any.

Pollers receive, workers run the handler, ackers flush acknowledgements: while one flush is under way the next acks
gather, so that a fast handler is acked in full batches and a lone message at once. Where a broker declares
``ack_linger``, incomplete batches wait a little while every worker has work. All state is under one lock.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from clouddirect.errors import ClosedError, CloudDirectError, ConfigurationError
from clouddirect.messaging.acks import AckBatches
from clouddirect.messaging.backlog import Backlog
from clouddirect.messaging.delivery import Delivery
from clouddirect.messaging.handling import Handler, Handling
from clouddirect.messaging.options import ConsumerOptions
from clouddirect.messaging.settlement import UNKNOWN_LEASE, SettleResult
from clouddirect.retry import Interrupt, RetryPolicy

if TYPE_CHECKING:
    from clouddirect.messaging.broker import MessageBroker

__all__ = ["Consumer", "Handler"]

log = logging.getLogger("clouddirect.messaging")

#: How pollers wait while the broker cannot be reached: for ever, but never in step with each other.
_RECONNECT = RetryPolicy(base_delay=0.5, max_delay=30.0, deadline=None)
#: Most flushes of acknowledgements at the same time.
_MAX_ACKERS = 8
#: Acks are held back for at most this share of a lease.
_LINGER_SHARE = 0.1


class Consumer:
    """Runs ``handler(delivery)`` for each message of a queue; made by `MessageBroker.consume`.

    - Returning acks, raising nacks with jittered backoff; a handler may also settle the delivery itself.
    - Leases are renewed while a handler runs; ``delivery.lease_lost`` is set when one could not be kept.
    - One handler at a time runs for each ordering key, and the next one only after the ack before it was confirmed.
      When one fails, the messages of its key received behind it are given back, so that order holds.
    - An unreachable broker is asked again for ever, with backoff; an error that cannot pass (a refused credential, a
      missing queue) ends the consumer: it is logged, and `wait` raises it.
    """

    def __init__(
        self, broker: MessageBroker, queue: str, handler: Handler, concurrency: int, options: ConsumerOptions
    ) -> None:
        """Made by core; `start` begins the work."""
        if concurrency < 1:
            raise ConfigurationError(f"concurrency is {concurrency}; it must be at least 1", operation="consume")
        self.queue = queue
        self._broker = broker
        self._handling = Handling(broker, queue, handler, options)
        self._options = options
        self._concurrency = concurrency
        self._clock = broker.runtime.clock
        self._can = broker.capabilities(queue)
        self._lock = threading.Lock()
        self._work_ready = threading.Condition(self._lock)
        self._room_free = threading.Condition(self._lock)
        self._changed = threading.Condition(self._lock)  # the last thread of a role has ended
        self._interrupt = Interrupt(self._clock)
        self._backlog = Backlog()
        self._running: set[Delivery] = set()
        linger = self._can.ack_linger
        if options.lease is not None:
            linger = min(linger, _LINGER_SHARE * options.lease)
        self._acks = AckBatches(self._can.max_settle_count, linger, self._clock, self._lock)
        self._idle = 0  # workers that wait for work
        self._waking = False  # whether one of them has been called and has not woken yet
        self._in_flight = 0  # received and not finished
        self._asked = 0  # asked for by polls that have not returned
        self._handling_time: float | None = None  # moving average, seconds
        self._lease_seen: float | None = None  # longest that the broker has told, seconds
        self._stopping = False
        self._error: BaseException | None = None
        self._alive = {"poll": 0, "work": 0, "ack": 0}
        self._threads: list[threading.Thread] = []

    # -- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the threads; called once, by the broker."""
        if self._options.max_deliveries is not None and not self._can.delivery_count:
            log.warning("%s does not count the deliveries of %r: max_deliveries has no effect",
                        self._broker.provider, self.queue)  # fmt: skip
        most = self._concurrency + self._options.max_waiting
        pollers = math.ceil(self._concurrency / self._can.max_receive_count)
        ackers = min(_MAX_ACKERS, self._concurrency, math.ceil(most / self._can.max_settle_count))
        roles = [("poll", self._poll)] * pollers + [("work", self._work)] * self._concurrency
        roles += [("ack", self._flush_acks)] * ackers
        for number, (role, target) in enumerate(roles):
            self._alive[role] += 1
            name = f"clouddirect-{role}-{self.queue}-{number}"
            self._threads.append(threading.Thread(target=self._live, args=(role, target), name=name, daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def running(self) -> bool:
        """Whether any of its threads is still at work."""
        return any(self._alive.values())

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the consumer has ended, at most ``timeout`` seconds; returns whether it has.

        Raises:
            CloudDirectError: the error that ended it.
        """
        with self._lock:
            if not self._wait_for_end(None if timeout is None else self._clock.monotonic() + timeout):
                return False
        if self._error is not None:
            raise self._error
        return True

    def stop(self, timeout: float = 30.0) -> bool:
        """Stop polling, let running handlers finish, give back what no handler has begun, and flush the acks.

        A delivery whose handler is still running after ``timeout`` seconds is given back, with ``lease_lost`` set.

        Returns:
            Whether everything finished in time. Called from a handler, it only begins the stop and returns False.
        """
        ends = self._clock.monotonic() + timeout
        self.begin_stop(ends)
        if threading.current_thread() in self._threads:
            return False
        with self._lock:
            self._wait_for_end(ends)
            late = list(self._running)
        if late:
            log.warning("%d handlers of %r did not finish in time; their messages are given back",
                        len(late), self.queue)  # fmt: skip
            self._broker.settlement.release(self.queue, late, max(ends, self._clock.monotonic() + 1.0))
            for delivery in late:
                delivery.lease_lost.set()
        return not self.running

    def begin_stop(self, ends: float | None = None) -> None:
        """Stop polling and give back what no handler has begun; returns without waiting for the handlers.

        After ``ends``, a moment on the broker's monotonic clock, nothing more is given back: leases end by themselves.
        """
        with self._lock:
            self._stopping = True
            waiting = self._backlog.clear()
            self._in_flight -= len(waiting)
            self._wake_everybody()
        self._interrupt.set()
        self._broker.settlement.release(self.queue, waiting, ends)

    def _wait_for_end(self, ends: float | None) -> bool:
        while self.running:
            left = None if ends is None else ends - self._clock.monotonic()
            if left is not None and left <= 0:
                return False
            self._clock.wait(self._changed, left)
        return True

    def _wake_everybody(self) -> None:
        for condition in (self._work_ready, self._room_free, self._acks.ready, self._changed):
            condition.notify_all()

    def _live(self, role: str, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:  # noqa: BLE001 - a thread that dies silently would stop the consumer unseen
            self._fail(error)
        finally:
            with self._lock:
                self._alive[role] -= 1
                if not self._alive[role]:  # what others wait for: polls end before workers, workers before ackers
                    self._wake_everybody()
                ended = not self.running
            if ended:
                self._broker.finished(self)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error
        log.error("the consumer of %r has ended (%s)", self.queue, type(error).__name__)
        self.begin_stop()

    # -- polling --------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        failures = 0
        while True:
            with self._lock:
                while not self._stopping and not self._wanted():
                    self._clock.wait(self._room_free, None)
                if self._stopping:
                    return
                count = self._wanted()
                self._asked += count
                self._call_poller()  # another one may ask for what is left
            deliveries: list[Delivery] = []
            try:
                with self._broker.inside:
                    deliveries = self._broker.take(
                        self.queue, count, self._options.poll_wait, self._options.lease, self._interrupt
                    )
                failures = 0
            except CloudDirectError as error:
                if not error.retryable and not (self._stopping and isinstance(error, ClosedError)):
                    raise
                failures += 1
                self._accept([], count)
                self._wait_to_reconnect(failures, error)
            else:
                self._accept(deliveries, count)

    def _wait_to_reconnect(self, failures: int, error: CloudDirectError) -> None:
        wait = _RECONNECT.backoff(failures, error)
        log.warning("receiving from %r failed (%s); next attempt in %.1f s", self.queue, type(error).__name__, wait)
        self._interrupt.wait(wait)

    def _wanted(self) -> int:
        """How many messages to ask for now: as many as a poll may bring, or what keeps the workers busy.

        Asking for each single place as it gets free would cost a poll for every message. Caller holds the lock.
        """
        capacity = self._concurrency + self._ahead()
        room = capacity - self._in_flight - self._asked
        starving = self._in_flight + self._asked < self._concurrency
        worthwhile = min(self._can.max_receive_count, math.ceil(capacity / 2))
        return min(room, self._can.max_receive_count) if room >= worthwhile or (starving and room > 0) else 0

    def _ahead(self) -> int:
        """How many messages may wait for a handler: as many as are handled before half of their lease has passed."""
        lease = self._options.lease or self._lease_seen
        if self._handling_time is None:
            return min(self._options.max_waiting, self._concurrency)
        fits = math.inf if lease is None else self._concurrency * 0.5 * lease / max(self._handling_time, 1e-6)
        return int(min(self._options.max_waiting, fits))

    def _call_poller(self) -> None:
        if self._wanted():
            self._room_free.notify()

    def _accept(self, deliveries: list[Delivery], count: int) -> None:
        """Take in what a poll for ``count`` messages has brought."""
        longest = max((delivery._raw.lease or 0.0 for delivery in deliveries), default=0.0)
        with self._lock:
            self._lease_seen = max(self._lease_seen or 0.0, longest) or None
            seconds = self._options.lease or self._lease_seen or UNKNOWN_LEASE
        if deliveries:
            self._broker.settlement.keeper.keep(deliveries, seconds, self._options.max_handling)
        with self._lock:
            self._asked -= count
            stopping = self._stopping
            if not stopping:
                self._in_flight += len(deliveries)
                for delivery in deliveries:
                    self._backlog.add(delivery)
                self._call_worker()
                self._call_poller()
        if stopping:
            self._broker.settlement.release(self.queue, deliveries)

    # -- working --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        delivery = self._wait_for_work()
        while delivery is not None:
            delivery = self._handle(delivery) or self._wait_for_work()

    def _wait_for_work(self) -> Delivery | None:
        """Return what to handle; None when nothing will come any more."""
        with self._lock:
            while not self._backlog.ready and not (self._stopping and not self._alive["poll"]):
                self._call_acker()  # an idle worker may be waiting for the room that held acks take up
                self._idle += 1
                self._clock.wait(self._work_ready, None)
                self._idle -= 1
                self._waking = False
            return self._take()

    def _take(self) -> Delivery | None:
        """Take what has waited longest, if anything has; call another worker for the next. Caller holds the lock."""
        if not self._backlog.ready:
            return None
        delivery = self._backlog.take()
        self._running.add(delivery)
        self._call_worker()
        return delivery

    def _call_worker(self) -> None:
        """Wake one worker, which wakes the next: a fast handler's messages then do not wake a thread each."""
        if self._backlog.ready and self._idle and not self._waking:
            self._waking = True
            self._work_ready.notify()

    def _handle(self, delivery: Delivery) -> Delivery | None:
        """Handle one delivery; return another one if one has been taken in the same turn."""
        handled = self._handling.run(delivery)
        with self._lock:
            self._running.discard(delivery)
            if handled.seconds is not None:
                before = self._handling_time
                self._handling_time = handled.seconds if before is None else 0.8 * before + 0.2 * handled.seconds
            if handled.returned and delivery.settled is None:
                self._acks.add(delivery)  # even if its lease was lost: a late ack may still count
                self._call_acker()
                return self._take()
        if handled.failure is not None:
            self._handling.failed(delivery, handled.failure)
        self._finish([(delivery, delivery.settled in ("ack", "dead_letter") and delivery._lost is None)])
        if handled.failure is not None and not isinstance(handled.failure, Exception):
            raise handled.failure  # SystemExit and the like: the consumer ends, and wait() raises it
        return None

    # -- finishing ------------------------------------------------------------------------------------------

    def _flush_acks(self) -> None:
        while True:
            with self._lock:
                while self._acks.due(self._is_busy()) != 0.0:
                    if not self._acks and not self._alive["poll"] and not self._alive["work"]:
                        return
                    self._acks.wait(self._is_busy())
                batch = self._acks.take()
                self._call_acker()  # another one may take what is left
            self._flush(batch)

    def _flush(self, batch: list[Delivery]) -> None:
        try:
            results = self._broker.ack_many(batch)
        except ClosedError as error:  # closing has given them back
            results = [SettleResult(delivery, error) for delivery in batch]
        with self._lock:
            self._acks.flushed()
            self._call_acker()
        for result in results:
            if result.error is not None:
                log.warning("an ack on %r did not count (%s); the message may be delivered again",
                            self.queue, type(result.error).__name__)  # fmt: skip
        self._finish([(result.delivery, result.ok) for result in results])

    def _is_busy(self) -> bool:
        """Whether no worker is idle, so that more acks are sure to come and no room is missed."""
        return not self._stopping and (self._backlog.ready > 0 or len(self._running) >= self._concurrency)

    def _call_acker(self) -> None:
        self._acks.call(self._is_busy())

    def _finish(self, finished: list[tuple[Delivery, bool]]) -> None:
        """Let the next of each ordering key begin; give back those behind one that will come again."""
        behind: list[Delivery] = []
        with self._lock:
            ready = self._backlog.ready
            for delivery, in_order in finished:
                behind.extend(self._backlog.done(delivery, in_order))
            self._in_flight -= len(finished) + len(behind)
            if self._backlog.ready > ready:
                self._call_worker()
            self._call_poller()
        unsettled = [delivery for delivery, _ in finished if delivery.settled is None]
        if unsettled:  # they must come again, when their leases end
            self._broker.settlement.keeper.forget(unsettled)
        self._broker.settlement.release(self.queue, behind)
