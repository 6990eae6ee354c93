"""`send_many`: fill batches within the broker's limits, send, and give every message an outcome of its own.

Work goes in rounds. A round takes every message that may be sent now, in input order, and fills batches. What fails for
a passing reason goes into a later round. A batch refused as a whole because of one message is halved from round to
round until that message stands alone. Within an ordering key nothing overtakes: a key's messages are in one batch at a
time (one message at a time where outcomes within a batch are independent), and after a failure the later ones report
``not_sent``.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from clouddirect.clock import Clock
from clouddirect.errors import ClosedError, CloudDirectError, InvalidMessageError, TooLargeError, UnsupportedError
from clouddirect.messaging.capabilities import Capabilities
from clouddirect.messaging.message import Message, SendReceipt, SendResult
from clouddirect.retry import Interrupt, RetryPolicy

__all__ = ["BatchSender"]

#: Errors that are about one message, so that the rest of the batch is worth sending without it.
_ABOUT_ONE_MESSAGE = (InvalidMessageError, TooLargeError, UnsupportedError)


@dataclass(slots=True, eq=False)
class _Item:
    place: int
    message: Message
    size: int
    attempts: int = 0
    ends: float | None = None  # when retrying it ends, on the monotonic clock
    company: float = math.inf  # most messages it may share a batch with, itself included; halved to find a bad one
    maybe_sent: bool = False
    error: CloudDirectError | None = None  # of the last attempt
    result: SendResult | None = None

    def fail(self, error: CloudDirectError) -> None:
        if self.maybe_sent and not error.maybe_sent:
            error = error.copy()  # a batch's messages share one error object
            error.maybe_sent = True
        self.result = SendResult(self.message, "failed", error=error)


@dataclass(slots=True)
class _Batch:
    items: list[_Item] = field(default_factory=list)
    size: int = 0
    company: float = math.inf

    def takes(self, item: _Item, can: Capabilities) -> bool:
        if not self.items:
            return True
        count = len(self.items) + 1
        if count > can.max_send_count or count > self.company or count > item.company:
            return False
        return can.max_send_bytes is None or self.size + item.size <= can.max_send_bytes

    def add(self, item: _Item) -> None:
        self.items.append(item)
        self.size += item.size
        if item.company < self.company:
            self.company = item.company


class BatchSender:
    """Sends the messages of one `send_many` call."""

    def __init__(
        self,
        capabilities: Capabilities,
        send: Callable[[Sequence[Message]], Sequence[SendReceipt | CloudDirectError]],
        *,
        retry: RetryPolicy,
        clock: Clock,
        interrupt: Interrupt,
    ) -> None:
        """``send`` makes one attempt to send one batch and raises `CloudDirectError` when it failed as a whole."""
        self._can = capabilities
        self._send = send
        self._retry = retry
        self._clock = clock
        self._interrupt = interrupt
        self._free: list[_Item] = []
        self._lanes: dict[str, deque[_Item]] = {}
        self._pool: ThreadPoolExecutor | None = None

    def run(self, checked: Iterable[tuple[Message, int, CloudDirectError | None]]) -> list[SendResult]:
        """Send the messages, each given with its size and with the error, if any, that refuses it beforehand."""
        items = []
        for place, (message, size, refusal) in enumerate(checked):
            item = _Item(place, message, size)
            items.append(item)
            if refusal is not None:
                item.fail(refusal)
            if message.ordering_key is not None:
                self._lanes.setdefault(message.ordering_key, deque()).append(item)
            else:
                self._free.append(item)
        self._drop_finished()
        with ExitStack() as resources:
            while self._free or self._lanes:
                passing = self._run_round(self._fill(), resources)
                self._drop_finished()
                if passing and (self._free or self._lanes):
                    self._pause(passing)
        return [item.result for item in items if item.result is not None]

    def _run_round(self, batches: list[_Batch], resources: ExitStack) -> list[CloudDirectError]:
        """Attempt every batch once; return the errors after which something is to be tried again."""
        if len(batches) > 1 and self._can.send_concurrency > 1:
            if self._pool is None:
                pool = ThreadPoolExecutor(self._can.send_concurrency, thread_name_prefix="clouddirect-send")
                self._pool = resources.enter_context(pool)
            found = list(self._pool.map(self._attempt, batches))
        else:
            found = [self._attempt(batch) for batch in batches]
        return [error for errors in found for error in errors]

    def _fill(self) -> list[_Batch]:
        ready = list(self._free)
        most = self._can.max_send_count if self._can.atomic_send else 1
        for lane in self._lanes.values():
            ready.extend(itertools.takewhile(lambda item: item.result is None, itertools.islice(lane, most)))
        if self._lanes:
            ready.sort(key=lambda item: item.place)
        batches: list[_Batch] = []
        filling: dict[str | None, _Batch] = {}
        batch_of_key: dict[str, _Batch] = {}
        for item in ready:
            key = item.message.ordering_key
            slot = key if self._can.one_key_per_send else None
            batch = filling.get(slot)
            fresh = batch is None or not batch.takes(item, self._can)
            if key is not None and key in batch_of_key and (fresh or batch_of_key[key] is not batch):
                continue  # the rest of this key waits until its earlier messages are confirmed
            if batch is None or fresh:
                batch = filling[slot] = _Batch()
                batches.append(batch)
            batch.add(item)
            if key is not None:
                batch_of_key[key] = batch
        return batches

    def _attempt(self, batch: _Batch) -> list[CloudDirectError]:
        """Send one batch once and record what is final; return the errors of what is to be tried again."""
        ends = self._retry.ends(self._clock)
        for item in batch.items:
            if not item.attempts:
                item.ends = ends
            item.attempts += 1
        try:
            outcomes = self._send([item.message for item in batch.items])
        except CloudDirectError as error:
            if len(batch.items) > 1 and not error.retryable and isinstance(error, _ABOUT_ONE_MESSAGE):
                for item in batch.items:
                    item.attempts -= 1  # the refusal was not about this message, as far as anybody knows
                    item.company = len(batch.items) // 2
                return []
            outcomes = [error] * len(batch.items)
        passing: dict[int, CloudDirectError] = {}
        for item, outcome in zip(batch.items, outcomes, strict=True):
            if not isinstance(outcome, CloudDirectError):
                item.result = SendResult(item.message, "sent", receipt=outcome)
                continue
            item.error = outcome
            item.maybe_sent = item.maybe_sent or outcome.maybe_sent
            if outcome.retryable and item.attempts < self._retry.max_attempts:
                passing[id(outcome)] = outcome
            else:
                item.fail(outcome)
        return list(passing.values())

    def _pause(self, passing: Sequence[CloudDirectError]) -> None:
        """Wait before the next round; fail what has no time left for it, or everything when the wait is cut short."""
        attempts = max(item.attempts for item in self._waiting())
        wait = self._retry.backoff(max(attempts, 1))
        wait = max(wait, *(error.retry_after or 0.0 for error in passing))
        moment = self._clock.monotonic() + wait
        for item in self._waiting():
            if item.error is not None and item.ends is not None and item.ends <= moment:
                item.fail(item.error)
        self._drop_finished()
        if (self._free or self._lanes) and self._interrupt.wait(wait):
            for item in self._waiting():
                item.fail(item.error or ClosedError("the broker was closed before this message was sent"))
            self._drop_finished()

    def _drop_finished(self) -> None:
        self._free = [item for item in self._free if item.result is None]
        for key, lane in list(self._lanes.items()):
            while lane and (result := lane[0].result) is not None:
                lane.popleft()
                if not result.ok:
                    for later in lane:
                        later.result = SendResult(later.message, "not_sent", error=result.error)
                    lane.clear()
            if not lane:
                del self._lanes[key]

    def _waiting(self) -> list[_Item]:
        """The messages that are next in line: all without a key, and the first of each key."""
        return [*self._free, *(lane[0] for lane in self._lanes.values())]
