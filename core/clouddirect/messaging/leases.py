"""`LeaseKeeper`: renews leases and carries out nacks whose delay the broker cannot hold, for one broker.

Its threads share one heap of moments. While some are in calls another one waits for what is due next, up to a small
number of them, so that a call that hangs does not cost the other leases.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clouddirect.clock import Clock
from clouddirect.errors import LeaseLostError
from clouddirect.messaging.delivery import Delivery
from clouddirect.retry import RetryPolicy

if TYPE_CHECKING:
    from clouddirect.messaging.settlement import Settlement

__all__ = ["LeaseKeeper"]

log = logging.getLogger("clouddirect.messaging")

#: A lease is renewed when this part of it has passed.
RENEW_AT = 0.7
#: Seconds between two attempts to renew one lease, at least.
MIN_PAUSE = 0.05
#: Seconds after which an attempt is repeated when nobody knows how long the lease still runs.
BLIND_PAUSE = 1.0
MAX_THREADS = 4

_Task = Literal["give_back", "lose", "wait", "renew"]


@dataclass(slots=True, eq=False)
class _Kept:
    delivery: Delivery
    seconds: float  # what each renewal asks for
    until: float  # when renewing stops, on the monotonic clock
    give_back_at: float | None = None  # for a held nack
    giving_back: bool = False
    failures: int = 0  # of giving back
    attempted: bool = False  # a renewal was

    def task(self, now: float) -> _Task:
        ends = self.delivery._lease_ends
        if self.give_back_at is not None and self.give_back_at <= now:
            return "give_back"
        if ends is not None and ends <= now:
            return "lose"
        return "wait" if self.give_back_at is None and self.until <= now else "renew"


class LeaseKeeper:
    """Keeps leases alive until they are settled, or until their cap. Its threads start with the first lease to keep."""

    def __init__(self, settlement: Settlement, clock: Clock, retry: RetryPolicy, name: str) -> None:
        """Made by core; ``name`` appears in the names of the threads."""
        self._settlement = settlement
        self._clock = clock
        self._retry = retry
        self._name = name
        self._condition = threading.Condition()
        self._kept: dict[Delivery, _Kept] = {}
        self._due: list[tuple[float, int, _Kept]] = []
        self._serial = itertools.count()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._stopped = False

    def keep(self, deliveries: Iterable[Delivery], seconds: float, cap: float) -> None:
        """Renew each lease by ``seconds`` when 70 % of it has passed, for at most ``cap`` seconds in all.

        A lease of unknown length is renewed at once, which makes its length known.
        """
        now = self._clock.monotonic()
        with self._condition:
            for delivery in deliveries:
                self._add(_Kept(delivery, seconds, now + cap), now)

    def hold(self, delivery: Delivery, seconds: float, delay: float) -> None:
        """Keep the lease for ``delay`` seconds, then give the delivery back at once."""
        now = self._clock.monotonic()
        with self._condition:
            self._add(_Kept(delivery, seconds, now + delay, give_back_at=now + delay), now)

    def forget(self, deliveries: Iterable[Delivery]) -> None:
        """Stop keeping deliveries that have been settled, or that nobody is going to settle."""
        if self._kept:  # without the lock: most brokers never keep anything
            with self._condition:
                for delivery in deliveries:
                    self._kept.pop(delivery, None)

    def stop(self, timeout: float) -> list[Delivery]:
        """End the threads, waiting up to ``timeout`` real seconds for them; leases then run out by themselves.

        Returns:
            The deliveries whose nack was still waiting for its delay; giving them back is the caller's affair now.
        """
        with self._condition:
            self._stopped = True
            held = [one.delivery for one in self._kept.values() if one.give_back_at is not None and not one.giving_back]
            self._kept.clear()
            self._due.clear()
            self._condition.notify_all()
            threads = list(self._threads)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(timeout / len(threads))
        return held

    # -- the heap; callers hold the lock --------------------------------------------------------------------

    def _add(self, kept: _Kept, now: float) -> None:
        if self._stopped:
            return
        self._kept[kept.delivery] = kept
        self._schedule(kept, now)
        if not self._threads:
            self._start_thread()

    def _start_thread(self) -> None:
        name = f"clouddirect-leases-{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _schedule(self, kept: _Kept, now: float) -> None:
        moment = self._next_moment(kept, now)
        if moment is None:
            self._kept.pop(kept.delivery, None)
            return
        if len(self._due) > 64 + 2 * len(self._kept):  # what was settled stays in the heap until now
            self._due = [entry for entry in self._due if self._kept.get(entry[2].delivery) is entry[2]]
            heapq.heapify(self._due)
        heapq.heappush(self._due, (moment, next(self._serial), kept))
        if self._due[0][2] is kept:
            self._condition.notify()

    def _next_moment(self, kept: _Kept, now: float) -> float | None:
        """When to look at a lease again; None when nothing can be done for it any more."""
        ends = kept.delivery._lease_ends
        if kept.give_back_at is None and kept.until <= now:
            return ends  # renewing has ended: come back only to say that the lease is lost
        if ends is None:
            moment = now + (BLIND_PAUSE if kept.attempted else 0.0)
        else:
            moment = min(ends, now + max((ends - now) * RENEW_AT, MIN_PAUSE))
        return moment if kept.give_back_at is None else min(moment, max(kept.give_back_at, now))

    def _next_batch(self) -> tuple[_Task, list[_Kept]] | None:
        """Wait until something is due; return what can be done about it in one call, None once stopped."""
        self._idle += 1
        try:
            while not self._stopped:
                now = self._clock.monotonic()
                task, batch = self._take_due(now)
                if batch:
                    return task, batch
                self._clock.wait(self._condition, self._due[0][0] - now if self._due else None)
            return None
        finally:
            self._idle -= 1
            if not self._idle and not self._stopped and len(self._threads) < MAX_THREADS:
                self._start_thread()
            elif self._due:
                self._condition.notify()

    def _take_due(self, now: float) -> tuple[_Task, list[_Kept]]:
        task: _Task = "wait"
        batch: list[_Kept] = []
        size = 1
        while self._due and self._due[0][0] <= now:
            kept = self._due[0][2]
            if self._kept.get(kept.delivery) is kept:
                if not batch:
                    task = kept.task(now)
                    size = self._settlement.batch_size(kept.delivery.queue)
                elif not self._fits(kept, task, batch[0], now) or len(batch) >= size:
                    break
                kept.giving_back = task == "give_back"
                batch.append(kept)
            heapq.heappop(self._due)
        return task, batch

    def _fits(self, kept: _Kept, task: _Task, first: _Kept, now: float) -> bool:
        same = kept.delivery.queue == first.delivery.queue and kept.task(now) == task
        return same and (task != "renew" or kept.seconds == first.seconds)

    # -- the work -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._condition:
                found = self._next_batch()
            if found is None:
                return
            task, batch = found
            if task == "give_back":
                self._give_back(batch)
            elif task == "renew":
                self._renew(batch)
            else:
                for kept in batch:
                    self._lose(kept) if task == "lose" else self._again(kept)

    def _renew(self, batch: list[_Kept]) -> None:
        queue = batch[0].delivery.queue
        outcomes = self._settlement.renew(queue, [kept.delivery for kept in batch], batch[0].seconds)
        for kept, outcome in zip(batch, outcomes, strict=True):
            kept.attempted = True
            if isinstance(outcome, LeaseLostError):
                self._lose(kept)
                continue
            if outcome is not None:
                log.warning("a lease on %r could not be renewed (%s)", queue, type(outcome).__name__)
                if kept.delivery._lease_ends is None and not outcome.retryable:
                    self.forget([kept.delivery])  # of unknown length and not to be renewed: there is nothing to keep
            self._again(kept)

    def _give_back(self, batch: list[_Kept]) -> None:
        queue = batch[0].delivery.queue
        errors = self._settlement.give_back(queue, [kept.delivery for kept in batch])
        for kept, error in zip(batch, errors, strict=True):
            kept.failures += 1
            if error is None or not error.retryable or kept.failures >= self._retry.max_attempts:
                self.forget([kept.delivery])
                if error is not None:
                    log.warning("a delayed nack on %r failed (%s); the lease will end by itself",
                                queue, type(error).__name__)  # fmt: skip
            else:
                kept.give_back_at = self._clock.monotonic() + self._retry.backoff(kept.failures, error)
                self._again(kept)

    def _again(self, kept: _Kept) -> None:
        with self._condition:
            kept.giving_back = False
            if self._kept.get(kept.delivery) is kept:
                self._schedule(kept, self._clock.monotonic())

    def _lose(self, kept: _Kept) -> None:
        self.forget([kept.delivery])
        self._settlement.lose(kept.delivery)
