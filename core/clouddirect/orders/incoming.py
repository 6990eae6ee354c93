"""Events and results as they arrive: read, handed over, and settled by what becomes of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

from clouddirect.errors import CloudDirectError, InvalidMessageError

if TYPE_CHECKING:
    from clouddirect.messaging import Delivery

__all__ = ["Incoming", "read_or_put_aside"]

log = logging.getLogger("clouddirect.orders")
T = TypeVar("T")

#: The reason that an unreadable message is dead-lettered with.
UNREADABLE = "unreadable"


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

    def __init__(self, value: T, delivery: Delivery) -> None:
        self.value = value
        self.delivery = delivery

    def __repr__(self) -> str:
        return f"Incoming({self.value!r})"

    def __enter__(self) -> T:
        self.delivery.keep_lease()
        self.delivery.__enter__()
        return self.value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and self.delivery.settled is None:
            from clouddirect.messaging import ConsumerOptions

            delay = ConsumerOptions().retry_delay(self.delivery.delivery_count)
            try:
                self.delivery.nack(delay)
                return
            except CloudDirectError:
                pass  # the delivery's own way of leaving notes it on the exception
        self.delivery.__exit__(kind, error, trace)


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
