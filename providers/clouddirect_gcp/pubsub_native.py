"""`PubSubNative`: the SDK's own clients, for what the portable interface does not cover."""

from __future__ import annotations

from typing import Any

import grpc
from google.cloud import pubsub_v1  # type: ignore[import-untyped]
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from clouddirect_gcp.pubsub_channel import PubSubChannel

__all__ = ["PubSubNative"]


class PubSubNative:
    """What `GcpBroker.native` is. Each method makes a client with connections of its own, for the caller to close."""

    def __init__(self, channel: PubSubChannel) -> None:
        """Made by the broker."""
        self._channel = channel

    def publisher(self) -> pubsub_v1.PublisherClient:
        """Return a new publisher client with the broker's endpoint and credential."""
        return pubsub_v1.PublisherClient(transport=self._transport(PublisherGrpcTransport))

    def subscriber(self) -> pubsub_v1.SubscriberClient:
        """Return a new subscriber client with the broker's endpoint and credential."""
        return pubsub_v1.SubscriberClient(transport=self._transport(SubscriberGrpcTransport))

    def _transport(self, kind: Any) -> Any:
        if self._channel.plain:
            return kind(channel=grpc.insecure_channel(self._channel.target))
        return kind(
            host=self._channel.target,
            credentials=self._channel.identity().credentials,
            ssl_channel_credentials=self._channel.tls(),
        )
