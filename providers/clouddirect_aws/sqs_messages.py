"""Entries of a batch to send, confirmations, and deliveries: what boto3 takes and returns, to and from core's types."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from clouddirect.errors import CloudDirectError, IntegrityError
from clouddirect.messaging import Message, RawDelivery, SendReceipt
from clouddirect_aws.sqs_content import decode, encode, token
from clouddirect_aws.sqs_digests import attributes_md5, body_md5

__all__ = ["Receipt", "confirmation", "delivery", "is_intact", "receipt", "send_entry"]


class Receipt(NamedTuple):
    """What settles a delivery, and when it was received, on the broker's monotonic clock."""

    handle: str
    at: float


def send_entry(place: int, message: Message, fifo: bool) -> dict[str, Any]:
    """Return the entry of SendMessageBatch for a message; its id is its place in the batch."""
    wire = encode(message)
    entry: dict[str, Any] = {
        "Id": str(place),
        "MessageBody": wire.body,
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": value} for name, value in wire.attributes.items()
        },
    }
    if fifo:
        entry["MessageGroupId"] = token(message.ordering_key or message.id)
        entry["MessageDeduplicationId"] = token(message.id)
    elif message.delay is not None:
        entry["DelaySeconds"] = math.ceil(message.delay)
    return entry


def confirmation(
    message: Message, entry: Mapping[str, Any], answer: Mapping[str, Any]
) -> SendReceipt | CloudDirectError:
    """Return the receipt for what SQS says it has stored, or an error if its digests are of something else."""
    if not (
        answer.get("MD5OfMessageBody") in (None, body_md5(entry["MessageBody"]))
        and answer.get("MD5OfMessageAttributes") in (None, attributes_md5(entry["MessageAttributes"]))
    ):
        return IntegrityError("SQS has stored something else than was sent, as its digest tells", maybe_sent=True)
    return SendReceipt(message.id, answer.get("MessageId"))


def is_intact(native: Mapping[str, Any]) -> bool:
    """Whether a received message is the one of which SQS sent the digests along."""
    attributes = native.get("MessageAttributes")
    return native.get("MD5OfBody") in (None, body_md5(native.get("Body", ""))) and (
        not attributes or native.get("MD5OfMessageAttributes") in (None, attributes_md5(attributes))
    )


def delivery(native: dict[str, Any], fifo: bool, lease: float, now: float) -> RawDelivery:
    """Return core's delivery for a message of ReceiveMessage with ``lease`` seconds left at ``now``."""
    attributes: Mapping[str, str] = native.get("Attributes", {})
    count, sent = attributes.get("ApproximateReceiveCount"), attributes.get("SentTimestamp")
    return RawDelivery(
        message=decode(native, fifo),
        handle=Receipt(native["ReceiptHandle"], now),
        lease=lease,
        delivery_count=None if count is None else int(count),
        enqueued_at=None if sent is None else datetime.fromtimestamp(int(sent) / 1000, UTC),
        native=native,
    )


def receipt(raw: RawDelivery) -> Receipt:
    """Return what settles a delivery that `delivery` made."""
    assert isinstance(raw.handle, Receipt)
    return raw.handle
