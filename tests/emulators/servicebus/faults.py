"""Faults on demand: what goes wrong, at which point of the protocol, when and how often.

A fault is added to `Faults` at a `Point`, with an action: `Drop`, `Stall`, `Refuse`, `Detach`, `Close` or `Delay`. An
action that can come after what it disturbs takes ``after=True``: then the operation is done and only its answer is
lost. That is the case in which a client cannot know what happened.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from dataclasses import dataclass

from .protocol import Condition

__all__ = [
    "Action",
    "Close",
    "Delay",
    "Detach",
    "Drop",
    "Fault",
    "Faults",
    "Point",
    "Refuse",
    "Stall",
    "idle_link",
    "parse_fault",
    "quota_exceeded",
    "server_busy",
]


class Point(enum.Enum):
    """Where a fault can strike."""

    CONNECT = "connect"  # a connection's first bytes have come
    TOKEN = "token"  # put-token
    ATTACH = "attach"  # a sender or receiver attaches
    TRANSFER = "transfer"  # a message or batch has come whole
    DELIVERY = "delivery"  # a message is about to go out
    DISPOSITION = "disposition"  # a delivery is settled
    MANAGEMENT = "management"  # renew, peek, schedule, session state, …


@dataclass(frozen=True)
class Drop:
    """Reset the connection."""

    after: bool = False


@dataclass(frozen=True)
class Stall:
    """Accept what comes on this connection and say nothing any more."""

    after: bool = False


@dataclass(frozen=True)
class Refuse:
    """Answer with an error; at CONNECT close the connection with it, at TOKEN answer 401. Not at DELIVERY."""

    condition: str
    text: str = "Refused by a fault."


@dataclass(frozen=True)
class Detach:
    """Detach the link with an error."""

    condition: str = Condition.DETACH_FORCED
    text: str = "The link is force detached by a fault."
    after: bool = False


@dataclass(frozen=True)
class Close:
    """Close the connection with an error."""

    condition: str = Condition.CONNECTION_FORCED
    text: str = "The connection is closed by a fault."
    after: bool = False


@dataclass(frozen=True)
class Delay:
    """Do this one operation so many seconds late; what comes behind it is not held up, except at CONNECT."""

    seconds: float


Action = Drop | Stall | Refuse | Detach | Close | Delay


def server_busy() -> Refuse:
    """The service throttles ("Throttling operations on Service Bus")."""
    return Refuse(
        Condition.SERVER_BUSY,
        "The request was terminated because the entity is being throttled. Error code: 50009. "
        "Please wait 2 seconds and try again.",
    )


def quota_exceeded() -> Refuse:
    """The entity is full."""
    return Refuse(Condition.QUOTA_EXCEEDED, "The maximum entity size has been reached or exceeded.")


def idle_link() -> Detach:
    """What the service does to a link on which nothing moved for ten minutes ("AMQP errors in Azure Service Bus")."""
    return Detach(
        Condition.DETACH_FORCED, "The link is force detached. Details: IdleTimerExpired: Idle timeout: 00:10:00."
    )


class Fault:
    """A fault that was added: at ``point``, from the operation after ``skip`` on, ``times`` times (None: always)."""

    def __init__(self, point: Point, action: Action, entity: str | None, skip: int, times: int | None) -> None:
        self.point = point
        self.action = action
        self.entity = entity.lower() if entity is not None else None
        self._skip = skip
        self._left = times
        self._struck = 0
        self._changed = threading.Condition()

    @property
    def struck(self) -> int:
        """How often it has struck."""
        return self._struck

    def wait(self, timeout: float = 60.0, times: int = 1) -> bool:
        """Wait until it has struck so often; False if it has not within ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._struck >= times, timeout)

    def strikes(self, entity: str | None) -> bool:
        """Whether it strikes this operation, which it counts."""
        if self.entity is not None and (entity or "").lower() != self.entity:
            return False
        with self._changed:
            if self._skip:
                self._skip -= 1
                return False
            if self._left == 0:
                return False
            if self._left is not None:
                self._left -= 1
            self._struck += 1
            self._changed.notify_all()
        return True


class Faults:
    """The faults of one server; usable from any thread."""

    def __init__(self) -> None:
        self._faults: tuple[Fault, ...] = ()
        self._lock = threading.Lock()

    def add(
        self, point: Point, action: Action, *, entity: str | None = None, skip: int = 0, times: int | None = 1
    ) -> Fault:
        """Add a fault.

        Args:
            point: where it strikes.
            action: what it does.
            entity: only at this queue, topic or subscription (its path); None for all.
            skip: how many operations it lets pass first.
            times: how many it then strikes; None for all.
        """
        fault = Fault(point, action, entity, skip, times)
        self.insert(fault)
        return fault

    def insert(self, fault: Fault) -> None:
        """Add a fault that was made elsewhere.

        Raises:
            ValueError: its action cannot be taken at its point.
        """
        if fault.point is Point.DELIVERY and isinstance(fault.action, Refuse):
            raise ValueError("a delivery cannot be refused: the server sends it")
        with self._lock:
            self._faults = (*self._faults, fault)

    def clear(self) -> None:
        """Forget all faults. A connection that is stalled stays so."""
        with self._lock:
            self._faults = ()

    def strike(self, point: Point, entity: str | None = None) -> Action | None:
        """Return what goes wrong with this operation, if anything."""
        for fault in self._faults:
            if fault.point is point and fault.strikes(entity):
                return fault.action
        return None


def parse_fault(text: str) -> Fault:
    """Return the fault that ``POINT:ACTION[:skip=N,times=N,entity=PATH,seconds=S,condition=NAME,after]`` names.

    Raises:
        ValueError: it names none.
    """
    place, _, rest = text.partition(":")
    name, _, options = rest.partition(":")
    given = dict(part.partition("=")[::2] for part in options.split(",") if part)
    point, after = Point(place), given.pop("after", None) is not None
    skip, times, entity = int(given.pop("skip", "0")), given.pop("times", "1"), given.pop("entity", None)
    seconds, condition = given.pop("seconds", "1"), given.pop("condition", None)
    makers: dict[str, Callable[[], Action]] = {
        "drop": lambda: Drop(after),
        "stall": lambda: Stall(after),
        "busy": server_busy,
        "quota": quota_exceeded,
        "idle": idle_link,
        "refuse": lambda: Refuse(condition or Condition.INTERNAL_ERROR),
        "detach": lambda: Detach(condition or Condition.DETACH_FORCED, after=after),
        "close": lambda: Close(condition or Condition.CONNECTION_FORCED, after=after),
        "delay": lambda: Delay(float(seconds)),
    }
    if name not in makers or given:
        raise ValueError(f"no fault {name!r} with {sorted(given)}: there are {sorted(makers)}")
    return Fault(point, makers[name](), entity, skip, None if times == "all" else int(times))
