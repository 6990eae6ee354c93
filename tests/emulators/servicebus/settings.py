"""What a test says about queues, topics, keys and limits.

Defaults are the service's where it has one ("Service Bus quotas", "Message expiration", "Dead-letter queues"); times
are seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = [
    "LISTEN",
    "MANAGE",
    "RIGHTS",
    "SEND",
    "AccessKey",
    "BearerToken",
    "CorrelationFilter",
    "Limits",
    "QueueSettings",
    "Rule",
    "SubscriptionSettings",
    "TopicSettings",
    "TrueFilter",
]

SEND, LISTEN, MANAGE = "Send", "Listen", "Manage"
RIGHTS = frozenset({SEND, LISTEN, MANAGE})


def _rights(rights: Iterable[str]) -> frozenset[str]:
    """Manage includes the other two ("Service Bus access control with SAS")."""
    found = frozenset(rights)
    if unknown := found - RIGHTS:
        raise ValueError(f"unknown rights {sorted(unknown)}: there are {sorted(RIGHTS)}")
    return RIGHTS if MANAGE in found else found


@dataclass(frozen=True)
class AccessKey:
    """A shared access policy: of the namespace, or of one ``entity``; a topic's covers its subscriptions."""

    name: str
    key: str = field(repr=False)
    rights: Iterable[str] = RIGHTS
    entity: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rights", _rights(self.rights))


@dataclass(frozen=True)
class BearerToken:
    """A JSON web token that is accepted as it stands, for tests with a TokenCredential; ``expires`` in Unix seconds."""

    token: str = field(repr=False)
    rights: Iterable[str] = RIGHTS
    entity: str | None = None
    expires: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rights", _rights(self.rights))


@dataclass(frozen=True)
class QueueSettings:
    """A queue.

    Args:
        name: its path, with slashes if it has any.
        lock: how long a delivery, or a session, is locked.
        max_deliveries: a message that failed so often is dead-lettered.
        sessions: whether each message needs a session id and is received by session.
        time_to_live: the longest any message lives; a sender can ask for less.
        dead_letter_expired: whether what expires is dead-lettered; else it is dropped.
        duplicates: for how long message ids are remembered; 0 does not look for duplicates.
        max_bytes: how much the queue holds.
    """

    name: str
    lock: float = 60.0
    max_deliveries: int = 10
    sessions: bool = False
    time_to_live: float | None = None
    dead_letter_expired: bool = False
    duplicates: float = 0.0
    max_bytes: int | None = None


@dataclass(frozen=True)
class TrueFilter:
    """Lets every message pass: a new subscription's only rule."""


@dataclass(frozen=True)
class CorrelationFilter:
    """Lets a message pass that has all the values named here ("Topic filters and actions", correlation filters)."""

    correlation_id: str | None = None
    message_id: str | None = None
    to: str | None = None
    reply_to: str | None = None
    label: str | None = None
    session_id: str | None = None
    reply_to_session_id: str | None = None
    content_type: str | None = None
    properties: Mapping[str, object] = field(default_factory=dict)


Rule = TrueFilter | CorrelationFilter


@dataclass(frozen=True)
class SubscriptionSettings(QueueSettings):
    """A subscription: a queue that gets a copy of each message that one of its ``rules`` lets pass."""

    rules: Sequence[Rule] = (TrueFilter(),)


@dataclass(frozen=True)
class TopicSettings:
    """A topic and its subscriptions; ``duplicates`` as for a queue."""

    name: str
    subscriptions: Sequence[SubscriptionSettings] = ()
    duplicates: float = 0.0


@dataclass(frozen=True)
class Limits:
    """The namespace's limits.

    Args:
        max_message_bytes: size of a message, or of a batch unless ``max_batch_bytes`` says otherwise.
        max_batch_bytes: size of a batch, announced to the client; Premium namespaces have 1 MiB whatever a message
            may have. None announces nothing, as the service did when this was written: azure-servicebus then fills
            batches up to 256 KiB, or 1 MiB where a message may be as large.
        max_frame_bytes: size of an AMQP frame, both ways.
        connection_idle: the client must send something as often, if only an empty frame (AMQP 1.0, 2.4.5).
        no_links_idle: a connection that has had no links for so long is closed.
        link_idle: a link on which nothing moved for so long is detached.
        release_on_close: whether a closed link or connection releases what it had locked, without counting a
            delivery. The service's documentation says that a broken connection drops the lock, and that closing a
            session does not count; for a message outside a session "does not count" is an assumption. False keeps the
            locks until they expire.
    """

    max_message_bytes: int = 256 * 1024
    max_batch_bytes: int | None = None
    max_frame_bytes: int = 64 * 1024
    connection_idle: float = 240.0
    no_links_idle: float = 300.0
    link_idle: float = 600.0
    release_on_close: bool = True
