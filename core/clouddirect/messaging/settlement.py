"""Settling deliveries: ack, nack, dead-letter, extend and release, once, with the broker's answer read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeVar

from clouddirect.errors import ClosedError, CloudDirectError, InvalidMessageError, LeaseLostError, UnsupportedError
from clouddirect.messaging.delivery import Delivery, Outcome
from clouddirect.messaging.leases import LeaseKeeper
from clouddirect.messaging.message import DEAD_LETTER_DESCRIPTION, DEAD_LETTER_QUEUE, DEAD_LETTER_REASON, Message
from clouddirect.messaging.primitives import RawDelivery
from clouddirect.messaging.quarantine import Quarantine
from clouddirect.observers import MessageEvent

if TYPE_CHECKING:
    from clouddirect.messaging.broker import MessageBroker

__all__ = ["SettleResult", "Settlement"]

log = logging.getLogger("clouddirect.messaging")
T = TypeVar("T")
#: A primitive bound to its queue: takes the deliveries and the seconds that the call may last.
_Primitive = Callable[[Sequence[RawDelivery], float], Sequence[T | CloudDirectError]]

#: Seconds of lease that a held nack asks for where the broker does not tell how long a lease is.
UNKNOWN_LEASE = 30.0
#: Real seconds that one `Settlement.release` spends waiting for deliveries that another thread is settling.
LOCK_PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class SettleResult:
    """What became of one delivery of `MessageBroker.ack_many`: ``error`` is None when it was settled."""

    delivery: Delivery
    error: CloudDirectError | None = None

    @property
    def ok(self) -> bool:
        """Whether the delivery is settled as asked."""
        return self.error is None


class Settlement:
    """The settling side of one broker. Each delivery's own lock is held while it is being settled or renewed."""

    def __init__(self, broker: MessageBroker, quarantine: Quarantine) -> None:
        """Made by the broker, once."""
        self._broker = broker
        self._clock = broker.runtime.clock
        self.provider = broker.provider
        self.quarantine = quarantine
        self.keeper = LeaseKeeper(self, self._clock, broker.runtime.retry, broker.provider)

    # -- what Delivery and MessageBroker call ---------------------------------------------------------------

    def ack_many(self, deliveries: Sequence[Delivery]) -> list[SettleResult]:
        """Ack any number of deliveries of any queues; one result each, in order."""
        by_queue: dict[str, list[Delivery]] = {}
        for delivery in dict.fromkeys(deliveries):
            if delivery._settlement is not self:
                raise InvalidMessageError(
                    "a delivery was received by another broker; ack it with its own method", operation="ack_many"
                )
            by_queue.setdefault(delivery.queue, []).append(delivery)
        errors: dict[Delivery, CloudDirectError | None] = {}
        with self._broker.inside:
            for queue, group in by_queue.items():
                for batch in _batches(group, self.batch_size(queue)):
                    self._ack_batch(queue, batch, errors)
        return [SettleResult(delivery, errors[delivery]) for delivery in deliveries]

    def ack(self, delivery: Delivery) -> None:
        """Ack one delivery; raise what `Delivery.ack` promises."""
        errors: dict[Delivery, CloudDirectError | None] = {}
        with self._broker.inside:
            self._ack_batch(delivery.queue, [delivery], errors)
        error = errors[delivery]
        if error is not None:
            raise error

    def nack(self, delivery: Delivery, delay: float) -> None:
        """Give one delivery back after ``delay`` seconds."""
        with self._broker.inside, delivery._lock:
            if delivery._settled_as("nack"):
                return
            if delay > self._broker.capabilities(delivery.queue).max_nack_delay:
                left = self._lease_left(delivery)
                if left is None or left > 0:
                    self._hold(delivery, delay, left)
                    return
                delay = 0.0  # there is no lease to hold any more: let the broker say so
            error = self._settle("nack", delivery.queue, [delivery], self._nack_after(delivery.queue, delay))[0]
            self._finish([delivery], "nack", [error])
            if error is not None:
                raise error

    def release(self, queue: str, deliveries: Sequence[Delivery], ends: float | None = None) -> None:
        """Give back what nobody handles any more.

        A failure only costs the time until the lease ends, so it is logged. After ``ends``, a moment on the monotonic
        clock, no further call is made.
        """
        broker, patience = self._broker, time.monotonic() + LOCK_PATIENCE
        for batch in _batches(deliveries, self.batch_size(queue)):
            with ExitStack() as locks:
                mine = _lock_in_time(locks, batch, patience)
                errors = self._settle(
                    "release", queue, mine, lambda raws, timeout: broker._release(queue, raws, timeout), ends=ends
                )
                self.keeper.forget(mine)  # whatever came of it: they are not to be kept from others
                self._finish(mine, "release", errors)
                for error in errors:
                    if error is not None and not isinstance(error, LeaseLostError):
                        log.warning("a delivery of %r could not be released (%s); its lease will end by itself",
                                    queue, type(error).__name__)  # fmt: skip

    def dead_letter(self, delivery: Delivery, reason: str, description: str | None) -> None:
        """Put one delivery aside: natively, or by a configured target, or into the quarantine."""
        queue, broker = delivery.queue, self._broker

        def move(raws: Sequence[RawDelivery], timeout: float) -> Sequence[CloudDirectError | None]:
            broker._dead_letter(queue, raws[0], reason, description, timeout)
            return [None]

        with broker.inside, delivery._lock:
            if delivery._settled_as("dead_letter"):
                return
            error: CloudDirectError | None
            if broker.capabilities(queue).native_dead_letter:
                error = self._settle("dead_letter", queue, [delivery], move)[0]
            else:
                self._put_aside(delivery, reason, description)
                error = self._settle("dead_letter", queue, [delivery], self._remove(queue))[0]
                error = error or self._late(queue, [delivery])[0]
            self._finish([delivery], "dead_letter", [error], reason)
            if error is not None:
                raise error

    def extend(self, delivery: Delivery, seconds: float) -> datetime | None:
        """Let the lease run ``seconds`` from now."""
        queue = delivery.queue
        with self._broker.inside, delivery._lock:
            delivery._refuse_settled("extend")
            longest = self._broker.capabilities(queue).max_lease
            if longest is not None and seconds > longest:
                raise UnsupportedError(
                    f"a lease on {queue!r} can be extended to at most {longest:g} s, not {seconds:g}",
                    provider=self.provider, operation="extend", resource=queue, code="max_lease",
                )  # fmt: skip
            outcome = self._renew_locked(queue, [delivery], seconds, once=False)[0]
            if isinstance(outcome, LeaseLostError):
                self.lose(delivery)
            if outcome is not None:
                raise outcome
        return self.lease_expires_at(delivery)

    def lease_expires_at(self, delivery: Delivery) -> datetime | None:
        """Translate the lease's end from the monotonic clock to UTC."""
        left = self._lease_left(delivery)
        return None if left is None else self._clock.now() + timedelta(seconds=left)

    def keep(self, delivery: Delivery, max_seconds: float) -> None:
        """Renew the lease until the delivery is settled, for at most ``max_seconds``."""
        with self._broker.inside, delivery._lock:
            if delivery._outcome is None:
                self.keeper.keep([delivery], delivery._raw.lease or UNKNOWN_LEASE, max_seconds)

    # -- what the keeper calls ------------------------------------------------------------------------------

    def batch_size(self, queue: str) -> int:
        """How many deliveries of ``queue`` one settling call may hold."""
        return self._broker.capabilities(queue).max_settle_count

    def renew(self, queue: str, batch: Sequence[Delivery], seconds: float) -> list[CloudDirectError | None]:
        """Renew the leases of those that nobody is settling just now; an error for each that was not renewed."""
        with ExitStack() as locks:
            mine = [one for one in batch if _try_lock(locks, one) and (one._outcome is None or one._held)]
            errors = dict(zip(mine, self._renew_locked(queue, mine, seconds, once=True), strict=True))
        return [errors.get(one) for one in batch]

    def give_back(self, queue: str, batch: Sequence[Delivery]) -> list[CloudDirectError | None]:
        """Carry out nacks whose delay has passed; one attempt, one outcome each."""
        return self._settle("nack", queue, batch, self._nack_after(queue, 0.0), once=True)

    def lose(self, delivery: Delivery) -> None:
        """Tell the handler and the observers that the lease is gone."""
        if delivery._mark_lost():
            log.warning("a lease on %r was lost; the message will be delivered again", delivery.queue)
            self._tell(delivery, "lease_lost", None)

    # -- the machinery --------------------------------------------------------------------------------------

    def _nack_after(self, queue: str, delay: float) -> _Primitive[None]:
        return lambda raws, timeout: self._broker._nack(queue, raws, delay, timeout)

    def _remove(self, queue: str) -> _Primitive[None]:
        return lambda raws, timeout: self._broker._ack(queue, raws, timeout)

    def _ack_batch(
        self, queue: str, batch: Sequence[Delivery], errors: dict[Delivery, CloudDirectError | None]
    ) -> None:
        locked = []
        try:
            for delivery in sorted(batch, key=id):  # one order for all, so that two threads cannot wait for each other
                delivery._lock.acquire()
                locked.append(delivery)
            pending = []
            for delivery in batch:
                errors[delivery] = None
                try:
                    if not delivery._settled_as("ack"):
                        pending.append(delivery)
                except CloudDirectError as refusal:
                    errors[delivery] = refusal
            outcomes = self._settle("ack", queue, pending, self._remove(queue))
            known = [outcome or late for outcome, late in zip(outcomes, self._late(queue, pending), strict=True)]
            errors.update(zip(pending, known, strict=True))
            self._finish(pending, "ack", known)
        finally:
            for delivery in locked:
                delivery._lock.release()

    def _renew_locked(
        self, queue: str, batch: Sequence[Delivery], seconds: float, *, once: bool
    ) -> list[CloudDirectError | None]:
        began = self._clock.monotonic()

        def extend(raws: Sequence[RawDelivery], timeout: float) -> Sequence[float | CloudDirectError]:
            nonlocal began
            began = self._clock.monotonic()
            return self._broker._extend(queue, raws, seconds, timeout)

        errors: list[CloudDirectError | None] = []
        for delivery, granted in zip(batch, self._settle("extend", queue, batch, extend, once=once), strict=True):
            if isinstance(granted, CloudDirectError):
                errors.append(granted)
            else:
                delivery._lease_ends = began + granted
                errors.append(None)
        return errors

    def _settle(
        self,
        operation: str,
        queue: str,
        deliveries: Sequence[Delivery],
        primitive: _Primitive[T],
        *,
        once: bool = False,
        ends: float | None = None,
    ) -> list[T | CloudDirectError]:
        """Call a settling primitive and repeat it for what failed for a passing reason; one outcome each.

        Caller holds the deliveries' locks, or has the only right to settle them.
        """
        broker, retry, outcomes = self._broker, self._broker.runtime.retry, dict[int, T | CloudDirectError]()
        pending, until, attempt = list(range(len(deliveries))), retry.ends(self._clock, ends), 0
        while pending:
            attempt += 1
            timeout = broker.runtime.call_timeout
            if ends is not None:
                timeout = min(timeout, max(1.0, ends - self._clock.monotonic()))
            answers = self._attempt(operation, queue, [deliveries[place]._raw for place in pending], primitive, timeout)
            outcomes.update(zip(pending, answers, strict=True))
            failed = [(place, answer) for place, answer in zip(pending, answers, strict=True)
                      if isinstance(answer, CloudDirectError) and answer.retryable]  # fmt: skip
            if once or not failed or attempt >= retry.max_attempts:
                break
            wait = max(retry.backoff(attempt), *(error.retry_after or 0.0 for _, error in failed), 0.0)
            if until is not None and self._clock.monotonic() + wait >= until:
                break
            broker.pause(wait)
            pending = [place for place, _ in failed]
        return [outcomes[place] for place in range(len(deliveries))]

    def _attempt(
        self, operation: str, queue: str, raws: Sequence[RawDelivery], primitive: _Primitive[T], timeout: float
    ) -> Sequence[T | CloudDirectError]:
        try:
            return self._broker.attempt_each(operation, queue, len(raws), lambda: primitive(raws, timeout))
        except CloudDirectError as error:
            return [error, *(error.copy() for _ in raws[1:])]

    def _lease_left(self, delivery: Delivery) -> float | None:
        ends = delivery._lease_ends
        return None if ends is None else ends - self._clock.monotonic()

    def _late(self, queue: str, deliveries: Sequence[Delivery]) -> list[LeaseLostError | None]:
        """For each: whether the broker took the ack but cannot tell whether it counted, and by our clock it did not."""
        if self._broker.capabilities(queue).ack_is_checked:
            return [None] * len(deliveries)
        now = self._clock.monotonic()
        return [
            None if delivery._lease_ends is None or delivery._lease_ends > now else LeaseLostError(
                f"the ack on {queue!r} came after the lease had ended; the message may be delivered again",
                provider=self.provider, operation="ack", resource=queue,
            )
            for delivery in deliveries
        ]  # fmt: skip

    def _finish(
        self,
        deliveries: Sequence[Delivery],
        outcome: Outcome,
        errors: Sequence[CloudDirectError | None],
        reason: str | None = None,
    ) -> None:
        """Note what has been settled, or lost; another error settles nothing, and the caller may try again."""
        settled = [(delivery, error) for delivery, error in zip(deliveries, errors, strict=True)
                   if error is None or isinstance(error, LeaseLostError)]  # fmt: skip
        done = [delivery for delivery, _ in settled]
        self.keeper.forget(done)
        self._broker.settled(done)
        observed = bool(self._broker.runtime.observers)
        for delivery, error in settled:
            delivery._finished(outcome, error)
            if error is not None:
                self.lose(delivery)
            elif observed:
                self._tell(delivery, outcome, reason)

    def _hold(self, delivery: Delivery, delay: float, left: float | None) -> None:
        """Nack later, where the broker can only give back at once: keep the lease until then."""
        delivery._held = True
        delivery._finished("nack", None)
        self._broker.settled([delivery])
        self.keeper.hold(delivery, max(left or 0.0, delivery._raw.lease or UNKNOWN_LEASE), delay)
        self._tell(delivery, "nack", None)

    def _put_aside(self, delivery: Delivery, reason: str, description: str | None) -> None:
        """Store a durable copy elsewhere; only then may the original be removed."""
        queue, broker = delivery.queue, self._broker
        attributes = {**delivery.message.attributes, DEAD_LETTER_REASON: reason, DEAD_LETTER_QUEUE: queue}
        if description:
            attributes[DEAD_LETTER_DESCRIPTION] = description
        copy = replace(delivery.message, attributes=attributes, delay=None, time_to_live=None)
        target = broker.runtime.dead_letter_send.get(queue)
        if target is not None:
            try:
                self._send_copy(target, copy)
                return
            except CloudDirectError as error:
                if error.retryable or isinstance(error, ClosedError):
                    raise  # the target may take it later: the message stays where it is until then
                log.error("the dead-letter target %r does not take a message (%s); it goes to the local quarantine",
                          target, type(error).__name__)  # fmt: skip
        self.quarantine.put(broker.provider, queue, copy, delivery.delivery_count, self._clock.now())

    def _send_copy(self, target: str, copy: Message) -> None:
        if copy.ordering_key is not None and not self._broker.capabilities(target).ordering:
            copy = replace(copy, ordering_key=None)
        self._broker.send(target, copy)

    def _tell(self, delivery: Delivery, outcome: Outcome | Literal["lease_lost"], reason: str | None) -> None:
        observers = self._broker.runtime.observers
        if observers:
            event = MessageEvent(
                provider=self.provider, queue=delivery.queue, message_id=delivery.message.id,
                correlation_id=delivery.message.correlation_id, size=len(delivery.message.body), at=self._clock.now(),
                outcome=outcome, delivery_count=delivery.delivery_count, reason=reason,
            )  # fmt: skip
            observers.tell("clouddirect_message_settled", event)


def _batches(deliveries: Sequence[Delivery], size: int) -> list[Sequence[Delivery]]:
    return [deliveries[start : start + size] for start in range(0, len(deliveries), size)]


def _try_lock(locks: ExitStack, delivery: Delivery) -> bool:
    """Lock a delivery unless somebody is settling it just now: renewing it would then be pointless."""
    if not delivery._lock.acquire(blocking=False):
        return False
    locks.callback(delivery._lock.release)
    return True


def _lock_in_time(locks: ExitStack, batch: Sequence[Delivery], ends: float) -> list[Delivery]:
    """Lock the deliveries that are still open, in their order, leaving out those still busy at ``ends`` (real time)."""
    locked = set()
    for delivery in sorted(batch, key=id):
        if delivery._lock.acquire(timeout=max(0.0, ends - time.monotonic())):
            locks.callback(delivery._lock.release)
            if delivery.settled is None:
                locked.add(delivery)
        else:
            log.warning("a delivery of %r is still being settled; it is not given back", delivery.queue)
    return [delivery for delivery in batch if delivery in locked]
