"""Names of the protocol: performatives, outcomes, error conditions, and the errors this server answers with.

Sources: AMQP 1.0 part 2 ("Transport", 2.7 performatives, 2.8.14 to 2.8.18 errors), part 3 ("Messaging", 3.2 sections,
3.4 outcomes), part 5 ("Security", 5.3 SASL); Microsoft's "AMQP 1.0 in Azure Service Bus and Event Hubs protocol
guide" and "AMQP errors in Azure Service Bus" for the vendor's conditions and texts.
"""

from __future__ import annotations

import uuid
from typing import Any, Final

from .codec import Described, Encoded, Symbol, ULong, encode

__all__ = [
    "ACCEPTED",
    "AMQP_HEADER",
    "ATTACH",
    "BATCH_FORMAT",
    "BEGIN",
    "CLOSE",
    "COORDINATOR",
    "DETACH",
    "DISPOSITION",
    "END",
    "FLOW",
    "MAX_SEQUENCE",
    "MODIFIED",
    "OPEN",
    "REJECTED",
    "RELEASED",
    "SASL_HEADER",
    "SASL_INIT",
    "SASL_MECHANISMS",
    "SASL_OUTCOME",
    "SOURCE",
    "TARGET",
    "TRANSFER",
    "AmqpError",
    "Condition",
    "composite",
    "frame",
    "outcome",
    "padded",
    "section",
]

SASL_HEADER: Final = b"AMQP\x03\x01\x00\x00"
AMQP_HEADER: Final = b"AMQP\x00\x01\x00\x00"

OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE = range(0x10, 0x19)
SASL_MECHANISMS, SASL_INIT, SASL_OUTCOME = 0x40, 0x41, 0x44
ACCEPTED, REJECTED, RELEASED, MODIFIED = 0x24, 0x25, 0x26, 0x27
SOURCE, TARGET, COORDINATOR = 0x28, 0x29, 0x30
_ERROR = 0x1D

#: Message format of a batch: a message whose Data sections are messages (protocol guide, "Message batching").
BATCH_FORMAT: Final = 0x80013700
#: Windows are flow control between sessions, of which this server needs none: the largest value never closes.
MAX_SEQUENCE: Final = 0x7FFFFFFF


class Condition:
    """Error conditions (symbols) of AMQP and of Service Bus."""

    CONNECTION_FORCED = "amqp:connection:forced"
    DECODE_ERROR = "amqp:decode-error"
    DETACH_FORCED = "amqp:link:detach-forced"
    INTERNAL_ERROR = "amqp:internal-error"
    MESSAGE_LOCK_LOST = "com.microsoft:message-lock-lost"
    MESSAGE_NOT_FOUND = "com.microsoft:message-not-found"
    MESSAGE_TOO_LARGE = "amqp:link:message-size-exceeded"
    NOT_ALLOWED = "amqp:not-allowed"
    NOT_FOUND = "amqp:not-found"
    NOT_IMPLEMENTED = "amqp:not-implemented"
    QUOTA_EXCEEDED = "amqp:resource-limit-exceeded"
    SERVER_BUSY = "com.microsoft:server-busy"
    SESSION_CANNOT_BE_LOCKED = "com.microsoft:session-cannot-be-locked"
    SESSION_LOCK_LOST = "com.microsoft:session-lock-lost"
    TIMEOUT = "com.microsoft:timeout"
    UNAUTHORIZED = "amqp:unauthorized-access"


class AmqpError(Exception):
    """What is answered instead of doing what was asked: ``condition`` (a symbol) and a text for people."""

    def __init__(self, condition: str, text: str) -> None:
        super().__init__(f"{condition}: {text}")
        self.condition = condition
        self.text = text

    def described(self) -> Described:
        """Return the error as AMQP has it (2.8.14).

        The info map is always there, as the service sends one: azure-servicebus 7.15 reads it without asking.
        """
        tracking = {Symbol("com.microsoft:tracking-id"): str(uuid.uuid4())}
        return Described(ULong(_ERROR), [Symbol(self.condition), self.text, tracking])


def composite(code: int, fields: list[Any]) -> bytes:
    """Return an encoded described list; trailing nulls are left out, as 1.4 allows."""
    end = len(fields)
    while end and fields[end - 1] is None:
        end -= 1
    return b"\x00\x53" + bytes((code,)) + encode(fields[:end])


def frame(channel: int, body: bytes, *, sasl: bool = False) -> bytes:
    """Return a frame (2.3): size, data offset of two words, type and channel, then the body."""
    return (len(body) + 8).to_bytes(4, "big") + bytes((2, 1 if sasl else 0)) + channel.to_bytes(2, "big") + body


def section(code: int, value: Any) -> bytes:
    """Return an encoded message section (3.2)."""
    return b"\x00\x53" + bytes((code,)) + encode(value)


def outcome(code: int, *fields: Any) -> Encoded:
    """Return an encoded delivery state (3.4)."""
    return Encoded(composite(code, list(fields)))


def padded(fields: list[Any] | None, count: int) -> list[Any]:
    """Return ``fields`` with the nulls at the end that the sender left out."""
    found = list(fields or [])
    return found + [None] * (count - len(found))
