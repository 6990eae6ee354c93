"""`Delivery`: one message on lease to this process, and the ways to settle it."""

from __future__ import annotations

import threading
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from clouddirect.errors import AlreadySettledError, CloudDirectError, InvalidMessageError
from clouddirect.messaging.message import Message
from clouddirect.messaging.primitives import RawDelivery

if TYPE_CHECKING:
    from clouddirect.messaging.settlement import Settlement

__all__ = ["Delivery", "Outcome"]

Outcome = Literal["ack", "nack", "dead_letter", "release"]

#: Guards the making of `Delivery.lease_lost`: most deliveries never need the event, and the delivery's own lock is held
#: through calls to the broker, which a handler that looks at the event must not wait for.
_making_events = threading.Lock()


class Delivery:
    """A message on lease. Settle it with `ack`, `nack` or `dead_letter`, or use it as a context manager.

    As a context manager, leaving normally acks and an exception nacks; a delivery settled inside is left alone. All
    methods may be called from any thread.

    Attributes:
        message: the message.
        queue: the queue as named in the call that received it.
        delivery_count: 1 for the first delivery; None where the broker cannot tell.
        enqueued_at: when the broker stored the message, in UTC; None where it cannot tell.
    """

    __slots__ = (
        "__weakref__",
        "_held",
        "_lease_ends",
        "_lease_lost",
        "_lock",
        "_lost",
        "_outcome",
        "_raw",
        "_settlement",
        "delivery_count",
        "enqueued_at",
        "message",
        "queue",
    )

    def __init__(self, settlement: Settlement, queue: str, raw: RawDelivery, lease_ends: float | None) -> None:
        """Made by core; ``lease_ends`` is a moment on the broker's monotonic clock, None if unknowable."""
        self._settlement = settlement
        self.queue = queue
        self._raw = raw
        self.message: Message = raw.message
        self.delivery_count = raw.delivery_count
        self.enqueued_at = raw.enqueued_at
        self._lock = threading.RLock()
        self._lease_ends = lease_ends
        self._lease_lost: threading.Event | None = None
        self._outcome: Outcome | None = None
        self._held = False  # nacked, but the broker is to be told only when the delay has passed
        self._lost: CloudDirectError | None = None

    def __repr__(self) -> str:
        state = self._outcome or "on lease"
        return f"Delivery({self.message!r}, queue={self.queue!r}, delivery_count={self.delivery_count}, {state})"

    @property
    def native(self) -> object:
        """The SDK's own object, for what the portable interface does not cover."""
        return self._raw.native

    @property
    def settled(self) -> Outcome | None:
        """How the delivery was settled, or None."""
        return self._outcome

    @property
    def lease_lost(self) -> threading.Event:
        """Set once the lease is known to be lost: somebody else may be given the message, so stop working on it.

        A consumer watches its leases; for a delivery from `MessageBroker.receive` it is set when a call finds it out.
        """
        if self._lease_lost is None:
            with _making_events:
                if self._lease_lost is None:
                    self._lease_lost = threading.Event()
        return self._lease_lost

    @property
    def lease_expires_at(self) -> datetime | None:
        """When the lease ends, in UTC; None where it is unknowable."""
        return self._settlement.lease_expires_at(self)

    def ack(self) -> None:
        """Remove the message from the queue for good. Again is a no-op.

        Raises:
            AlreadySettledError: it was settled before in another way.
            LeaseLostError: the lease had ended; the message is, or will be, delivered again.
            ClosedError: the broker has been closed, which gave the message back.
            CloudDirectError: the broker could not be told. The delivery can still be settled.
        """
        self._settlement.ack(self)

    def nack(self, delay: float | None = None) -> None:
        """Give the message back, to be delivered again after ``delay`` seconds (None: at once).

        Where the broker cannot delay, the lease is held until the time has come.

        Raises:
            InvalidMessageError: ``delay`` is negative.
            CloudDirectError: as for `ack`.
        """
        if delay is not None and not 0 <= delay < float("inf"):
            raise InvalidMessageError("delay must be a number of seconds, zero or more, or None", operation="nack")
        self._settlement.nack(self, delay or 0.0)

    def dead_letter(self, reason: str, description: str | None = None) -> None:
        """Put the message aside as one that cannot be processed.

        It goes to the broker's dead-letter queue, else to the configured dead-letter target, else into the local
        quarantine: never lost and never delivered again for ever.

        Args:
            reason: a short, fixed text such as ``"unreadable"``. No patient data: services show it in their consoles.
            description: details for a person, likewise without patient data.

        Raises:
            CloudDirectError: as for `ack`. The message has not been removed from its queue.
        """
        if not reason:
            raise InvalidMessageError("reason must be a short, fixed text", operation="dead_letter")
        self._settlement.dead_letter(self, reason, description)

    def extend(self, seconds: float) -> datetime | None:
        """Let the lease run ``seconds`` from now; return when it ends, in UTC, or None where that is unknowable.

        Raises:
            LeaseLostError: the lease had ended.
            AlreadySettledError: the delivery has been settled.
            UnsupportedError: ``seconds`` is longer than the broker permits.
            CloudDirectError: the broker could not be told.
        """
        if not 0 < seconds < float("inf"):
            raise InvalidMessageError("seconds must be a positive number", operation="extend")
        return self._settlement.extend(self, seconds)

    def keep_lease(self, max_seconds: float = 3600.0) -> None:
        """Renew the lease in the background until the delivery is settled, for at most ``max_seconds``; returns now.

        `Consumer` does this by itself. ``lease_lost`` is set when the lease could not be kept.
        """
        self._settlement.keep(self, max_seconds)

    def stop_keeping(self) -> None:
        """End what `keep_lease` began: the lease runs out, and the message comes again unless it is settled before."""
        self._settlement.keeper.forget([self])

    def __enter__(self) -> Delivery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._outcome is not None:
            return
        if kind is None:
            self.ack()
            return
        try:
            self.nack()
        except CloudDirectError as failure:
            # the caller's own exception matters more; an unsettled delivery comes back when its lease ends
            if error is not None:
                error.add_note(
                    f"the delivery could not be given back ({type(failure).__name__}); its lease will end by itself"
                )

    def _settled_as(self, outcome: Outcome) -> bool:
        """Whether it was settled this way before; raises if another way, or if that failed. Caller holds the lock."""
        if self._outcome is None:
            return False
        if self._outcome != outcome:
            self._refuse_settled(outcome)
        if self._lost is not None:
            raise self._lost.copy()
        return True

    def _refuse_settled(self, operation: str) -> None:
        if self._outcome is not None:
            raise AlreadySettledError(
                f"this delivery was already settled with {self._outcome}; the {operation} was not carried out",
                provider=self._settlement.provider,
                operation=operation,
                resource=self.queue,
            )

    def _finished(self, outcome: Outcome, lost: CloudDirectError | None) -> None:
        self._lost = lost
        self._outcome = outcome

    def _is_lost(self) -> bool:
        """Whether `lease_lost` is set, without making the event."""
        return self._lease_lost is not None and self._lease_lost.is_set()

    def _mark_lost(self) -> bool:
        """Set `lease_lost`; returns False if it was set already."""
        event = self.lease_lost
        with _making_events:
            first = not event.is_set()
            event.set()
            return first
