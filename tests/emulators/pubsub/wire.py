"""The messages of google.pubsub.v1 and google.iam.v1 that the server reads and writes.

The SDK's types wrap protobuf classes; the server uses the classes inside, which are several times faster.
"""

from __future__ import annotations

from typing import Any

from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.protobuf import empty_pb2
from google.pubsub_v1 import types

__all__ = ["Empty", "TestIamPermissionsResponse", "message_class"]

Empty = empty_pb2.Empty
TestIamPermissionsResponse = iam_policy_pb2.TestIamPermissionsResponse

_ELSEWHERE = {
    "Empty": Empty,
    "Policy": policy_pb2.Policy,
    "TestIamPermissionsRequest": iam_policy_pb2.TestIamPermissionsRequest,
    "TestIamPermissionsResponse": TestIamPermissionsResponse,
}


def message_class(name: str) -> Any:
    """Return the protobuf class of a message of google.pubsub.v1 (or of google.iam.v1) by its name."""
    return _ELSEWHERE[name] if name in _ELSEWHERE else getattr(types, name).pb()
