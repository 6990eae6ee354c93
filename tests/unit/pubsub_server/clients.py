"""The SDK's clients over one channel, and short ways to call them."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import grpc
from google.pubsub_v1 import PublisherClient, SubscriberClient, types
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

__all__ = ["Clients", "Received", "bodies", "metadata_token"]

#: One received message of the SDK.
Received = types.ReceivedMessage

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Clients:
    """Publisher and subscriber, for use in a ``with`` statement.

    Args:
        endpoint: host and port.
        credentials: of a secure channel; None for an insecure one.
    """

    def __init__(self, endpoint: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        if credentials is None:
            self.channel = grpc.insecure_channel(endpoint, _OPTIONS)
        else:
            self.channel = grpc.secure_channel(endpoint, credentials, _OPTIONS)
        self.publisher = PublisherClient(transport=PublisherGrpcTransport(channel=self.channel))
        self.subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=self.channel))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.channel.close()

    def publish(self, topic: str, *data: bytes, key: str = "", **attributes: str) -> list[str]:
        """Publish messages in one request; return their ids."""
        messages = [{"data": one, "ordering_key": key, "attributes": attributes} for one in data]
        return list(self.publisher.publish(topic=topic, messages=messages, retry=None).message_ids)

    def pull(self, subscription: str, count: int = 100, wait: float | None = None) -> Sequence[Received]:
        """Pull what is there at once, or wait for the first message up to ``wait`` seconds."""
        request: dict[str, Any] = {"subscription": subscription, "max_messages": count}
        if wait is None:
            request["return_immediately"] = True
        response = self.subscriber.pull(request=request, retry=None, timeout=wait or 30.0)
        return response.received_messages

    def ack(self, subscription: str, received: Sequence[Any]) -> None:
        """Acknowledge."""
        ids = [one.ack_id for one in received]
        self.subscriber.acknowledge(subscription=subscription, ack_ids=ids, retry=None)

    def lease(self, subscription: str, received: Sequence[Any], seconds: int) -> None:
        """Move the deadline; 0 gives the messages back."""
        ids = [one.ack_id for one in received]
        self.subscriber.modify_ack_deadline(
            subscription=subscription, ack_ids=ids, ack_deadline_seconds=seconds, retry=None
        )

    def subscribe(self, subscription: str, **settings: Any) -> Any:
        """Create a subscription with the given fields of google.pubsub.v1.Subscription."""
        return self.subscriber.create_subscription(request={"name": subscription, **settings}, retry=None)


def bodies(received: Sequence[Received]) -> list[bytes]:
    """Return the data of each message."""
    return [one.message.data for one in received]


def metadata_token(token: str) -> list[tuple[str, str]]:
    """Return call metadata that carries a bearer token."""
    return [("authorization", f"Bearer {token}")]
