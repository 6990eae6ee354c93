"""How a `Message` is written as an SQS message, and how any SQS message is read.

SQS has a text body, up to ten typed attributes, and for FIFO queues a group and a deduplication id. What it has no
place for goes into one reserved attribute, ``clouddirect``: compact JSON with these keys, each only where needed.

- ``id``: the message's id (always present; SQS gives every message another id of its own)
- ``correlation``, ``type``, ``subject``: correlation id, content type and subject
- ``key``: an ordering key that cannot be a group id as it stands
- ``encoding``: ``base64`` where the body is not text that SQS takes, ``empty`` where it is empty
- ``attributes``: attributes beyond the nine that go beside the reserved one, and those SQS does not take as they are

Facts of the service are from the API reference of SendMessage and "Amazon SQS message metadata" in its developer guide.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from clouddirect.messaging import Message

__all__ = ["RESERVED", "Wire", "decode", "encode", "token"]

#: Name of the reserved attribute.
RESERVED = "clouddirect"
#: Most attributes of a message that become attributes of SQS: it takes ten, and the reserved one is among them.
_MAX_NATIVE = 9
#: What stands in for an empty body, which SQS refuses.
_EMPTY = "(empty)"

_JSON = json.JSONEncoder(separators=(",", ":"))  # made once: json.dumps makes one for each call
#: What `_compact` writes for most messages, read without the decoder.
_PLAIN = re.compile(r'\{"id":"([A-Za-z0-9-]+)"\}\Z')
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: The same for ASCII, ten times as fast.
_ALLOWED_ASCII = bytes([9, 10, 13, *range(0x20, 0x80)])
_NAME = re.compile(r"(?!aws\.|amazon\.|\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,256}(?<!\.)\Z", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9!-/:-@\[-`{-~]{1,128}\Z")


class Wire(NamedTuple):
    """A message as it goes to SQS. ``size`` is what SQS counts: body, and names, types and values of attributes."""

    body: str
    attributes: dict[str, str]
    size: int


def encode(message: Message) -> Wire:
    """Write a message that `Message.validate` has accepted."""
    reserved: dict[str, Any] = {"id": message.id}
    if message.correlation_id is not None:
        reserved["correlation"] = message.correlation_id
    if message.content_type is not None:
        reserved["type"] = message.content_type
    if message.subject is not None:
        reserved["subject"] = message.subject
    key = message.ordering_key
    if key is not None and (token(key) != key or key == token(message.id)):
        reserved["key"] = key
    body, encoding = _body_text(message.body)
    if encoding is not None:
        reserved["encoding"] = encoding
    attributes: dict[str, str] = {}
    overflow: dict[str, str] = {}
    for name, value in message.attributes.items():
        fits = len(attributes) < _MAX_NATIVE and name != RESERVED and value and _NAME.match(name)
        (attributes if fits and not _FORBIDDEN.search(value) else overflow)[name] = value
    if overflow:
        reserved["attributes"] = overflow
    attributes[RESERVED] = _compact(reserved)
    size = len(body) if body.isascii() else len(message.body)
    for name, value in attributes.items():
        size += len(name) + len("String") + (len(value) if value.isascii() else len(value.encode()))
    return Wire(body, attributes, size)


def _compact(reserved: Mapping[str, Any]) -> str:
    identity: str = reserved["id"]
    if len(reserved) == 1 and identity.isascii() and identity.replace("-", "").isalnum():
        return f'{{"id":"{identity}"}}'  # what most messages have, in a fraction of the encoder's time
    return _JSON.encode(reserved)


def token(text: str) -> str:
    """Return ``text`` as a group or deduplication id: as it is, or hashed where SQS does not take it.

    They have 1 to 128 characters, alphanumeric or ASCII punctuation.
    """
    return text if _TOKEN.match(text) else hashlib.sha256(text.encode()).hexdigest()


def decode(native: Mapping[str, Any], fifo: bool) -> Message:
    """Read a message as ReceiveMessage returns it, ours or anybody's. Never fails: what is not ours is taken as is."""
    text = str(native.get("Body", ""))
    attributes = {name: _value_text(value) for name, value in native.get("MessageAttributes", {}).items()}
    group = native.get("Attributes", {}).get("MessageGroupId") if fifo else None
    reserved = _read_reserved(attributes.get(RESERVED))
    body = None if reserved is None else _body_bytes(text, reserved.get("encoding"))
    if reserved is None or body is None:
        return Message(
            body=text.encode(errors="surrogatepass"),
            id=str(native["MessageId"]),
            attributes=attributes,
            ordering_key=group,
        )
    del attributes[RESERVED]
    identity = reserved["id"]
    return Message(
        body=body,
        id=identity,
        correlation_id=reserved.get("correlation"),
        content_type=reserved.get("type"),
        subject=reserved.get("subject"),
        attributes={**attributes, **reserved.get("attributes", {})},
        ordering_key=reserved.get("key", None if group == token(identity) else group) if fifo else None,
    )


def _body_text(body: bytes) -> tuple[str, str | None]:
    if not body:
        return _EMPTY, "empty"
    if not body.translate(None, _ALLOWED_ASCII):
        return body.decode("ascii"), None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), "base64"
    if _FORBIDDEN.search(text):
        return base64.b64encode(body).decode(), "base64"
    return text, None


def _body_bytes(text: str, encoding: str | None) -> bytes | None:
    """Return the body that was sent, or None if it is not what ``encoding`` says."""
    if encoding is None:
        return text.encode(errors="surrogatepass")
    if encoding == "empty":
        return b"" if text == _EMPTY else None
    try:
        return base64.b64decode(text, validate=True) if encoding == "base64" else None
    except (binascii.Error, ValueError):
        return None


def _read_reserved(text: str | None) -> dict[str, Any] | None:
    """Return the content of our attribute; None if it is not there or somebody else's."""
    if text is None or not text.startswith('{"id":'):
        return None
    if plain := _PLAIN.match(text):
        return {"id": plain[1]}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # somebody's JSON may be nested without end
        return None
    extra = found.get("attributes", {})
    if not isinstance(extra, dict) or not all(isinstance(part, str) and part for part in _texts(found)):
        return None
    return found if all(isinstance(value, str) for value in extra.values()) else None


def _texts(reserved: Mapping[str, Any]) -> Iterator[Any]:
    return (value for name, value in reserved.items() if name != "attributes")


def _value_text(value: Mapping[str, Any]) -> str:
    """Return a typed attribute as text: strings and numbers as they are, binary ones in base64."""
    if "BinaryValue" in value:
        return base64.b64encode(bytes(value["BinaryValue"])).decode()
    return str(value.get("StringValue", ""))
