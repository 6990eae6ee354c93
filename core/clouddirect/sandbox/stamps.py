"""The ids and times that the sandbox puts on its messages.

Ids are derived, not drawn: an order that comes again after a crash gets the same ones, so that a receiver can tell a
repeat from a new message by its TransactionId.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from clouddirect.orders.models import WireDateTime

__all__ = ["Stamps", "wire_time"]

_NAMESPACE = uuid.UUID("6d1f2c58-5c0b-4e0e-9a53-7f2b9b0c41d7")
#: IRIS's own ids are 32-bit integers of seven digits or more, by the published examples.
_LOWEST_ID, _IDS = 1_000_000, 2_000_000_000


def wire_time(moment: datetime) -> WireDateTime:
    """Return a moment that is written as real messages have it: with seven fractional digits and an offset (.NET)."""
    text = f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}0+00:00"
    stamped = WireDateTime.fromisoformat(text)
    stamped.text = text
    return stamped


@dataclass(frozen=True, slots=True)
class Stamps:
    """The ids of one order.

    Attributes:
        seed: the sandbox's seed.
        message_id: id of the message that the order came in; the same at each delivery.
    """

    seed: int
    message_id: str

    def transaction(self, stage: str) -> str:
        """Return the TransactionId of the message that reports ``stage``."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.seed}/{self.message_id}/{stage}")).upper()

    @property
    def order_id(self) -> int:
        """IrisOrderId."""
        return self._number("order")

    def image_id(self, container: str, key: str) -> int:
        """Return the IrisImageId of an image."""
        return self._number(f"image/{container}/{key}")

    def patient_id(self, client_guid: str, local_id: str) -> int:
        """Return IRIS's id of a patient, the same in all orders of one organisation."""
        return _number(f"{self.seed}/{client_guid.lower()}/{local_id}")

    def _number(self, what: str) -> int:
        return _number(f"{self.seed}/{self.message_id}/{what}")


def _number(text: str) -> int:
    return _LOWEST_ID + int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % _IDS
