"""Receiving: one pull, and at once the lease that was asked for.

Pub/Sub's pull answers as soon as there is one message. A pull that is given up may have taken messages nevertheless:
they come again when the subscription's own acknowledgement deadline has passed. So one that is interrupted is first
given a moment in which to answer.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from time import monotonic
from typing import Any

import grpc

from clouddirect.errors import LeaseLostError
from clouddirect.messaging import RawDelivery
from clouddirect.retry import Interrupt
from clouddirect_gcp.pubsub_channel import PubSubChannel
from clouddirect_gcp.pubsub_errors import classify_rpc_error
from clouddirect_gcp.pubsub_rpc import PULL, PullRequest
from clouddirect_gcp.pubsub_settle import modify_ack_deadlines
from clouddirect_gcp.pubsub_wire import decode, enqueued_at

__all__ = ["MIN_DEADLINE", "receive"]

#: Seconds; the shortest acknowledgement deadline that a subscription can have.
MIN_DEADLINE = 10.0
#: Seconds in which an interrupted pull may still answer.
_GRACE = 0.25
#: Seconds; asking for the lease must not outlast the deadline that protects the messages meanwhile.
_LEASE_TIMEOUT = 8.0


def receive(
    channel: PubSubChannel, subscription: str, max_messages: int, wait: float, lease: float, interrupt: Interrupt
) -> list[RawDelivery]:
    """Pull once and put what came on lease for ``lease`` seconds.

    Raises:
        CloudDirectError: Pub/Sub could not be asked, or refused.
    """
    if interrupt.is_set():
        return []
    request = PullRequest(subscription=subscription, max_messages=max_messages)
    call = channel.begin(PULL, request, wait)
    done = threading.Event()

    def finish(_: object) -> None:
        done.set()
        interrupt.wake()

    call.add_done_callback(finish)
    interrupt.wait_for(done.is_set, wait + 1.0)  # the call's own deadline ends it sooner
    if not done.wait(_GRACE):
        call.cancel()
    received = _answer(call, subscription)
    return _on_lease(channel, subscription, received, lease) if received else []


def _answer(call: Any, subscription: str) -> Sequence[Any]:
    try:
        received: Sequence[Any] = call.result().received_messages
    except grpc.FutureCancelledError:
        return ()
    except grpc.RpcError as error:
        if call.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return ()  # how Pub/Sub says that nothing came
        raise classify_rpc_error(error, "receive", subscription) from error
    return received


def _on_lease(channel: PubSubChannel, subscription: str, received: Sequence[Any], lease: float) -> list[RawDelivery]:
    """Lease what was pulled. Where that fails the subscription's own deadline protects it for a while."""
    pulled, seconds = monotonic(), math.ceil(lease)
    leasing = modify_ack_deadlines(channel, subscription, [one.ack_id for one in received], seconds, _LEASE_TIMEOUT)
    deliveries = [_delivery(one, seconds) for one in received]  # while the request is under way
    outcomes = leasing.outcomes()
    passed = monotonic() - pulled
    kept = []
    for delivery, outcome in zip(deliveries, outcomes, strict=True):
        if isinstance(outcome, LeaseLostError):
            continue  # gone to somebody else
        delivery.lease = max(0.0, (seconds if outcome is None else MIN_DEADLINE) - passed)
        kept.append(delivery)
    return kept


def _delivery(received: Any, lease: float) -> RawDelivery:
    message = received.message
    return RawDelivery(
        message=decode(message),
        handle=received.ack_id,
        lease=lease,
        delivery_count=received.delivery_attempt or None,  # 0 without a dead-letter policy
        enqueued_at=enqueued_at(message),
        native=received,
    )
