"""What the service refuses: names, messages and settings out of bounds.

Sources: "Pub/Sub quotas and limits" (resource limits), "Publish messages to topics" (attributes), the RPC reference
of google.pubsub.v1 (ranges of the fields of Subscription, ModifyAckDeadlineRequest and StreamingPullRequest).
"""

from __future__ import annotations

import re
from typing import Any

from .refusals import invalid

__all__ = [
    "MAX_ACK_REQUEST_BYTES",
    "MAX_PUBLISH_BYTES",
    "MAX_PUBLISH_MESSAGES",
    "check_ack_request",
    "check_name",
    "check_publish",
    "check_subscription",
    "check_topic",
]

#: A Publish request: messages and bytes.
MAX_PUBLISH_MESSAGES = 1_000
MAX_PUBLISH_BYTES = 10_000_000
#: An Acknowledge or ModifyAckDeadline request, in bytes.
MAX_ACK_REQUEST_BYTES = 524_288

_MAX_ATTRIBUTES = 100
_MAX_ATTRIBUTE_KEY = 256
_MAX_ATTRIBUTE_VALUE = 1_024
_MAX_ORDERING_KEY = 1_024

_NAME = re.compile(r"projects/[^/]+/(topics|subscriptions|snapshots)/(?!goog)[A-Za-z][-A-Za-z0-9_.~+%]{2,254}")


def check_name(name: str, kind: str) -> None:
    """Refuse a resource name that is not ``projects/<project>/<kind>/<name>``."""
    found = _NAME.fullmatch(name)
    if found is None or found[1] != kind:
        raise invalid(f"Invalid [{kind}] name: (name={name})")


def check_publish(request: Any) -> None:
    """Refuse the whole request where one message, or all of them together, is out of bounds."""
    count, size = len(request.messages), request.ByteSize()
    if not 1 <= count <= MAX_PUBLISH_MESSAGES:
        raise invalid(f"A publish request holds 1 to {MAX_PUBLISH_MESSAGES} messages, this one {count}.")
    if size > MAX_PUBLISH_BYTES:
        raise invalid(f"A publish request holds at most {MAX_PUBLISH_BYTES} bytes, this one {size}.")
    for message in request.messages:
        attributes = message.attributes
        if attributes:
            _check_attributes(attributes)
        elif not message.data:
            raise invalid("A message in the publish request is empty: it needs data or at least one attribute.")
        if message.ordering_key and len(message.ordering_key.encode()) > _MAX_ORDERING_KEY:
            raise invalid(f"An ordering key is at most {_MAX_ORDERING_KEY} bytes long.")


def _check_attributes(attributes: Any) -> None:
    if len(attributes) > _MAX_ATTRIBUTES:
        raise invalid(f"A message has at most {_MAX_ATTRIBUTES} attributes, this one {len(attributes)}.")
    for key, value in attributes.items():
        if not key or len(key.encode()) > _MAX_ATTRIBUTE_KEY or key.startswith("goog"):
            raise invalid(f"An attribute key has 1 to {_MAX_ATTRIBUTE_KEY} bytes and does not begin with goog: {key!r}")
        if len(value.encode()) > _MAX_ATTRIBUTE_VALUE:
            raise invalid(f"The value of attribute {key!r} is over {_MAX_ATTRIBUTE_VALUE} bytes long.")


def check_ack_request(request: Any) -> None:
    """Refuse an Acknowledge or ModifyAckDeadline request without ids, or over the size the service reads."""
    if not request.ack_ids:
        raise invalid("No ack ids specified.")
    if request.ByteSize() > MAX_ACK_REQUEST_BYTES:
        raise invalid(f"Request payload size exceeds the limit: {MAX_ACK_REQUEST_BYTES} bytes.")


def check_topic(topic: Any) -> None:
    """Refuse settings of a topic that are out of range."""
    check_name(topic.name, "topics")
    if topic.HasField("message_retention_duration"):
        _check_duration("message_retention_duration", topic.message_retention_duration, 600, 31 * 86_400)


def check_subscription(config: Any) -> None:
    """Refuse settings of a subscription that are out of range."""
    check_name(config.name, "subscriptions")
    if not 10 <= config.ack_deadline_seconds <= 600:
        raise invalid(f"ack_deadline_seconds is 10 to 600, not {config.ack_deadline_seconds}")
    if config.HasField("message_retention_duration"):
        _check_duration("message_retention_duration", config.message_retention_duration, 600, 31 * 86_400)
    if config.HasField("dead_letter_policy"):
        attempts = config.dead_letter_policy.max_delivery_attempts
        if attempts and not 5 <= attempts <= 100:
            raise invalid(f"max_delivery_attempts is 5 to 100, not {attempts}")
        if not config.dead_letter_policy.dead_letter_topic:
            raise invalid("A dead-letter policy needs a dead_letter_topic.")
    if config.HasField("retry_policy"):
        policy = config.retry_policy
        for name in ("minimum_backoff", "maximum_backoff"):
            if policy.HasField(name):
                _check_duration(name, getattr(policy, name), 0, 600)


def _check_duration(name: str, duration: Any, least: float, most: float) -> None:
    seconds = duration.seconds + duration.nanos / 1e9
    if not least <= seconds <= most:
        raise invalid(f"{name} is {least} to {most} seconds, not {seconds}")
