"""`DeadLetters`: what could not be processed, to be looked at, handled once more, sent once more, or removed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from clouddirect.errors import CloudDirectError, InvalidMessageError, PermissionDeniedError, UnsupportedError
from clouddirect.orders.dead_letter_places import QUARANTINE, SENT, DeadLetter, Place, Unread, find_places
from clouddirect.orders.inbox import Inbox
from clouddirect.orders.incoming import Incoming, Once
from clouddirect.orders.models import Event, OrderResult, read_event, read_result

if TYPE_CHECKING:
    from clouddirect.messaging import Delivery
    from clouddirect.orders.connections import Connections
    from clouddirect.settings import Endpoints

__all__ = ["DeadLetter", "DeadLetters", "Handled", "Looked", "Outcome", "REPLAY_OF", "Unread"]

log = logging.getLogger("clouddirect.orders")
T = TypeVar("T", Event, OrderResult)
V = TypeVar("V")

#: The attribute in which a message that was sent once more carries the id that it had before.
REPLAY_OF = "ReplayOf"
#: Most messages of one place that are looked through for those that are named.
SEARCHED = 1000
#: Most messages asked for at a time.
_BATCH = 100


@dataclass(frozen=True, slots=True)
class Looked:
    """What `DeadLetters.look` found.

    Attributes:
        letters: the dead letters, place by place.
        unread: the places that could not be looked at.
        more: the names of places where the limit was reached, so that there may be more.
    """

    letters: list[DeadLetter] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    more: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one dead letter.

    Attributes:
        id: its id.
        endpoint: the endpoint it belongs to, or None.
        queue: the dead-letter queue it was in, or ``"quarantine"``.
        new_id: the id under which it was sent once more, or None.
        error: why it is still there; with ``new_id`` it was sent, and yet could not be removed.
        file: in the quarantine, the id of its file.
    """

    id: str
    endpoint: str | None
    queue: str
    new_id: str | None = None
    error: CloudDirectError | None = None
    file: str | None = None

    @property
    def ok(self) -> bool:
        """Whether all was done."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class Handled:
    """What `DeadLetters.replay` and `DeadLetters.discard` did.

    Attributes:
        outcomes: one for each dead letter that was chosen and found.
        missing: the ids that were not found.
        unread: the places that could not be looked at, or not to the end.
        more: the names of places where the limit was reached, so that there may be more.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    more: list[str] = field(default_factory=list)


class _Returned(Incoming[V]):
    """A dead letter as if it had just arrived; one that fails stays on lease until all others have been tried."""

    def __enter__(self) -> V:
        self.delivery._refuse_settled("handling")  # it was given back when the iterator went on or ended
        return super().__enter__()

    def _give_back(self) -> bool:
        return True  # at the end: it would only be met again, and its many deliveries would mean a long delay


class DeadLetters:
    """The dead letters of a client's endpoints, in the brokers' dead-letter queues and in the local quarantine.

    To be looked at, a message is taken on lease and given back: while somebody looks, nobody else can take it, and
    where the broker cannot give back without counting, it is counted as delivered once more. What is done to a message
    is done at least once: if the program dies between sending it and removing it, it is still there.

    ``where`` names endpoints, or ``"quarantine"``; None means all. ``ids`` are ids of messages, or those of files in
    the quarantine; None means all.
    """

    def __init__(
        self,
        connections: Connections,
        endpoints: Endpoints,
        *,
        stopping: Callable[[], bool],
        arrived: Callable[[Event | OrderResult, Delivery], object],
        inbox: Inbox,
    ) -> None:
        """Made by the client. ``arrived`` is told of events and results before they are yielded."""
        self._connections = connections
        self._endpoints = endpoints
        self._stopping = stopping
        self._arrived = arrived
        self._inbox = inbox

    def look(self, ids: Iterable[str] | None = None, *, where: Sequence[str] | None = None, limit: int = 100) -> Looked:
        """Return dead letters as they are, at most ``limit`` of each place; they stay where they are.

        Raises:
            ConfigurationError: ``where`` names something that is not there.
        """
        looked = Looked()
        walk = _Walk(self, ids, where, limit, looked.unread, looked.more)
        looked.letters.extend(letter for letter, _ in walk)
        return looked

    def replay(
        self,
        ids: Iterable[str] | None,
        *,
        where: Sequence[str] | None = None,
        to: str | None = None,
        limit: int = SEARCHED,
    ) -> Handled:
        """Send dead letters to their endpoints once more, each under a new id; the old one goes along as `REPLAY_OF`.

        Each is removed only when the broker has confirmed the new message. It needs the right to send to the endpoint,
        by the endpoint's own credential. What belongs to ``events`` or ``results`` can rarely be sent by its receiver:
        without ``to``, the queue to send to, it is refused; `events` and `results` handle it where it is.

        Raises:
            ConfigurationError: ``where`` names something that is not there.
            UnsupportedError: all of an endpoint that is received from were to be sent, without ``to``.
        """
        if ids is None and to is None:
            for name in where if where is not None else self._configured():
                _refuse_received(name)
        sent: set[str] = set()

        def again(letter: DeadLetter, delivery: Delivery) -> Outcome | None:
            if letter.message.id in sent:
                return None  # it was dead-lettered again in the meantime
            new_id = None
            try:
                new_id = self._send(letter, to)
                sent.add(new_id)
                delivery.ack()
            except CloudDirectError as error:
                return _outcome(letter, new_id, error)
            return _outcome(letter, new_id)

        return self._handle(ids, where, limit, again)

    def discard(
        self, ids: Iterable[str] | None, *, where: Sequence[str] | None = None, limit: int = SEARCHED
    ) -> Handled:
        """Remove dead letters for good.

        Raises:
            ConfigurationError: ``where`` names something that is not there.
        """

        def remove(letter: DeadLetter, delivery: Delivery) -> Outcome:
            try:
                delivery.ack()
            except CloudDirectError as error:
                return _outcome(letter, None, error)
            return _outcome(letter)

        return self._handle(ids, where, limit, remove)

    def events(self, *, once: bool = False) -> Iterator[Incoming[Event]]:
        """Yield the dead letters of ``events`` as if they had just arrived; end when each was yielded once.

        Use each as a context manager, before asking for the next one: leaving the block normally removes it for good;
        after an exception, or when it cannot be read, it stays where it is. What is not settled when the iterator ends
        is given back, and can be entered no more. With ``once``, what the inbox knows to have been handled is removed
        and not yielded.

        Raises:
            CloudDirectError: from the iterator: the dead letters cannot be received.
        """
        return self._incoming("events", read_event, once)

    def results(self, *, once: bool = False) -> Iterator[Incoming[OrderResult]]:
        """Yield the dead letters of ``results`` as if they had just arrived; like `events`."""
        return self._incoming("results", read_result, once)

    # -- inside ---------------------------------------------------------------------------------------------

    def _configured(self) -> list[str]:
        return [name for name in type(self._endpoints).model_fields if self._connections.has_endpoint(name)]

    def _handle(
        self,
        ids: Iterable[str] | None,
        where: Sequence[str] | None,
        limit: int,
        handle: Callable[[DeadLetter, Delivery], Outcome | None],
    ) -> Handled:
        handled = Handled()
        walk = _Walk(self, ids, where, limit, handled.unread, handled.more)
        for letter, delivery in walk:
            outcome = handle(letter, delivery)
            if outcome is not None:
                handled.outcomes.append(outcome)
        handled.missing.extend(sorted(walk.wanted or ()))
        return handled

    def _send(self, letter: DeadLetter, to: str | None) -> str:
        from clouddirect.messaging import (
            DEAD_LETTER_DESCRIPTION,
            DEAD_LETTER_QUEUE,
            DEAD_LETTER_REASON,
            Message,
        )

        if letter.endpoint is None:
            raise UnsupportedError(
                "it cannot be told which endpoint this message belongs to, so it cannot be sent there; "
                "see clouddirect deadletters show",
                operation="replay", resource=letter.queue,
            )  # fmt: skip
        if to is None:
            _refuse_received(letter.endpoint)
        old, queue = letter.message, self._connections.queue(letter.endpoint)
        target, broker = to or queue.name, queue.broker
        can = broker.capabilities(target)
        stale = (DEAD_LETTER_DESCRIPTION, DEAD_LETTER_QUEUE, DEAD_LETTER_REASON, can.dead_letter_count)
        attributes = {name: value for name, value in old.attributes.items() if name not in stale}
        message = Message(
            body=old.body, correlation_id=old.correlation_id, content_type=old.content_type, subject=old.subject,
            attributes=attributes | {REPLAY_OF: old.id}, ordering_key=old.ordering_key if can.ordering else None,
        )  # fmt: skip
        try:
            return broker.send(target, message).message_id
        except PermissionDeniedError as error:
            told = error.copy()
            told.message += f"; to replay it, the credential of endpoints.{letter.endpoint} must be one that may send"
            raise told from error

    def _incoming(self, endpoint: str, read: Callable[[bytes], T], once: bool) -> Iterator[Incoming[T]]:
        seen: set[bytes] = set()
        places, unread = find_places(self._connections, self._endpoints, [endpoint])
        if unread:
            raise unread[0].error
        for place in places:
            # one at a time: a lease is kept, but what waits here unseen is kept from others as well
            with place.take(2**31, 1, self._stopping) as taken:
                for letter, delivery in taken:
                    if letter.endpoint != endpoint and (place.is_quarantine or letter.endpoint is not None):
                        continue
                    identity = hashlib.sha256(f"{letter.message.id}\0".encode() + letter.message.body).digest()
                    if identity in seen:
                        continue  # it failed, and came again
                    seen.add(identity)
                    value = _read(letter, read)
                    if value is None:
                        continue
                    self._arrived(value, delivery)
                    begun = Once.begin(self._inbox, value, delivery) if once else None
                    if begun is not None or not once:
                        yield _Returned(value, delivery, begun)


class _Walk:
    """Goes through places, and yields the dead letters that are wanted, each on lease until the place is left."""

    def __init__(
        self,
        dead: DeadLetters,
        ids: Iterable[str] | None,
        where: Sequence[str] | None,
        limit: int,
        unread: list[Unread],
        more: list[str],
    ) -> None:
        self._stopping = dead._stopping
        self._where = where
        self._ids = None if ids is None else frozenset(ids)
        self._limit = limit
        self._unread = unread
        self._more = more
        self._places, found = find_places(dead._connections, dead._endpoints, where)
        unread += found
        #: What has not been found yet; None if everything is wanted.
        self.wanted = None if self._ids is None else set(self._ids)

    def __iter__(self) -> Iterator[tuple[DeadLetter, Delivery]]:
        for place in self._places:
            if self.wanted is not None and not self.wanted:
                return
            with closing(self._through(place)) as letters:
                yield from letters

    def _through(self, place: Place) -> Generator[tuple[DeadLetter, Delivery], None, None]:
        taken = 0
        try:
            with place.take(self._limit, _BATCH, self._stopping) as letters:
                for letter, delivery in letters:
                    taken += 1
                    if not self._is_wanted(letter, place):
                        continue
                    yield letter, delivery
                    if self.wanted is not None and not self.wanted:
                        return
        except CloudDirectError as error:
            self._unread.append(place.unread(error, self._where))
            return
        if taken >= self._limit:
            self._more.append(place.name(self._where))

    def _is_wanted(self, letter: DeadLetter, place: Place) -> bool:
        if not self._is_asked_for(letter, place):
            return False
        if self._ids is None or self.wanted is None:
            return True
        self.wanted -= letter.ids
        return bool(letter.ids & self._ids)

    def _is_asked_for(self, letter: DeadLetter, place: Place) -> bool:
        where = self._where
        if where is None or letter.endpoint in where:
            return True
        if place.is_quarantine:
            return QUARANTINE in where
        return letter.endpoint is None  # nobody knows whose it is: one of the endpoints that share this queue


def _outcome(letter: DeadLetter, new_id: str | None = None, error: CloudDirectError | None = None) -> Outcome:
    return Outcome(letter.message.id, letter.endpoint, letter.queue, new_id, error, letter.file)


def _refuse_received(name: str) -> None:
    """Refuse to send to what is received from: its name may mean another thing there, such as a topic."""
    if name not in (*SENT, QUARANTINE):
        raise UnsupportedError(
            f"{name} are received, not sent: handle them where they are with clouddirect {name} --from-dead-letters, "
            "or name the queue to send them to with --to QUEUE, which needs the right to send there",
            operation="replay", resource=name,
        )  # fmt: skip


def _read(letter: DeadLetter, read: Callable[[bytes], T]) -> T | None:
    try:
        return read(letter.message.body)
    except InvalidMessageError as error:
        log.warning("message %s still cannot be read and stays where it is: %s", letter.message.id, error)
        return None
