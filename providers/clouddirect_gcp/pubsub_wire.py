"""Between `Message` and Pub/Sub's message.

Pub/Sub has data, attributes, an ordering key and an id of its own. What else a `Message` has goes, as JSON, into the
attribute ``clouddirect``, and on into ``clouddirect.2``, ``clouddirect.3`` and so forth where it is longer than an
attribute may be. Attributes that Pub/Sub would refuse for their name, length or number go there too.

Limits: https://cloud.google.com/pubsub/quotas#resource_limits (attributes, keys, values, ordering key, messages and
bytes of a request); names that begin with ``goog`` are reserved.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from google.pubsub_v1 import types

from clouddirect.errors import InvalidMessageError
from clouddirect.messaging import Message

__all__ = ["MAX_REQUEST_BYTES", "MAX_REQUEST_MESSAGES", "check", "decode", "encode_into", "enqueued_at", "measure"]

#: Most messages in one publish request.
MAX_REQUEST_MESSAGES = 1000
#: Most bytes of the messages in one publish request: 10 MB less what the topic's name takes.
MAX_REQUEST_BYTES = 10_000_000 - 1024

_RESERVED = "clouddirect"
_CONTINUED = "clouddirect."
_TAKEN = ("goog", _CONTINUED)
_MAX_ATTRIBUTES = 100
_MAX_NAME_BYTES = 256
_MAX_VALUE_BYTES = 1024
_MAX_KEY_BYTES = 1024
_VERSION = 1
_OPTIONAL = ("correlation_id", "content_type", "subject")
_FIELDS = ("id", *_OPTIONAL)

#: Messages up to this size need not be measured exactly: as many of them as a request may hold always fit.
_SMALL = MAX_REQUEST_BYTES // MAX_REQUEST_MESSAGES
#: Most bytes that JSON makes of one character (two escapes of six characters), and that an attribute adds to its text.
_WORST_CHARACTER, _WORST_ATTRIBUTE = 12, 32

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PubsubMessage: Any = types.PubsubMessage.pb()  # the protobuf class: far quicker than its proto-plus wrapper
_quoted = json.JSONEncoder().encode  # of a text: the same as json.dumps, without its overhead
_scan = json.JSONDecoder().raw_decode


def check(message: Message) -> None:
    """Refuse an ordering key that Pub/Sub cannot carry.

    Raises:
        InvalidMessageError: it is too long.
    """
    key = message.ordering_key
    if key is not None and len(key.encode()) > _MAX_KEY_BYTES:
        raise InvalidMessageError(f"Message.ordering_key has more than {_MAX_KEY_BYTES:,} bytes, Pub/Sub's limit")


def measure(message: Message) -> int:
    """Return the bytes that a message takes in a publish request, or, where it is small, an upper bound of them.

    Raises:
        InvalidMessageError: what is beside the body does not fit into 100 attributes.
    """
    bound = _bound(message)
    if bound <= _SMALL:
        return bound
    encoded = _PubsubMessage()
    _encode(encoded, message)
    own = int(encoded.ByteSize())
    return own + 1 + (own.bit_length() + 6) // 7  # its tag and its length


def encode_into(messages: Any, message: Message) -> None:
    """Add a message to those of a publish request."""
    _encode(messages.add(), message)


def decode(received: Any) -> Message:
    """Return the message within a received one; foreign messages whole, under the id that Pub/Sub gave them."""
    attributes = dict(received.attributes)
    own = _take_own(attributes)
    key = received.ordering_key or None
    if own is None:
        return Message(body=received.data, id=received.message_id, attributes=attributes, ordering_key=key)
    if "attributes" in own:
        attributes.update(own["attributes"])
    return Message(
        body=received.data,
        id=own["id"],
        correlation_id=own.get("correlation_id"),
        content_type=own.get("content_type"),
        subject=own.get("subject"),
        attributes=attributes,
        ordering_key=key,
    )


def enqueued_at(received: Any) -> datetime | None:
    """Return when Pub/Sub took the message, in UTC."""
    moment = received.publish_time
    seconds: int = moment.seconds
    return _EPOCH + timedelta(0, seconds, moment.nanos // 1000) if seconds else None


def _bound(message: Message) -> int:
    """An upper bound of what a message takes, however its texts are carried."""
    texts = len(message.id)
    for text in (message.correlation_id, message.content_type, message.subject, message.ordering_key):
        if text:
            texts += len(text)
    for name, value in message.attributes.items():
        texts += len(name) + len(value)
    attributes = len(message.attributes) + 4
    if attributes > _MAX_ATTRIBUTES // 2:  # some may have to be carried, in more of them than can be told from here
        return _SMALL + 1
    return len(message.body) + texts * _WORST_CHARACTER + attributes * _WORST_ATTRIBUTE + _MAX_VALUE_BYTES


def _encode(target: Any, message: Message) -> None:
    # field by field: that takes half the time of handing everything to the constructor
    target.data = message.body
    if message.ordering_key is not None:
        target.ordering_key = message.ordering_key
    attributes = target.attributes
    for name, value in _attributes(message).items():
        attributes[name] = value


def _attributes(message: Message) -> dict[str, str]:
    own = f'"v":{_VERSION},"id":{_quoted(message.id)}'
    for name in _OPTIONAL:
        value = getattr(message, name)
        if value is not None:
            own += f',"{name}":{_quoted(value)}'
    plain: dict[str, str] = {}
    carried: dict[str, str] = {}
    for name, value in message.attributes.items():
        (plain if _fits(name, value) else carried)[name] = value
    while True:
        pieces = _pieces(f'{{{own},"attributes":{_quoted(carried)}}}' if carried else f"{{{own}}}")
        over = len(plain) + len(pieces) - _MAX_ATTRIBUTES
        if over <= 0:
            plain.update(pieces)
            return plain
        if not plain:
            raise InvalidMessageError(
                "Message.attributes, together with the other fields beside the body, are too much for the "
                f"{_MAX_ATTRIBUTES} attributes of {_MAX_VALUE_BYTES:,} bytes that Pub/Sub permits; put it into the body"
            )
        for name in list(plain)[-over:]:
            carried[name] = plain.pop(name)


def _fits(name: str, value: str) -> bool:
    """Whether Pub/Sub takes this pair as an attribute of ours."""
    if name.startswith(_TAKEN) or name == _RESERVED:
        return False
    # a character takes at most four bytes, so most texts need not be encoded to be measured
    return (len(name) * 4 <= _MAX_NAME_BYTES or len(name.encode()) <= _MAX_NAME_BYTES) and (
        len(value) * 4 <= _MAX_VALUE_BYTES or len(value.encode()) <= _MAX_VALUE_BYTES
    )


def _pieces(text: str) -> dict[str, str]:
    """Cut ASCII text into attributes."""
    if len(text) <= _MAX_VALUE_BYTES:
        return {_RESERVED: text}
    starts = range(0, len(text), _MAX_VALUE_BYTES)
    return {_piece_name(number): text[start : start + _MAX_VALUE_BYTES] for number, start in enumerate(starts, 1)}


def _piece_name(number: int) -> str:
    return _RESERVED if number == 1 else f"{_CONTINUED}{number}"


def _take_own(attributes: dict[str, str]) -> dict[str, Any] | None:
    """Take out what the reserved attribute holds; None, and nothing taken, where it is missing or somebody else's."""
    text = attributes.get(_RESERVED)
    if text is None:
        return None
    names = [_RESERVED]
    if len(text) == _MAX_VALUE_BYTES:  # it goes on
        while (more := attributes.get(name := _piece_name(len(names) + 1))) is not None:
            text += more
            names.append(name)
    try:
        own, end = _scan(text)
    except ValueError:
        return None
    if end != len(text) or not _is_ours(own):
        return None
    for name in names:
        del attributes[name]
    taken: dict[str, Any] = own
    return taken


def _is_ours(own: object) -> bool:
    if not isinstance(own, dict) or own.get("v") != _VERSION or not own.get("id"):
        return False
    for name, value in own.items():
        if name == "attributes":
            if not isinstance(value, dict) or not all(isinstance(one, str) and key for key, one in value.items()):
                return False
        elif name in _FIELDS:
            if not isinstance(value, str) or not value:
                return False
        elif name != "v":
            return False
    return True
