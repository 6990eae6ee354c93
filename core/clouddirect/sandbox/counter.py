"""`OrderCounter`: where messages for the platform are handed in; what IRIS would not react to ends here, in silence."""

from __future__ import annotations

import logging
import math

from clouddirect.messaging.delivery import Delivery
from clouddirect.orders.incoming import read_or_put_aside
from clouddirect.orders.models import (
    OrderControlCode,
    OrderRequest,
    ResultCode,
    Site,
    problems_grading,
    read_grading,
    read_order,
)
from clouddirect.orders.models.order_rules import NEEDS_ONLY_ID
from clouddirect.sandbox.open_orders import OpenOrders, Take
from clouddirect.sandbox.record import Fate
from clouddirect.sandbox.settling import ack
from clouddirect.sandbox.stages import Desk, Key, OpenOrder, cancellation, change, stages
from clouddirect.sandbox.stamps import Stamps, wire_time

__all__ = ["OrderCounter"]

log = logging.getLogger("clouddirect.sandbox")


class OrderCounter:
    """What is done with each message that comes. Used by one thread."""

    def __init__(self, desk: Desk, orders: OpenOrders, client_guids: list[str]) -> None:
        """Take orders of the organisations ``client_guids`` into ``orders``."""
        self._desk = desk
        self._orders = orders
        self._clock = desk.clock
        self._guids = {guid.lower() for guid in client_guids}
        self._sites = set(desk.settings.sites)

    def take_order(self, delivery: Delivery) -> None:
        """Take a message of the ``orders`` queue.

        Raises:
            CloudDirectError: it could not be taken, and is still on lease.
        """
        request = read_or_put_aside(delivery, read_order)
        if request is None:
            delivery.stop_keeping()
            return
        code = request.order_control_code
        key = _key(request.client_guid, request.order_local_id)
        if not self._knows(request.client_guid, request.site, site_needed=code not in NEEDS_ONLY_ID):
            _ignore(delivery, "its ClientGuid or Site is none of ours")
        elif code == OrderControlCode.CA:
            self._cancel(key, delivery)
        elif code == OrderControlCode.XO:
            self._change(key, request, delivery)
        elif code == OrderControlCode.RESEND_RESULT:
            self._resend(key, delivery)
        elif isinstance(code, OrderControlCode) and code.known and code != OrderControlCode.NW:
            log.warning("message %s asks for what the sandbox does not do; ignored", delivery.message.id)
            ack(delivery)
        else:
            self._new(key, request, delivery)

    def take_grading(self, delivery: Delivery) -> None:
        """Take a message of the ``gradings`` queue; one that fits no order is ignored. Raises like `take_order`."""
        submission = read_or_put_aside(delivery, read_grading)
        if submission is None:
            delivery.stop_keeping()
            return
        key = _key(submission.client_guid, submission.local_id)
        order = self._orders.find(key)
        if not self._knows(submission.client_guid, submission.site, site_needed=False):
            _ignore(delivery, "its ClientGuid or Site is none of ours")
        elif any(one.severity == "error" for one in problems_grading(submission)):
            _ignore(delivery, "the grading is wrong")
        elif order is None:
            self._without_order(key, self.take_grading, delivery)
        elif (order.closed or order.submission or not order.images) and not self._was_taken(delivery):
            _ignore(delivery, "its order is closed, or has no images")
        elif self._take_for(order, delivery):
            order.submission = submission
            if math.isinf(order.due):
                order.due = self._clock.monotonic()

    def _new(self, key: Key, request: OrderRequest, delivery: Delivery) -> None:
        message_id = delivery.message.id
        known = self._orders.get(message_id)
        if known is not None:  # its lease ran out unnoticed; what was done for it need not be done again
            known.deliveries[0].stop_keeping()
            known.deliveries[0] = delivery
            return
        record = self._desk.record
        fate = record.fate(message_id)
        if fate == Fate.FINISHED or self._desk.dispatch.is_settling(message_id):
            self._desk.dispatch.when_sent(message_id, lambda: ack(delivery))
            return
        stamps, ordered = Stamps(self._desk.settings.seed, message_id), delivery.enqueued_at or self._clock.now()
        order = OpenOrder(request, [delivery], stamps, ordered, self._clock.monotonic())
        if fate is None:
            record.note(message_id, key, Fate.OPEN)
        else:
            order.expects, order.graded_before = record.taken(key), fate == Fate.GRADED
        order.progress = cancellation(order, self._desk) if fate == Fate.CANCELLED else stages(order, self._desk)
        self._orders.begin(order)

    def _cancel(self, key: Key, delivery: Delivery) -> None:
        order = self._orders.find(key)
        if order is None:
            self._without_order(key, self.take_order, delivery)
        elif order.closed:
            _ignore(delivery, "its order is graded")
        else:
            self._orders.cancel(order)
            ack(delivery)

    def _change(self, key: Key, request: OrderRequest, delivery: Delivery) -> None:
        order = self._orders.find(key)
        if order is None:
            self._without_order(key, self.take_order, delivery)
        elif order.graded or (order.graded_before and not self._was_taken(delivery)):
            _ignore(delivery, "its order is graded")
        elif self._take_for(order, delivery):
            change(order, request)

    def _resend(self, key: Key, delivery: Delivery) -> None:
        result, message_id = self._orders.results.get(key), delivery.message.id
        if result is not None:
            again = result.model_copy()
            again.result_code = ResultCode.R
            again.timestamp = wire_time(self._clock.now())
            again.transaction_id = Stamps(self._desk.settings.seed, message_id).transaction("OrderResult")
            self._desk.dispatch.emit(message_id, again)
        self._desk.dispatch.when_sent(message_id, lambda: ack(delivery))

    def _knows(self, client_guid: str | None, site: Site | None, *, site_needed: bool) -> bool:
        """Whether a message comes from an organisation and a site that the platform knows; else it stays silent."""
        local_id = site.local_id if site else None
        known = (not self._sites or local_id in self._sites) if local_id else not site_needed
        return known and (client_guid or "").lower() in self._guids

    def _was_taken(self, delivery: Delivery) -> bool:
        """Whether a message was taken for its order before a crash."""
        return self._desk.record.fate(delivery.message.id) == Fate.TAKEN

    def _take_for(self, order: OpenOrder, delivery: Delivery) -> bool:
        """Keep a message on lease as long as its order: after a crash both come again. False if it is here already."""
        message_id = delivery.message.id
        order.expects.discard(message_id)
        for place, one in enumerate(order.deliveries):
            if one.message.id == message_id:  # its lease ran out unnoticed
                one.stop_keeping()
                order.deliveries[place] = delivery
                return False
        self._desk.record.note(message_id, order.key, Fate.TAKEN)
        order.deliveries.append(delivery)
        return True

    def _without_order(self, key: Key, take: Take, delivery: Delivery) -> None:
        if not self._orders.keep_for(key, take, delivery):
            _ignore(delivery, "it fits no open order")


def _ignore(delivery: Delivery, why: str) -> None:
    """Take a message and do nothing, as IRIS does: nobody is told."""
    log.info("message %s is ignored, as IRIS does: %s", delivery.message.id, why)
    ack(delivery)


def _key(client_guid: str | None, local_id: str | None) -> Key:
    return (client_guid or "").lower(), local_id
