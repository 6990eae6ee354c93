"""`OpenOrders`: the orders that are under way, how they go on, and how they end."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import TypeVar

from clouddirect.errors import ChangedError, CloudDirectError, IntegrityError, InvalidMessageError, TooLargeError
from clouddirect.messaging.delivery import Delivery
from clouddirect.orders.models import OrderResult
from clouddirect.sandbox.record import Fate
from clouddirect.sandbox.settling import ack, give_back, put_aside
from clouddirect.sandbox.stages import Desk, Key, OpenOrder, cancellation

__all__ = ["OpenOrders", "Take", "is_fatal"]

log = logging.getLogger("clouddirect.sandbox")
K = TypeVar("K")
V = TypeVar("V")

#: A method that takes a message.
Take = Callable[[Delivery], None]

#: How many results are kept, for those who ask to have one sent again.
_MOST_RESULTS = 50
#: Most messages kept for orders that come again; more wait in their queue.
_MOST_EARLY = 1000


def is_fatal(error: CloudDirectError) -> bool:
    """Whether it is the sandbox that cannot work, rather than one order, or just now."""
    passing = error.retryable or isinstance(error, (ChangedError, IntegrityError))
    return not passing and not isinstance(error, (InvalidMessageError, TooLargeError))


class OpenOrders:
    """The open orders, each on lease until everything about it has been sent. Used by one thread.

    Attributes:
        inbox: what has been received and not been taken yet: by which method, and the message.
        results: the last results, by the order's key.
    """

    def __init__(self, desk: Desk) -> None:
        """``desk`` is what the orders' stages need."""
        self.inbox: deque[tuple[Take, Delivery]] = deque()
        self.results: OrderedDict[Key, OrderResult] = OrderedDict()
        self._desk = desk
        self._clock = desk.clock
        self._open: dict[str, OpenOrder] = {}  # by the id of its message
        self._early: list[tuple[Key, Take, Delivery]] = []

    def __len__(self) -> int:
        """How many orders are open, those included that only wait for their last messages to leave."""
        return len(self._open) + len(self._desk.dispatch)

    def __iter__(self) -> Iterator[OpenOrder]:
        """The open orders, oldest first."""
        return iter(list(self._open.values()))

    def get(self, message_id: str) -> OpenOrder | None:
        """Return the open order that came in this message."""
        return self._open.get(message_id)

    def find(self, key: Key) -> OpenOrder | None:
        """Return the newest open order of this ClientGuid and Order.LocalId."""
        return next((order for order in reversed(self._open.values()) if order.key == key), None)

    def begin(self, order: OpenOrder) -> None:
        """Begin an order at once, so that a cancellation right behind it finds it begun."""
        self._open[order.message_id] = order
        self._advance(order)

    def cancel(self, order: OpenOrder) -> None:
        """Cancel an order: nothing comes after its OrderCancelled."""
        self._desk.record.note(order.message_id, order.key, Fate.CANCELLED)
        order.progress, order.due = cancellation(order, self._desk), self._clock.monotonic()
        self._advance(order)

    def seconds_until_due(self) -> float:
        """Seconds until an open order wants to go on; infinite when there is none."""
        earliest = min((order.due for order in self._open.values()), default=math.inf)
        return max(0.0, earliest - self._clock.monotonic())

    def advance(self) -> None:
        """Let every open order go on as far as time permits; raises what makes going on impossible for all of them."""
        self._early = [one for one in self._early if not one[2].lease_lost.is_set()]  # they come again
        for order in self:
            if order.deliveries[0].lease_lost.is_set() and self._is_here(order):
                # somebody else may have it by now; if not, it comes again and begins again
                log.warning("the lease of an order was lost")
                self._leave(order)
            else:
                self._advance(order)

    # -- messages whose order is not here yet ---------------------------------------------------------------

    def keep_for(self, key: Key, take: Take, delivery: Delivery) -> bool:
        """Keep a message whose order was begun and is not here: it comes again, such as after a crash.

        Returns:
            False if there is no such order.
        """
        if not self._desk.record.is_under_way(key):
            return False
        if len(self._early) < _MOST_EARLY:
            self._early.append((key, take, delivery))
        else:
            give_back(delivery)
        return True

    def _recall(self, key: Key) -> bool:
        """Put what was kept for an order into the inbox; returns whether there was anything."""
        recalled = [(take, delivery) for kept_for, take, delivery in self._early if kept_for == key]
        self._early = [one for one in self._early if one[0] != key]
        self.inbox.extend(recalled)
        return bool(recalled)

    # -- how orders go on and end ---------------------------------------------------------------------------

    def _is_here(self, order: OpenOrder) -> bool:
        return self._open.get(order.message_id) is order

    def _advance(self, order: OpenOrder) -> None:
        """Let an order go on until it has to wait."""
        try:
            while self._is_here(order) and order.due <= self._clock.monotonic():
                accepted = order.accepted
                order.due = self._clock.monotonic() + next(order.progress)
                if order.accepted and not accepted:
                    self._cancel_rival(order)
                    if self._recall(order.key):  # what was kept for it is taken before it goes on
                        order.due = self._clock.monotonic()
                        return
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

    def _cancel_rival(self, order: OpenOrder) -> None:
        """One order is open for each patient and evaluation type: of two, the one ordered first is cancelled."""
        for rival in self:
            if rival is order or not rival.accepted or rival.closed or order.closed or not _same_exam(rival, order):
                continue
            log.info("a second order for a patient and evaluation type cancels the first")
            if rival.ordered > order.ordered:  # this one has come again
                self.cancel(order)
                return
            self.cancel(rival)

    def _finish(self, order: OpenOrder) -> None:
        """Everything about an order has been said: once that has been sent, its messages may go."""
        message_id = order.message_id
        del self._open[message_id]
        if order.result is not None:
            _remember(self.results, order.key, order.result, _MOST_RESULTS)

        def settle() -> None:
            self._note(lambda: self._desk.record.note_finished(message_id, order.key))
            for delivery in order.deliveries:
                ack(delivery)
            self._recall(order.key)

        self._desk.dispatch.when_sent(message_id, settle)

    def _leave(self, order: OpenOrder) -> None:
        """Stop working on an order; its messages come again."""
        if self._open.pop(order.message_id, None) is None:
            return
        self._desk.dispatch.begin_again(order.message_id)
        for delivery in order.deliveries:
            give_back(delivery)

    def _put_aside(self, order: OpenOrder, error: Exception) -> None:
        kind = type(error).__name__
        log.error("an order cannot be processed (%s); it is dead-lettered", kind)
        message_id = order.message_id
        del self._open[message_id]

        def settle() -> None:
            # sent again by somebody who looked into it, it is a new order
            self._note(lambda: self._desk.record.forget(message_id, order.key))
            first, *others = order.deliveries
            put_aside(first, "sandbox-failed", f"the sandbox could not process this order ({kind})")
            for delivery in others:
                ack(delivery)
            self._recall(order.key)

        self._desk.dispatch.when_sent(message_id, settle)

    def _note(self, note: Callable[[], None]) -> None:
        """Note how an order ended; it is looked up only when its message comes again after an ack that failed."""
        try:
            note()
        except CloudDirectError as error:
            log.warning("the end of an order could not be noted (%s)", type(error).__name__)


def _same_exam(one: OpenOrder, other: OpenOrder) -> bool:
    """Whether two orders are for the same patient of one organisation and have an evaluation type in common."""
    return one.patient == other.patient and not set(one.evaluations).isdisjoint(other.evaluations)


def _remember(memory: OrderedDict[K, V], key: K, value: V, most: int) -> None:
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > most:
        memory.popitem(last=False)
