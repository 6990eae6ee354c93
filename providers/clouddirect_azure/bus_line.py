"""`Line`: one connection of azure-servicebus with its link. The only module that reaches behind the SDK's objects.

The SDK (checked: 7.15) leaves seven things that a reliable broker needs to its inside:

- its sockets have no timeout while a connection is being opened, so `Line.abort` breaks them from outside;
- it lets Linux give a connection up when nothing moved for a second, which any slow or bad line does (`be_patient`);
- it sleeps for 50 ms after each frame while it opens a connection (`_without_naps`);
- its keep-alive thread reads from the socket beside the one in a call, so it is switched off and `Line.look` does it;
- a receive gives out credit that stays when it returns, so that a message can be locked for nobody: here credit is
  given out for each receive and drained at its end (AMQP 1.0 transport, 2.6.10);
- a message that it cannot read costs the connection, each time it comes again (`Line._transfer_came`);
- settlements wait for one round trip each, though AMQP lets them follow one another (`settle`).
"""

from __future__ import annotations

import logging
import queue
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from azure.servicebus import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

from clouddirect.errors import UnavailableError
from clouddirect_azure.bus_types import learn_types, unread

__all__ = ["BRIEF", "Line", "Outcome", "STALL", "be_patient", "break_all", "close_whole"]

log = logging.getLogger("clouddirect.azure")
learn_types()

#: Seconds that a read from the socket waits while there is nothing else to do: settlements wait as long at most.
BRIEF = 0.02
#: Seconds that a write may stall before the connection counts as lost; reads of a sender wait as long at most.
STALL = 5.0
#: Seconds for which the system keeps trying to get bytes across before it gives the connection up. Calls have shorter
#: deadlines of their own; this is for lines that lose packets or are full.
PATIENCE = 30.0
#: Seconds between two naps of the SDK while it opens a connection, in which it looks at its deadline.
EAGER = 1.0
#: Seconds without any frame after which a drain that was not answered counts as carried out.
QUIET = 0.5

#: What became of one settlement: None where the answer has not come.
Outcome = dict[str, Any] | None


class Line:
    """A sender's or receiver's connection. All but `abort` belong to the thread that opened it."""

    sdk: Any  # typed loosely, for much of what is used is not public

    def __init__(self, sdk: ServiceBusSender | ServiceBusReceiver) -> None:
        """``sdk`` is not yet opened."""
        self.sdk = sdk
        self.used = time.monotonic()
        self._drained = False
        _close_whole(sdk)

    # -- any line -------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect, authenticate and attach the link; receivers get no credit yet."""
        self.sdk.__enter__()
        self._connection = self.sdk._handler._connection
        self._link = self.sdk._handler._link
        sock = _socket_of(self.sdk)
        if sock is not None:
            be_patient(sock)
        if isinstance(self.sdk, ServiceBusReceiver):
            self._link._incoming_flow = self._flow_came
            self._receive_transfer = self._link._incoming_transfer
            self._link._incoming_transfer = self._transfer_came
            self._wait_at_most(BRIEF)

    def abort(self) -> None:
        """Break the connection from another thread, wherever its own one waits."""
        _break(self.sdk)

    def close(self) -> None:
        """Detach and disconnect in good order; what is broken already is only let go."""
        try:
            self._wait_at_most(BRIEF)
        except (AttributeError, OSError):
            pass  # it was never opened, or is broken
        self.sdk.close()

    @property
    def idle(self) -> float:
        """Seconds since it was used last."""
        return time.monotonic() - self.used

    def look(self) -> None:
        """Look at an idle line: read what came, renew the token, keep the connection from idling out.

        Raises whatever the SDK does when the link or the connection has been lost.
        """
        self._wait_at_most(0.001)
        try:
            for _ in range(100):
                before = self._connection._last_frame_received_time
                self._turn()
                if self._connection._last_frame_received_time == before:
                    break
            else:
                return  # much has come, so it is alive
            self._turn()  # an error is raised only when the SDK is asked again
        finally:
            self._wait_at_most(STALL if isinstance(self.sdk, ServiceBusSender) else BRIEF)

    def limits(self) -> tuple[int, int]:
        """Return the largest message and the largest batch that a sender's link takes, in bytes."""
        return self.sdk._max_message_size_on_link, self.sdk._max_batch_size_on_link

    def _turn(self) -> None:
        """Read one frame, waiting as long as the socket does; raise if the link or the connection is lost."""
        handler = self.sdk._handler
        if handler.client_ready():
            self._connection.listen(wait=False)
        elif handler.auth_complete() and self._link.get_state().value != _ATTACHED:
            raise UnavailableError("Service Bus detached the link", code="detached")

    def _wait_at_most(self, seconds: float) -> None:
        self.sdk._handler._connection._transport.sock.settimeout(seconds)

    # -- receivers ------------------------------------------------------------------------------------------

    @property
    def link(self) -> object:
        """Identifies the link: a delivery can be settled on the one that it came by."""
        return self._link

    def ask(self, count: int, *, drain: bool) -> None:
        """Ask for up to ``count`` messages; with ``drain``, those that are there now, until `drained`."""
        self._drained = False
        self._link.flow(link_credit=count, drain=drain)

    @property
    def drained(self) -> bool:
        """Whether the service has answered a drain: nothing more comes."""
        return self._drained

    def read(self) -> None:
        """Read one frame, waiting at most `BRIEF` seconds."""
        self._turn()

    def take(self, count: int) -> list[tuple[Any, Any]]:
        """Return up to ``count`` messages that have come, as pairs of frame and message."""
        came: queue.Queue[tuple[Any, Any]] = self.sdk._handler._received_messages
        taken: list[tuple[Any, Any]] = []
        while len(taken) < count:
            try:
                taken.append(came.get_nowait())
            except queue.Empty:
                break
        return taken

    def settle(self, deliveries: Sequence[tuple[int, bytes]], state: object, timeout: float) -> list[Outcome]:
        """Settle deliveries, given by id and tag, one behind the other; return the answers that came in time."""
        pending: dict[int, dict[str, Any]] = self._link._pending_dispositions
        ids = [identity for identity, _ in deliveries]
        ends = time.monotonic() + timeout
        try:
            for identity, tag in deliveries:
                pending[identity] = {"settled": False, "outcome": None}
                self._link.send_disposition(
                    first_delivery_id=identity, delivery_tag=tag, settled=False, delivery_state=state
                )
            waiting = set(ids)
            while waiting and time.monotonic() < ends:
                self._turn()
                waiting = {identity for identity in waiting if not pending[identity]["settled"]}
        except Exception as error:  # noqa: BLE001 - the answers that came before count; the next use raises it again
            log.debug("the link was lost during a settlement (%s)", type(error).__name__)
        return [_answer(pending.pop(identity, None)) for identity in ids]

    def release(self, deliveries: Sequence[tuple[int, bytes]], state: object) -> None:
        """Give deliveries back with the outcome ``released``, which does not count and is not confirmed."""
        for identity, tag in deliveries:
            self._link.send_disposition(
                first_delivery_id=identity, delivery_tag=tag, settled=True, delivery_state=state
            )

    def renew(self, tokens: Sequence[UUID], timeout: float) -> list[datetime]:
        """Renew the locks of these tokens in one request; return when they end, or raise if one of them is lost."""
        answer = self.sdk._renew_locks(*tokens, timeout=timeout)
        return [datetime.fromtimestamp(end / 1000, UTC) for end in answer[b"expirations"]]

    def session_ends(self) -> datetime | None:
        """Return when the session's lock ends, by the service's clock.

        The SDK forgets it: it would refuse to use the session when this machine's clock says that it has ended.
        """
        session = self.sdk.session
        ends: datetime | None = session.locked_until_utc
        session._locked_until_utc = None
        return ends

    def _transfer_came(self, frame: Sequence[Any]) -> None:
        """Let the SDK take in a message, and hand it out unread where the SDK cannot."""
        link = self._link
        try:
            self._receive_transfer(frame)
        except Exception as error:
            if frame[5]:  # more of it is to come
                raise
            log.warning("a message came that azure-servicebus cannot read (%s): its body is all of it, encoded",
                        type(error).__name__)  # fmt: skip
            payload, link._received_payload = bytes(link._received_payload or frame[11]), bytearray()
            self.sdk._handler._received_messages.put((link._first_frame, unread(payload)))

    def _flow_came(self, frame: Sequence[Any]) -> None:
        """Note the service's side of the link: the SDK drops it, and with it the answer to a drain."""
        if frame[5] is not None:
            self._link.delivery_count = frame[5]
            self._link.current_link_credit = frame[6] or 0
        if frame[8]:
            self._drained = True


def be_patient(sock: socket.socket) -> None:
    """Let the system try for `PATIENCE` seconds; the SDK sets one second, where the system can be told (RFC 5482)."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, int(PATIENCE * 1000))


def close_whole(client: ServiceBusClient) -> None:
    """Let what a client has made, and not opened yet, close its socket in any case."""
    for sdk in list(client._handlers):
        _close_whole(sdk)


def _close_whole(sdk: Any) -> None:
    """Let the SDK make its handler, one whose ``close`` closes the socket even after an error.

    The SDK's own leaves it open then, for the garbage collector to find.
    """
    make = sdk._create_handler

    def make_closing(auth: Any) -> None:
        make(auth)
        handler = sdk._handler
        close = handler.close

        def close_all() -> None:
            transport = getattr(handler._connection, "_transport", None)
            sock = getattr(transport, "sock", None)
            try:
                close()
                if transport is not None:
                    transport.close()
            finally:
                if sock is not None:
                    sock.close()

        handler.close = close_all
        handler.client_ready = _without_naps(handler)

    sdk._create_handler = make_closing


def _without_naps(handler: Any) -> Callable[[], bool]:
    """Return the handler's ``client_ready`` for opening.

    Each call waits for one frame of the answers to opening, of which there are about nine; the SDK sleeps for 50 ms
    after each, and so for half a second in all.
    """
    is_ready: Callable[[], bool] = handler.client_ready

    def ready() -> bool:
        ends = time.monotonic() + EAGER
        while time.monotonic() < ends:
            if is_ready():
                handler.client_ready = is_ready  # opened: from now on a call must not wait for more than a frame
                return True
        return False

    return ready


def break_all(client: ServiceBusClient) -> None:
    """Break the connections of all that a client has made, from any thread."""
    for sdk in list(client._handlers):
        _break(sdk)


def _break(sdk: Any) -> None:
    sock = _socket_of(sdk)
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # not connected yet, or not any more


def _socket_of(sdk: Any) -> socket.socket | None:
    connection = getattr(getattr(sdk, "_handler", None), "_connection", None)
    sock = getattr(getattr(connection, "_transport", None), "sock", None)
    inner = getattr(sock, "sock", None) or sock  # a WebSocket wraps the socket
    return inner if isinstance(inner, socket.socket) else None


#: `LinkState.ATTACHED` of the SDK.
_ATTACHED = 3


def _answer(pending: dict[str, Any] | None) -> Outcome:
    return pending["outcome"] if pending and pending["settled"] else None
