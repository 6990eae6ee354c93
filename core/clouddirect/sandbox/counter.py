"""`OrderCounter`: where messages for the platform are handed in, and where open orders are kept until they end."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from typing import TypeVar

from clouddirect.errors import ChangedError, CloudDirectError, IntegrityError, InvalidMessageError, TooLargeError
from clouddirect.messaging.delivery import Delivery
from clouddirect.orders.incoming import read_or_put_aside
from clouddirect.orders.models import (
    OrderControlCode,
    OrderRequest,
    OrderResult,
    ResultCode,
    problems_grading,
    read_grading,
    read_order,
)
from clouddirect.sandbox.settling import ack, give_back, put_aside
from clouddirect.sandbox.stages import Desk, OpenOrder, change, order_cancelled, stages
from clouddirect.sandbox.stamps import Stamps, wire_time

__all__ = ["OrderCounter", "is_fatal"]

log = logging.getLogger("clouddirect.sandbox")
K = TypeVar("K")
V = TypeVar("V")

#: How many results are kept, for those who ask to have one sent again.
_MOST_RESULTS = 50
#: How many finished orders are remembered, in case an ack did not count and their message comes again.
_MOST_FINISHED = 10_000


def is_fatal(error: CloudDirectError) -> bool:
    """Whether it is the sandbox that cannot work, rather than one order, or just now."""
    passing = error.retryable or isinstance(error, (ChangedError, IntegrityError))
    return not passing and not isinstance(error, (InvalidMessageError, TooLargeError))


class OrderCounter:
    """The open orders and what is done with each message that comes. Used by one thread."""

    def __init__(self, desk: Desk, client_guids: list[str]) -> None:
        """Take orders of the organisations ``client_guids``; ``desk`` is what their stages need."""
        self._desk = desk
        self._clock = desk.clock
        self._seed = desk.settings.seed
        self._guids = {guid.lower() for guid in client_guids}
        self._open: dict[str, OpenOrder] = {}  # by the id of its message
        self._finished: OrderedDict[str, None] = OrderedDict()
        self._results: OrderedDict[tuple[str, str | None], OrderResult] = OrderedDict()

    def __len__(self) -> int:
        """How many orders are open."""
        return len(self._open)

    @property
    def awaits_grading(self) -> bool:
        """Whether a submitted grading could be used."""
        return any(order.images and not order.graded for order in self._open.values())

    def seconds_until_due(self) -> float:
        """Seconds until an open order wants to go on; infinite when there is none."""
        earliest = min((order.due for order in self._open.values()), default=math.inf)
        return max(0.0, earliest - self._clock.monotonic())

    def advance(self) -> None:
        """Let every open order go on as far as time permits; raises what makes going on impossible for all of them."""
        for order in list(self._open.values()):
            if order.deliveries[0].lease_lost.is_set():
                # somebody else may have it by now; if not, it comes again and begins again
                log.warning("the lease of an order was lost")
                self._leave(order)
            else:
                self._advance(order)

    # -- what comes in --------------------------------------------------------------------------------------

    def take_order(self, delivery: Delivery) -> None:
        """Take a message of the ``orders`` queue."""
        request = read_or_put_aside(delivery, read_order)
        if request is None:
            delivery.stop_keeping()
            return
        code = request.order_control_code
        if (request.client_guid or "").lower() not in self._guids:
            log.info("the ClientGuid of message %s is not one of ours; ignored, as IRIS does", delivery.message.id)
            ack(delivery)
        elif code == OrderControlCode.CA:
            self._cancel(request, delivery)
        elif code == OrderControlCode.XO:
            self._change(request, delivery)
        elif code == OrderControlCode.RESEND_RESULT:
            self._resend(request, delivery)
        elif isinstance(code, OrderControlCode) and code.known and code != OrderControlCode.NW:
            log.warning("message %s asks for what the sandbox does not do; ignored", delivery.message.id)
            ack(delivery)
        else:
            self._new(request, delivery)

    def take_grading(self, delivery: Delivery) -> None:
        """Take a message of the ``gradings`` queue; one that fits no order is ignored, as IRIS does."""
        submission = read_or_put_aside(delivery, read_grading)
        if submission is None:
            delivery.stop_keeping()
            return
        order = self._find(submission.client_guid, submission.local_id)
        wrong = any(one.severity == "error" for one in problems_grading(submission))
        if order is None or order.graded or not order.images or wrong:
            log.info("grading %s fits no order, or is wrong; ignored, as IRIS does", delivery.message.id)
            ack(delivery)
            return
        order.submission = submission
        order.deliveries.append(delivery)
        if math.isinf(order.due):
            order.due = self._clock.monotonic()

    def _new(self, request: OrderRequest, delivery: Delivery) -> None:
        message_id = delivery.message.id
        known = self._open.get(message_id)
        if known is not None:  # its lease ran out unnoticed; what was done for it need not be done again
            known.deliveries[0].stop_keeping()
            known.deliveries[0] = delivery
            return
        if message_id in self._finished:
            ack(delivery)
            return
        ordered = delivery.enqueued_at or self._clock.now()
        order = OpenOrder(request, [delivery], Stamps(self._seed, message_id), ordered, self._clock.monotonic())
        order.progress = stages(order, self._desk)
        self._open[message_id] = order
        # at once, so that a cancellation right behind it finds it begun
        self._advance(order)

    def _cancel(self, request: OrderRequest, delivery: Delivery) -> None:
        order = self._find(request.client_guid, request.order_local_id)
        if order is not None and not order.graded:
            self._desk.emit(order_cancelled(order, self._desk))
            self._finish(order)
        ack(delivery)

    def _change(self, request: OrderRequest, delivery: Delivery) -> None:
        order = self._find(request.client_guid, request.order_local_id)
        if order is None or order.graded:
            ack(delivery)
            return
        change(order, request)
        # on lease as long as the order: after a crash both come again
        order.deliveries.append(delivery)

    def _resend(self, request: OrderRequest, delivery: Delivery) -> None:
        result = self._results.get(_key(request.client_guid, request.order_local_id))
        if result is not None:
            again = result.model_copy()
            again.result_code = ResultCode.R
            again.timestamp = wire_time(self._clock.now())
            again.transaction_id = Stamps(self._seed, delivery.message.id).transaction("OrderResult")
            self._desk.emit(again)
        ack(delivery)

    def _find(self, client_guid: str | None, local_id: str | None) -> OpenOrder | None:
        """The newest open order of this LocalId."""
        wanted = _key(client_guid, local_id)
        return next((order for order in reversed(self._open.values()) if order.key == wanted), None)

    # -- how orders go on and end ---------------------------------------------------------------------------

    def _advance(self, order: OpenOrder) -> None:
        """Let an order go on until it has to wait."""
        try:
            while order.due <= self._clock.monotonic():
                order.due = self._clock.monotonic() + next(order.progress)
        except StopIteration:
            self._finish(order)
        except CloudDirectError as error:
            if isinstance(error, (InvalidMessageError, TooLargeError)):
                self._put_aside(order, error)
                return
            log.warning("an order could not go on (%s); it begins again", type(error).__name__)
            self._leave(order)
            if is_fatal(error):
                raise
        except Exception as error:  # noqa: BLE001 - one odd order must not end the others; it is put aside, not lost
            self._put_aside(order, error)
        except BaseException:  # an interrupted order has no further stages: it must not pass for a finished one
            self._leave(order)
            raise

    def _finish(self, order: OpenOrder) -> None:
        """Everything about an order has been sent: now its messages may go."""
        message_id = order.deliveries[0].message.id
        del self._open[message_id]
        _remember(self._finished, message_id, None, _MOST_FINISHED)
        if order.result is not None:
            _remember(self._results, order.key, order.result, _MOST_RESULTS)
        for delivery in order.deliveries:
            ack(delivery)

    def _leave(self, order: OpenOrder) -> None:
        """Stop working on an order; its messages come again."""
        del self._open[order.deliveries[0].message.id]
        for delivery in order.deliveries:
            give_back(delivery)

    def _put_aside(self, order: OpenOrder, error: Exception) -> None:
        kind = type(error).__name__
        log.error("an order cannot be processed (%s); it is dead-lettered", kind)
        first, *others = order.deliveries
        del self._open[first.message.id]
        put_aside(first, "sandbox-failed", f"the sandbox could not process this order ({kind})")
        for delivery in others:
            ack(delivery)


def _key(client_guid: str | None, local_id: str | None) -> tuple[str, str | None]:
    return (client_guid or "").lower(), local_id


def _remember(memory: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > most:
        memory.popitem(last=False)
