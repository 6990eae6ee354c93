"""What is refused before anything goes to the broker: malformed messages, and what the provider does not declare."""

from __future__ import annotations

from clouddirect.errors import CloudDirectError, TooLargeError, UnsupportedError
from clouddirect.messaging.capabilities import Capabilities
from clouddirect.messaging.message import Message
from clouddirect.messaging.primitives import BrokerPrimitives

__all__ = ["admit_lease", "admit_message", "describe"]


def admit_message(broker: BrokerPrimitives, queue: str, can: Capabilities, message: Message) -> int:
    """Check a message that is to be sent to ``queue``; return its size as the broker counts it.

    Raises:
        InvalidMessageError: the message is malformed.
        TooLargeError: it is over the broker's limit.
        UnsupportedError: it needs a capability that is not declared.
    """
    try:
        message.validate()
        if message.ordering_key is not None and not can.ordering:
            raise _unsupported(broker, queue, "ordering", "Message.ordering_key")
        if message.delay and message.delay > can.max_delay:
            limit = f"at most {can.max_delay:g} s" if can.max_delay else "none at all"
            raise _unsupported(broker, queue, "max_delay", f"Message.delay (it permits {limit})")
        if message.time_to_live is not None and not can.time_to_live:
            raise _unsupported(broker, queue, "time_to_live", "Message.time_to_live")
        size = broker._size(queue, message)
        if size > can.max_message_bytes:
            raise TooLargeError(
                f"the message has {size:,} bytes; {broker.provider} accepts at most {can.max_message_bytes:,} on "
                f"{queue!r}: put large content into a store and send its key"
            )
        broker._validate(queue, message)
    except CloudDirectError as error:
        describe(error, broker.provider, "send", queue)
        raise
    return size


def admit_lease(broker: BrokerPrimitives, queue: str, can: Capabilities, lease: float | None) -> None:
    """Check the length of lease that a caller asks for.

    Raises:
        UnsupportedError: the queue fixes the length of its leases, or does not permit this one.
    """
    if lease is None:
        return
    if not can.settable_lease:
        raise _unsupported(broker, queue, "settable_lease", "a lease of the caller's choice; configure it on the queue")
    if not lease > 0 or (can.max_lease is not None and lease > can.max_lease):
        limit = "" if can.max_lease is None else f" and at most {can.max_lease:g} s"
        raise UnsupportedError(
            f"lease is {lease:g} s; {broker.provider} permits more than 0{limit} on {queue!r}",
            provider=broker.provider, operation="receive", resource=queue, code="max_lease",
        )  # fmt: skip


def describe(error: CloudDirectError, provider: str, operation: str, queue: str | None) -> None:
    """Note on an error where it happened, as far as it does not say so itself."""
    error.provider = error.provider or provider
    error.operation = error.operation or operation
    error.resource = error.resource or queue


def _unsupported(broker: BrokerPrimitives, queue: str, capability: str, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"{broker.provider} does not support {what} on {queue!r} (capability {capability})",
        provider=broker.provider, resource=queue, code=capability,
    )  # fmt: skip
