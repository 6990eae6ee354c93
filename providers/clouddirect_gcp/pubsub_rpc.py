"""The methods of Pub/Sub that the broker calls; no other is ever called.

Source: https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.iam.v1 import iam_policy_pb2  # type: ignore[import-untyped]
from google.protobuf import empty_pb2
from google.pubsub_v1 import types

from clouddirect_gcp.pubsub_errors import Side

__all__ = [
    "ACKNOWLEDGE",
    "AcknowledgeRequest",
    "MODIFY_ACK_DEADLINE",
    "ModifyAckDeadlineRequest",
    "PUBLISH",
    "PULL",
    "PublishRequest",
    "PullRequest",
    "Rpc",
    "TEST_PUBLISH",
    "TEST_SUBSCRIBE",
    "TestIamPermissionsRequest",
]

# the protobuf classes, as their proto-plus wrappers are slow
PublishRequest: Any = types.PublishRequest.pb()
PullRequest: Any = types.PullRequest.pb()
AcknowledgeRequest: Any = types.AcknowledgeRequest.pb()
ModifyAckDeadlineRequest: Any = types.ModifyAckDeadlineRequest.pb()
TestIamPermissionsRequest: Any = iam_policy_pb2.TestIamPermissionsRequest


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method: its path, the class of its answers, the request's field that names the resource, and its purpose."""

    path: str
    answer: Any
    field: str
    side: Side


PUBLISH = Rpc("/google.pubsub.v1.Publisher/Publish", types.PublishResponse.pb(), "topic", "send")
PULL = Rpc("/google.pubsub.v1.Subscriber/Pull", types.PullResponse.pb(), "subscription", "receive")
ACKNOWLEDGE = Rpc("/google.pubsub.v1.Subscriber/Acknowledge", empty_pb2.Empty, "subscription", "settle")
MODIFY_ACK_DEADLINE = Rpc("/google.pubsub.v1.Subscriber/ModifyAckDeadline", empty_pb2.Empty, "subscription", "settle")

_TEST_PATH = "/google.iam.v1.IAMPolicy/TestIamPermissions"
TEST_PUBLISH = Rpc(_TEST_PATH, iam_policy_pb2.TestIamPermissionsResponse, "resource", "send")
TEST_SUBSCRIBE = Rpc(_TEST_PATH, iam_policy_pb2.TestIamPermissionsResponse, "resource", "receive")
