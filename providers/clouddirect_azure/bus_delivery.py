"""`Held`: a delivery that can be settled. `Settlement`: the ways to do it. `Leases`: how long a lock is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus._pyamqp.error import AMQPError
from azure.servicebus._pyamqp.outcomes import Accepted, Modified, Rejected

if TYPE_CHECKING:
    from clouddirect_azure.bus_receiver import Receiver

__all__ = ["Held", "Leases", "Settlement"]

#: Longest lock that Service Bus permits, in seconds.
MAX_LOCK = 300.0


@dataclass(slots=True, eq=False)
class Held:
    """A delivery that its receiver can settle.

    Attributes:
        message: the SDK's object.
        receiver: whose connection it came by.
        link: the link it came by; it can be settled there only, and by its lock token over any other one.
        delivery_id, tag: how that link knows it.
        came: when it was received, on ``time.monotonic``.
        lease: seconds that the lock runs from then on, or None if that cannot be told.
        unconfirmed: a settlement was sent and not answered: it may have been carried out.
        refused: a settlement was refused, as by a busy service. With that the link has forgotten the delivery, while
            the queue still holds its lock.
        deferred: it was deferred through `AzureNative.defer`; settling it does nothing any more.
    """

    message: ServiceBusReceivedMessage
    receiver: Receiver
    link: object
    delivery_id: int
    tag: bytes
    came: float
    lease: float | None
    unconfirmed: bool = False
    refused: bool = False
    deferred: bool = False

    @property
    def token(self) -> UUID:
        """The lock token: the delivery's tag, as .NET writes a GUID."""
        return UUID(bytes_le=self.tag)


@dataclass(frozen=True, slots=True)
class Settlement:
    """A way to settle, on the link and by lock token (``update-disposition`` of the management node).

    The outcomes are those of AMQP 1.0 messaging, 3.4, as learn.microsoft.com/azure/service-bus-messaging
    /service-bus-amqp-protocol-guide uses them; the service answers with the outcome that it applied.
    """

    name: Literal["complete", "abandon", "dead_letter", "defer"]
    reason: str | None = None
    description: str | None = None

    @property
    def state(self) -> object:
        """The delivery state to send."""
        if self.name == "complete":
            return Accepted()
        if self.name != "dead_letter":
            return Modified(delivery_failed=True, undeliverable_here=self.name == "defer", message_annotations=None)
        info = {b"DeadLetterReason": self.reason, b"DeadLetterErrorDescription": self.description}
        given = {name: text for name, text in info.items() if text is not None}
        return Rejected(error=AMQPError(b"com.microsoft:dead-letter", self.description, given))

    @property
    def answer(self) -> str:
        """The name of the outcome that confirms it."""
        return {"complete": "accepted", "dead_letter": "rejected"}.get(self.name, "modified")

    @property
    def status(self) -> str:
        """Its name as a disposition status."""
        return {"complete": "completed", "abandon": "abandoned", "dead_letter": "suspended"}.get(self.name, "defered")


class Leases:
    """How long the locks of one queue are, told from their ends without trusting this machine's clock too far."""

    def __init__(self, fixed: float | None, now: Callable[[], datetime]) -> None:
        """``fixed`` is the length if it is known; ``now`` the wall clock."""
        self._fixed = fixed
        self._now = now
        self._most = MAX_LOCK

    def length(self, until: datetime | None, enqueued: datetime | None) -> float | None:
        """Return the seconds until ``until``; None where that cannot be so, because a clock must be wrong.

        A lock cannot be longer than from when its message was stored to its end, both by the service's clock; the
        shortest such time is an upper bound for the queue that a wrong clock here does not change.
        """
        if self._fixed is not None:
            return self._fixed
        if until is None:
            return None
        if enqueued is not None:
            self._most = min(self._most, max(1.0, (until - enqueued).total_seconds()))
        left = (until - self._now()).total_seconds()
        return min(left, self._most) if 0 < left <= 2 * MAX_LOCK else None
