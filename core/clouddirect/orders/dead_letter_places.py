"""Where dead letters are, and how they are taken: on lease, to be given back unless something is done with them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from clouddirect.errors import (
    ClosedError,
    CloudDirectError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    UnsupportedError,
)
from clouddirect.orders.models import MessageKind, inspect_message

if TYPE_CHECKING:
    from clouddirect.messaging import Delivery, Message
    from clouddirect.orders.connections import Connections, Queue
    from clouddirect.settings import Endpoints

__all__ = ["DeadLetter", "Place", "QUARANTINE", "SENT", "Unread", "find_places"]

log = logging.getLogger("clouddirect.orders")

#: Stands for the local quarantine where endpoints are named.
QUARANTINE = "quarantine"
#: The endpoints that a client sends to.
SENT = ("orders", "gradings")
#: Which endpoint a message belongs to, where several share a dead-letter queue and nothing else tells.
_ENDPOINT_OF = {
    MessageKind.ORDER_REQUEST: "orders", MessageKind.GRADING_SUBMISSION: "gradings", MessageKind.EVENT: "events",
    MessageKind.ORDER_RESULT: "results",
}  # fmt: skip
#: Endpoints whose credential, as a rule, cannot receive: where it cannot, nothing is wrong.
_EXPECTED = (NotFoundError, PermissionDeniedError, UnsupportedError)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be processed, as it was when it was looked at.

    Attributes:
        endpoint: the endpoint it belongs to; None where that cannot be told.
        queue: the dead-letter queue it is in; ``"quarantine"`` for the local quarantine.
        message: the message itself. Its id, and that of its file, name it.
        at: when the broker stored it; in the quarantine, when it was put there. None where that is not known.
        delivery_count: how often it was delivered, as far as the service tells; see the documentation of dead letters.
        file: in the quarantine, the id of its file.
    """

    endpoint: str | None
    queue: str
    message: Message
    at: datetime | None
    delivery_count: int | None
    file: str | None = None

    @property
    def ids(self) -> frozenset[str]:
        """What it may be named by."""
        return frozenset((self.message.id, self.file) if self.file else (self.message.id,))

    @property
    def reason(self) -> str | None:
        """The reason it was dead-lettered for; None where none was given, as when the broker did it by itself."""
        from clouddirect.messaging import DEAD_LETTER_REASON

        return self.message.attributes.get(DEAD_LETTER_REASON) or None

    @property
    def description(self) -> str | None:
        """What was said about the reason."""
        from clouddirect.messaging import DEAD_LETTER_DESCRIPTION

        return self.message.attributes.get(DEAD_LETTER_DESCRIPTION) or None


@dataclass(frozen=True, slots=True)
class Unread:
    """A place that could not be looked at, or not to the end.

    Attributes:
        name: the endpoint, or ``"quarantine"``.
        error: why.
        expected: the endpoint is one that is sent to, and its own credential cannot receive, as it should be.
    """

    name: str
    error: CloudDirectError
    expected: bool = False


class Place:
    """One dead-letter queue, or the quarantine."""

    def __init__(self, names: Sequence[str], open_queue: Callable[[], Queue], endpoints: Endpoints) -> None:
        """``names``: the endpoints it serves; several may share one queue."""
        self.names = list(names)
        self._open = open_queue
        self._endpoints = endpoints

    @property
    def is_quarantine(self) -> bool:
        """Whether it is the quarantine."""
        return self.names == [QUARANTINE]

    def name(self, where: Sequence[str] | None) -> str:
        """The endpoint that it is looked at for."""
        return next((name for name in self.names if where is None or name in where), self.names[0])

    def unread(self, error: CloudDirectError, where: Sequence[str] | None) -> Unread:
        """Judge an error: whether it merely shows that the endpoint's credential has no rights it does not need."""
        name = self.name(where)
        settings = None if self.is_quarantine else self._endpoints.require(name)
        own = settings is not None and settings.dead_letter_receive is None
        expected = own and where is None and name in SENT and isinstance(error, _EXPECTED)
        return Unread(name, error, expected)

    @contextmanager
    def take(
        self, most: int, batch: int, stopping: Callable[[], bool]
    ) -> Iterator[Iterator[tuple[DeadLetter, Delivery]]]:
        """Yield what is there, at most ``most``, each on a lease that is kept until the block is left.

        What is not settled by then is given back: without counting as a delivery where the broker can do that.
        """
        queue = self._open()
        can = queue.broker.capabilities(queue.name)
        held: list[Delivery] = []

        def letters() -> Iterator[tuple[DeadLetter, Delivery]]:
            taken = 0
            while taken < most and not stopping():
                found = queue.broker.receive(queue.name, min(batch, most - taken))  # waits no less than it must
                if not found:
                    return
                taken += len(found)
                held[:] = [one for one in held if one.settled is None]
                held.extend(found)
                for delivery in found:
                    delivery.keep_lease()
                for delivery in found:
                    if stopping():
                        return
                    yield self._describe(queue, delivery, can.dead_letter_count), delivery

        try:
            yield letters()
        finally:
            try:
                with queue.broker.inside:
                    queue.broker.settlement.release(queue.name, [one for one in held if one.settled is None])
            except ClosedError:
                pass  # closing gave everything back
            if self.is_quarantine:
                queue.broker.close()

    def _describe(self, queue: Queue, delivery: Delivery, count_attribute: str | None) -> DeadLetter:
        message, count, file = delivery.message, delivery.delivery_count, None
        if self.is_quarantine:
            from clouddirect.messaging import QuarantinedMessage

            one = delivery.native
            assert isinstance(one, QuarantinedMessage)
            endpoint, file = _endpoint_named(self._endpoints, one.provider, one.queue), one.id
        else:
            endpoint = self._endpoint_of(message)
        noted = message.attributes.get(count_attribute, "") if count_attribute else ""
        if noted.isdecimal():
            count = int(noted)
        return DeadLetter(endpoint, queue.name, message, delivery.enqueued_at, count, file)

    def _endpoint_of(self, message: Message) -> str | None:
        if len(self.names) == 1:
            return self.names[0]
        from clouddirect.messaging import DEAD_LETTER_QUEUE

        came_from = message.attributes.get(DEAD_LETTER_QUEUE)
        named = next((name for name in self.names if self._endpoints.require(name).queue == came_from), None)
        by_kind = _ENDPOINT_OF.get(inspect_message(message.body).kind)
        return named or (by_kind if by_kind in self.names else None)


def find_places(
    connections: Connections, endpoints: Endpoints, where: Sequence[str] | None
) -> tuple[list[Place], list[Unread]]:
    """Return the places of these endpoints, or of all that are configured, the quarantine last.

    Raises:
        ConfigurationError: a name is none of an endpoint, or that endpoint is not configured.
    """
    from clouddirect.settings import ENDPOINTS

    configured = [name for name in ENDPOINTS if connections.has_endpoint(name)]
    asked = configured if where is None else list(where)
    for name in asked:
        if name not in (*ENDPOINTS, QUARANTINE):
            known = ", ".join((*ENDPOINTS, QUARANTINE))
            raise ConfigurationError(f"there is no endpoint {name!r}; dead letters are kept for {known}")
        if name != QUARANTINE:
            endpoints.require(name)
    places: dict[tuple[int, str], Place] = {}
    unread = []
    for name in configured:  # all of them: one that was not asked for may share a queue with one that was
        try:
            queue = connections.dead_letters(name)
        except CloudDirectError as error:
            if name in asked:
                unread.append(Unread(name, error))
            continue
        if queue is not None:
            key = (id(queue.broker), queue.name)
            if key not in places:
                places[key] = Place([], partial(_return, queue), endpoints)
            places[key].names.append(name)
        elif name in asked:
            log.info("the settings name no dead-letter queue of %s: only the quarantine is looked at", name)
    found = [place for place in places.values() if set(place.names) & set(asked)]
    return [*found, Place([QUARANTINE], partial(_open_quarantine, connections), endpoints)], unread


def _return(queue: Queue) -> Queue:
    return queue


def _open_quarantine(connections: Connections) -> Queue:
    from clouddirect.messaging import BrokerRuntime, QuarantineQueue
    from clouddirect.orders.connections import Queue

    return Queue(QuarantineQueue(connections.quarantine, BrokerRuntime(clock=connections.clock)), QUARANTINE)


def _endpoint_named(endpoints: Endpoints, provider: str, queue: str) -> str | None:
    """The endpoint that a quarantined message came from."""
    for name in type(endpoints).model_fields:
        settings = getattr(endpoints, name)
        if settings is not None and (settings.provider, settings.queue) == (provider, queue):
            return str(name)
    return None
