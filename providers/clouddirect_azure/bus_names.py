"""What the name of a queue stands for."""

from __future__ import annotations

from dataclasses import dataclass

from azure.servicebus import ServiceBusSubQueue

from clouddirect.errors import ConfigurationError, UnsupportedError

__all__ = ["DEAD_LETTER_SUFFIX", "Entity", "entity_of"]

#: What the name of a queue's or subscription's dead-letter queue ends in, in any case.
DEAD_LETTER_SUFFIX = "/$DeadLetterQueue"
_TRANSFER = "/$transfer"
_SUBSCRIPTIONS = "/subscriptions/"


@dataclass(frozen=True, slots=True)
class Entity:
    """What to connect to.

    Attributes:
        name: the queue or topic.
        subscription: the topic's subscription, when receiving.
        sub_queue: its dead-letter queue, or None for itself.
    """

    name: str
    subscription: str | None = None
    sub_queue: ServiceBusSubQueue | None = None

    @property
    def path(self) -> str:
        """The name without the sub-queue: what options with patterns compare."""
        return self.name if self.subscription is None else f"{self.name}/{self.subscription}"


def entity_of(queue: str, *, receiving: bool, subscriptions: bool) -> Entity:
    """Return what ``queue`` stands for.

    When receiving, ``topic/subscription`` is a subscription (unless ``subscriptions`` is false, for queues with slashes
    in their names), as ``topic/Subscriptions/subscription`` always is; each may end in ``/$DeadLetterQueue``.

    Raises:
        ConfigurationError: the name is empty or has an empty part.
        UnsupportedError: a dead-letter queue or a subscription was named to send to.
    """
    name, sub_queue = queue, None
    if name.lower().endswith(DEAD_LETTER_SUFFIX.lower()):
        name, sub_queue = name[: -len(DEAD_LETTER_SUFFIX)], ServiceBusSubQueue.DEAD_LETTER
        if name.lower().endswith(_TRANSFER):
            name, sub_queue = name[: -len(_TRANSFER)], ServiceBusSubQueue.TRANSFER_DEAD_LETTER
    if not name or not all(name.split("/")):
        raise ConfigurationError(f"{queue!r} is no name of a queue: it has an empty part", resource=queue)
    if not receiving and sub_queue is not None:
        raise UnsupportedError(
            f"{queue!r} is a dead-letter queue, which only Service Bus itself fills; send to {name!r}", resource=queue
        )
    place = name.lower().rfind(_SUBSCRIPTIONS)
    if place > 0:
        topic, subscription = name[:place], name[place + len(_SUBSCRIPTIONS) :]
    elif receiving and subscriptions and "/" in name:
        topic, _, subscription = name.rpartition("/")
    else:
        return Entity(name, None, sub_queue)
    if not receiving:
        raise UnsupportedError(f"{queue!r} is a subscription; send to its topic, {topic!r}", resource=queue)
    return Entity(topic, subscription, sub_queue)
