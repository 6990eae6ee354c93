"""`Dispatch`: the one door by which events and results leave the sandbox, and where faults are made on demand."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from clouddirect.clock import Clock
from clouddirect.orders.models import Event, OrderResult, to_wire
from clouddirect.sandbox.faults import chance, malformed_body, unknown_event
from clouddirect.settings import FaultSettings

__all__ = ["Dispatch", "Parcel"]

log = logging.getLogger("clouddirect.sandbox")


@dataclass(slots=True, eq=False)
class Parcel:
    """What is sent, or sent twice.

    Attributes:
        owner: id of the message that it answers.
        endpoint: ``events`` or ``results``.
        body: the body of the message.
        order_local_id: Order.LocalId; it goes out as the correlation id.
        message: what the body says; None where it cannot be read.
        copy_after: seconds after which it is sent again, 0 for directly behind; None for not.
        gone: it has left, or need not leave any more.
    """

    owner: str
    endpoint: str
    body: bytes
    order_local_id: str | None
    message: Event | OrderResult | None
    copy_after: float | None = None
    gone: bool = False


@dataclass(slots=True)
class _Owner:
    """What is known of a message that is being answered.

    Attributes:
        sent: how many messages of each kind were made for it.
        held_back: how many of them are still here.
        overtaken: the event that leaves when the next one has left.
        settle: what is to be done once everything has left.
    """

    sent: Counter[str] = field(default_factory=Counter)
    held_back: int = 0
    overtaken: Parcel | None = None
    settle: list[Callable[[], object]] = field(default_factory=list)


class Dispatch:
    """Sends events and results: at once, unless a fault is drawn. Used by one thread.

    A message that is held back stays here, so what it answers must not be acked before it has left: `when_sent` says
    when. After a crash the order comes again, and with it everything that was not sent.

    Attributes:
        faults: the chances; may be replaced at any time.
        made: how often each fault was made, by its name in `FaultSettings`.
    """

    def __init__(self, send: Callable[[Parcel], object], clock: Clock, seed: int, faults: FaultSettings) -> None:
        """Send by ``send``, which returns when the broker has confirmed the message."""
        self.faults = faults
        self.made: Counter[str] = Counter()
        self._send = send
        self._clock = clock
        self._seed = seed
        self._owners: dict[str, _Owner] = {}
        self._late: list[tuple[float, int, Parcel]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        """How many messages wait to be settled until everything about them has left."""
        return sum(1 for owner in self._owners.values() if owner.settle)

    def emit(self, owner: str, message: Event | OrderResult) -> None:
        """Send a message that answers the message with the id ``owner``; it may leave later, twice, or in company.

        Raises:
            CloudDirectError: it could not be sent; part of it may have been.
        """
        about = self._owners.setdefault(owner, _Owner())
        kind = str(message.result_object_type)
        about.sent[kind] += 1
        local_id = message.order_local_id
        what = (local_id, kind, about.sent[kind])
        is_event = not isinstance(message, OrderResult)
        parcel = Parcel(owner, "events" if is_event else "results", to_wire(message), local_id, message)
        if not isinstance(message, OrderResult) and self._strikes("unknown_kinds", what):
            stranger = unknown_event(message, self._luck("kind", what))
            self._send(Parcel(owner, parcel.endpoint, to_wire(stranger), local_id, stranger))
        if self._strikes("malformed", what):
            body = malformed_body(parcel.body, self._luck("body", what))
            self._send(Parcel(owner, parcel.endpoint, body, local_id, None))
        if self._strikes("duplicates", what):
            late = self._luck("late copy", what) < self.faults.delays
            parcel.copy_after = self._luck("copy", what) * self.faults.longest_delay if late else 0.0
        if self._strikes("delays", what):
            self._hold_back(parcel, self._luck("delay", what) * self.faults.longest_delay)
        elif is_event and about.overtaken is None and self._strikes("reordering", what):
            about.overtaken = parcel
            self._hold_back(parcel, self.faults.longest_delay)
        else:
            self._leave(parcel)

    def when_sent(self, owner: str, settle: Callable[[], object]) -> None:
        """Call ``settle`` when everything that was emitted for ``owner`` has left: now, or in `flush`."""
        about = self._owners.get(owner)
        if about is not None and about.held_back:
            about.settle.append(settle)
            return
        self._owners.pop(owner, None)
        settle()

    def is_settling(self, owner: str) -> bool:
        """Whether something is called when everything for ``owner`` has left."""
        return owner in self._owners and bool(self._owners[owner].settle)

    def begin_again(self, owner: str) -> None:
        """Forget what is held back for ``owner``: its message was given back, and all will be emitted again."""
        self._owners.pop(owner, None)
        for _, _, parcel in self._late:
            parcel.gone = parcel.gone or parcel.owner == owner

    def seconds_until_due(self) -> float:
        """Seconds until something that is held back leaves; infinite when nothing is."""
        return max(0.0, self._late[0][0] - self._clock.monotonic()) if self._late else math.inf

    def flush(self) -> None:
        """Let leave what has been held back long enough.

        Raises:
            CloudDirectError: it could not be sent; it stays here.
        """
        while self._late and self._late[0][0] <= self._clock.monotonic():
            entry = heapq.heappop(self._late)
            if entry[2].gone:
                continue
            try:
                self._leave(entry[2])
            except BaseException:
                heapq.heappush(self._late, entry)
                raise
            self._no_longer_held(entry[2])

    # -- inside ---------------------------------------------------------------------------------------------

    def _luck(self, name: str, what: tuple[object, ...]) -> float:
        return chance(self._seed, name, *what)

    def _strikes(self, fault: str, what: tuple[object, ...]) -> bool:
        likely: float = getattr(self.faults, fault)
        strikes = self._luck(fault, what) < likely
        if strikes:
            self.made[fault] += 1
            log.info("a fault on purpose: %s", fault)
        return strikes

    def _hold_back(self, parcel: Parcel, seconds: float) -> None:
        self._owners[parcel.owner].held_back += 1
        due = self._clock.monotonic() + seconds
        heapq.heappush(self._late, (due, next(self._numbers), parcel))

    def _leave(self, parcel: Parcel) -> None:
        """Send a parcel, its copy, and the event that waited to be overtaken by it."""
        about = self._owners[parcel.owner]
        self._send(parcel)
        if parcel.copy_after:
            self._hold_back(replace(parcel, copy_after=None), parcel.copy_after)
        elif parcel.copy_after is not None:
            self._send(parcel)
        parcel.gone = True
        overtaken = about.overtaken
        if overtaken is not None and parcel.endpoint == "events":
            about.overtaken = None
            if overtaken is not parcel:
                self._leave(overtaken)
                self._no_longer_held(overtaken)

    def _no_longer_held(self, parcel: Parcel) -> None:
        about = self._owners[parcel.owner]
        about.held_back -= 1
        if not about.held_back and about.settle:
            del self._owners[parcel.owner]
            for settle in about.settle:
                settle()
