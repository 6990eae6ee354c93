"""What can be found out about a queue and a credential without sending or taking anything: GetQueueAttributes alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clouddirect.errors import PermissionDeniedError
from clouddirect.messaging import Access, CheckResult

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

__all__ = ["describe_queue", "read_attributes", "unverified"]

_ASKED: tuple[QueueAttributeNameType, ...] = ("QueueArn", "RedrivePolicy", "MaximumMessageSize")


def read_attributes(client: SQSClient, url: str) -> Mapping[str, Any]:
    """Ask for the queue's attributes; return the answer."""
    return client.get_queue_attributes(QueueUrl=url, AttributeNames=_ASKED)


def unverified(access: Access, denied: PermissionDeniedError) -> CheckResult:
    """Say that the credential is valid, which is all that could be found out; that alone is no failure."""
    return CheckResult(
        access,
        "unverified",
        f"SQS knows the credential, but it may not read the queue's attributes ({denied.code}), which no side needs "
        f"for its work: whether the queue is there and the credential may {access} could not be verified",
    )


def describe_queue(access: Access, attributes: Mapping[str, str], max_message_bytes: int) -> CheckResult:
    """Say what the queue's attributes tell.

    Reading them is a right of the receiving side in the policies that we publish. So a credential that can is likely
    to be one that may receive; about sending it says nothing.
    """
    detail = f"the queue is there and its attributes can be read; {_redrive(attributes.get('RedrivePolicy'))}"
    limit = int(attributes.get("MaximumMessageSize", max_message_bytes))
    if access == "send" and limit < max_message_bytes:
        detail += f"; it takes messages of at most {limit:,} bytes: set max_message_bytes to that"
    detail += f". Whether the credential may {access} could not be verified without doing it"
    return CheckResult(access, "likely" if access == "receive" else "unverified", detail)


def _redrive(policy: str | None) -> str:
    if not policy:
        return "it has no redrive policy, so a message that cannot be handled comes again until its retention ends"
    found = json.loads(policy)
    name = str(found.get("deadLetterTargetArn", "")).rsplit(":", 1)[-1]
    return f"messages go to {name!r} after {found.get('maxReceiveCount')} deliveries"
