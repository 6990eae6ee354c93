"""Messages as entries of a stream, and back.

The body is the field ``body``; each attribute is a field of its own, so that programs which know nothing of clouddirect
can read and write them. The rest is JSON in the field ``clouddirect``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from clouddirect.messaging import Message

__all__ = ["RESERVED", "decode", "encode", "stored_at"]

#: Names of fields that no attribute can have.
RESERVED = ("body", "clouddirect")

_REST = ("id", "correlation_id", "content_type", "subject")


def encode(message: Message) -> list[bytes]:
    """Return the fields and values of the entry, in turn."""
    rest = {name: getattr(message, name) for name in _REST if getattr(message, name) is not None}
    fields = [b"body", message.body, b"clouddirect", json.dumps(rest, separators=(",", ":")).encode()]
    for name, value in message.attributes.items():
        fields += [name.encode(), value.encode()]
    return fields


def decode(entry_id: bytes, fields: Sequence[bytes]) -> Message:
    """Return the message of an entry; one that is foreign gets the entry's id and all its fields as attributes."""
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    body = values.pop(b"body", b"")
    rest = _rest(values.get(b"clouddirect"))
    if rest is None:
        rest = {"id": entry_id.decode()}
    else:
        del values[b"clouddirect"]
    attributes = {_text(name): _text(value) for name, value in values.items()}
    return Message(body=body, attributes=attributes, **rest)


def stored_at(entry_id: bytes) -> datetime:
    """Return when Redis stored the entry: the first half of its id is milliseconds since 1970."""
    return datetime.fromtimestamp(int(entry_id.split(b"-")[0]) / 1000, UTC)


def _rest(value: bytes | None) -> dict[str, Any] | None:
    """Return what `encode` wrote, or None if it was not `encode` who wrote this."""
    try:
        rest = json.loads(value or b"")
    except ValueError:
        return None
    if not isinstance(rest, dict) or "id" not in rest or not rest.keys() <= set(_REST):
        return None
    return rest if all(isinstance(one, str) for one in rest.values()) else None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
