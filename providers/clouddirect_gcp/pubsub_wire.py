"""Between `Message` and Pub/Sub's message.

Pub/Sub has data, attributes, an ordering key and an id of its own. What else a `Message` has goes, as JSON, into the
attribute ``clouddirect``, and on into ``clouddirect.2``, ``clouddirect.3`` and so forth where it is longer than an
attribute may be. Attributes that Pub/Sub would refuse for their name, length or number go there too.

Limits: https://cloud.google.com/pubsub/quotas#resource_limits (attributes, keys, values, ordering key, messages and
bytes of a request); names that begin with ``goog`` are reserved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from google.pubsub_v1 import types

from clouddirect.errors import InvalidMessageError
from clouddirect.messaging import Message

if TYPE_CHECKING:
    from google.protobuf.message import Message as ProtobufMessage

__all__ = ["MAX_REQUEST_BYTES", "MAX_REQUEST_MESSAGES", "decode", "encode", "enqueued_at", "size_in_request"]

#: Most messages in one publish request.
MAX_REQUEST_MESSAGES = 1000
#: Most bytes of the messages in one publish request: 10 MB less what the topic's name takes.
MAX_REQUEST_BYTES = 10_000_000 - 1024

_RESERVED = "clouddirect"
_MAX_ATTRIBUTES = 100
_MAX_NAME_BYTES = 256
_MAX_VALUE_BYTES = 1024
_MAX_KEY_BYTES = 1024
_VERSION = 1
_FIELDS = ("id", "correlation_id", "content_type", "subject")

_PubsubMessage: Any = types.PubsubMessage.pb()  # the protobuf class: far quicker than its proto-plus wrapper


def encode(message: Message) -> ProtobufMessage:
    """Return what goes over the wire.

    Raises:
        InvalidMessageError: the ordering key is too long, or what is beside the body does not fit into 100 attributes.
    """
    key = message.ordering_key
    if key is not None and len(key.encode()) > _MAX_KEY_BYTES:
        raise InvalidMessageError(f"Message.ordering_key has more than {_MAX_KEY_BYTES:,} bytes, Pub/Sub's limit")
    encoded: ProtobufMessage = _PubsubMessage(
        data=message.body, attributes=_attributes(message), ordering_key=key or ""
    )
    return encoded


def size_in_request(encoded: ProtobufMessage) -> int:
    """Return the bytes that an encoded message takes in a publish request: its own, its tag and its length."""
    own = encoded.ByteSize()
    return own + 1 + max(1, (own.bit_length() + 6) // 7)


def decode(received: Any) -> Message:
    """Return the message within a received one; foreign messages whole, under the id that Pub/Sub gave them."""
    attributes = dict(received.attributes)
    own = _own(attributes)
    if own is None:
        return Message(
            body=received.data,
            id=received.message_id,
            attributes=attributes,
            ordering_key=received.ordering_key or None,
        )
    plain = {name: value for name, value in attributes.items() if not _is_reserved(name)}
    return Message(
        body=received.data,
        id=own["id"],
        correlation_id=own.get("correlation_id"),
        content_type=own.get("content_type"),
        subject=own.get("subject"),
        attributes={**plain, **own.get("attributes", {})},
        ordering_key=received.ordering_key or None,
    )


def enqueued_at(received: Any) -> datetime | None:
    """Return when Pub/Sub took the message, in UTC."""
    if not received.HasField("publish_time"):
        return None
    moment: datetime = received.publish_time.ToDatetime(UTC)
    return moment


def _attributes(message: Message) -> dict[str, str]:
    own: dict[str, Any] = {"v": _VERSION}
    for name in _FIELDS:
        value = getattr(message, name)
        if value is not None:
            own[name] = value
    plain = dict(message.attributes)
    carried = {name: plain.pop(name) for name in message.attributes if not _fits(name, plain[name])}
    while True:
        if carried:
            own["attributes"] = carried
        pieces = _pieces(json.dumps(own, separators=(",", ":")))
        over = len(plain) + len(pieces) - _MAX_ATTRIBUTES
        if over <= 0:
            return {**plain, **pieces}
        if not plain:
            raise InvalidMessageError(
                "Message.attributes, together with the other fields beside the body, are too much for the "
                f"{_MAX_ATTRIBUTES} attributes of {_MAX_VALUE_BYTES:,} bytes that Pub/Sub permits; put it into the body"
            )
        for name in list(plain)[-over:]:
            carried[name] = plain.pop(name)


def _fits(name: str, value: str) -> bool:
    if _is_reserved(name) or name.startswith("goog"):
        return False
    # a character takes at most four bytes, so most texts need not be encoded to be measured
    return (len(name) * 4 <= _MAX_NAME_BYTES or len(name.encode()) <= _MAX_NAME_BYTES) and (
        len(value) * 4 <= _MAX_VALUE_BYTES or len(value.encode()) <= _MAX_VALUE_BYTES
    )


def _is_reserved(name: str) -> bool:
    return name == _RESERVED or name.startswith(f"{_RESERVED}.")


def _pieces(text: str) -> dict[str, str]:
    """Cut ASCII text into attributes."""
    if len(text) <= _MAX_VALUE_BYTES:
        return {_RESERVED: text}
    starts = range(0, len(text), _MAX_VALUE_BYTES)
    return {_piece_name(number): text[start : start + _MAX_VALUE_BYTES] for number, start in enumerate(starts, 1)}


def _piece_name(number: int) -> str:
    return _RESERVED if number == 1 else f"{_RESERVED}.{number}"


def _own(attributes: Mapping[str, str]) -> dict[str, Any] | None:
    """What the reserved attribute holds, or None where it is missing or somebody else's."""
    text = attributes.get(_RESERVED)
    if text is None:
        return None
    number = 2
    while (more := attributes.get(_piece_name(number))) is not None:
        text, number = text + more, number + 1
    try:
        own = json.loads(text)
    except ValueError:
        return None
    return own if _is_ours(own) else None


def _is_ours(own: object) -> bool:
    if not isinstance(own, dict) or own.get("v") != _VERSION or not own.get("id"):
        return False
    texts = all(isinstance(own[name], str) and own[name] for name in _FIELDS if name in own)
    carried = own.get("attributes", {})
    return texts and isinstance(carried, dict) and all(isinstance(value, str) for value in carried.values())
