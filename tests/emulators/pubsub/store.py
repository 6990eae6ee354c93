"""The server's topics, subscriptions and snapshots, and the way of a message from one to the other."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from .checks import check_name
from .lanes import Entry, Published
from .refusals import already_exists, failed_precondition, missing
from .subscription import Subscription
from .wire import message_class

__all__ = ["DELETED_TOPIC", "Snapshot", "Store", "Topic"]

#: What a subscription names as its topic once that was deleted (documented at ``Subscription.topic``).
DELETED_TOPIC = "_deleted-topic_"

_T = TypeVar("_T")
_PubsubMessage = message_class("PubsubMessage")


class Topic:
    """A topic, and who gets what is published to it."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.subscriptions: dict[str, Subscription] = {}
        self.snapshots: dict[str, Snapshot] = {}


class Snapshot:
    """What a subscription had not acknowledged at one moment, and everything published since."""

    def __init__(self, config: Any, messages: list[Published]) -> None:
        self.config = config
        self.messages = messages


class Store:
    """All that the server keeps. Used on the server's event loop only."""

    def __init__(self) -> None:
        self.topics: dict[str, Topic] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self._numbers = itertools.count(1)

    def topic(self, name: str) -> Topic:
        """Return a topic, or refuse with NOT_FOUND (INVALID_ARGUMENT for what is no name)."""
        return _named(self.topics, name, "topics")

    def subscription(self, name: str) -> Subscription:
        """Return a subscription, or refuse as `topic` does."""
        return _named(self.subscriptions, name, "subscriptions")

    def snapshot(self, name: str) -> Snapshot:
        """Return a snapshot, or refuse as `topic` does."""
        return _named(self.snapshots, name, "snapshots")

    def publish(self, topic: Topic, messages: Iterable[Any]) -> list[str]:
        """Give messages their ids and times, hand them to the topic's subscriptions, and return the ids."""
        now = time.time()
        stamp = Timestamp()
        stamp.FromNanoseconds(int(now * 1e9))
        published = []
        for message in messages:
            number = next(self._numbers)
            message.message_id = str(number)
            message.publish_time.CopyFrom(stamp)
            published.append(Published(message, number, now))
        for subscription in topic.subscriptions.values():
            subscription.put(published)
        for snapshot in topic.snapshots.values():
            snapshot.messages.extend(published)
        return [one.message.message_id for one in published]

    def forward(self, source: Subscription, entry: Entry) -> bool:
        """Publish a message that failed too often to the dead-letter topic; False where there is none.

        Source of the attributes: "Handle message failures", section on dead-letter topics.
        """
        topic = self.topics.get(source.config.dead_letter_policy.dead_letter_topic)
        if topic is None:
            return False  # the service, too, goes on delivering when it cannot forward
        dead = _PubsubMessage()
        dead.CopyFrom(entry.published.message)
        _, project, _, name = source.config.name.split("/")
        dead.attributes["CloudPubSubDeadLetterSourceSubscription"] = name
        dead.attributes["CloudPubSubDeadLetterSourceSubscriptionProject"] = project
        dead.attributes["CloudPubSubDeadLetterSourceDeliveryCount"] = str(entry.failures)
        published = dead.publish_time.ToJsonString()
        dead.attributes["CloudPubSubDeadLetterSourceTopicPublishTime"] = published
        self.publish(topic, [dead])
        return True

    # What the configuration holds

    def add_topic(self, config: Any) -> Topic:
        """Add a topic; ALREADY_EXISTS where its name is taken."""
        if config.name in self.topics:
            raise already_exists(f"Resource already exists in the project (resource={config.name}).")
        topic = self.topics[config.name] = Topic(config)
        return topic

    def remove_topic(self, name: str) -> None:
        """Delete a topic; its subscriptions keep their messages and name the topic as deleted."""
        topic = self.topic(name)
        del self.topics[name]
        for subscription in topic.subscriptions.values():
            subscription.config.topic = DELETED_TOPIC
        for snapshot in topic.snapshots.values():
            snapshot.config.topic = DELETED_TOPIC

    def add_subscription(self, config: Any, ack_deadline: float | None = None) -> Subscription:
        """Add a subscription; ALREADY_EXISTS where its name is taken, NOT_FOUND where its topic is missing."""
        if config.name in self.subscriptions:
            raise already_exists(f"Resource already exists in the project (resource={config.name}).")
        topic = self.topic(config.topic)
        subscription = Subscription(config, self.forward, ack_deadline)
        self.subscriptions[config.name] = topic.subscriptions[config.name] = subscription
        return subscription

    def remove_subscription(self, name: str) -> None:
        """Delete a subscription with its messages."""
        subscription = self.subscription(name)
        del self.subscriptions[name]
        self._detach(subscription)
        subscription.end(missing(name))

    def detach(self, name: str) -> None:
        """Cut a subscription from its topic; its messages are dropped, pulls fail (DetachSubscription)."""
        subscription = self.subscription(name)
        self._detach(subscription)
        subscription.config.detached = True
        subscription.end(failed_precondition(f"Subscription is detached from its topic (resource={name})."))

    def _detach(self, subscription: Subscription) -> None:
        topic = self.topics.get(subscription.config.topic)
        if topic is not None:
            topic.subscriptions.pop(subscription.config.name, None)

    def add_snapshot(self, config: Any, subscription: Subscription) -> Snapshot:
        """Keep what the subscription has not acknowledged; ALREADY_EXISTS where the name is taken."""
        if config.name in self.snapshots:
            raise already_exists(f"Resource already exists in the project (resource={config.name}).")
        snapshot = self.snapshots[config.name] = Snapshot(config, subscription.backlog)
        topic = self.topics.get(config.topic)
        if topic is not None:
            topic.snapshots[config.name] = snapshot
        return snapshot

    def remove_snapshot(self, name: str) -> None:
        """Delete a snapshot."""
        snapshot = self.snapshot(name)
        del self.snapshots[name]
        topic = self.topics.get(snapshot.config.topic)
        if topic is not None:
            topic.snapshots.pop(name, None)


def _named(found: Mapping[str, _T], name: str, kind: str) -> _T:
    if name not in found:
        check_name(name, kind)
        raise missing(name)
    return found[name]
