"""`Handling`: runs a consumer's handler on one delivery, and settles it when that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from clouddirect.errors import CloudDirectError
from clouddirect.messaging.delivery import Delivery
from clouddirect.messaging.options import ConsumerOptions

if TYPE_CHECKING:
    from clouddirect.messaging.broker import MessageBroker

__all__ = ["Handled", "Handler", "Handling"]

Handler = Callable[[Delivery], object]
log = logging.getLogger("clouddirect.messaging")


class Handled(NamedTuple):
    """What came of a handler: whether it returned, what it raised, and the seconds that it took, None if not called."""

    returned: bool
    failure: BaseException | None
    seconds: float | None


_NOT_CALLED = Handled(False, None, None)


class Handling:
    """The handler of one consumer. Any number of threads may call it."""

    def __init__(self, broker: MessageBroker, queue: str, handler: Handler, options: ConsumerOptions) -> None:
        """Made by the consumer."""
        self._clock = broker.runtime.clock
        self._queue = queue
        self._handler = handler
        self._options = options

    def run(self, delivery: Delivery) -> Handled:
        """Call the handler, unless the lease is lost already or the message was delivered too often."""
        limit, count = self._options.max_deliveries, delivery.delivery_count
        if limit is not None and count is not None and count > limit:
            self._give_up_on(delivery, f"delivered {count} times, at most {limit} are permitted")
            return _NOT_CALLED
        if delivery._is_lost():
            return _NOT_CALLED
        began, failure = self._clock.monotonic(), None
        try:
            self._handler(delivery)
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises gives its message back
            failure = error
        return Handled(failure is None, failure, self._clock.monotonic() - began)

    def failed(self, delivery: Delivery, error: BaseException) -> None:
        """Give a delivery back whose handler has failed, or put it aside if that was its last permitted delivery."""
        # the error's text may hold patient data: the log gets its type alone
        kind, identity = type(error).__name__, delivery.message.id
        log.warning("the handler of %r failed (%s) on message %s", self._queue, kind, identity)
        if delivery.settled is not None or delivery._is_lost():
            return
        limit, count = self._options.max_deliveries, delivery.delivery_count
        if limit is not None and count is not None and count >= limit and isinstance(error, Exception):
            self._give_up_on(delivery, f"its handler failed on delivery {count} ({kind})")
        else:
            self._give_back(delivery)

    def _give_up_on(self, delivery: Delivery, description: str) -> None:
        try:
            delivery.dead_letter("MaxDeliveryCountExceeded", description)
        except CloudDirectError as problem:
            log.error("a message of %r could not be dead-lettered (%s); it will come again",
                      self._queue, type(problem).__name__)  # fmt: skip
            if delivery.settled is None:
                self._give_back(delivery)

    def _give_back(self, delivery: Delivery) -> None:
        try:
            delivery.nack(self._options.retry_delay(delivery.delivery_count))
        except CloudDirectError as problem:
            log.warning("a delivery of %r could not be given back (%s); its lease will end by itself",
                        self._queue, type(problem).__name__)  # fmt: skip
