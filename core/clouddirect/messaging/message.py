"""`Message` and what sending one returns."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from clouddirect.errors import CloudDirectError, InvalidMessageError

__all__ = [
    "DEAD_LETTER_DESCRIPTION",
    "DEAD_LETTER_QUEUE",
    "DEAD_LETTER_REASON",
    "Message",
    "SendReceipt",
    "SendResult",
]

#: Attributes that a dead-lettered message carries (the first two names are Service Bus's own, used by every provider).
DEAD_LETTER_REASON = "DeadLetterReason"
DEAD_LETTER_DESCRIPTION = "DeadLetterErrorDescription"
DEAD_LETTER_QUEUE = "DeadLetterQueue"


def _new_id() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, the same for every broker. Its repr shows no body, no attributes and no subject.

    Attributes:
        body: the payload, exactly as it goes over the wire.
        id: identifies this logical send; minted once, reused by its retries alone. A broker that deduplicates
            drops a repeated id silently, so never derive it from business data.
        correlation_id: what a receiver matches the message by, or None.
        content_type: media type of the body, such as ``application/json``, or None.
        subject: a short label for routing, or None.
        attributes: text pairs beside the body.
        ordering_key: messages of one key are delivered in the order they were sent; None asks for no order.
        delay: seconds before the message becomes visible to receivers; None for at once.
        time_to_live: seconds after which an undelivered message expires; None for the queue's own limit.
    """

    body: bytes
    id: str = field(default_factory=_new_id)
    correlation_id: str | None = None
    content_type: str | None = None
    subject: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    ordering_key: str | None = None
    delay: float | None = None
    time_to_live: float | None = None

    def __repr__(self) -> str:
        return f"Message(id={self.id!r}, size={len(self.body)})"

    def validate(self) -> None:
        """Check what holds for every broker.

        Raises:
            InvalidMessageError: names the field that is wrong, never its value.
        """
        if not isinstance(self.body, bytes):
            raise InvalidMessageError(f"Message.body must be bytes, not {type(self.body).__name__}; encode text first")
        for name, value in (
            ("id", self.id),
            ("correlation_id", self.correlation_id),
            ("content_type", self.content_type),
            ("subject", self.subject),
            ("ordering_key", self.ordering_key),
        ):
            if value is None and name != "id":
                continue
            if not isinstance(value, str) or not value:
                raise InvalidMessageError(f"Message.{name} must be non-empty text{'' if name == 'id' else ' or None'}")
            if not value.isascii():
                _check_text(f"Message.{name}", value)
        self._validate_attributes()
        if self.delay is not None and not (_is_number(self.delay) and self.delay >= 0):
            raise InvalidMessageError("Message.delay must be a number of seconds, zero or more, or None")
        if self.time_to_live is not None and not (_is_number(self.time_to_live) and self.time_to_live > 0):
            raise InvalidMessageError("Message.time_to_live must be a positive number of seconds, or None")

    def _validate_attributes(self) -> None:
        if not isinstance(self.attributes, Mapping):
            raise InvalidMessageError(f"Message.attributes must be a mapping, not {type(self.attributes).__name__}")
        for name, value in self.attributes.items():
            if not isinstance(name, str) or not name or not isinstance(value, str):
                raise InvalidMessageError(
                    "Message.attributes must map non-empty text to text; convert other values first"
                )
            if not (name.isascii() and value.isascii()):
                _check_text("a name in Message.attributes", name)
                _check_text("a value in Message.attributes", value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _check_text(what: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidMessageError(f"{what} holds an unpaired surrogate, which no broker can carry; remove it") from None


@dataclass(frozen=True, slots=True)
class SendReceipt:
    """The broker's confirmation that a message is stored durably.

    Attributes:
        message_id: the id of the message that was sent.
        broker_id: the broker's own id or sequence number for it, as text, or None where it tells none.
    """

    message_id: str
    broker_id: str | None = None


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of one message of `MessageBroker.send_many`.

    Attributes:
        message: the message as it was passed in.
        status: ``sent``; ``failed`` (see ``error``); or ``not_sent``: an earlier message of the same ordering key
            failed, so this one was held back rather than let it overtake.
        receipt: the confirmation when ``status`` is ``sent``.
        error: why it failed, or the error that held it back.
    """

    message: Message
    status: Literal["sent", "failed", "not_sent"]
    receipt: SendReceipt | None = None
    error: CloudDirectError | None = None

    @property
    def ok(self) -> bool:
        """Whether the broker confirmed the message."""
        return self.status == "sent"
