"""An AMQP connection: frames, SASL, open and close, idle time-outs (AMQP 1.0 part 2, 2.2 to 2.4; part 5, 5.3)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

from .access import Authority, Claim, Claims
from .codec import Array, DecodeError, Described, Symbol, UByte, UInt, UShort, decode_fields
from .faults import Close, Delay, Detach, Drop, Faults, Point, Refuse, Stall
from .link import Link, Session
from .namespace import Namespace
from .protocol import (
    AMQP_HEADER,
    ATTACH,
    BEGIN,
    CLOSE,
    DETACH,
    DISPOSITION,
    END,
    FLOW,
    MAX_SEQUENCE,
    OPEN,
    REJECTED,
    SASL_HEADER,
    SASL_INIT,
    SASL_MECHANISMS,
    SASL_OUTCOME,
    TRANSFER,
    AmqpError,
    Condition,
    composite,
    frame,
    outcome,
    padded,
)
from .settings import LISTEN, SEND, Limits
from .wire import Wire

__all__ = ["Connection", "Service"]

_SYMBOLS = 0xA3  # an array's element constructor
_MIN_FRAME_BYTES = 512  # what every peer must take (2.3)


class Service(Protocol):
    """What a connection is connected to."""

    namespace: Namespace
    authority: Authority
    limits: Limits
    faults: Faults
    connections: set[Connection]

    def attach(self, link: Link) -> None:
        """Accept or refuse a link."""


class Connection:
    """One client's connection; everything in it happens on the event loop's thread."""

    def __init__(self, wire: Wire, service: Service, loop: asyncio.AbstractEventLoop) -> None:
        self.service = service
        self.claims = Claims()
        self.replies: dict[tuple[str, Any], Link] = {}  # links for answers, by node and reply address
        self.remote_frame_bytes = _MIN_FRAME_BYTES
        self.is_open = True
        self._wire = wire
        self._loop = loop
        self._rest = b""  # of a frame that is not whole yet
        self._sessions: dict[int, Session] = {}
        self._last_received = self._last_link = time.monotonic()
        self._remote_idle: float | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._refusal: AmqpError | None = None
        service.connections.add(self)

    # ---- what the wire calls

    def begun(self) -> None:
        self._plan_tick()
        action = self.service.faults.strike(Point.CONNECT)
        if isinstance(action, Delay):
            self._wire.hold(action.seconds)
        elif isinstance(action, (Refuse, Close, Detach)):  # at its open, which must come first (2.4.1)
            self._refusal = AmqpError(action.condition, action.text)
        elif action is not None:
            self._spoil(action, None)

    def feed(self, data: bytes) -> None:
        self._last_received = time.monotonic()
        data = self._rest + data if self._rest else data
        try:
            self._rest = data[self._use(data) :]
        except DecodeError as error:
            self.close(AmqpError(Condition.DECODE_ERROR, str(error)))

    def lost(self) -> None:
        self.is_open = False
        if self._tick is not None:
            self._tick.cancel()
        self.service.connections.discard(self)
        self._end_sessions()

    # ---- frames

    def send(self, channel: int, body: bytes) -> None:
        """Send an AMQP frame."""
        if self.is_open:
            self._wire.write(frame(channel, body))

    def _use(self, data: bytes) -> int:
        """Handle what is whole, and return how much that was."""
        offset = 0
        while len(data) - offset >= 8 and self.is_open:
            if data[offset : offset + 4] == b"AMQP":
                self._protocol_header(data[offset : offset + 8])
                offset += 8
                continue
            size = int.from_bytes(data[offset : offset + 4], "big")
            if not 8 <= size <= self.service.limits.max_frame_bytes:
                raise DecodeError(f"a frame of {size} bytes")
            if len(data) - offset < size:
                break
            body = data[offset + 4 * data[offset + 4] : offset + size]
            if body:  # an empty frame only shows that the peer lives (2.4.5)
                self._frame(data[offset + 5], int.from_bytes(data[offset + 6 : offset + 8], "big"), body)
            offset += size
        return offset

    def _protocol_header(self, header: bytes) -> None:
        """Answer in kind; one that is not known, with one that is, and then close (2.2)."""
        if header == SASL_HEADER:
            mechanisms = Array(_SYMBOLS, [Symbol("ANONYMOUS")])
            self._wire.write(SASL_HEADER + frame(0, composite(SASL_MECHANISMS, [mechanisms]), sasl=True))
            return
        self._wire.write(AMQP_HEADER)
        if header != AMQP_HEADER:
            self.is_open = False
            self._wire.close()

    def _frame(self, kind: int, channel: int, body: bytes) -> None:
        code, values, end = decode_fields(body)
        fields = padded(values, 14)
        if kind == 1:
            if code == SASL_INIT:  # whoever it is: claims come later, through $cbs
                self._wire.write(frame(0, composite(SASL_OUTCOME, [UByte(0)]), sasl=True))
        elif code == OPEN:
            self._opened(fields)
        elif code == CLOSE:
            self.close()
        elif code == BEGIN:
            self._sessions[channel] = Session(self, channel, fields)
            window = UInt(MAX_SEQUENCE)
            self.send(channel, composite(BEGIN, [UShort(channel), UInt(0), window, window, UInt(255)]))
        elif (session := self._sessions.get(channel)) is not None:  # azure-servicebus detaches links after its end
            self._session_frame(session, channel, code, fields, body[end:])

    def _session_frame(self, session: Session, channel: int, code: int, fields: list[Any], payload: bytes) -> None:
        if code == TRANSFER:
            session.transfer(fields, payload)
        elif code == DISPOSITION:
            session.disposition(fields)
        elif code == FLOW:
            session.flow(fields)
        elif code == ATTACH:
            self._last_link = time.monotonic()
            session.attach(fields)
        elif code == DETACH:
            session.detach(fields)
        elif code == END:
            del self._sessions[channel]
            session.end()
            self.send(channel, composite(END, []))
        else:
            raise DecodeError(f"unknown performative {code:#04x}")

    # ---- open and close

    def _opened(self, fields: list[Any]) -> None:
        limits = self.service.limits
        self.remote_frame_bytes = min(fields[2] or limits.max_frame_bytes, limits.max_frame_bytes)
        self._remote_idle = fields[4] / 1000 if fields[4] else None
        self._plan_tick()
        # Half the true limit, as 2.4.5 advises, so that a punctual client is never late.
        idle = UInt(max(1, int(limits.connection_idle * 500)))
        self.send(0, composite(OPEN, ["servicebus", None, UInt(limits.max_frame_bytes), UShort(4999), idle]))
        if self._refusal is not None:
            self.close(self._refusal)

    def close(self, error: AmqpError | None = None) -> None:
        """Close the connection, with an error or because the client did."""
        self.send(0, composite(CLOSE, [error.described()] if error is not None else []))
        self.is_open = False
        self._end_sessions()
        self._wire.close()

    def abort(self) -> None:
        """Reset the connection."""
        self.is_open = False
        self._end_sessions()
        self._wire.abort()

    def links(self) -> list[Link]:
        """Return its links."""
        return [link for session in self._sessions.values() for link in session.links.values()]

    def _end_sessions(self) -> None:
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.end()

    # ---- claims

    def add_claim(self, claim: Claim) -> None:
        """Take what a token allows; when it ends and was not renewed, the links that need it are detached."""
        self.claims.add(claim)
        if claim.expires != float("inf"):
            self.later(max(0.0, claim.expires - time.time()), self._detach_unclaimed)

    def _detach_unclaimed(self) -> None:
        for link in self.links():
            if link.endpoint.path is not None:
                try:
                    self.claims.require(link.endpoint.path, LISTEN if link.we_send else SEND)
                except AmqpError as error:
                    link.detach(error)

    # ---- idle time-outs

    def _plan_tick(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
        limits = self.service.limits
        shortest = min(limits.connection_idle, limits.no_links_idle, limits.link_idle, self._remote_idle or 60.0)
        self._tick = self._loop.call_later(min(max(shortest / 4, 0.02), 10.0), self._look_for_idle)

    def _look_for_idle(self) -> None:
        """Texts and conditions as in "AMQP errors in Azure Service Bus"."""
        now, limits = time.monotonic(), self.service.limits
        if self._remote_idle is not None:
            self._wire.write(frame(0, b""))
        links = [link for link in self.links() if link.endpoint.path is not None]
        if links:
            self._last_link = now
        if now - self._last_received > limits.connection_idle:
            self.close(_inactive(limits.connection_idle))
        elif now - self._last_link > limits.no_links_idle:
            self.close(_inactive(limits.no_links_idle))
        else:
            for link in links:
                waits = link.we_send and (link.credit > 0 or not link.is_attached)
                if not waits and now - link.last_activity > limits.link_idle:
                    link.detach(_idle(link.name, limits.link_idle))
            self._plan_tick()

    # ---- faults

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call something in ``seconds``, unless the connection is gone by then."""
        self._loop.call_later(seconds, lambda: call() if self.is_open else None)

    def guarded(
        self,
        point: Point,
        link: Link | None,
        operation: Callable[[AmqpError | None], None],
        path: str | None = None,
    ) -> None:
        """Do an operation, unless a fault strikes it; with an error it is to be refused instead."""
        action = self.service.faults.strike(point, path or (link.endpoint.path if link is not None else None))
        if action is None:
            operation(None)
        elif isinstance(action, Refuse):
            operation(AmqpError(action.condition, action.text))
        elif isinstance(action, Delay):
            self.later(action.seconds, lambda: operation(None) if link is None or link.is_there else None)
        else:
            if action.after:
                mark = self._wire.mark()
                operation(None)
                if point is not Point.DELIVERY:  # there the operation is to send
                    self._wire.take_back(mark)
            self._spoil(action, link)

    def _spoil(self, action: Drop | Stall | Detach | Close, link: Link | None) -> None:
        if isinstance(action, Stall):
            self._wire.silence()
        elif isinstance(action, Close) or (isinstance(action, Detach) and link is None):
            self.close(AmqpError(action.condition, action.text))
        elif isinstance(action, Detach):
            assert link is not None
            link.detach(AmqpError(action.condition, action.text))
        else:
            if action.after:
                self._wire.flush()
            self.abort()

    def settle(self, link: Link, token: UUID, state: Described, answer_to: int | None) -> None:
        """Settle a delivery as the client says, and answer with the state it has now."""

        def operation(refusal: AmqpError | None) -> None:
            answer = link.endpoint.settle(token, state) if refusal is None else outcome(REJECTED, refusal.described())
            if answer is not None and answer_to is not None:
                link.session.settled(answer_to, answer)

        self.guarded(Point.DISPOSITION, link, operation)


def _inactive(seconds: float) -> AmqpError:
    text = f"The connection was inactive for more than the allowed {int(seconds * 1000)} milliseconds and is closed."
    return AmqpError(Condition.CONNECTION_FORCED, text)


def _idle(name: str, seconds: float) -> AmqpError:
    text = f"The link '{name}' is force detached. Details: IdleTimerExpired: Idle timeout: {seconds:g} s."
    return AmqpError(Condition.DETACH_FORCED, text)
