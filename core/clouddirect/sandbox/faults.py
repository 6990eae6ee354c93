"""The faults that the sandbox makes on demand: when they strike, and what they look like.

Nothing here loses a message: IRIS does not. What cannot be read and what is of an unknown kind comes in addition.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

from clouddirect.orders.models import Event, UnknownEvent, read_event, to_wire_dict

__all__ = ["UNKNOWN_KINDS", "chance", "malformed_body", "unknown_event"]

#: Kinds of event that are published nowhere.
UNKNOWN_KINDS = ("SandboxReviewRequested", "SandboxImageQualityEvent", "SandboxQueueMoved")

_NAMESPACE = uuid.UUID("e0b6f0b3-8a83-4a53-9d2c-4a0a6c1f4d0e")


def chance(seed: int, *what: object) -> float:
    """Return a number from 0 up to, but not including, 1: the same for the same arguments, on every machine."""
    digest = hashlib.sha256("/".join(map(str, (seed, *what))).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)


def unknown_event(event: Event, luck: float) -> UnknownEvent:
    """Return an event about the same order, of a kind that no client knows, with fields that nobody documented.

    Args:
        event: the event that it goes before; the TransactionId is derived from that one's.
        luck: from 0 up to 1, chooses the kind.
    """
    known = to_wire_dict(event)
    wire: dict[str, Any] = {
        name: known[name]
        for name in ("Timestamp", "Version", "IrisOrderId", "OrderLocalId", "PatientLocalId")
        if name in known
    }
    wire["ResultObjectType"] = UNKNOWN_KINDS[int(luck * len(UNKNOWN_KINDS))]
    wire["TransactionId"] = str(uuid.uuid5(_NAMESPACE, str(event.transaction_id))).upper()
    wire["Success"] = True
    wire["Urgency"] = 3
    steps = [{"Name": "first", "Done": True}, {"Name": "second", "Done": False}]
    wire["Routing"] = {"Desk": "sandbox", "Steps": steps}
    made = read_event(json.dumps(wire).encode())
    assert isinstance(made, UnknownEvent)
    return made


def malformed_body(body: bytes, luck: float) -> bytes:
    """Return a body that cannot be read, of the kinds that have been met: cut off, of another format, damaged.

    Args:
        body: the body of the message that it goes before; the cut-off one begins like it.
        luck: from 0 up to 1, chooses the kind.
    """
    kinds = (
        body[: max(1, len(body) // 2)],
        b"<html><body>502 Bad Gateway</body></html>",
        b'["an array", "where an object belongs"]',
        b"\xff\xfe\x00\x00" + body[:16],
    )
    return kinds[int(luck * len(kinds))]
