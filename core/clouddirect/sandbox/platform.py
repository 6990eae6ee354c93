"""`Sandbox`: the other side of the order workflow, to rehearse against on any provider."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from clouddirect.clock import Clock
from clouddirect.errors import CloudDirectError, ConfigurationError
from clouddirect.messaging.message import Message
from clouddirect.orders.connections import Connections
from clouddirect.orders.journal import journal_path
from clouddirect.orders.models import Event, OrderResult
from clouddirect.retry import Interrupt, RetryPolicy
from clouddirect.sandbox.counter import OrderCounter
from clouddirect.sandbox.dispatch import Dispatch, Parcel
from clouddirect.sandbox.extra import require_extra
from clouddirect.sandbox.images import ImageShelf
from clouddirect.sandbox.open_orders import OpenOrders, Take, is_fatal
from clouddirect.sandbox.record import OrderRecord
from clouddirect.sandbox.settling import give_back
from clouddirect.sandbox.stages import Desk

if TYPE_CHECKING:
    from clouddirect.settings import FaultSettings, Settings

__all__ = ["Sandbox"]

log = logging.getLogger("clouddirect.sandbox")

#: Longest wait of one turn of `Sandbox.run`, in seconds.
_TURN = 20.0
#: How soon a submitted grading is looked for while an order waits for one, in seconds.
_LOOK_FOR_GRADINGS = 0.5
#: Most orders open at once; more wait in their queue. Most messages taken in one turn.
_MOST_OPEN, _MOST_TAKEN = 1000, 10
#: Leases of open orders are renewed this long, in seconds; an order still open then comes again.
_KEEP = 12 * 3600.0
#: How the queues are asked again while they cannot be reached.
_RECONNECT = RetryPolicy(base_delay=0.5, max_delay=30.0, deadline=None)


class Sandbox:
    """Takes orders, looks for their images, sends every event in order, grades, and delivers a result with a report.

    It works on the endpoints and stores under ``sandbox`` in the settings, with the platform's credentials. An order
    that is under way is its message on lease: it is acked when everything about it has been sent. After a crash it
    comes again, everything is sent again, and each message has the TransactionId that it had before.

    The silences are IRIS's: what comes from an unknown organisation or site, a change or cancellation that matches no
    open order or comes after grading, a request to resend an unknown result, and a grading that fits no order are taken
    and lead to nothing. Three rules are its own: see `clouddirect.sandbox.stages`.

    Use it as a context manager, or close it. `run` or `start` let it work; `step` does one turn, for rehearsals on a
    `ManualClock`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        retry: RetryPolicy | None = None,
        on_sent: Callable[[Event | OrderResult], object] | None = None,
        faults: FaultSettings | None = None,
    ) -> None:
        """Make a sandbox of ``settings.sandbox``; nothing is received before it runs.

        Args:
            settings: its ``sandbox`` part says where to work and how.
            clock: replaces the system's clock.
            retry: replaces the default retry policy.
            on_sent: called with each event and result after it was sent, in the thread that `run`, `step` or `start`
                works in. What it raises ends the turn, and with it `run`; no order suffers from it. It is not called
                with what cannot be read.
            faults: replaces ``settings.sandbox.faults``.

        Raises:
            MissingExtraError: the ``sandbox`` extra is not installed.
            ConfigurationError: an endpoint is missing or wrong, or no ClientGuid is known.
        """
        require_extra()
        guids = settings.sandbox.client_guids or ([settings.client_guid] if settings.client_guid else [])
        if not guids:
            raise ConfigurationError("no ClientGuid is known: set client_guid, or sandbox.client_guids for several")
        self._on_sent = on_sent
        self._connections = Connections(
            settings.sandbox.endpoints,
            settings.sandbox.stores,
            observers=settings.observers,
            data_dir=settings.data_dir,
            clock=clock,
            retry=retry,
            where="sandbox.",
        )
        self._clock = self._connections.clock
        self._stopping = Interrupt(self._clock)
        self._connections.queue("orders")
        self._connections.queue("events")
        results = self._connections.queue("results")
        limit = results.broker.capabilities(results.name).max_message_bytes
        self._dispatch = Dispatch(self._send, self._clock, settings.sandbox.seed, faults or settings.sandbox.faults)
        self._record = OrderRecord(journal_path(settings.data_dir).with_name("sandbox.db"), self._clock)
        shelf = ImageShelf(self._connections)
        desk = Desk(settings.sandbox, self._clock, shelf, self._dispatch, self._record, limit)
        self._orders = OpenOrders(desk)
        self._counter = OrderCounter(desk, self._orders, guids)
        self._sent = 0
        self._untold: deque[Event | OrderResult] = deque()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    # -- life -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until `stop` is called or the program is interrupted (Ctrl-C).

        Raises:
            CloudDirectError: a queue or the store cannot be used, for a reason that does not pass.
        """
        failures = 0
        while not self._stopping.is_set():
            try:
                self.step(_TURN)
                failures = 0
            except CloudDirectError as error:
                if not error.retryable:
                    raise
                failures += 1
                wait = _RECONNECT.backoff(failures, error)
                log.warning("the sandbox cannot go on (%s); next attempt in %.1f s", type(error).__name__, wait)
                self._stopping.wait(wait)

    def step(self, wait: float = 0.0) -> int:
        """Do one turn: take the orders and gradings that came, and let every open order go on as far as time permits.

        Args:
            wait: seconds to wait for something to come; less when an open order wants to go on earlier.

        Returns:
            How many messages were taken and sent. After 0 nothing happens until something comes or time passes.

        Raises:
            CloudDirectError: a queue or the store cannot be used. What was taken stays open; the next turn goes on.
        """
        sent, taken = self._sent, 0
        wait = min(wait, self._orders.seconds_until_due(), self._dispatch.seconds_until_due())
        graded_outside = self._connections.has_endpoint("gradings")
        if graded_outside and any(order.images and not order.closed for order in self._orders):
            wait = min(wait, _LOOK_FOR_GRADINGS)
        taken += self._receive("orders", self._counter.take_order, wait)
        if graded_outside:
            taken += self._receive("gradings", self._counter.take_grading, 0.0)
        self._work_off()
        self._orders.advance()
        self._dispatch.flush()
        self._tell()
        return taken + self._sent - sent

    def start(self) -> None:
        """Let it work in a thread of its own until `stop` or `close`; `close` raises what ended it early."""
        self._thread = threading.Thread(target=self._live, name="clouddirect-sandbox", daemon=True)
        self._thread.start()

    @property
    def faults(self) -> FaultSettings:
        """What it does wrong on purpose; may be replaced between two turns."""
        return self._dispatch.faults

    @faults.setter
    def faults(self, faults: FaultSettings) -> None:
        self._dispatch.faults = faults

    @property
    def faults_made(self) -> dict[str, int]:
        """How often each fault was made since it was started, by its name in `FaultSettings`."""
        return dict(self._dispatch.made)

    @property
    def running(self) -> bool:
        """Whether the thread that `start` began is at work."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """Let `run` end soon; may be called from any thread or a signal handler."""
        self._stopping.set()

    def close(self, timeout: float = 30.0) -> None:
        """Stop, give back the orders that are not finished, and close the connections.

        Raises:
            CloudDirectError: what ended the thread that `start` began.
        """
        self._stopping.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        self._connections.close(timeout)
        self._record.close()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- inside ---------------------------------------------------------------------------------------------

    def _live(self) -> None:
        try:
            self.run()
        except BaseException as error:  # noqa: BLE001 - kept for close(), which raises it
            log.error("the sandbox has ended (%s)", type(error).__name__)
            self._error = error

    def _receive(self, endpoint: str, take: Take, wait: float) -> int:
        room = _MOST_OPEN - len(self._orders)
        if room <= 0:
            self._stopping.wait(wait)
            return 0
        queue = self._connections.queue(endpoint)
        with queue.broker.inside:
            deliveries = queue.broker.take(queue.name, min(room, _MOST_TAKEN), wait, None, self._stopping)
        for delivery in deliveries:
            delivery.keep_lease(_KEEP)
            self._orders.inbox.append((take, delivery))
        return len(deliveries)

    def _work_off(self) -> None:
        while self._orders.inbox:
            take, delivery = self._orders.inbox.popleft()
            try:
                take(delivery)
            except CloudDirectError as error:
                give_back(delivery)
                if is_fatal(error):
                    raise
                log.warning("message %s could not be taken (%s)", delivery.message.id, type(error).__name__)
            self._tell()

    def _send(self, parcel: Parcel) -> None:
        """Send one message: every event and every result leaves the sandbox here."""
        queue = self._connections.queue(parcel.endpoint)
        message = Message(body=parcel.body, content_type="application/json", correlation_id=parcel.order_local_id)
        queue.broker.send(queue.name, message)
        self._sent += 1
        if parcel.message is None:
            log.info("sent what cannot be read")
            return
        self._untold.append(parcel.message)
        log.info("sent %s", parcel.message.result_object_type)

    def _tell(self) -> None:
        """Tell the caller what was sent; not within an order's stages, which must not fail for a caller's reasons."""
        while self._untold:
            message = self._untold.popleft()
            if self._on_sent is not None:
                self._on_sent(message)
