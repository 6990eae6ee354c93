"""Acknowledging, and moving acknowledgement deadlines: in requests as full as permitted, with the answers read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import grpc

from clouddirect.errors import ClosedError, CloudDirectError
from clouddirect_gcp.pubsub_channel import PubSubChannel
from clouddirect_gcp.pubsub_errors import settle_outcomes
from clouddirect_gcp.pubsub_rpc import (
    ACKNOWLEDGE,
    MODIFY_ACK_DEADLINE,
    AcknowledgeRequest,
    ModifyAckDeadlineRequest,
    Rpc,
)

__all__ = ["MAX_ACK_IDS", "MAX_DEADLINE", "Settling", "acknowledge", "modify_ack_deadlines"]

#: Seconds; the longest acknowledgement deadline (https://cloud.google.com/pubsub/docs/lease-management).
MAX_DEADLINE = 600
#: Most ids in one request. Pub/Sub's own limit is on bytes.
MAX_ACK_IDS = 1000
#: Most bytes of ids in one request; Pub/Sub takes 512 KiB (https://cloud.google.com/pubsub/quotas#resource_limits).
_MAX_ID_BYTES = 500_000


class Settling:
    """Requests that are under way; all at once, as the parts do not depend on each other."""

    def __init__(self, channel: PubSubChannel, rpc: Rpc, requests: Iterable[Any], timeout: float) -> None:
        """Begin the requests, each of which may take ``timeout`` seconds."""
        self._begun: list[tuple[Any, Any]] = []
        for request in requests:
            try:
                self._begun.append((request, channel.begin(rpc, request, timeout)))
            except CloudDirectError as error:  # no token, no connection
                self._begun.append((request, error))

    def outcomes(self) -> list[CloudDirectError | None]:
        """Wait for the answers; return one outcome for each id. Where one request fails, the others still count."""
        outcomes: list[CloudDirectError | None] = []
        for request, call in self._begun:
            count = len(request.ack_ids)
            if isinstance(call, CloudDirectError):
                outcomes += [call.copy() for _ in range(count)]
                continue
            try:
                call.result()
            except grpc.RpcError as error:
                outcomes += settle_outcomes(
                    error, list(request.ack_ids), request.subscription, repeatable=_is_repeatable(request)
                )
            except grpc.FutureCancelledError:
                outcomes += [ClosedError("the connection to Pub/Sub was closed meanwhile") for _ in range(count)]
            else:
                outcomes += [None] * count
        return outcomes


def acknowledge(channel: PubSubChannel, subscription: str, ack_ids: Sequence[str], timeout: float) -> Settling:
    """Begin to acknowledge."""
    requests = (AcknowledgeRequest(subscription=subscription, ack_ids=part) for part in _parts(ack_ids))
    return Settling(channel, ACKNOWLEDGE, requests, timeout)


def modify_ack_deadlines(
    channel: PubSubChannel, subscription: str, ack_ids: Sequence[str], seconds: int, timeout: float
) -> Settling:
    """Begin to let leases end ``seconds`` from now, 0 for at once."""
    requests = (
        ModifyAckDeadlineRequest(subscription=subscription, ack_ids=part, ack_deadline_seconds=seconds)
        for part in _parts(ack_ids)
    )
    return Settling(channel, MODIFY_ACK_DEADLINE, requests, timeout)


def _is_repeatable(request: Any) -> bool:
    """Whether the request can be made twice: an id is valid no longer once it has been acknowledged or given back."""
    return bool(getattr(request, "ack_deadline_seconds", 0))


def _parts(ack_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut into requests by number and by bytes. The ids of one pull are about equally long, and ASCII."""
    longest = max(map(len, ack_ids), default=0) + 4  # its tag and its length
    count = max(1, min(MAX_ACK_IDS, _MAX_ID_BYTES // longest))
    for start in range(0, len(ack_ids), count):
        yield ack_ids[start : start + count]
