"""The RPCs that the server answers: their messages, and the permissions that the service asks for.

Sources: the RPC reference of google.pubsub.v1; "Access control with IAM", table of required permissions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["RPCS", "Rpc"]

_SERVICES = {
    "Publisher": "google.pubsub.v1.Publisher",
    "Subscriber": "google.pubsub.v1.Subscriber",
    "IAMPolicy": "google.iam.v1.IAMPolicy",
}


@dataclass(frozen=True)
class Rpc:
    """One RPC.

    Attributes:
        name: as in the reference.
        service: its full name on the wire.
        request: name of the request's message.
        response: name of the response's message.
        needs: which (permission, resource) pairs a request needs.
    """

    name: str
    service: str
    request: str
    response: str
    needs: Callable[[Any], list[tuple[str, str]]]


def _rpc(service: str, name: str, request: str, response: str, *needs: tuple[str, str]) -> Rpc:
    """``needs``: permission without ``pubsub.``, and the path of the request's field that names the resource."""

    def needed(message: Any) -> list[tuple[str, str]]:
        return [(f"pubsub.{permission}", _resource(message, path)) for permission, path in needs]

    return Rpc(name, _SERVICES[service], request, response, needed)


def _resource(message: Any, path: str) -> str:
    """Follow a path such as ``subscription.name``; ``name^`` is the project that the name lies in."""
    for part in path.rstrip("^").split("."):
        message = getattr(message, part)
    return "/".join(message.split("/")[:2]) if path.endswith("^") else str(message)


_CONSUME = ("subscriptions.consume", "subscription")

#: Every RPC of the server, by name.
RPCS = {
    rpc.name: rpc
    for rpc in (
        _rpc("Publisher", "CreateTopic", "Topic", "Topic", ("topics.create", "name^")),
        _rpc("Publisher", "UpdateTopic", "UpdateTopicRequest", "Topic", ("topics.update", "topic.name")),
        _rpc("Publisher", "Publish", "PublishRequest", "PublishResponse", ("topics.publish", "topic")),
        _rpc("Publisher", "GetTopic", "GetTopicRequest", "Topic", ("topics.get", "topic")),
        _rpc("Publisher", "ListTopics", "ListTopicsRequest", "ListTopicsResponse", ("topics.list", "project")),
        _rpc(
            "Publisher",
            "ListTopicSubscriptions",
            "ListTopicSubscriptionsRequest",
            "ListTopicSubscriptionsResponse",
            ("topics.get", "topic"),
        ),
        _rpc("Publisher", "DeleteTopic", "DeleteTopicRequest", "Empty", ("topics.delete", "topic")),
        _rpc(
            "Publisher",
            "DetachSubscription",
            "DetachSubscriptionRequest",
            "DetachSubscriptionResponse",
            ("topics.detachSubscription", "subscription"),
        ),
        _rpc(
            "Subscriber",
            "CreateSubscription",
            "Subscription",
            "Subscription",
            ("subscriptions.create", "name^"),
            ("topics.attachSubscription", "topic"),
        ),
        _rpc(
            "Subscriber",
            "GetSubscription",
            "GetSubscriptionRequest",
            "Subscription",
            ("subscriptions.get", "subscription"),
        ),
        _rpc(
            "Subscriber",
            "UpdateSubscription",
            "UpdateSubscriptionRequest",
            "Subscription",
            ("subscriptions.update", "subscription.name"),
        ),
        _rpc(
            "Subscriber",
            "ListSubscriptions",
            "ListSubscriptionsRequest",
            "ListSubscriptionsResponse",
            ("subscriptions.list", "project"),
        ),
        _rpc(
            "Subscriber",
            "DeleteSubscription",
            "DeleteSubscriptionRequest",
            "Empty",
            ("subscriptions.delete", "subscription"),
        ),
        _rpc("Subscriber", "ModifyAckDeadline", "ModifyAckDeadlineRequest", "Empty", _CONSUME),
        _rpc("Subscriber", "Acknowledge", "AcknowledgeRequest", "Empty", _CONSUME),
        _rpc("Subscriber", "Pull", "PullRequest", "PullResponse", _CONSUME),
        _rpc("Subscriber", "StreamingPull", "StreamingPullRequest", "StreamingPullResponse", _CONSUME),
        _rpc("Subscriber", "GetSnapshot", "GetSnapshotRequest", "Snapshot", ("snapshots.get", "snapshot")),
        _rpc(
            "Subscriber",
            "ListSnapshots",
            "ListSnapshotsRequest",
            "ListSnapshotsResponse",
            ("snapshots.list", "project"),
        ),
        _rpc(
            "Subscriber",
            "CreateSnapshot",
            "CreateSnapshotRequest",
            "Snapshot",
            ("snapshots.create", "name^"),
            _CONSUME,
        ),
        _rpc("Subscriber", "DeleteSnapshot", "DeleteSnapshotRequest", "Empty", ("snapshots.delete", "snapshot")),
        _rpc("Subscriber", "Seek", "SeekRequest", "SeekResponse", _CONSUME),
        _rpc("IAMPolicy", "TestIamPermissions", "TestIamPermissionsRequest", "TestIamPermissionsResponse"),
    )
}
