"""Links to entities: those that send to a queue or topic, and those that receive from a queue or subscription.

Addresses, filters, link properties and outcomes are those of the Service Bus AMQP protocol guide ("Messages",
"Settlement", "Message sessions"); the meaning of the outcomes: accepted completes, rejected dead-letters, released
gives back, modified abandons, or defers where ``undeliverable-here`` is set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from .codec import DecodeError, Described, Encoded, Int, Symbol, UInt
from .faults import Point
from .lanes import Lane
from .link import Endpoint, Link
from .message import StoredMessage, unpack_batch
from .namespace import Topic
from .protocol import ACCEPTED, BATCH_FORMAT, MODIFIED, REJECTED, RELEASED, AmqpError, Condition, outcome, padded
from .queue import Queue

__all__ = ["Receiver", "Sender"]

_SESSION_FILTER = "com.microsoft:session-filter"
_TIMEOUT = "com.microsoft:timeout"  # milliseconds
_PATIENCE = 60.0
#: .NET's ticks (100 ns) at the Unix epoch: the session lock's end is told in ticks.
_EPOCH_TICKS = 621_355_968_000_000_000


class Sender(Endpoint):
    """A client sends to a queue or topic."""

    def __init__(self, link: Link, path: str, entity: Queue | Topic) -> None:
        self.path = path
        self._link = link
        self._entity = entity
        self._service = link.connection.service

    def open(self) -> None:
        """Accept the link, and say how large a message and a batch may be."""
        limits = self._service.limits
        properties = (
            {"com.microsoft:max-message-batch-size": UInt(limits.max_batch_bytes)} if limits.max_batch_bytes else None
        )
        self._link.accept(properties, max_size=limits.max_message_bytes)

    def incoming(self, delivery: int, message_format: int, payload: bytes, settled: bool) -> None:
        """Store a message or a batch, and answer unless the client does not want to know."""

        def operation(refusal: AmqpError | None) -> None:
            try:
                if refusal is not None:
                    raise refusal
                self._store(delivery, message_format, payload)
                state = outcome(ACCEPTED)
            except AmqpError as error:
                state = outcome(REJECTED, error.described())
            if not settled:
                self._link.answer(delivery, state)

        self._link.connection.guarded(Point.TRANSFER, self._link, operation)

    def _store(self, delivery: int, message_format: int, payload: bytes) -> None:
        limits = self._service.limits
        is_batch = message_format == BATCH_FORMAT
        limit = (limits.max_batch_bytes if is_batch else None) or limits.max_message_bytes
        if len(payload) > limit:
            raise AmqpError(
                Condition.MESSAGE_TOO_LARGE,
                f"The received message (delivery-id:{delivery}, size:{len(payload)} bytes) exceeds the limit "
                f"({limit} bytes) currently allowed on the link.",
            )
        try:
            messages = unpack_batch(payload) if is_batch else [StoredMessage(payload)]
        except (DecodeError, TypeError) as error:
            raise AmqpError(Condition.DECODE_ERROR, f"The message could not be decoded: {error}") from error
        self._service.namespace.publish(self._entity, messages)


class Receiver(Endpoint):
    """A client receives from a queue, subscription or dead-letter queue; it is what the queue knows as a holder."""

    def __init__(self, link: Link, path: str, queue: Queue) -> None:
        self.path = path
        self.held: dict[UUID, StoredMessage] = {}
        self.lane: Lane | None = None
        self._link = link
        self._queue = queue

    def open(self) -> None:
        """Join the queue, or take the session that the filter names or leaves open.

        Raises:
            AmqpError: no session where one is needed, or the other way round, or it is locked.
        """
        if _SESSION_FILTER not in self._link.filters:
            if self._queue.sessions:
                raise AmqpError(
                    Condition.NOT_ALLOWED,
                    "It is not possible for an entity that requires sessions to create a non-sessionful receiver.",
                )
            self._accept({})
            self._queue.lanes.join(self)
            return
        if not self._queue.sessions:
            raise AmqpError(
                Condition.NOT_ALLOWED,
                "A sessionful message receiver can not be created on an entity that does not require sessions.",
            )
        wanted = self._link.filters[_SESSION_FILTER]
        wanted = wanted.value if isinstance(wanted, Described) else wanted
        if wanted is None:
            milliseconds = self._link.properties.get(_TIMEOUT)
            self._queue.lanes.accept_next(self, milliseconds / 1000 if milliseconds else _PATIENCE)
        else:
            self._queue.lanes.accept(self, wanted)

    def _accept(self, properties: dict[str, Any], filters: dict[Any, Any] | None = None) -> None:
        size = self._link.connection.service.limits.max_message_bytes
        self._link.accept({"com.microsoft:entity-type": Int(0), **properties}, filters, max_size=size)

    # ---- what the queue asks of a holder

    @property
    def credit(self) -> int:
        """How many messages the client takes."""
        return self._link.credit

    @property
    def wants_drain(self) -> bool:
        """Whether it wants credit used up that there are no messages for."""
        return self._link.wants_drain

    def drained(self) -> None:
        """There is nothing for the credit that is left."""
        self._link.drained()

    def session_opened(self, lane: Lane) -> None:
        """Tell the client which session it has."""
        ticks = int(lane.locked_until * 10_000_000) + _EPOCH_TICKS
        self._accept({"com.microsoft:locked-until-utc": ticks}, {Symbol(_SESSION_FILTER): lane.session})

    def failed(self, error: AmqpError) -> None:
        """The session is lost, or none came."""
        self._link.detach(error)

    def deliver(self, message: StoredMessage) -> None:
        """Lock a message and send it; without settlement it is gone once it is sent."""
        token = self._queue.lock(message, self).token

        def operation(refusal: AmqpError | None) -> None:
            if token not in self.held:  # a fault delayed it for longer than the lock
                return
            payload = message.encode()
            if self._link.presettled:
                self._queue.complete(token)
                self._link.deliver(token.bytes_le, payload)
            else:
                self._link.deliver(token.bytes_le, payload, token)

        self._link.connection.guarded(Point.DELIVERY, self._link, operation)

    # ---- what the link asks of an endpoint

    def flow(self) -> None:
        """Deliver to the new credit."""
        self._queue.lanes.wake(self)

    def settle(self, token: UUID, state: Described) -> Encoded | None:
        """Do what the outcome means, and answer with the same outcome, or rejected with what went wrong."""
        try:
            action = self._meaning(state)
            if action is None:
                return None
            action(token)
        except AmqpError as error:
            return outcome(REJECTED, error.described())
        if state.descriptor == MODIFIED:
            return outcome(MODIFIED, True, bool(padded(state.value, 2)[1]))
        return outcome(int(state.descriptor))

    def _meaning(self, state: Described) -> Callable[[UUID], None] | None:
        queue = self._queue
        if state.descriptor == MODIFIED:
            return queue.defer if padded(state.value, 2)[1] else queue.abandon
        if state.descriptor == REJECTED:
            reason, description = _why_rejected(state)
            return lambda token: queue.dead_letter(token, reason, description)
        return {ACCEPTED: queue.complete, RELEASED: queue.release}.get(state.descriptor)

    def detached(self) -> None:
        """Leave the queue."""
        self._queue.leave(self, release=self._link.connection.service.limits.release_on_close)


def _why_rejected(state: Described) -> tuple[str | None, str | None]:
    """Return reason and description of a dead-lettering: in the error's info, or else its condition and text."""
    error = padded(state.value, 1)[0]
    if not isinstance(error, Described):
        return None, None
    condition, text, info = padded(error.value, 3)
    info = info or {}
    reason = info.get("DeadLetterReason", condition if condition != "com.microsoft:dead-letter" else None)
    return reason, info.get("DeadLetterErrorDescription", text)
