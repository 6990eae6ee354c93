"""The RPCs that move messages to a subscriber: Pull, StreamingPull, Acknowledge, ModifyAckDeadline.

Source: the RPC reference of google.pubsub.v1, service Subscriber.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc

from .checks import check_ack_request
from .faults import CutStream
from .refusals import Refusal, invalid
from .store import Store
from .subscription import Subscription
from .wire import Empty, message_class

__all__ = ["Delivery"]

#: The most messages of one response, and what a pull may ask for.
MAX_PULL = 1_000
_PER_RESPONSE = 100

_PullResponse = message_class("PullResponse")
_StreamingPullResponse = message_class("StreamingPullResponse")


class Delivery:
    """Serves subscribers from the store.

    Args:
        store: the subscriptions.
        pull_wait: seconds after which a waiting pull is answered without messages.
    """

    def __init__(self, store: Store, pull_wait: float) -> None:
        self._store = store
        self._pull_wait = pull_wait

    async def pull(self, request: Any) -> Any:
        """Answer with what is there; without ``return_immediately`` wait for the first message."""
        subscription = self._open(request.subscription)
        if request.max_messages < 1:
            raise invalid("max_messages must be greater than zero.")
        limit = min(request.max_messages, MAX_PULL)
        response = _PullResponse()
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._pull_wait
        while not subscription.take(response, limit, subscription.ack_deadline):
            left = ends - loop.time()
            if request.return_immediately or left <= 0:
                break
            await subscription.changed(left)
            if subscription.ended is not None:
                raise subscription.ended
        return response

    def acknowledge(self, request: Any) -> Any:
        """Acknowledge; on an exactly-once subscription failed ids are an error that names them."""
        subscription = self._store.subscription(request.subscription)
        check_ack_request(request)
        _report(subscription, subscription.ack(request.ack_ids))
        return Empty()

    def modify_ack_deadline(self, request: Any) -> Any:
        """Move deadlines; 0 gives messages back. Failed ids as with `acknowledge`."""
        subscription = self._store.subscription(request.subscription)
        check_ack_request(request)
        _report(subscription, subscription.modify_deadline(request.ack_ids, request.ack_deadline_seconds))
        return Empty()

    async def streaming_pull(
        self, first: Any, requests: AsyncIterator[Any], cut: CutStream | None
    ) -> AsyncIterator[Any]:
        """Stream messages as they come and take the settlements that the subscriber sends."""
        stream = _Stream(self._open(first.subscription), first)
        reader = asyncio.ensure_future(stream.read(requests))
        sent = 0
        try:
            while True:
                limit = cut.after - sent if cut is not None else _PER_RESPONSE
                if limit <= 0:
                    assert cut is not None
                    raise Refusal(cut.code, "The stream was cut by the test.")
                response = stream.next(min(limit, _PER_RESPONSE))
                if response is not None:
                    sent += len(response.received_messages)
                    yield response
                elif reader.done():
                    break
                else:
                    await stream.subscription.changed(60.0)
            reader.result()  # raises what a request of the subscriber was refused for
        finally:
            reader.cancel()

    def _open(self, name: str) -> Subscription:
        subscription = self._store.subscription(name)
        if subscription.ended is not None:
            raise subscription.ended
        return subscription


class _Stream:
    """One streaming pull: its lease, its flow control and what it still has to confirm."""

    def __init__(self, subscription: Subscription, first: Any) -> None:
        self.subscription = subscription
        self.count = 0  # messages of this stream that are leased now; kept by the subscription, as is size
        self.size = 0
        self._lease = 0
        self._max_count = first.max_outstanding_messages if first.max_outstanding_messages > 0 else 1 << 62
        self._max_size = first.max_outstanding_bytes if first.max_outstanding_bytes > 0 else 1 << 62
        self._confirmations: list[Any] = []
        if not first.stream_ack_deadline_seconds:
            raise invalid("The first request needs stream_ack_deadline_seconds.")
        self._apply(first)

    async def read(self, requests: AsyncIterator[Any]) -> None:
        """Take the requests that follow the first, until the subscriber closes its side."""
        try:
            async for request in requests:
                if request.subscription or request.client_id:
                    raise invalid("Only the first request of a stream names the subscription and the client.")
                if request.max_outstanding_messages or request.max_outstanding_bytes:
                    raise invalid("Only the first request of a stream sets flow control.")
                self._apply(request)
        finally:
            self.subscription.wake()

    def next(self, limit: int) -> Any | None:
        """Return the next response, or None where there is nothing to send now."""
        subscription = self.subscription
        if subscription.ended is not None:
            raise subscription.ended
        if self._confirmations:
            return self._confirmations.pop(0)
        limit = min(limit, self._max_count - self.count)
        if limit <= 0 or self.size >= self._max_size:
            return None
        response = _StreamingPullResponse()
        if not subscription.take(response, limit, self._lease, self, self._max_size - self.size):
            return None
        self._describe(response)
        return response

    def _describe(self, response: Any) -> None:
        properties = response.subscription_properties
        properties.exactly_once_delivery_enabled = self.subscription.exactly_once
        properties.message_ordering_enabled = self.subscription.config.enable_message_ordering

    def _apply(self, request: Any) -> None:
        if request.stream_ack_deadline_seconds:
            if not 10 <= request.stream_ack_deadline_seconds <= 600:
                raise invalid(f"stream_ack_deadline_seconds is 10 to 600, not {request.stream_ack_deadline_seconds}")
            self._lease = request.stream_ack_deadline_seconds
        if len(request.modify_deadline_ack_ids) != len(request.modify_deadline_seconds):
            raise invalid("modify_deadline_ack_ids and modify_deadline_seconds differ in length.")
        if request.ack_ids:
            self._confirm("acknowledge_confirmation", request.ack_ids, self.subscription.ack(request.ack_ids))
        by_seconds: dict[int, list[str]] = {}
        for ack_id, seconds in zip(request.modify_deadline_ack_ids, request.modify_deadline_seconds, strict=True):
            by_seconds.setdefault(seconds, []).append(ack_id)
        for seconds, ack_ids in by_seconds.items():
            failed = self.subscription.modify_deadline(ack_ids, seconds)
            self._confirm("modify_ack_deadline_confirmation", ack_ids, failed)

    def _confirm(self, kind: str, ack_ids: Any, failed: Mapping[str, str]) -> None:
        """Queue a confirmation; only exactly-once subscriptions send them."""
        if not self.subscription.exactly_once:
            return
        response = _StreamingPullResponse()
        confirmation = getattr(response, kind)
        for ack_id in ack_ids:
            why = failed.get(ack_id, "")
            if not why:
                confirmation.ack_ids.append(ack_id)
            elif why.endswith("UNORDERED_ACK_ID"):
                confirmation.unordered_ack_ids.append(ack_id)
            else:
                confirmation.invalid_ack_ids.append(ack_id)
        self._describe(response)
        self._confirmations.append(response)
        self.subscription.wake()


def _report(subscription: Subscription, failed: Mapping[str, str]) -> None:
    if failed and subscription.exactly_once:
        # "Exactly-once delivery": such requests return INVALID_ARGUMENT; ErrorInfo says which ids are meant.
        message = "Some acknowledgement ids in the request were invalid: they expired or were malformed."
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, message, failed)
