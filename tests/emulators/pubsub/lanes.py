"""Entries of a subscription, and the lanes that keep the order of those with an ordering key.

Source: "Order messages" of the Pub/Sub documentation. Messages of one key are delivered in the order of their
publication; only one batch of a key is outstanding at a time; where a message is redelivered, every later message of
its key is redelivered too, acknowledged or not.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any

__all__ = ["Entry", "Lane", "Published"]


class Published:
    """One message as the topic took it; its subscriptions share it."""

    __slots__ = ("at", "message", "number", "size")

    def __init__(self, message: Any, number: int, at: float) -> None:
        self.message = message  # google.pubsub.v1.PubsubMessage, with its id and its time of publication
        self.number = number  # in order of publication, over all topics
        self.at = at  # seconds since the epoch
        self.size = message.ByteSize()


class Entry:
    """One message in one subscription, until it is acknowledged."""

    __slots__ = ("ack_id", "deadline", "delivered", "failures", "gone", "holder", "lane", "published")

    def __init__(self, published: Published, lane: Lane | None = None) -> None:
        self.published = published
        self.lane = lane
        self.failures = 0  # nacks and expired leases
        self.delivered = 0  # how often it went out: makes each ack id unique
        self.ack_id = ""  # of the running lease; empty: none
        self.deadline = 0.0  # on the event loop's clock
        self.holder: Any = None  # the streaming pull that the lease counts against
        self.gone = False  # acknowledged, or dropped by a seek


class Lane:
    """The messages of one ordering key in one subscription.

    The first ``out`` of ``entries`` have been delivered: leased, or acknowledged ahead of an earlier one. While there
    are any, nothing more of the key is delivered.
    """

    __slots__ = ("entries", "key", "not_before", "out", "queued")

    def __init__(self, key: str) -> None:
        self.key = key
        self.entries: deque[Entry] = deque()
        self.out = 0
        self.not_before = 0.0  # on the event loop's clock: the end of a backoff
        self.queued = False  # is among what the subscription has ready, or in backoff

    @property
    def deliverable(self) -> bool:
        """Whether to put it among what is ready."""
        return self.out == 0 and bool(self.entries) and not self.queued

    def settle(self) -> None:
        """Forget the acknowledged entries at the front."""
        entries = self.entries
        while entries and entries[0].gone:
            entries.popleft()
            self.out -= self.out > 0

    def withdraw(self, entry: Entry) -> list[Entry]:
        """Make this entry and all after it undelivered; return those that had been delivered."""
        position = self.entries.index(entry)
        delivered = list(islice(self.entries, position, self.out))
        self.out = min(self.out, position)
        return delivered
