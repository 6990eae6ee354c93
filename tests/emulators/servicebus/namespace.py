"""The namespace: its entities by path, topics and their rules, duplicate detection, and the event loop's timers.

Paths are those of the service and compared without regard to case: ``queue``, ``topic``,
``topic/Subscriptions/name``, each of the receivable ones also with ``/$DeadLetterQueue`` ("Service Bus AMQP protocol
guide", addresses; "Dead-letter queues").
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .lanes import Lane, Lanes
from .message import StoredMessage
from .protocol import AmqpError, Condition
from .queue import DEAD_LETTER_QUEUE, Queue
from .settings import CorrelationFilter, QueueSettings, Rule, SubscriptionSettings, TopicSettings

__all__ = ["Namespace", "Topic"]

_SUBSCRIPTIONS = "/subscriptions/"


class DuplicateHistory:
    """Message ids seen within a window of seconds ("Duplicate message detection")."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._seen: set[Any] = set()
        self._by_age: deque[tuple[float, Any]] = deque()

    def is_repeat(self, message: StoredMessage) -> bool:
        """Whether a message with this id came within the window; remembers it if not."""
        if not self._window or message.id is None:
            return False
        now = time.time()
        while self._by_age and self._by_age[0][0] <= now:
            self._seen.discard(self._by_age.popleft()[1])
        if message.id in self._seen:
            return True
        self._seen.add(message.id)
        self._by_age.append((now + self._window, message.id))
        return False


class Topic:
    """A topic: what is sent to it is copied to each subscription that has a rule which lets it pass."""

    def __init__(self, path: str, subscriptions: Iterable[tuple[Queue, Sequence[Rule]]]) -> None:
        self.path = path
        self.subscriptions = list(subscriptions)

    def takers(self, message: StoredMessage) -> list[Queue]:
        """Return the subscriptions that get a copy."""
        return [queue for queue, rules in self.subscriptions if any(_passes(rule, message) for rule in rules)]


def _passes(rule: Rule, message: StoredMessage) -> bool:
    if not isinstance(rule, CorrelationFilter):
        return True
    wanted = {name: value for name, value in vars(rule).items() if name != "properties" and value is not None}
    if any(message.field(name) != value for name, value in wanted.items()):
        return False
    if not rule.properties:
        return True
    present = message.application_properties()
    return all(name in present and present[name] == value for name, value in rule.properties.items())


class Namespace:
    """All entities of one server. Everything in it happens on the event loop's thread."""

    def __init__(self) -> None:
        self._entities: dict[str, Queue | Topic] = {}
        self._histories: dict[str, DuplicateHistory] = {}
        self._sequence = itertools.count(1)
        self._awake: dict[Lane, Lanes] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def run_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Use this loop's timers."""
        self._loop = loop

    # ---- entities

    def add_queue(self, settings: QueueSettings) -> None:
        """Add a queue; one of the name that is there already is replaced, with its messages."""
        self._add(settings.name, Queue(self, settings.name, settings), settings.duplicates)

    def add_topic(self, settings: TopicSettings) -> None:
        """Add a topic with its subscriptions."""
        subscriptions = [(self._subscription(settings.name, each), each.rules) for each in settings.subscriptions]
        self._add(settings.name, Topic(settings.name, subscriptions), settings.duplicates)

    def _subscription(self, topic: str, settings: SubscriptionSettings) -> Queue:
        return Queue(self, f"{topic}/Subscriptions/{settings.name}", settings)

    def _add(self, name: str, entity: Queue | Topic, duplicates: float) -> None:
        self._entities[name.lower()] = entity
        self._histories[entity.path] = DuplicateHistory(duplicates)

    def find(self, path: str) -> Queue | Topic:
        """Return the entity at ``path``.

        Raises:
            AmqpError: there is none.
        """
        wanted = path.strip("/").lower()
        wants_dead = wanted.endswith(DEAD_LETTER_QUEUE.lower())
        wanted = wanted.removesuffix(DEAD_LETTER_QUEUE.lower())
        name, _, subscription = wanted.partition(_SUBSCRIPTIONS)
        entity = self._entities.get(name)
        if subscription:
            of_topic = entity.subscriptions if isinstance(entity, Topic) else []
            entity = next((queue for queue, _ in of_topic if queue.path.lower() == wanted), None)
        if wants_dead:
            entity = entity.dead_letters if isinstance(entity, Queue) else None
        if entity is None:
            raise AmqpError(Condition.NOT_FOUND, f"The messaging entity '{path}' could not be found.")
        return entity

    def queue(self, path: str) -> Queue:
        """Return the queue or subscription at ``path``. Raises AmqpError where there is none, or a topic."""
        entity = self.find(path)
        if isinstance(entity, Topic):
            raise AmqpError(Condition.NOT_ALLOWED, f"'{path}' is a topic: receive from one of its subscriptions.")
        return entity

    # ---- publishing

    def publish(self, entity: Queue | Topic, messages: Sequence[StoredMessage]) -> list[int]:
        """Store messages, all or none, and return their sequence numbers.

        A repeat is accepted and not stored, as duplicate detection has it; so is what no subscription wants.

        Raises:
            AmqpError: one of them cannot be stored.
        """
        takers = [[entity] if isinstance(entity, Queue) else entity.takers(message) for message in messages]
        sizes: dict[Queue, int] = {}
        for message, queues in zip(messages, takers, strict=True):
            for queue in queues:
                queue.check(message)
                sizes[queue] = sizes.get(queue, 0) + message.size
        for queue, size in sizes.items():
            queue.check_room(size)
        history = self._histories.get(entity.path)
        numbers = []
        for message, queues in zip(messages, takers, strict=True):
            numbers.append(self.next_sequence())
            if history is None or not history.is_repeat(message):
                for queue in queues:
                    queue.enqueue(message if len(queues) == 1 else message.copy(), numbers[-1])
        return numbers

    def cancel_scheduled(self, entity: Queue | Topic, sequence: int) -> bool:
        """Remove a message that is not due yet, with all its copies; False if there is none of this number."""
        queues = [entity] if isinstance(entity, Queue) else [queue for queue, _ in entity.subscriptions]
        return sum(queue.cancel_scheduled(sequence) for queue in queues) > 0  # all of them, not the first

    # ---- what queues need

    def next_sequence(self) -> int:
        """Return a new sequence number; the numbers of one queue ascend."""
        return next(self._sequence)

    def later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> asyncio.TimerHandle:
        """Call something in ``seconds``."""
        assert self._loop is not None
        return self._loop.call_later(seconds, call, *arguments)

    def wake(self, lanes: Lanes, lane: Lane) -> None:
        """Pump this lane soon: once, however many messages and credits come meanwhile."""
        assert self._loop is not None
        if not self._awake:
            self._loop.call_soon(self._pump)
        self._awake[lane] = lanes

    def _pump(self) -> None:
        awake, self._awake = self._awake, {}
        for lane, lanes in awake.items():
            lanes.pump(lane)
