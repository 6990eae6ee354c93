"""A subscription's backlog: what is ready, what is leased until when, and what comes back.

Every call runs on the server's event loop, so nothing here is locked. Nothing here looks through the whole backlog
either, except a seek: deadlines lie in a heap, one element for all the messages that were leased together.

Sources: the RPC reference of google.pubsub.v1 (Subscriber), "Handle message failures" (retry policy, dead-letter
topics), "Exactly-once delivery", "Replay and purge messages" (seek, retention).
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .filters import Matcher, parse_filter
from .lanes import Entry, Lane, Published
from .refusals import Refusal, invalid
from .schedule import Schedule

__all__ = ["Subscription"]

#: The most a response holds, in bytes; clients read 4 MiB by default, the service sends more.
MAX_RESPONSE_BYTES = 10_000_000
#: What an ack id of the service is long; requests of a thousand reach the limit of an Acknowledge request.
ACK_ID_LENGTH = 176

_DEFAULT_RETENTION = 7 * 86_400.0
_INVALID_ACK_ID = "PERMANENT_FAILURE_INVALID_ACK_ID"
_UNORDERED_ACK_ID = "TRANSIENT_FAILURE_UNORDERED_ACK_ID"


class Subscription:
    """One subscription and its messages.

    Args:
        config: google.pubsub.v1.Subscription.
        forward: publishes a message that has failed too often to the dead-letter topic; False where it cannot.
        ack_deadline: the lease of a pull in seconds, where it shall differ from the configuration.
    """

    def __init__(
        self, config: Any, forward: Callable[[Subscription, Entry], bool], ack_deadline: float | None = None
    ) -> None:
        self.config = config
        self.ended: Refusal | None = None  # what pulls are answered after the subscription was deleted or detached
        self._forward = forward
        self._ack_deadline = ack_deadline
        self._matches: Matcher | None = parse_filter(config.filter) if config.filter else None
        self._prefix = secrets.token_urlsafe(ACK_ID_LENGTH)[: ACK_ID_LENGTH - 12] + "."
        self._ready: deque[Entry | Lane] = deque()
        self._lanes: dict[str, Lane] = {}
        self._leases: dict[str, Entry] = {}
        self._unacked: dict[int, Entry] = {}
        self._acked: deque[Published] = deque()  # only with retain_acked_messages
        self._deadlines: Schedule[list[Entry]] = Schedule(self._expire)
        self._backoffs: Schedule[Entry | Lane] = Schedule(self._expire)
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Future[None]] = set()
        self._settled = 0  # calls of `ack` since the deadlines were compacted

    # What the configuration says

    @property
    def ack_deadline(self) -> float:
        """Seconds of a pulled message's lease."""
        return self._ack_deadline or float(self.config.ack_deadline_seconds)

    @property
    def exactly_once(self) -> bool:
        """Whether failed settlements are reported."""
        return bool(self.config.enable_exactly_once_delivery)

    @property
    def backlog(self) -> list[Published]:
        """Every message that is not acknowledged, in order of publication."""
        return [self._unacked[number].published for number in sorted(self._unacked)]

    @property
    def outstanding(self) -> int:
        """How many messages are leased now."""
        return len(self._leases)

    @property
    def leases(self) -> list[float]:
        """How many seconds are left of each lease."""
        now = self._loop.time()
        return [entry.deadline - now for entry in self._leases.values()]

    # Messages come in

    def put(self, published: Iterable[Published]) -> None:
        """Take messages; what the filter does not match is acknowledged at once."""
        ordered, matches = self.config.enable_message_ordering, self._matches
        for one in published:
            if matches is not None and not matches(one.message.attributes):
                continue
            key = one.message.ordering_key if ordered else ""
            if key:
                lane = self._lanes.get(key) or self._lanes.setdefault(key, Lane(key))
                entry = Entry(one, lane)
                lane.entries.append(entry)
                self._queue(lane)
            else:
                entry = Entry(one)
                self._ready.append(entry)
            self._unacked[one.number] = entry
        self.wake()

    # Messages go out

    def take(self, response: Any, limit: int, lease: float, holder: Any = None, room: int = MAX_RESPONSE_BYTES) -> int:
        """Lease up to ``limit`` messages for ``lease`` seconds and add them to the response; return how many.

        The first goes out in any case, further ones only where they fit into ``room`` bytes.
        """
        self._expire()
        chosen = self._choose(limit, min(room, MAX_RESPONSE_BYTES))
        if not chosen:
            return 0
        deadline = self._loop.time() + lease
        attempts = self.config.HasField("dead_letter_policy")
        add = response.received_messages.add
        for entry in chosen:
            published = entry.published
            entry.delivered += 1
            entry.deadline = deadline
            entry.ack_id = ack_id = f"{self._prefix}{published.number}-{entry.delivered}"
            self._leases[ack_id] = entry
            if holder is not None:
                entry.holder = holder
                holder.count += 1
                holder.size += published.size
            received = add(ack_id=ack_id)
            received.message.CopyFrom(published.message)
            if attempts:
                received.delivery_attempt = entry.failures + 1
        self._deadlines.add(deadline, chosen)
        return len(chosen)

    def _choose(self, limit: int, room: int) -> list[Entry]:
        """Take from what is ready: up to ``limit`` messages of ``room`` bytes."""
        chosen: list[Entry] = []
        oldest, ready = time.time() - self._retention(), self._ready
        full = False
        while ready and len(chosen) < limit and not full:
            first = ready.popleft()
            batch = self._batch(first, limit - len(chosen), oldest)
            for count, entry in enumerate(batch):
                full = bool(chosen) and entry.published.size > room
                if full:
                    del batch[count:]
                    break
                room -= entry.published.size
                chosen.append(entry)
            if isinstance(first, Lane):
                first.queued, first.out = False, len(batch)
                self._queue(first)
            elif full:
                ready.appendleft(first)
        return chosen

    def _batch(self, first: Entry | Lane, limit: int, oldest: float) -> list[Entry]:
        """Return what can go out of one element of what is ready; what is older than the retention goes."""
        if isinstance(first, Lane):
            while first.entries and first.entries[0].published.at < oldest:
                self._forget(first.entries.popleft())
            return list(itertools.islice(first.entries, limit))
        if first.published.at < oldest and not first.gone:
            self._forget(first)
        return [] if first.gone else [first]

    # Messages are settled

    def ack(self, ack_ids: Sequence[str]) -> dict[str, str]:
        """Acknowledge; return the ids that failed, each with the reason the service gives.

        Raises:
            Refusal: INVALID_ARGUMENT for an id that is none of this subscription's, unless that is exactly-once;
                then nothing is acknowledged.
        """
        found, failed = self._find(ack_ids)
        for entry in found:
            lane = entry.lane
            if lane is not None and self.exactly_once and lane.entries[0] is not entry:
                failed[entry.ack_id] = _UNORDERED_ACK_ID
                continue
            self._end_lease(entry)
            self._forget(entry)
            if lane is not None:
                self._settle(lane)
        self._compact()
        self.wake()
        return failed

    def modify_deadline(self, ack_ids: Sequence[str], seconds: int) -> dict[str, str]:
        """Let the leases end ``seconds`` from now; 0 gives the messages back. Returns and raises as `ack` does."""
        if not 0 <= seconds <= 600:
            raise invalid(f"ack_deadline_seconds is 0 to 600, not {seconds}")
        found, failed = self._find(ack_ids)
        if seconds == 0:
            self._give_back(found)
        else:
            deadline = self._loop.time() + seconds
            for entry in found:
                entry.deadline = deadline
            self._deadlines.add(deadline, found)
        return failed

    def _find(self, ack_ids: Sequence[str]) -> tuple[list[Entry], dict[str, str]]:
        self._expire()
        found, failed = [], {}
        for ack_id in dict.fromkeys(ack_ids):
            entry = self._leases.get(ack_id)
            if entry is not None:
                found.append(entry)
            elif self.exactly_once or ack_id.startswith(self._prefix):
                failed[ack_id] = _INVALID_ACK_ID
            else:
                raise invalid(f"You have passed an invalid ack ID to the service (ack_id={ack_id}).")
        if self.config.enable_message_ordering:
            found.sort(key=_number)
        return found, failed

    def _end_lease(self, entry: Entry) -> None:
        del self._leases[entry.ack_id]
        entry.ack_id = ""
        holder = entry.holder
        if holder is not None:
            entry.holder = None
            holder.count -= 1
            holder.size -= entry.published.size

    def _forget(self, entry: Entry) -> None:
        entry.gone = True
        del self._unacked[entry.published.number]
        if self.config.retain_acked_messages:
            self._acked.append(entry.published)

    def _settle(self, lane: Lane) -> None:
        lane.settle()
        if lane.entries:
            self._queue(lane)
        else:
            del self._lanes[lane.key]

    # Messages come back

    def _give_back(self, entries: Sequence[Entry]) -> None:
        """Make messages that were not acknowledged ready again, after their backoff, or forward them as dead."""
        for entry in entries:
            entry.failures += 1
        for entry in entries:
            if not entry.ack_id:
                continue  # went back with an earlier one of its key
            lane = entry.lane
            if lane is None:
                self._end_lease(entry)
            else:
                self._withdraw(lane, entry)
            dead = self._is_dead(entry) and self._forward(self, entry)
            if dead:
                self._forget(entry)
            if lane is not None:
                lane.not_before = 0.0 if dead else self._loop.time() + self._backoff(entry)
                self._settle(lane)
            elif not dead:
                self._again(entry, self._loop.time() + self._backoff(entry))
        self.wake()

    def _withdraw(self, lane: Lane, entry: Entry) -> None:
        for one in lane.withdraw(entry):
            if one.gone:
                one.gone = False
                self._unacked[one.published.number] = one
            else:
                self._end_lease(one)

    def _queue(self, lane: Lane) -> None:
        if lane.deliverable:
            lane.queued = True
            self._again(lane, lane.not_before)

    def _again(self, what: Entry | Lane, not_before: float) -> None:
        if not_before <= self._loop.time():
            self._ready.append(what)
        else:
            self._backoffs.add(not_before, what)

    def _is_dead(self, entry: Entry) -> bool:
        policy = self.config.dead_letter_policy
        return bool(policy.dead_letter_topic) and entry.failures >= (policy.max_delivery_attempts or 5)

    def _backoff(self, entry: Entry) -> float:
        """Seconds until the next delivery: the minimum, doubled with every failure, up to the maximum."""
        if not self.config.HasField("retry_policy"):
            return 0.0
        policy = self.config.retry_policy
        least = _seconds(policy.minimum_backoff) if policy.HasField("minimum_backoff") else 10.0
        most = _seconds(policy.maximum_backoff) if policy.HasField("maximum_backoff") else 600.0
        return float(min(most, least * 2.0 ** min(entry.failures - 1, 30)))

    # Time passes

    def _expire(self) -> None:
        """Give back what was leased until now; make ready what was in backoff until now."""
        now = self._loop.time()
        for entries in self._deadlines.due():
            # An entry may have been settled, extended or leased anew since: its own deadline tells.
            due = [entry for entry in entries if entry.ack_id and entry.deadline <= now]
            if due:
                self._give_back(due)
        for what in self._backoffs.due():
            self._ready.append(what)
            self.wake()

    def _compact(self) -> None:
        """Drop settled entries from the schedule of deadlines, now and then."""
        self._settled += 1
        if self._settled >= 1_000:
            self._settled = 0
            self._deadlines.replace(lambda entries: [entry for entry in entries if entry.ack_id] or None)

    def _retention(self) -> float:
        if self.config.HasField("message_retention_duration"):
            return _seconds(self.config.message_retention_duration)
        return _DEFAULT_RETENTION

    # Waiting

    def wake(self) -> None:
        """Let those look again who wait for messages."""
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def changed(self, seconds: float) -> None:
        """Return when something may have become ready, at the latest after ``seconds``."""
        future = self._loop.create_future()
        self._waiting.add(future)
        try:
            await asyncio.wait([future], timeout=seconds)
        finally:
            self._waiting.discard(future)

    # Seeking and ending

    def seek_time(self, at: float) -> None:
        """Acknowledge all that was published before ``at`` (seconds since the epoch), and deliver the rest (again)."""
        known = {one.number: one for one in itertools.chain(self._acked, self.backlog)}
        self.replace(one for one in known.values() if one.at >= at)

    def replace(self, published: Iterable[Published]) -> None:
        """Make these messages the backlog, undelivered; those that were in it before are acknowledged."""
        wanted = {one.number: one for one in published}
        acked = {one.number: one for one in itertools.chain(self._acked, self.backlog)}
        self._clear()
        if self.config.retain_acked_messages:
            oldest = time.time() - self._retention()
            self._acked.extend(one for n, one in acked.items() if n not in wanted and one.at >= oldest)
        self.put(wanted[number] for number in sorted(wanted))

    def end(self, why: Refusal) -> None:
        """Drop everything; pulls under way and later ones are answered with ``why``."""
        self.ended = why
        self._clear()
        self.wake()

    def _clear(self) -> None:
        for entry in list(self._leases.values()):
            self._end_lease(entry)
        for entry in self._unacked.values():
            entry.gone = True
        for kept in (self._ready, self._lanes, self._unacked, self._acked, self._deadlines, self._backoffs):
            kept.clear()


def _number(entry: Entry) -> int:
    return entry.published.number


def _seconds(duration: Any) -> float:
    return float(duration.seconds + duration.nanos / 1e9)
