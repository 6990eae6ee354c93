"""`QuarantineQueue`: the local quarantine as a queue to receive from, so that its messages are settled like others."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from clouddirect.errors import CloudDirectError, UnsupportedError
from clouddirect.messaging.broker import MessageBroker
from clouddirect.messaging.capabilities import Access, Capabilities, CheckResult
from clouddirect.messaging.message import DEAD_LETTER_DESCRIPTION, DEAD_LETTER_REASON, Message, SendReceipt
from clouddirect.messaging.primitives import BrokerRuntime, RawDelivery
from clouddirect.messaging.quarantine import Quarantine, QuarantinedMessage
from clouddirect.retry import Interrupt

__all__ = ["QuarantineQueue"]

_LONGEST = 366 * 86400.0
_CAPABILITIES = Capabilities(
    max_message_bytes=2**31,
    max_receive_count=100,
    max_settle_count=100,
    ack_is_checked=True,
    max_nack_delay=_LONGEST,
    free_release=True,
    delivery_count=True,
    native_dead_letter=True,
)


class QuarantineQueue(MessageBroker):
    """Receives what is in the quarantine, oldest first: each message once for each object of this class.

    There is one queue; its name does not matter. Acking a message removes its file; giving it back leaves the file
    where it is, and so does dead-lettering it, with the new reason. Nothing is on lease: two programs that work on one
    quarantine at the same time may both be given a message. ``Delivery.native`` is the `QuarantinedMessage`.
    """

    provider = "quarantine"

    def __init__(self, quarantine: Quarantine, runtime: BrokerRuntime | None = None) -> None:
        """Receive from ``quarantine``; reads nothing yet."""
        super().__init__(runtime)
        self._source = quarantine
        self._guard = threading.Lock()
        self._names: list[str] | None = None  # what is still to be handed out, the oldest last

    def _capabilities(self, queue: str) -> Capabilities:
        return _CAPABILITIES

    def _send(
        self, queue: str, messages: Sequence[Message], timeout: float
    ) -> Sequence[SendReceipt | CloudDirectError]:
        raise UnsupportedError("nothing can be sent to the quarantine", resource=queue)

    def _receive(
        self, queue: str, max_messages: int, wait: float, lease: float | None, interrupt: Interrupt
    ) -> Sequence[RawDelivery]:
        found: list[RawDelivery] = []
        with self._guard:
            if self._names is None:
                self._names = self._source.names()[::-1]
            while self._names and len(found) < max_messages:
                one = self._source.get(self._names.pop())
                if one is not None:
                    found.append(_delivery(one))
        return found

    def _ack(self, queue: str, deliveries: Sequence[RawDelivery], timeout: float) -> Sequence[CloudDirectError | None]:
        outcomes: list[CloudDirectError | None] = []
        for delivery in deliveries:
            try:
                self._source.remove(_quarantined(delivery))
                outcomes.append(None)
            except CloudDirectError as error:
                outcomes.append(error)
        return outcomes

    def _nack(
        self, queue: str, deliveries: Sequence[RawDelivery], delay: float, timeout: float
    ) -> Sequence[CloudDirectError | None]:
        return [None for _ in deliveries]

    def _extend(
        self, queue: str, deliveries: Sequence[RawDelivery], seconds: float, timeout: float
    ) -> Sequence[float | CloudDirectError]:
        return [seconds for _ in deliveries]

    def _dead_letter(
        self, queue: str, delivery: RawDelivery, reason: str, description: str | None, timeout: float
    ) -> None:
        one = _quarantined(delivery)
        attributes = {**one.message.attributes, DEAD_LETTER_REASON: reason}
        attributes.pop(DEAD_LETTER_DESCRIPTION, None)
        if description:
            attributes[DEAD_LETTER_DESCRIPTION] = description
        message = replace(one.message, attributes=attributes)
        self._source.put(one.provider, one.queue, message, one.delivery_count, one.at)

    def _check(self, queue: str, access: Access, timeout: float) -> CheckResult:
        if access == "send":
            raise UnsupportedError("nothing can be sent to the quarantine", resource=queue)
        count = len(self._source.names())
        return CheckResult(access, "ok", f"{count} messages are in {self._source.directory}")

    def _native(self) -> Quarantine:
        return self._source


def _delivery(one: QuarantinedMessage) -> RawDelivery:
    return RawDelivery(
        message=one.message, handle=one, delivery_count=one.delivery_count, enqueued_at=one.at, native=one
    )


def _quarantined(delivery: RawDelivery) -> QuarantinedMessage:
    assert isinstance(delivery.handle, QuarantinedMessage)
    return delivery.handle
