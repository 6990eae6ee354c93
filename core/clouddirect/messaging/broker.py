"""`MessageBroker`: the public side of a broker, the same for every provider."""

from __future__ import annotations

import logging
import threading
from abc import ABC
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, final

from clouddirect.errors import ClosedError, CloudDirectError, ConfigurationError
from clouddirect.gate import Gate
from clouddirect.messaging.admission import admit_lease, admit_message, describe
from clouddirect.messaging.capabilities import Access, Capabilities, CheckResult
from clouddirect.messaging.consumer import Consumer, Handler
from clouddirect.messaging.delivery import Delivery
from clouddirect.messaging.message import Message, SendReceipt, SendResult
from clouddirect.messaging.options import ConsumerOptions
from clouddirect.messaging.primitives import BrokerPrimitives, BrokerRuntime, RawDelivery
from clouddirect.messaging.quarantine import Quarantine
from clouddirect.messaging.sending import BatchSender
from clouddirect.messaging.settlement import Settlement, SettleResult
from clouddirect.observers import MessageEvent
from clouddirect.retry import Interrupt

__all__ = ["MessageBroker"]

T = TypeVar("T")
log = logging.getLogger("clouddirect.messaging")

#: Seconds that `MessageBroker.close` grants each of its last steps when the time given to it is up.
_GRACE = 1.0
#: Unsettled deliveries after which those whose lease has ended are looked for.
_PRUNE_AT = 1000
#: Seconds for which an unsettled delivery is remembered when nobody knows how long its lease is.
_UNKNOWN = 3600.0


class MessageBroker(BrokerPrimitives, ABC):
    """One account or namespace of a message service; queues are named in each call.

    Opening does no I/O. All methods may be called from any thread. Errors are subclasses of `CloudDirectError`. Close
    it, or use it as a context manager.
    """

    def __init__(self, runtime: BrokerRuntime | None = None) -> None:
        """Providers call this first, with the runtime that their opener was given."""
        self.runtime = runtime or BrokerRuntime()
        clock = self.runtime.clock
        #: Entered by each public call; refuses once the broker is closed.
        self.inside = Gate(f"this {self.provider} broker", clock, self.provider)
        self._closing = Interrupt(clock)  # ends waits for messages
        self._hurry = Interrupt(clock)  # ends waits before another attempt, when close has no time left for them
        self._ended = False  # no primitive may be begun any more
        self._settlement = Settlement(self, Quarantine(self.runtime.quarantine))
        self._lock = threading.Lock()
        self._outstanding: dict[Delivery, float] = {}  # until when to remember it, on the monotonic clock
        self._prune_at = _PRUNE_AT
        self._consumers: set[Consumer] = set()

    # -- sending --------------------------------------------------------------------------------------------

    @final
    def send(self, queue: str, message: Message) -> SendReceipt:
        """Send one message; return once the broker has confirmed it durably.

        Raises:
            InvalidMessageError, TooLargeError, UnsupportedError: refused before anything was sent.
            CloudDirectError: not confirmed; ``maybe_sent`` tells whether it may have been stored nevertheless.
        """
        with self.inside:
            admit_message(self, queue, self.capabilities(queue), message)

            def attempt() -> SendReceipt:
                outcome = self._send_once(queue, (message,))[0]
                if isinstance(outcome, CloudDirectError):
                    raise outcome
                return outcome

            return self.runtime.retry.call(attempt, clock=self.runtime.clock, interrupt=self._hurry, what="send")

    @final
    def send_many(self, queue: str, messages: Iterable[Message]) -> list[SendResult]:
        """Send any number of messages; return one result for each, in input order.

        One bad or refused message fails alone, and only what failed is tried again. Within an ordering key nothing
        overtakes: after a failure the later messages of that key are ``not_sent``. Nothing is raised for a message that
        failed.

        Raises:
            ClosedError: the broker has been closed; nothing was sent.
        """
        with self.inside:
            sender = BatchSender(
                self.capabilities(queue),
                lambda batch: self._send_once(queue, batch),
                retry=self.runtime.retry,
                clock=self.runtime.clock,
                interrupt=self._hurry,
            )
            return sender.run(self._checked(queue, messages))

    # -- receiving ------------------------------------------------------------------------------------------

    @final
    def receive(
        self, queue: str, max_messages: int = 1, wait: float = 0.0, lease: float | None = None
    ) -> list[Delivery]:
        """Return up to ``max_messages`` deliveries, as soon as there is one.

        Args:
            queue: where to receive from.
            max_messages: at least 1.
            wait: seconds to wait while there is nothing; raised to the broker's floor.
            lease: seconds that the deliveries are to be on lease; None for the queue's own length.

        Returns:
            The deliveries; empty when nothing came within ``wait``.

        Raises:
            UnsupportedError: ``lease`` was given and the queue fixes its own, or is longer than the broker permits.
            ConfigurationError: ``max_messages`` is less than 1.
            CloudDirectError: the broker could not be asked.
        """
        if max_messages < 1:
            raise ConfigurationError(f"max_messages is {max_messages}; it must be at least 1", operation="receive")
        with self.inside:
            return self.take(queue, max_messages, wait, lease, self._closing)

    @final
    def consume(
        self, queue: str, handler: Handler, concurrency: int = 1, options: ConsumerOptions | None = None
    ) -> Consumer:
        """Start handling the queue's messages in ``concurrency`` threads; returns at once.

        ``handler(delivery)`` returning means ack, raising means nack with a growing, jittered delay; it may also settle
        the delivery itself. See `Consumer` for leases, order and stopping, and `ConsumerOptions` for the limits.

        Raises:
            ConfigurationError: ``concurrency`` is less than 1.
            UnsupportedError: ``options.lease`` is not possible on this queue.
        """
        options = options or ConsumerOptions()
        with self.inside:
            admit_lease(self, queue, self.capabilities(queue), options.lease)
            consumer = Consumer(self, queue, handler, concurrency, options)
            with self._lock:
                if self._closing.is_set():
                    raise ClosedError(f"this {self.provider} broker is being closed", provider=self.provider)
                self._consumers.add(consumer)
            consumer.start()
            return consumer

    @final
    def ack_many(self, deliveries: Sequence[Delivery]) -> list[SettleResult]:
        """Ack many deliveries in as few calls as the broker permits; one result each, in order.

        Nothing is raised for a delivery that could not be acked: read the results.

        Raises:
            ClosedError: the broker has been closed; the deliveries have been given back.
            InvalidMessageError: a delivery was received by another broker.
        """
        return self._settlement.ack_many(deliveries)

    # -- the rest -------------------------------------------------------------------------------------------

    @final
    def capabilities(self, queue: str) -> Capabilities:
        """Say what this broker can do with ``queue``; no I/O."""
        return self._capabilities(queue)

    @final
    def check(self, queue: str, access: Access) -> CheckResult:
        """Find out whether the credential does its side of the work, without sending, taking or creating anything.

        Never raises for what it finds: a failure is in the result, with what to do about it.
        """
        with self.inside:
            try:
                return self.attempt("check", queue, lambda: self._check(queue, access, self.runtime.call_timeout))
            except CloudDirectError as error:
                return CheckResult(access, "failed", str(error), error)

    @property
    def native(self) -> object:
        """The SDK's own client, for what this interface does not cover."""
        with self.inside:
            return self.attempt("native", None, self._native)

    @property
    def quarantine(self) -> Quarantine:
        """Where messages go that can be dead-lettered nowhere else."""
        return self._settlement.quarantine

    @final
    def close(self, timeout: float = 30.0) -> None:
        """Stop the consumers, give back every delivery that is not settled, and close the connections.

        Handlers, and calls in other threads, get ``timeout`` seconds to finish; what is not settled by then is given
        back. Afterwards every call, the settling of deliveries included, raises `ClosedError`. Closing again does
        nothing. A handler that closes its own broker is not waited for: its delivery is given back.
        """
        clock = self.runtime.clock
        ends = clock.monotonic() + timeout
        with self._lock:
            if self._closing.is_set():
                return
            consumers = list(self._consumers)
            self._closing.set()
        for consumer in consumers:
            consumer.begin_stop(ends)
        for consumer in consumers:
            consumer.stop(max(0.0, ends - clock.monotonic()))
        self.inside.close()
        if not self.inside.drain(max(0.0, ends - clock.monotonic())):
            self._hurry.set()
            self.inside.drain(_GRACE)
        self._hurry.set()
        ends = max(ends, clock.monotonic() + _GRACE)
        self._give_everything_back(ends)
        self._ended = True
        try:
            self._translated("close", None, lambda: self._close(max(_GRACE, ends - clock.monotonic())))
        except CloudDirectError as error:
            # everything has been confirmed or given back by now: there is nothing a caller could do about this
            log.warning("the connections of a %s broker could not be closed (%s)", self.provider, type(error).__name__)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what core's other parts call -----------------------------------------------------------------------

    def take(
        self, queue: str, max_messages: int, wait: float, lease: float | None, interrupt: Interrupt
    ) -> list[Delivery]:
        """Receive, with waits longer than the broker's longest put together; ends when ``interrupt`` is thrown."""
        can, clock = self.capabilities(queue), self.runtime.clock
        admit_lease(self, queue, can, lease)
        ends = clock.monotonic() + max(wait, can.min_receive_wait)
        while True:
            left = max(0.0, ends - clock.monotonic())
            part = min(max(left, can.min_receive_wait), can.max_receive_wait)
            count = min(max_messages, can.max_receive_count)
            poll = partial(self._receive, queue, count, part, lease, interrupt)
            raws = self.runtime.retry.call(
                partial(self.attempt, "receive", queue, poll),
                clock=clock,
                interrupt=interrupt,
                deadline=max(ends, clock.monotonic() + 1.0),
                what="receive",
            )
            if raws:
                return self._wrap(queue, raws)
            if clock.monotonic() >= ends or interrupt.is_set():
                return []

    def attempt(self, operation: str, queue: str | None, call: Callable[[], T]) -> T:
        """Call a primitive once; translate what it raises and note where it happened.

        Raises:
            ClosedError: the connections have been closed; a primitive would open them again.
            CloudDirectError: what the primitive raised, translated.
        """
        if self._ended:
            raise self._closed_error(operation, queue)
        return self._translated(operation, queue, call)

    def attempt_each(
        self, operation: str, queue: str, count: int, call: Callable[[], Sequence[T | CloudDirectError]]
    ) -> Sequence[T | CloudDirectError]:
        """Like `attempt`, for a primitive that returns ``count`` outcomes, errors among them."""
        outcomes = self.attempt(operation, queue, call)
        if len(outcomes) != count:
            raise CloudDirectError(
                f"{self.provider} gave {len(outcomes)} outcomes for {count} messages; this is a bug in the provider",
                provider=self.provider, operation=operation, resource=queue, maybe_sent=operation == "send",
            )  # fmt: skip
        for outcome in outcomes:
            if isinstance(outcome, CloudDirectError):
                describe(outcome, self.provider, operation, queue)
        return outcomes

    def pause(self, seconds: float) -> None:
        """Wait before another attempt, less long when there is no time left before the broker is closed."""
        self._hurry.wait(seconds)

    def settled(self, deliveries: Iterable[Delivery]) -> None:
        """Forget deliveries that no longer have to be given back."""
        with self._lock:
            for delivery in deliveries:
                self._outstanding.pop(delivery, None)

    def finished(self, consumer: Consumer) -> None:
        """Forget a consumer that has ended."""
        with self._lock:
            self._consumers.discard(consumer)

    @property
    def settlement(self) -> Settlement:
        """The settling side, for the consumer."""
        return self._settlement

    # -- inside ---------------------------------------------------------------------------------------------

    def _translated(self, operation: str, queue: str | None, call: Callable[[], T]) -> T:
        try:
            return call()
        except CloudDirectError as error:
            describe(error, self.provider, operation, queue)
            raise
        except Exception as error:
            translated = self._classify(error) or CloudDirectError(
                f"{self.provider} failed in an unforeseen way ({type(error).__name__}); this is a bug in the provider",
                code=type(error).__name__, maybe_sent=operation == "send",
            )  # fmt: skip
            describe(translated, self.provider, operation, queue)
            raise translated from error

    def _give_everything_back(self, ends: float) -> None:
        """Carry out the nacks that wait for their delay, and release what nobody has settled; until ``ends``."""
        clock, by_queue = self.runtime.clock, dict[str, list[Delivery]]()
        for delivery in self._settlement.keeper.stop(max(_GRACE, ends - clock.monotonic())):
            if clock.monotonic() < ends:
                self._settlement.give_back(delivery.queue, [delivery])
        with self._lock:
            self._prune(clock.monotonic())
            for delivery in self._outstanding:
                by_queue.setdefault(delivery.queue, []).append(delivery)
        for queue, deliveries in by_queue.items():
            self._settlement.release(queue, deliveries, ends)

    def _closed_error(self, operation: str, queue: str | None) -> ClosedError:
        return ClosedError(
            f"this {self.provider} broker has been closed; open a new one",
            provider=self.provider, operation=operation, resource=queue,
        )  # fmt: skip

    def _wrap(self, queue: str, raws: Sequence[RawDelivery]) -> list[Delivery]:
        now = self.runtime.clock.monotonic()
        deliveries = [
            Delivery(self._settlement, queue, raw, None if raw.lease is None else now + raw.lease) for raw in raws
        ]
        with self._lock:
            for one in deliveries:
                self._outstanding[one] = now + _UNKNOWN if one._lease_ends is None else one._lease_ends
            if len(self._outstanding) > self._prune_at:
                self._prune(now)
        if self.inside.closed:
            self._settlement.release(queue, deliveries)
            raise self._closed_error("receive", queue)
        observers = self.runtime.observers
        if observers:
            for one in deliveries:
                observers.tell(
                    "clouddirect_message_received",
                    self._event(queue, one.message, "received", one.delivery_count),
                )
        return deliveries

    def _prune(self, now: float) -> None:
        """Forget deliveries that nobody settled while their lease ran: there is nothing left to give back."""
        for one, until in list(self._outstanding.items()):
            if max(until, one._lease_ends or until) <= now:
                del self._outstanding[one]
        self._prune_at = max(_PRUNE_AT, 2 * len(self._outstanding))

    def _send_once(self, queue: str, messages: Sequence[Message]) -> Sequence[SendReceipt | CloudDirectError]:
        timeout = self.runtime.call_timeout
        outcomes = self.attempt_each("send", queue, len(messages), lambda: self._send(queue, messages, timeout))
        observers = self.runtime.observers
        if observers:
            for message, outcome in zip(messages, outcomes, strict=True):
                if not isinstance(outcome, CloudDirectError):
                    observers.tell("clouddirect_message_sent", self._event(queue, message, "sent", None))
        return outcomes

    def _checked(
        self, queue: str, messages: Iterable[Message]
    ) -> Iterable[tuple[Message, int, CloudDirectError | None]]:
        can = self.capabilities(queue)
        for message in messages:
            try:
                yield message, admit_message(self, queue, can, message), None
            except CloudDirectError as error:
                yield message, 0, error

    def _event(self, queue: str, message: Message, outcome: str, count: int | None) -> MessageEvent:
        return MessageEvent(
            provider=self.provider, queue=queue, message_id=message.id, correlation_id=message.correlation_id,
            size=len(message.body), at=self.runtime.clock.now(), outcome=outcome, delivery_count=count,  # type: ignore[arg-type]
        )  # fmt: skip
