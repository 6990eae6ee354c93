"""Messages between clouddirect and Service Bus: properties, bodies of every AMQP kind, sizes.

Fields go to Service Bus's own properties, so that any other program sees an ordinary message. What they cannot hold
goes into one application property, ``clouddirect``: a compact JSON object with ``"v": 1``.
Limits: learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.amqp import AmqpMessageBodyType, AmqpMessageHeader

from clouddirect.errors import InvalidMessageError
from clouddirect.messaging import Message

__all__ = ["BATCH_OVERHEAD", "from_bus", "size_of", "to_bus", "validate"]

#: Bytes that a batch has beyond its messages, at most: it repeats the ids of the first one.
BATCH_OVERHEAD = 2048
#: The application property that holds what Service Bus's own properties cannot.
RESERVED = "clouddirect"
#: Characters of a message id or a session id, as .NET counts them: UTF-16 code units.
MAX_ID = 128
#: Bytes of all application properties of a message together, and of one of them.
MAX_PROPERTIES = 64 * 1024
MAX_PROPERTY = 32 * 1024
#: Bytes that a message has beyond its texts and its body, at most: sections, list heads, fixed fields, batch head.
_FIXED = 384
#: Bytes that a text or a pair of texts has beyond its characters, at most.
_PER_TEXT = 5


def validate(message: Message) -> None:
    """Refuse what Service Bus cannot carry.

    Raises:
        InvalidMessageError: the attributes are too large.
    """
    total = 0
    for name, value in message.attributes.items():
        size = len(name.encode()) + len(value.encode()) + 2 * _PER_TEXT
        if size > MAX_PROPERTY:
            raise InvalidMessageError(
                f"an attribute has {size:,} bytes; Service Bus takes at most {MAX_PROPERTY:,}: put large content into "
                "the body"
            )
        total += size
    if total > MAX_PROPERTIES:
        raise InvalidMessageError(
            f"the attributes have {total:,} bytes together; Service Bus takes at most {MAX_PROPERTIES:,}: put large "
            "content into the body"
        )


def size_of(message: Message) -> int:
    """Return the bytes that the message has in a batch, at most."""
    size = len(message.body) + _FIXED
    for text in (message.correlation_id, message.subject):
        if text is not None:
            size += len(text.encode())
    size += 6 * len(message.content_type or "")  # as JSON, if need be: \\uXXXX, and two of them beyond the first plane
    if _is_long(message.id) or _is_long(message.ordering_key):
        size += 6 * (len(message.id) + len(message.ordering_key or ""))
    else:
        size += 4 * (len(message.id) + len(message.ordering_key or message.id))
    for name, value in message.attributes.items():
        size += len(name.encode()) + len(value.encode()) + 2 * _PER_TEXT
        if name == RESERVED:
            size += 6 * len(value)
    return size


def to_bus(message: Message, *, sessions: bool, now: datetime) -> ServiceBusMessage:
    """Return the SDK's message; in a queue with sessions one without an ordering key is a session of its own."""
    properties: dict[str | bytes, Any] = {name: value for name, value in message.attributes.items()}  # noqa: C416 - wider
    more: dict[str, object] = {}
    identity = message.id
    if _is_long(identity):
        more["id"] = identity
        identity = _digest(identity)
    key = message.ordering_key
    if key is not None and _is_long(key):
        more["ordering_key"] = key
        key = _digest(key)
    elif key is None and sessions:
        key = identity
    content_type = message.content_type
    if content_type is not None and not content_type.isascii():
        more["content_type"], content_type = content_type, None  # an AMQP symbol, which is ASCII
    if RESERVED in properties:
        more["attributes"] = {RESERVED: properties.pop(RESERVED)}
    if more:
        properties[RESERVED] = json.dumps({"v": 1, **more}, ensure_ascii=False, separators=(",", ":"))
    bus = ServiceBusMessage(
        message.body,
        application_properties=properties or None,
        session_id=key,
        message_id=identity,
        content_type=content_type,
        correlation_id=message.correlation_id,
        subject=message.subject,
        scheduled_enqueue_time_utc=now + timedelta(seconds=message.delay) if message.delay else None,
    )
    if message.time_to_live is not None:
        # the SDK's own property cuts off parts of a second
        header = bus.raw_amqp_message.header or AmqpMessageHeader()
        header.time_to_live = max(1, round(min(message.time_to_live, 0xFFFFFFFF / 1000) * 1000))
        bus.raw_amqp_message.header = header
    return bus


def from_bus(bus: ServiceBusReceivedMessage) -> Message:
    """Return the message, whoever sent it."""
    properties = {_text(name): _text(value) for name, value in (bus.application_properties or {}).items()}
    more = _ours(properties)
    identity = _label(bus.message_id)
    key = _label(bus.session_id)
    if key == identity:
        key = None  # a session of its own, because it has no ordering key
    return Message(
        body=_body(bus),
        id=str(more.get("id") or identity or f"sequence-{bus.sequence_number}"),
        correlation_id=_label(bus.correlation_id),
        content_type=str(more["content_type"]) if "content_type" in more else _label(bus.content_type),
        subject=_label(bus.subject),
        attributes=properties,
        ordering_key=str(more["ordering_key"]) if "ordering_key" in more else key,
    )


def _ours(properties: dict[str, str]) -> Mapping[str, Any]:
    """Take our own property out, if it is there; one of that name that somebody else wrote stays."""
    text = properties.get(RESERVED)
    if text is None or not text.startswith('{"v":1'):
        return {}
    try:
        more = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(more, dict):
        return {}
    del properties[RESERVED]
    attributes = more.get("attributes")
    if isinstance(attributes, dict):
        properties.update({str(name): str(value) for name, value in attributes.items()})
    return more


def _body(bus: ServiceBusReceivedMessage) -> bytes:
    body: Any = bus.body
    if bus.body_type is AmqpMessageBodyType.DATA:
        return b"".join(bytes(part) for part in body)
    if bus.body_type is AmqpMessageBodyType.SEQUENCE:
        # each section is a list of its own; together they are one sequence
        return _json([item for section in body for item in section]).encode()
    if body is None:
        return b""
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)  # the SDK gives an AMQP string as its UTF-8
    return _text(body).encode()


def _json(value: object) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))


def _plain(value: object) -> object:
    """Return an AMQP value with nothing in it that JSON lacks."""
    if isinstance(value, Mapping):
        return {_text(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return _text(value)


def _text(value: object) -> str:
    """Return a property of any AMQP type as text: JSON's for numbers, truth values and null."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, UUID):
        return str(value)
    return _json(value) if value is None or isinstance(value, (bool, int, float, Mapping, list, tuple)) else str(value)


def _label(value: object) -> str | None:
    return None if value is None else (_text(value) or None)


def _is_long(identity: str | None) -> bool:
    return identity is not None and len(identity) + sum(character > "\uffff" for character in identity) > MAX_ID


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
