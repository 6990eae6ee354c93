"""`AzureBroker`: queues, topics and subscriptions of one Service Bus namespace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from azure.servicebus import ServiceBusClient

from clouddirect.errors import AuthenticationError, CloudDirectError
from clouddirect.messaging import (
    Access,
    BrokerRuntime,
    Capabilities,
    CheckResult,
    Delivery,
    Message,
    MessageBroker,
    RawDelivery,
    SendReceipt,
)
from clouddirect.retry import Interrupt
from clouddirect_azure import bus_message
from clouddirect_azure.broker_options import AzureBrokerOptions
from clouddirect_azure.bus_check import check_sessions
from clouddirect_azure.bus_connection import Connector
from clouddirect_azure.bus_delivery import Held, Leases, Settlement
from clouddirect_azure.bus_errors import translate
from clouddirect_azure.bus_names import DEAD_LETTER_SUFFIX, Entity, entity_of
from clouddirect_azure.bus_receiver import Receiver
from clouddirect_azure.bus_receiving import PlainReceivers, Receivers
from clouddirect_azure.bus_sender import Limits, Sender, Senders
from clouddirect_azure.bus_sessions import SessionReceivers

__all__ = ["AzureBroker", "AzureNative"]

#: Messages in one batch; the service takes at most 4,500.
_BATCH = 4000
#: Messages that one receive asks for, and settlements or renewals that follow one another without waiting.
_MOST = 250
#: Longest delay: scheduled messages have no documented limit, so this is ours.
_LONGEST_DELAY = 366 * 86400.0


@dataclass(frozen=True, slots=True)
class AzureNative:
    """What `AzureBroker.native` is: the way to the SDK."""

    _client: Callable[[], ServiceBusClient]
    _defer: Callable[[Delivery], int]

    def client(self) -> ServiceBusClient:
        """Return a new ``azure.servicebus.ServiceBusClient`` with this broker's settings, for the caller to close."""
        return self._client()

    def defer(self, delivery: Delivery) -> int:
        """Defer a message of this broker; return the sequence number, by which alone it can be received. Again, only
        return it.

        The message stays in the queue until ``receive_deferred_messages`` of the SDK fetches it. Ack the delivery
        afterwards, or return from the handler: that only ends its bookkeeping here.

        Raises:
            AlreadySettledError: the delivery has been settled.
            LeaseLostError: the lease had ended.
            CloudDirectError: the service could not be told.
        """
        return self._defer(delivery)


class AzureBroker(MessageBroker):
    """Queues, topics and subscriptions of one Service Bus namespace.

    - A queue is named by its name, a topic (to send to) likewise, a subscription (to receive from) as
      ``topic/subscription``. Each queue and subscription has a dead-letter queue, ``<name>/$DeadLetterQueue``.
    - Connections are opened on first use, per queue and direction, kept, looked after once a second and closed after
      eight idle minutes (the service detaches idle links after ten); the next use opens them again.
    - How long a lease is, the queue fixes (5 s to 5 min); `Delivery.extend` renews it by the queue's own length,
      whatever length is asked for.
    - In queues with sessions (option ``sessions``) the ordering key is the session id. A message without a key is a
      session of its own. A session is held by one receiver at a time, which is given its messages one by one.
    - ``Delivery.native`` is the ``ServiceBusReceivedMessage``. Settle through the delivery, not through the SDK.
    """

    provider = "azure"

    def __init__(self, options: AzureBrokerOptions, runtime: BrokerRuntime | None = None) -> None:
        """Open nothing yet.

        Raises:
            ConfigurationError: ``ca_file`` cannot be used.
        """
        super().__init__(runtime)
        self._options = options
        self._connector = Connector(options)
        self._guard = threading.Lock()
        self._senders: dict[str, Senders] = {}
        self._receivers: dict[str, Receivers] = {}
        self._limits: dict[str, Limits] = {}
        self._known: dict[str, Capabilities] = {}

    # -- what it can do -------------------------------------------------------------------------------------

    def _capabilities(self, queue: str) -> Capabilities:
        limits, known = self._limits_of(queue), self._known.get(queue)
        if known is None or known.max_message_bytes != limits.message or known.max_send_bytes != limits.batch:
            known = self._known[queue] = self._describe_queue(queue, limits)
        return known

    def _describe_queue(self, queue: str, limits: Limits) -> Capabilities:
        is_dead = queue.lower().endswith(DEAD_LETTER_SUFFIX.lower())
        sessions = self._has_sessions(queue)
        return Capabilities(
            max_message_bytes=limits.message,
            max_send_count=_BATCH,
            max_send_bytes=limits.batch,
            atomic_send=True,
            send_concurrency=self._options.senders,
            max_receive_count=1 if sessions else _MOST,
            max_receive_wait=20.0,
            max_settle_count=_MOST,
            ack_is_checked=True,
            free_release=True,
            delivery_count=True,
            native_dead_letter=not is_dead,
            dead_letter_queue=None if is_dead else queue + DEAD_LETTER_SUFFIX,
            ordering=sessions,
            max_delay=_LONGEST_DELAY,
            time_to_live=True,
            deduplication=self._options.deduplicates(queue),
        )

    def _size(self, queue: str, message: Message) -> int:
        return bus_message.size_of(message)

    def _validate(self, queue: str, message: Message) -> None:
        self._entity(queue, receiving=False)
        bus_message.validate(message)

    # -- sending --------------------------------------------------------------------------------------------

    def _send(self, queue: str, messages: Sequence[Message], timeout: float) -> list[SendReceipt]:
        now, sessions = self.runtime.clock.now(), self._has_sessions(queue)
        built = [bus_message.to_bus(message, sessions=sessions, now=now) for message in messages]
        self._senders_of(queue).send(built, timeout)
        return [SendReceipt(message.id) for message in messages]

    # -- receiving ------------------------------------------------------------------------------------------

    def _receive(
        self, queue: str, max_messages: int, wait: float, lease: float | None, interrupt: Interrupt
    ) -> list[RawDelivery]:
        held = self._receivers_of(queue).receive(max_messages, wait, interrupt)
        now = time.monotonic()
        return [_to_delivery(one, now) for one in held]

    # -- settling -------------------------------------------------------------------------------------------

    def _ack(self, queue: str, deliveries: Sequence[RawDelivery], timeout: float) -> list[CloudDirectError | None]:
        return self._receivers_of(queue).settle(_held(deliveries), Settlement("complete"), timeout)

    def _nack(
        self, queue: str, deliveries: Sequence[RawDelivery], delay: float, timeout: float
    ) -> list[CloudDirectError | None]:
        return self._receivers_of(queue).settle(_held(deliveries), Settlement("abandon"), timeout)

    def _release(self, queue: str, deliveries: Sequence[RawDelivery], timeout: float) -> list[CloudDirectError | None]:
        return self._receivers_of(queue).release(_held(deliveries), timeout)

    def _extend(
        self, queue: str, deliveries: Sequence[RawDelivery], seconds: float, timeout: float
    ) -> list[float | CloudDirectError]:
        return self._receivers_of(queue).renew(_held(deliveries), timeout)

    def _dead_letter(
        self, queue: str, delivery: RawDelivery, reason: str, description: str | None, timeout: float
    ) -> None:
        how = Settlement("dead_letter", reason, description)
        error = self._receivers_of(queue).settle(_held([delivery]), how, timeout)[0]
        if error is not None:
            raise error

    def _defer(self, delivery: Delivery) -> int:
        (held,) = _held([delivery._raw])
        with self.inside, delivery._lock:
            if held.deferred:
                return held.message.sequence_number or 0
            delivery._refuse_settled("defer")
            error = self._receivers_of(delivery.queue).settle([held], Settlement("defer"), self.runtime.call_timeout)[0]
            if error is not None:
                raise error
            held.deferred = True
        return held.message.sequence_number or 0

    # -- the rest -------------------------------------------------------------------------------------------

    def _check(self, queue: str, access: Access, timeout: float) -> CheckResult:
        if access == "send":
            self._senders_of(queue).use(lambda sender, left: sender.open(left), timeout)
            return CheckResult(
                access, "ok", f"{queue!r} is there and lets this credential send; nothing was sent, so its quota was "
                "not tried",
            )  # fmt: skip
        receivers = self._receivers_of(queue)
        if isinstance(receivers, PlainReceivers):
            receivers.open(timeout)
            return CheckResult(access, "ok", f"{queue!r} is there and lets this credential receive; nothing was taken")
        check_sessions(self._connector, self._entity(queue, receiving=True), self._translator(queue), timeout)
        return CheckResult(
            access, "likely", f"{queue!r} is there and lets this credential list its sessions, which needs the same "
            "right as receiving; none was accepted, for that would keep it from others",
        )  # fmt: skip

    def _classify(self, error: Exception) -> CloudDirectError | None:
        return self._translate(error)

    def _native(self) -> AzureNative:
        return AzureNative(self._connector.client, self._defer)

    def _close(self, timeout: float) -> None:
        ends = time.monotonic() + timeout
        with self._guard:
            everyone: list[Senders | Receivers] = [*self._receivers.values(), *self._senders.values()]
        closing = [threading.Thread(target=one.close, args=(timeout,), daemon=True) for one in everyone]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join(max(0.0, ends - time.monotonic()))

    # -- inside ---------------------------------------------------------------------------------------------

    def _translate(self, error: BaseException, queue: str | None = None) -> CloudDirectError:
        """Return the error for what the SDK raised, which names the queue."""
        translated = translate(error, self._connector.secrets)
        if translated is not error:
            ended = self._connector.signature_ended(self.runtime.clock.now())
            if ended is not None and isinstance(translated, AuthenticationError):
                translated.message += f"; the signature has ended at {ended:%Y-%m-%d %H:%M} UTC, ask for a new one"
            if queue is not None:
                translated.message = f"{queue!r}: {translated.message}"
        return translated

    def _translator(self, queue: str) -> Callable[[BaseException], CloudDirectError]:
        return lambda error: self._translate(error, queue)

    def _entity(self, queue: str, *, receiving: bool) -> Entity:
        return entity_of(queue, receiving=receiving, subscriptions=self._options.subscriptions)

    def _has_sessions(self, queue: str) -> bool:
        """Whether the queue uses sessions; its dead-letter queue never does."""
        return not queue.lower().endswith(DEAD_LETTER_SUFFIX.lower()) and self._options.uses_sessions(queue)

    def _limits_of(self, queue: str) -> Limits:
        limits = self._limits.get(queue)
        if limits is None:
            limits = self._limits.setdefault(queue, Limits(self._options.max_message_bytes))
        return limits

    def _senders_of(self, queue: str) -> Senders:
        with self._guard:
            found = self._senders.get(queue)
            if found is None:
                entity, limits = self._entity(queue, receiving=False), self._limits_of(queue)
                found = self._senders[queue] = Senders(
                    lambda: Sender(
                        f"clouddirect-azure-send-{queue}",
                        lambda: self._connector.sender(entity),
                        self._translator(queue),
                        limits,
                    ),
                    self._options.senders,
                )
            return found

    def _receivers_of(self, queue: str) -> Receivers:
        with self._guard:
            found = self._receivers.get(queue)
            if found is None:
                found = self._receivers[queue] = self._make_receivers(queue)
            return found

    def _make_receivers(self, queue: str) -> Receivers:
        entity, sessions = self._entity(queue, receiving=True), self._has_sessions(queue)
        leases = Leases(self._options.lock_duration, lambda: datetime.now(UTC))

        def make() -> Receiver:
            return Receiver(
                f"clouddirect-azure-receive-{queue}",
                lambda wait: self._connector.receiver(entity, wait if sessions else None),
                self._translator(queue),
                leases,
                session=sessions,
            )

        timeout = self.runtime.call_timeout
        if sessions:
            return SessionReceivers(make, self._options.max_sessions, timeout)
        return PlainReceivers(make, self._options.receivers, timeout)


def _to_delivery(held: Held, now: float) -> RawDelivery:
    message = held.message
    return RawDelivery(
        message=bus_message.from_bus(message),
        handle=held,
        lease=None if held.lease is None else max(0.0, held.came + held.lease - now),
        delivery_count=(message.delivery_count or 0) + 1,
        enqueued_at=message.enqueued_time_utc,
        native=message,
    )


def _held(deliveries: Sequence[RawDelivery]) -> list[Held]:
    return [delivery.handle for delivery in deliveries]  # type: ignore[misc]  # our own handles
