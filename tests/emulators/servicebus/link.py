"""Links and the sessions they live in: handles, credit, transfers and their settlement (AMQP 1.0 part 2, 2.5 and 2.6).

A link's meaning is its `Endpoint`: an entity's sender or receiver, or a request/response node.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from typing import TYPE_CHECKING, Any
from uuid import UUID

from .codec import Described, Encoded, Symbol, UByte, UInt, ULong
from .protocol import (
    ATTACH,
    COORDINATOR,
    DETACH,
    DISPOSITION,
    FLOW,
    MAX_SEQUENCE,
    SOURCE,
    TARGET,
    TRANSFER,
    AmqpError,
    Condition,
    composite,
    padded,
)

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Endpoint", "Link", "Session"]

_CREDIT = 1000  # for those who send to us
_FRAME_MARGIN = 128  # what a transfer performative takes of a frame, at most


class Endpoint:
    """What a link does. This one does nothing: a link that is refused, or not decided yet."""

    #: The entity's path, for faults; None for nodes.
    path: str | None = None

    def incoming(self, delivery: int, message_format: int, payload: bytes, settled: bool) -> None:
        """Take a message that came whole."""

    def flow(self) -> None:
        """Learn that credit or drain changed."""

    def settle(self, token: UUID, state: Described) -> Encoded | None:
        """Settle a delivery with the state the client sent; return the state to answer with, None for no answer."""
        return None

    def detached(self) -> None:
        """Learn that the link is gone, whoever ended it."""


class Link:
    """One end of a link, made from the attach of the other. ``we_send``: messages go to the client."""

    def __init__(self, session: Session, attach: list[Any]) -> None:
        self.session = session
        self.connection = session.connection
        self.name, self.remote_handle, self.we_send = attach[0], attach[1], bool(attach[2])
        self.presettled = attach[3] == 1
        self._modes = [UByte(attach[3] if attach[3] is not None else 2), UByte(attach[4] or 0)]
        self.source = padded(attach[5].value if attach[5] is not None else None, 11)
        target = attach[6]
        self.target = padded(target.value if target is not None else None, 7)
        self.is_coordinator = target is not None and target.descriptor == COORDINATOR
        self.properties = {str(name): value for name, value in (attach[13] or {}).items()}
        self.filters = {str(name): value for name, value in (self.source[7] or {}).items()}
        self.handle = next(session.handles)
        self.endpoint = Endpoint()
        self.credit = 0
        self.wants_drain = False
        self.is_attached = False
        self.last_activity = time.monotonic()
        self._count = 0  # deliveries so far
        self._parts: list[bytes] = []
        self._delivery = 0
        self._format = 0

    @property
    def address(self) -> str:
        """The node's address as the client wrote it; empty where it gave none."""
        address = (self.source if self.we_send else self.target)[0]
        return address if isinstance(address, str) else ""

    @property
    def is_there(self) -> bool:
        """Whether neither side has ended it."""
        return self.session.links.get(self.remote_handle) is self

    # ---- attach and detach (2.6.3, 2.6.4)

    def accept(
        self,
        properties: dict[str, Any] | None = None,
        filters: dict[Any, Any] | None = None,
        max_size: int | None = None,
    ) -> None:
        """Answer the attach: the link is there."""
        if filters is not None:
            self.source[7] = filters
        self.is_attached = True
        self._send_attach(
            Described(ULong(SOURCE), self.source), Described(ULong(TARGET), self.target), properties, max_size
        )
        if not self.we_send:
            self.grant()

    def refuse(self, error: AmqpError) -> None:
        """Answer the attach without a terminus, then detach with the error (2.6.3)."""
        self.is_attached = True
        self._send_attach(None, None, None, None)
        self.detach(error)

    def detach(self, error: AmqpError | None = None) -> None:
        """Close the link; an attach that is not answered yet is refused."""
        if not self.is_there:
            return
        if error is not None and not self.is_attached:
            self.refuse(error)
            return
        del self.session.links[self.remote_handle]
        described = error.described() if error is not None else None
        self.session.send(DETACH, [UInt(self.handle), True, described])
        self.session.forget(self)
        self.endpoint.detached()

    def _send_attach(
        self,
        source: Described | None,
        target: Described | None,
        properties: dict[str, Any] | None,
        max_size: int | None,
    ) -> None:
        named = {Symbol(name): value for name, value in properties.items()} if properties else None
        first_count = UInt(0) if self.we_send else None
        limit = ULong(max_size) if max_size is not None else None
        fields = [self.name, UInt(self.handle), not self.we_send, *self._modes, source, target, None, None]
        self.session.send(ATTACH, [*fields, first_count, limit, None, None, named])

    # ---- messages to us

    def grant(self) -> None:
        """Give the sender its full credit again."""
        self.credit = _CREDIT
        self._send_flow()

    def transfer(self, fields: list[Any], payload: bytes) -> None:
        """Take a frame of a message; the last one hands it to the endpoint (2.6.14)."""
        _, delivery, _, message_format, settled, more, _, _, _, aborted = fields[:10]
        self.last_activity = time.monotonic()
        if not self._parts:
            self._delivery, self._format = delivery or 0, message_format or 0
        self._parts.append(payload)
        if more:
            return
        whole = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        self._count += 1
        self.credit -= 1
        if not aborted:
            self.endpoint.incoming(self._delivery, self._format, whole, bool(settled))
        if self.credit < _CREDIT // 2 and self.is_there:
            self.grant()

    def answer(self, delivery: int, state: Encoded) -> None:
        """Settle what the client sent."""
        self.session.send(DISPOSITION, [True, UInt(delivery), UInt(delivery), True, state])

    # ---- messages to the client

    def flow(self, fields: list[Any]) -> None:
        """Take credit, which is counted from the first delivery on (2.6.7)."""
        delivery_count, credit, drain = fields[5], fields[6], fields[8]
        self.last_activity = time.monotonic()
        if self.we_send:
            self.credit = (delivery_count or 0) + (credit or 0) - self._count
            self.wants_drain = bool(drain)
        self.endpoint.flow()

    def deliver(self, tag: bytes, payload: bytes, token: UUID | None = None) -> None:
        """Send a message; one with a ``token`` is unsettled until the client says what became of it."""
        self._count += 1
        self.credit -= 1
        self.last_activity = time.monotonic()
        self.session.deliver(self, tag, payload, token)

    def drained(self) -> None:
        """Use up the credit that is left, for there is nothing to send (2.6.7)."""
        self._count += self.credit
        self.credit = 0
        self._send_flow(drain=True)

    def _send_flow(self, *, drain: bool = False) -> None:
        self.session.send_flow([UInt(self.handle), UInt(self._count), UInt(self.credit), None, drain])


class Session:
    """An AMQP session (2.5): one channel, its links, and the deliveries that are not settled."""

    def __init__(self, connection: Connection, channel: int, begin: list[Any]) -> None:
        self.connection = connection
        self.links: dict[int, Link] = {}  # by the client's handle
        self.handles = itertools.count()
        self._channel = channel
        self._next_incoming = begin[1] or 0
        self._window = begin[2] or 0  # frames of transfers the client still takes
        self._next_outgoing = 0
        self._next_delivery = 0
        self._unsettled: dict[int, tuple[Link, UUID]] = {}
        self._held_back: deque[tuple[list[Any], bytes]] = deque()

    def send(self, code: int, fields: list[Any], payload: bytes = b"") -> None:
        """Send a performative on this session's channel."""
        self.connection.send(self._channel, composite(code, fields) + payload)

    def send_flow(self, link_fields: list[Any]) -> None:
        """Send a flow: this session's windows, and a link's credit."""
        windows = [UInt(self._next_incoming), UInt(MAX_SEQUENCE), UInt(self._next_outgoing), UInt(MAX_SEQUENCE)]
        self.send(FLOW, [*windows, *link_fields])

    def flow(self, fields: list[Any]) -> None:
        """Take the client's windows (2.5.6) and hand on a link's credit."""
        self._window = (fields[0] or 0) + (fields[1] or 0) - self._next_outgoing
        self._release()
        if fields[4] is not None and (link := self.links.get(fields[4])) is not None:
            link.flow(fields)

    def transfer(self, fields: list[Any], payload: bytes) -> None:
        """Take a transfer; one for a link that is gone is dropped (2.6.5 lets it cross our detach)."""
        self._next_incoming = (self._next_incoming + 1) & 0xFFFFFFFF
        link = self.links.get(fields[0])
        if link is not None:
            link.transfer(fields, payload)

    def deliver(self, link: Link, tag: bytes, payload: bytes, token: UUID | None) -> None:
        """Send a message in as many transfers as the client's frame size needs."""
        delivery, self._next_delivery = self._next_delivery, (self._next_delivery + 1) & 0xFFFFFFFF
        if token is not None:
            self._unsettled[delivery] = (link, token)
        size = self.connection.remote_frame_bytes - _FRAME_MARGIN
        for start in range(0, len(payload) or 1, size):
            more = start + size < len(payload)
            fields = [UInt(link.handle), UInt(delivery), tag, UInt(0), token is None, more]
            self._held_back.append((fields, payload[start : start + size]))
        self._release()

    def disposition(self, fields: list[Any]) -> None:
        """Take what the client says of deliveries (2.7.6); of those it sent itself it says nothing that matters."""
        as_receiver, first, last, settled, state = fields[:5]
        if not as_receiver or not isinstance(state, Described):
            return
        for delivery in range(first, (last if last is not None else first) + 1):
            found = self._unsettled.pop(delivery, None)
            if found is not None:
                link, token = found
                link.last_activity = time.monotonic()
                self.connection.settle(link, token, state, delivery if not settled else None)

    def settled(self, delivery: int, state: Encoded) -> None:
        """Answer a disposition: the delivery is settled here too."""
        self.send(DISPOSITION, [False, UInt(delivery), UInt(delivery), True, state])

    def forget(self, link: Link) -> None:
        """Forget the deliveries of a link that is gone."""
        self._unsettled = {number: pair for number, pair in self._unsettled.items() if pair[0] is not link}

    def end(self) -> None:
        """Let all links go."""
        for link in list(self.links.values()):
            self.links.pop(link.remote_handle)
            link.endpoint.detached()

    def attach(self, fields: list[Any]) -> None:
        """Make a link and let the service decide what it is for."""
        link = self.links[fields[1]] = Link(self, fields)
        if link.is_coordinator:
            link.refuse(AmqpError(Condition.NOT_IMPLEMENTED, "This server has no transactions."))
        else:
            self.connection.service.attach(link)

    def detach(self, fields: list[Any]) -> None:
        """Take a detach, and answer it. One for a handle that is gone answers ours, or comes late."""
        link = self.links.get(fields[0])
        if link is not None:
            link.detach()

    def _release(self) -> None:
        while self._held_back and self._window > 0:
            fields, part = self._held_back.popleft()
            self._window -= 1
            self._next_outgoing = (self._next_outgoing + 1) & 0xFFFFFFFF
            self.send(TRANSFER, fields, part)
