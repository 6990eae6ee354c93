"""The RPCs that make, change, list and delete topics, subscriptions and snapshots, and seek.

Source: the RPC reference of google.pubsub.v1, services Publisher and Subscriber.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from .checks import check_name, check_subscription, check_topic
from .refusals import invalid
from .store import Store
from .wire import Empty, message_class

__all__ = ["Admin"]

_SNAPSHOT_LIFE = 7 * 86_400
_DEFAULT_PAGE = 100
_FIXED = {"enable_message_ordering", "filter", "name", "topic"}

_DetachSubscriptionResponse = message_class("DetachSubscriptionResponse")
_ListSnapshotsResponse = message_class("ListSnapshotsResponse")
_ListSubscriptionsResponse = message_class("ListSubscriptionsResponse")
_ListTopicsResponse = message_class("ListTopicsResponse")
_ListTopicSubscriptionsResponse = message_class("ListTopicSubscriptionsResponse")
_SeekResponse = message_class("SeekResponse")
_Snapshot = message_class("Snapshot")


class Admin:
    """Administers the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # Topics

    def create_topic(self, request: Any) -> Any:
        """CreateTopic."""
        check_topic(request)
        return self._store.add_topic(request).config

    def get_topic(self, request: Any) -> Any:
        """GetTopic."""
        return self._store.topic(request.topic).config

    def update_topic(self, request: Any) -> Any:
        """UpdateTopic."""
        config = self._store.topic(request.topic.name).config
        return _update(config, request.topic, request.update_mask, check_topic)

    def list_topics(self, request: Any) -> Any:
        """ListTopics, by pages."""
        found = {name: topic.config for name, topic in self._store.topics.items()}
        page, token = _page(_of_project(found, request.project), request)
        return _ListTopicsResponse(topics=[found[name] for name in page], next_page_token=token)

    def list_topic_subscriptions(self, request: Any) -> Any:
        """ListTopicSubscriptions, by pages."""
        page, token = _page(self._store.topic(request.topic).subscriptions, request)
        return _ListTopicSubscriptionsResponse(subscriptions=page, next_page_token=token)

    def delete_topic(self, request: Any) -> Any:
        """DeleteTopic."""
        self._store.remove_topic(request.topic)
        return Empty()

    def detach_subscription(self, request: Any) -> Any:
        """DetachSubscription."""
        self._store.detach(request.subscription)
        return _DetachSubscriptionResponse()

    # Subscriptions

    def create_subscription(self, request: Any) -> Any:
        """CreateSubscription."""
        request.ack_deadline_seconds = request.ack_deadline_seconds or 10
        check_subscription(request)
        return self._store.add_subscription(request).config

    def get_subscription(self, request: Any) -> Any:
        """GetSubscription."""
        return self._store.subscription(request.subscription).config

    def update_subscription(self, request: Any) -> Any:
        """UpdateSubscription; what is fixed at creation is refused."""
        config = self._store.subscription(request.subscription.name).config
        return _update(config, request.subscription, request.update_mask, check_subscription)

    def list_subscriptions(self, request: Any) -> Any:
        """ListSubscriptions, by pages."""
        found = {name: one.config for name, one in self._store.subscriptions.items()}
        page, token = _page(_of_project(found, request.project), request)
        return _ListSubscriptionsResponse(subscriptions=[found[name] for name in page], next_page_token=token)

    def delete_subscription(self, request: Any) -> Any:
        """DeleteSubscription."""
        self._store.remove_subscription(request.subscription)
        return Empty()

    # Snapshots and seek

    def create_snapshot(self, request: Any) -> Any:
        """CreateSnapshot."""
        check_name(request.name, "snapshots")
        subscription = self._store.subscription(request.subscription)
        config = _Snapshot(name=request.name, topic=subscription.config.topic, labels=request.labels)
        config.expire_time.FromSeconds(int(time.time()) + _SNAPSHOT_LIFE)
        return self._store.add_snapshot(config, subscription).config

    def get_snapshot(self, request: Any) -> Any:
        """GetSnapshot."""
        return self._store.snapshot(request.snapshot).config

    def list_snapshots(self, request: Any) -> Any:
        """ListSnapshots, by pages."""
        found = {name: snapshot.config for name, snapshot in self._store.snapshots.items()}
        page, token = _page(_of_project(found, request.project), request)
        return _ListSnapshotsResponse(snapshots=[found[name] for name in page], next_page_token=token)

    def delete_snapshot(self, request: Any) -> Any:
        """DeleteSnapshot."""
        self._store.remove_snapshot(request.snapshot)
        return Empty()

    def seek(self, request: Any) -> Any:
        """Seek to a time or to a snapshot of the same topic."""
        subscription = self._store.subscription(request.subscription)
        target = request.WhichOneof("target")
        if target == "time":
            subscription.seek_time(request.time.seconds + request.time.nanos / 1e9)
        elif target == "snapshot":
            snapshot = self._store.snapshot(request.snapshot)
            if snapshot.config.topic != subscription.config.topic:
                raise invalid("The snapshot is of another topic than the subscription.")
            subscription.replace(snapshot.messages)
        else:
            raise invalid("Seek needs a time or a snapshot.")
        return _SeekResponse()


def _update(config: Any, changed: Any, mask: Any, check: Any) -> Any:
    """Set the fields that the mask names, if the result is valid; return it."""
    paths = list(mask.paths)
    if not paths:
        raise invalid("The update_mask in the request must be set and not empty.")
    known = {field.name for field in config.DESCRIPTOR.fields}
    wrong = [path for path in paths if path.split(".")[0] not in known or path.split(".")[0] in _FIXED]
    if wrong:
        raise invalid(f"Invalid update_mask provided: these fields cannot be changed: {', '.join(wrong)}.")
    wanted = type(config)()
    wanted.CopyFrom(config)
    mask.MergeMessage(changed, wanted, True, True)
    check(wanted)
    config.CopyFrom(wanted)
    return config


def _of_project(names: Iterable[str], project: str) -> list[str]:
    return [name for name in names if name.startswith(project + "/")]


def _page(names: Iterable[str] | Mapping[str, Any], request: Any) -> tuple[list[str], str]:
    """Return the names of one page, in order, and the token of the next: the last name of this one."""
    ordered = sorted(name for name in names if name > request.page_token)
    size = request.page_size or _DEFAULT_PAGE
    page = ordered[:size]
    return page, page[-1] if len(ordered) > size else ""
