"""A stored message: the sender's bytes, and what the broker knows about it.

A message is a row of sections (AMQP 1.0 part 3, 3.2). Properties, application properties, body and footer are kept
byte for byte; header (3.2.1) and message annotations (3.2.3) are written anew at each delivery, since delivery count,
lock and sequence number belong to the broker. Delivery annotations (3.2.2) are for one hop and dropped. The
annotations' names (``x-opt-…``) are those of the Service Bus AMQP protocol guide, "Message annotations".
"""

from __future__ import annotations

import asyncio
import enum
import uuid
from typing import TYPE_CHECKING, Any

from .codec import DecodeError, Encoded, Int, Symbol, Timestamp, UInt, decode, skip, split_map
from .protocol import section

if TYPE_CHECKING:
    from .lanes import Holder

__all__ = ["Lock", "State", "StoredMessage", "milliseconds", "unpack_batch"]

HEADER, DELIVERY_ANNOTATIONS, ANNOTATIONS, PROPERTIES, APPLICATION, DATA = 0x70, 0x71, 0x72, 0x73, 0x74, 0x75
_SCHEDULED = Symbol("x-opt-scheduled-enqueue-time")
#: The fields of the properties section that a correlation filter can name, and their positions (3.2.4).
_FIELDS = {
    "message_id": 0,
    "to": 2,
    "label": 3,
    "reply_to": 4,
    "correlation_id": 5,
    "content_type": 6,
    "session_id": 10,
    "reply_to_session_id": 12,
}


class State(enum.IntEnum):
    """``x-opt-message-state``, as the protocol guide numbers it."""

    ACTIVE = 0
    DEFERRED = 1
    SCHEDULED = 2


class Lock:
    """A message's lock: until when (seconds since the epoch), whose, and the timer that ends it."""

    __slots__ = ("holder", "timer", "token", "until")

    def __init__(self, until: float, holder: Holder | None) -> None:
        self.token = uuid.uuid4()
        self.until = until
        self.holder = holder
        self.timer: asyncio.TimerHandle | None = None


class StoredMessage:
    """One message in one queue.

    Args:
        raw: the encoded message as its sender sent it.

    Raises:
        DecodeError: it is no AMQP message.
    """

    __slots__ = (
        "annotations",
        "deliveries",
        "enqueued",
        "expires",
        "header",
        "lock",
        "properties",
        "rest",
        "sequence",
        "size",
        "state",
        "timer",
    )

    def __init__(self, raw: bytes) -> None:
        self.header: list[Any] = []
        self.annotations: dict[Any, Encoded] = {}
        self.properties: list[Any] = []
        self.rest: list[tuple[int, bytes]] = []  # section code, the whole section
        self.size = len(raw)
        for code, start, value, end in _sections(raw):
            if code == HEADER:
                self.header = _list(raw, value)
            elif code == ANNOTATIONS:
                self.annotations = split_map(raw, value)
            elif code != DELIVERY_ANNOTATIONS:
                if code == PROPERTIES:
                    self.properties = _list(raw, value)
                self.rest.append((code, raw[start:end]))
        self.sequence = 0
        self.deliveries = 0  # those that failed, so 0 at the first
        self.enqueued = 0.0
        self.expires: float | None = None
        self.state = State.ACTIVE
        self.lock: Lock | None = None
        self.timer: asyncio.TimerHandle | None = None  # for schedule or time to live

    def copy(self) -> StoredMessage:
        """Return another message of the same content, for another queue."""
        other = StoredMessage.__new__(StoredMessage)
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        other.rest, other.annotations = list(self.rest), dict(self.annotations)
        other.lock = other.timer = None
        return other

    @property
    def id(self) -> Any:
        """The sender's message id, of whatever type; None where there is none."""
        return self.properties[0] if self.properties else None

    @property
    def session_id(self) -> str | None:
        """The session id, which AMQP calls group-id; None where there is none or it is empty."""
        return self.field("session_id") or None

    @property
    def time_to_live(self) -> float | None:
        """The sender's time to live in seconds."""
        milliseconds_ = self.header[2] if len(self.header) > 2 else None
        return milliseconds_ / 1000 if milliseconds_ else None

    @property
    def scheduled_for(self) -> float | None:
        """When the sender wants it to become active, in seconds since the epoch."""
        value = self.annotations.get(_SCHEDULED)
        return decode(value)[0] / 1000 if value else None

    def field(self, name: str) -> Any:
        """Return a field of the properties by the name that rules give it, or None."""
        position = _FIELDS[name]
        return self.properties[position] if len(self.properties) > position else None

    def application_properties(self) -> dict[str, Any]:
        """Return the application properties, decoded."""
        return {key: decode(value)[0] for key, value in self._application().items()}

    def set_application_properties(self, values: dict[str, str]) -> None:
        """Add or replace application properties; the others keep their bytes."""
        written = (APPLICATION, section(APPLICATION, {**self._application(), **values}))
        self.rest = [part for part in self.rest if part[0] != APPLICATION]
        before_body = 1 if self.rest and self.rest[0][0] == PROPERTIES else 0
        self.rest.insert(before_body, written)

    def encode(self) -> bytes:
        """Return the message as it is delivered now."""
        durable, priority, time_to_live, first = (*self.header, None, None, None, None)[:4]
        header = [durable, priority, time_to_live, first, UInt(self.deliveries)]
        annotations: dict[Any, Any] = {
            **self.annotations,
            Symbol("x-opt-enqueued-time"): milliseconds(self.enqueued),
            Symbol("x-opt-sequence-number"): self.sequence,
            Symbol("x-opt-enqueue-sequence-number"): self.sequence,
            Symbol("x-opt-message-state"): Int(self.state),
        }
        if self.lock is not None:
            annotations[Symbol("x-opt-locked-until")] = milliseconds(self.lock.until)
        return b"".join([section(HEADER, header), section(ANNOTATIONS, annotations), *(part for _, part in self.rest)])

    def _application(self) -> dict[Any, Encoded]:
        for code, part in self.rest:
            if code == APPLICATION:
                return split_map(part, _value_of(part, 0)[1])
        return {}


def unpack_batch(raw: bytes) -> list[StoredMessage]:
    """Return the messages of a batch: the Data sections of its envelope, of which nothing else counts."""
    return [StoredMessage(decode(raw, value)[0]) for code, _, value, _ in _sections(raw) if code == DATA]


def milliseconds(seconds: float) -> Timestamp:
    """Return a time in seconds since the epoch as AMQP has it."""
    return Timestamp(int(seconds * 1000))


def _list(raw: bytes, offset: int) -> list[Any]:
    value, _ = decode(raw, offset)
    if not isinstance(value, list):
        raise DecodeError("a message's header and properties are lists")
    return value


def _sections(raw: bytes) -> list[tuple[int, int, int, int]]:
    """Return code, start, start of the value and end of each section."""
    found, offset = [], 0
    while offset < len(raw):
        code, value = _value_of(raw, offset)
        end = skip(raw, value)
        found.append((code, offset, value, end))
        offset = end
    return found


def _value_of(raw: bytes, offset: int) -> tuple[int, int]:
    """Return code and start of the value of the section at ``offset``."""
    if raw[offset : offset + 2] == b"\x00\x53" and offset + 2 < len(raw):  # the usual form, a small ulong
        return raw[offset + 2], offset + 3
    if raw[offset] != 0x00:
        raise DecodeError("a message is a row of described sections")
    code, value = decode(raw, offset + 1)
    if not isinstance(code, int):
        raise DecodeError("a section's descriptor is a number here")
    return code, value
