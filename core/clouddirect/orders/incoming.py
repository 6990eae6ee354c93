"""Events and results as they arrive: read, handed over, and settled by what becomes of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from clouddirect.errors import CloudDirectError, InvalidMessageError
from clouddirect.orders.inbox import Inbox, inbox_key
from clouddirect.orders.models import Event, OrderResult

if TYPE_CHECKING:
    from clouddirect.messaging import Delivery

__all__ = ["Incoming", "Once", "give_back", "read_or_put_aside"]

log = logging.getLogger("clouddirect.orders")
T = TypeVar("T")

#: Seconds after which a message comes again whose copy is handled elsewhere still; each time counts as a delivery.
_ELSEWHERE = 30.0

#: The reason that an unreadable message is dead-lettered with.
UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Once:
    """The place of one message in the inbox, while it is being handled."""

    inbox: Inbox
    key: str

    def note(self, *, handled: bool) -> None:
        """Note that the message has been handled, or that it could not be and will come again."""
        if handled:
            self.inbox.finish(self.key)
        else:
            self.inbox.give_up(self.key)

    @staticmethod
    def begin(
        inbox: Inbox, value: Event | OrderResult, delivery: Delivery, again: Callable[[str], bool] | None = None, *,
        hold: bool = False,
    ) -> Once | None:  # fmt: skip
        """Take a message on; None if it is not to be handled now: handled before, and then acknowledged, or being
        handled elsewhere, and then given back for a while. ``hold``: handling begins now.

        Giving back costs a delivery, so the end of what is handled elsewhere can be waited for while the lease is kept:
        ``again`` is called with the key, and returns, a moment later, whether to look once more.
        """
        key = inbox_key(value, delivery.message.body)
        state = inbox.begin(key, delivery.message.id, hold=hold)
        while state == "elsewhere" and again is not None and again(key):
            state = inbox.begin(key, delivery.message.id, hold=hold)
        if state == "new":
            return Once(inbox, key)
        log.info("message %s of %r is a repeat: %s", delivery.message.id, delivery.queue, state)
        if state == "done":
            delivery.ack()
        else:
            delivery.nack(_ELSEWHERE)
        return None


class Incoming(Generic[T]):
    """An event or a result, on lease. Use it as a context manager, which yields the value::

        for incoming in client.results(timeout=60):
            with incoming as result:
                print(result.order.local_id)

    Leaving the block acknowledges the message, an exception gives it back to be delivered again after a jittered
    delay that grows with each delivery, and the lease is renewed meanwhile. What is never entered nor settled is
    delivered again when its lease ends.

    Attributes:
        value: the event or the result.
        delivery: the message it came in; settle it here instead, if you like.
    """

    def __init__(self, value: T, delivery: Delivery, once: Once | None = None) -> None:
        self.value = value
        self.delivery = delivery
        self._once = once

    def __repr__(self) -> str:
        return f"Incoming({self.value!r})"

    def __enter__(self) -> T:
        if self._once is not None:
            self._once.inbox.hold(self._once.key)
        self.delivery.keep_lease()
        self.delivery.__enter__()
        return self.value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._once is not None:
            try:
                self._once.note(handled=error is None and self.delivery.settled in (None, "ack"))
            except CloudDirectError:
                if error is None:  # not noted, so not handled: it comes again
                    self._give_back()
                    raise
        if isinstance(error, Exception) and self.delivery.settled is None and self._give_back():
            return  # otherwise the delivery's own way of leaving notes on the exception that it failed
        self.delivery.__exit__(kind, error, trace)

    def _give_back(self) -> bool:
        """Let it come again later; False if that fails."""
        return give_back(self.delivery)


def give_back(delivery: Delivery) -> bool:
    """Nack, to come again after a jittered delay that grows with each delivery; False if that fails."""
    from clouddirect.messaging import ConsumerOptions

    try:
        delivery.nack(ConsumerOptions().retry_delay(delivery.delivery_count))
    except CloudDirectError:
        return False
    return True


def read_or_put_aside(delivery: Delivery, read: Callable[[bytes], T]) -> T | None:
    """Read a delivery's body; one that cannot be read is dead-lettered, whole and with the reason, and None is
    returned."""
    try:
        return read(delivery.message.body)
    except InvalidMessageError as error:
        problem = str(error)
    log.error("message %s of %r cannot be read and is dead-lettered: %s", delivery.message.id, delivery.queue, problem)
    try:
        delivery.dead_letter(UNREADABLE, problem)
    except CloudDirectError as error:
        log.error("it could not be dead-lettered (%s); it will come again", type(error).__name__)
    return None
