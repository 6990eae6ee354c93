"""What a provider implements: the small, underscore-prefixed side of a message broker.

The rules for every primitive:

- **Never retry.** Make one attempt and report; core retries what is ``retryable``, with one policy for all providers.
- **Raise classified errors**, or let the SDK's exceptions fly and translate them in ``_classify``: core passes every
  exception that is not a `CloudDirectError` to it, and keeps the original as ``__cause__``.
- **Any thread.** Core calls primitives from several threads at once. Where the SDK forbids that, serialise inside.
- **Bounded.** No call may block longer than ``timeout`` (or, for ``_receive``, much longer than ``wait``).
- **Lazy, one direction.** Open the sending side in ``_send``, the receiving side in ``_receive``: a receive-only
  credential must never open a sender. Opening a broker does no I/O.
- **Confirmed.** Return only what the service has confirmed durably.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from clouddirect.clock import Clock, SystemClock
from clouddirect.errors import CloudDirectError, UnsupportedError
from clouddirect.messaging.capabilities import Access, Capabilities, CheckResult
from clouddirect.messaging.message import Message, SendReceipt
from clouddirect.observers import Observers
from clouddirect.retry import Interrupt, RetryPolicy

__all__ = ["BrokerPrimitives", "BrokerRuntime", "RawDelivery"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerRuntime:
    """What core hands to a provider's opener, and the provider to ``MessageBroker.__init__``.

    Attributes:
        clock: the clock that leases, waits and deadlines run on.
        retry: the policy for failed calls.
        observers: who is told of what happened.
        call_timeout: seconds that a single send or settlement attempt may take.
        dead_letter_send: for a queue, the queue that explicitly dead-lettered messages are sent to where the broker
            has no dead-letter queue of its own.
        quarantine: directory for dead-lettered messages that can go nowhere else; None for the user's data directory.
    """

    clock: Clock = field(default_factory=SystemClock)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    observers: Observers = field(default_factory=Observers)
    call_timeout: float = 60.0
    dead_letter_send: Mapping[str, str] = field(default_factory=dict)
    quarantine: Path | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class RawDelivery:
    """One delivery as a provider's ``_receive`` reports it.

    Attributes:
        message: the message, foreign or ours, whole.
        handle: whatever the provider needs to settle it; opaque to core.
        lease: seconds left of the lease when ``_receive`` returns; None if the broker cannot tell.
        delivery_count: 1 for the first delivery; None if the broker cannot tell.
        enqueued_at: when the broker stored it, in UTC; None if the broker cannot tell.
        native: the SDK's own object, for what the portable interface does not cover.
    """

    message: Message
    handle: object
    lease: float | None = None
    delivery_count: int | None = None
    enqueued_at: datetime | None = None
    native: object = None


class BrokerPrimitives(ABC):
    """The primitives that each provider implements; see the module's rules. Users call `MessageBroker`."""

    #: The provider's name; it appears in every error.
    provider: str

    @abstractmethod
    def _capabilities(self, queue: str) -> Capabilities:
        """Say what can be done with ``queue``. No I/O; called often, so return a constant where possible."""

    def _size(self, queue: str, message: Message) -> int:
        """Return the bytes the broker counts for ``message``: by default body, attributes and text fields."""
        size = len(message.body)
        for name, value in message.attributes.items():
            size += len(name.encode()) + len(value.encode())
        for text in (
            message.id,
            message.correlation_id,
            message.content_type,
            message.subject,
            message.ordering_key,
        ):
            if text:
                size += len(text.encode())
        return size

    def _validate(self, queue: str, message: Message) -> None:  # noqa: B027 - most providers have nothing to add
        """Refuse what this broker cannot carry, by `InvalidMessageError` or `UnsupportedError`. No I/O.

        Core has already checked the types, the declared capabilities and the size.
        """

    @abstractmethod
    def _send(
        self, queue: str, messages: Sequence[Message], timeout: float
    ) -> Sequence[SendReceipt | CloudDirectError]:
        """Send one batch within the declared limits; return one outcome a message, in order.

        Raise when the batch failed as a whole. With ``atomic_send`` nothing of a failed batch may have been stored,
        unless the error says ``maybe_sent``. A resend of the same message must carry the same id.
        """

    @abstractmethod
    def _receive(
        self, queue: str, max_messages: int, wait: float, lease: float | None, interrupt: Interrupt
    ) -> Sequence[RawDelivery]:
        """Return at once what is there (at most ``max_messages``); wait up to ``wait`` seconds while there is nothing.

        ``lease`` is what the caller asked for (None: the queue's own) and is None unless ``settable_lease``. Return
        early, with nothing, soon after ``interrupt`` is thrown, if the SDK permits. Empty is ``[]``, never an error. A
        message must not be lost to a caller that this call does not return it to: what was taken but cannot be returned
        is released. Messages of one ordering key come in their order.
        """

    @abstractmethod
    def _ack(self, queue: str, deliveries: Sequence[RawDelivery], timeout: float) -> Sequence[CloudDirectError | None]:
        """Remove the deliveries for good; one outcome each: `LeaseLostError` if the broker says the lease is gone."""

    @abstractmethod
    def _nack(
        self, queue: str, deliveries: Sequence[RawDelivery], delay: float, timeout: float
    ) -> Sequence[CloudDirectError | None]:
        """Give the deliveries back, to be delivered again after ``delay`` seconds (at most ``max_nack_delay``)."""

    def _release(
        self, queue: str, deliveries: Sequence[RawDelivery], timeout: float
    ) -> Sequence[CloudDirectError | None]:
        """Give back what was never handled; without counting a delivery where ``free_release`` is declared."""
        return self._nack(queue, deliveries, 0.0, timeout)

    @abstractmethod
    def _extend(
        self, queue: str, deliveries: Sequence[RawDelivery], seconds: float, timeout: float
    ) -> Sequence[float | CloudDirectError]:
        """Let the leases run ``seconds`` from now; return the seconds granted, or `LeaseLostError`, for each."""

    def _dead_letter(
        self, queue: str, delivery: RawDelivery, reason: str, description: str | None, timeout: float
    ) -> None:
        """Move the delivery to the broker's own dead-letter queue; called if ``native_dead_letter`` is declared.

        The reason and the description arrive as the attributes `DEAD_LETTER_REASON` and `DEAD_LETTER_DESCRIPTION`.
        """
        raise UnsupportedError(f"{self.provider} declares native_dead_letter but does not implement it", resource=queue)

    @abstractmethod
    def _check(self, queue: str, access: Access, timeout: float) -> CheckResult:
        """Find out whether the credential does its side, without sending, taking or creating; raise what fails."""

    def _classify(self, error: Exception) -> CloudDirectError | None:
        """Translate an SDK's exception, from one table; None for what is not the service's doing (a bug).

        Core reports a bug as a plain `CloudDirectError` that names the exception's type and keeps it as ``__cause__``.
        """
        return None

    @abstractmethod
    def _native(self) -> object:
        """Return the SDK's own client, opened if need be, for what the portable interface does not cover."""

    def _close(self, timeout: float) -> None:  # noqa: B027 - a provider without connections has nothing to close
        """Close connections, within ``timeout`` seconds; called once.

        No primitive is begun after this. One that overran the time given to `MessageBroker.close` may still be running.
        """
