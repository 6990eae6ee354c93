"""Acknowledging, and moving acknowledgement deadlines: in requests as full as permitted, with the answers read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Any

import grpc

from clouddirect.errors import CloudDirectError
from clouddirect_gcp.pubsub_channel import PubSubChannel
from clouddirect_gcp.pubsub_errors import settle_outcomes
from clouddirect_gcp.pubsub_rpc import (
    ACKNOWLEDGE,
    MODIFY_ACK_DEADLINE,
    AcknowledgeRequest,
    ModifyAckDeadlineRequest,
    Rpc,
)

__all__ = ["MAX_ACK_IDS", "MAX_DEADLINE", "acknowledge", "modify_ack_deadlines"]

#: Seconds; the longest acknowledgement deadline (https://cloud.google.com/pubsub/docs/lease-management).
MAX_DEADLINE = 600
#: Most ids in one request. Pub/Sub's own limit is on bytes.
MAX_ACK_IDS = 1000
#: Most bytes of ids in one request; Pub/Sub takes 512 KiB (https://cloud.google.com/pubsub/quotas#resource_limits).
_MAX_ID_BYTES = 500_000


def acknowledge(
    channel: PubSubChannel, subscription: str, ack_ids: Sequence[str], timeout: float
) -> list[CloudDirectError | None]:
    """Acknowledge; one outcome for each id."""
    requests = (AcknowledgeRequest(subscription=subscription, ack_ids=part) for part in _parts(ack_ids))
    return _outcomes(channel, ACKNOWLEDGE, requests, timeout)


def modify_ack_deadlines(
    channel: PubSubChannel, subscription: str, ack_ids: Sequence[str], seconds: int, timeout: float
) -> list[CloudDirectError | None]:
    """Let leases end ``seconds`` from now, 0 for at once; one outcome for each id."""
    requests = (
        ModifyAckDeadlineRequest(subscription=subscription, ack_ids=part, ack_deadline_seconds=seconds)
        for part in _parts(ack_ids)
    )
    return _outcomes(channel, MODIFY_ACK_DEADLINE, requests, timeout)


def _outcomes(
    channel: PubSubChannel, rpc: Rpc, requests: Iterator[Any], timeout: float
) -> list[CloudDirectError | None]:
    """Send the requests, one after another, within ``timeout``; a failed one does not touch the others' outcomes."""
    ends, outcomes = monotonic() + timeout, list[CloudDirectError | None]()
    for request in requests:
        ack_ids = list(request.ack_ids)
        try:
            channel.call(rpc, request, max(0.001, ends - monotonic()))
        except grpc.RpcError as error:
            outcomes += settle_outcomes(error, ack_ids, request.subscription)
        except CloudDirectError as error:
            outcomes += [error.copy() for _ in ack_ids]
        else:
            outcomes += [None] * len(ack_ids)
    return outcomes


def _parts(ack_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut into requests by number and by bytes."""
    part: list[str] = []
    size = 0
    for ack_id in ack_ids:
        own = len(ack_id.encode()) + 4  # its tag and its length
        if part and (len(part) == MAX_ACK_IDS or size + own > _MAX_ID_BYTES):
            yield part
            part, size = [], 0
        part.append(ack_id)
        size += own
    if part:
        yield part
