"""A message broker in memory: a real provider with configurable abilities, and faults on demand.

`MemoryBroker` keeps the rules of `BrokerPrimitives`, notes where core breaks its side of them
(`MemoryBroker.violations`) and logs each call.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from clouddirect.errors import (
    AuthenticationError,
    CloudDirectError,
    InvalidMessageError,
    LeaseLostError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from clouddirect.messaging import (
    Access,
    BrokerRuntime,
    Capabilities,
    CheckResult,
    Message,
    MessageBroker,
    RawDelivery,
    SendReceipt,
)
from clouddirect.retry import Interrupt
from unit.core.memory_service import MemoryService, QueueState, SdkError, Stored

#: Everything the interface knows, in batches of ten.
RICH = Capabilities(
    max_message_bytes=256 * 1024, max_send_count=10, max_send_bytes=1024 * 1024, atomic_send=False,
    max_receive_count=10, max_settle_count=10, ack_is_checked=True, settable_lease=True, max_lease=43200.0,
    max_nack_delay=43200.0, free_release=True, delivery_count=True, native_dead_letter=True,
    dead_letter_queue="q/$dead", ordering=True, max_delay=900.0, time_to_live=True, deduplication=True,
)  # fmt: skip

#: The least a broker can do: no delays, no dead-letter queue, fixed leases, all-or-nothing batches, unchecked acks.
POOR = Capabilities(
    max_message_bytes=64 * 1024, max_send_count=10, max_receive_count=10, max_settle_count=10, atomic_send=True,
)  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One call of a primitive: its name, queue and the ids of its messages."""

    name: str
    queue: str
    ids: tuple[str, ...] = ()
    seconds: float | None = None


#: A fault either raises, or takes the real call and returns what the primitive is to return.
Fault = Exception | Callable[[Callable[[], Any]], Any]


def after(error: Exception) -> Fault:
    """The call is carried out, but its confirmation is lost."""

    def lose(call: Callable[[], Any]) -> Any:
        call()
        raise error

    return lose


def partial(errors: dict[int, CloudDirectError]) -> Fault:
    """The outcomes at these places are errors, although the call was carried out for all: reports, not effects."""

    def answer(call: Callable[[], Any]) -> Any:
        return [errors.get(place, outcome) for place, outcome in enumerate(call())]

    return answer


def ok(call: Callable[[], Any]) -> Any:
    """No fault: the call is carried out."""
    return call()


class Hang:
    """The call waits until it is let go, like a peer that says nothing."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()

    def __call__(self, call: Callable[[], Any]) -> Any:
        self.begun.set()
        assert self.go.wait(30), "nobody let the call go"
        return call()


class MemoryBroker(MessageBroker):
    """The provider. `script` plans faults for the next calls of a primitive; `calls` tells what core did."""

    provider = "memory"

    def __init__(
        self,
        service: MemoryService,
        runtime: BrokerRuntime | None = None,
        can: Capabilities = RICH,
        rights: Sequence[Access] = ("send", "receive"),
    ) -> None:
        super().__init__(runtime)
        self.service = service
        self.can = can
        self.rights = rights
        self.calls: list[Call] = []
        self.violations: list[str] = []
        self.refuse: Callable[[Message], bool] = lambda message: False
        self.tell_lease = True
        self.closed = threading.Event()
        self._faults: dict[str, deque[Fault]] = {}

    # -- for tests ------------------------------------------------------------------------------------------

    def script(self, name: str, *faults: Fault) -> None:
        """Plan faults for the next calls of primitive ``name``, in order; after them calls succeed."""
        self._faults.setdefault(name, deque()).extend(faults)

    def named(self, name: str) -> list[Call]:
        """The calls of one primitive so far."""
        return [call for call in self.calls if call.name == name]

    def _expect(self, condition: bool, rule: str) -> None:
        if not condition:
            self.violations.append(rule)

    def _do(self, call: Call, work: Callable[[], Any]) -> Any:
        self._expect(not self.closed.is_set(), f"{call.name} was called after close")
        self.calls.append(call)
        faults = self._faults.get(call.name)
        fault = faults.popleft() if faults else ok
        if isinstance(fault, Exception):
            raise fault
        return fault(work)

    def _queue(self, name: str, right: Access) -> QueueState:
        if right not in self.rights:
            raise SdkError("Forbidden")
        if name not in self.service.queues:
            raise SdkError("NoSuchQueue")
        return self.service.queues[name]

    # -- primitives -----------------------------------------------------------------------------------------

    def _capabilities(self, queue: str) -> Capabilities:
        state = self.service.queues.get(queue)
        return self.can if state is None or state.can is None else state.can

    def _send(
        self, queue: str, messages: Sequence[Message], timeout: float
    ) -> Sequence[SendReceipt | CloudDirectError]:
        can = self._capabilities(queue)
        self._expect(1 <= len(messages) <= can.max_send_count, "a batch over max_send_count")
        size = sum(self._size(queue, message) for message in messages)
        fits = can.max_send_bytes is None or size <= can.max_send_bytes or len(messages) == 1
        self._expect(fits, "a batch over max_send_bytes")
        keys = {message.ordering_key for message in messages}
        self._expect(not can.one_key_per_send or len(keys) == 1, "several ordering keys in one send")

        def work() -> Sequence[SendReceipt | CloudDirectError]:
            with self.service.changed:
                state = self._queue(queue, "send")
                bad = [message for message in messages if self.refuse(message)]
                if bad and can.atomic_send:
                    raise InvalidMessageError("one message of the batch is refused")
                return [self._store(state, message, can) for message in messages]

        result: Sequence[SendReceipt | CloudDirectError] = self._do(
            Call("send", queue, tuple(message.id for message in messages)), work
        )
        return result

    def _store(self, state: QueueState, message: Message, can: Capabilities) -> SendReceipt | CloudDirectError:
        if self.refuse(message):
            return InvalidMessageError("this message is refused")
        return SendReceipt(message.id, str(self.service.put(state, message, can.deduplication)))

    def _receive(
        self, queue: str, max_messages: int, wait: float, lease: float | None, interrupt: Interrupt
    ) -> Sequence[RawDelivery]:
        can = self._capabilities(queue)
        self._expect(1 <= max_messages <= can.max_receive_count, "more asked for than max_receive_count")
        self._expect(can.min_receive_wait <= wait <= can.max_receive_wait, "a wait outside the declared ones")
        self._expect(lease is None or can.settable_lease, "a lease asked for where it cannot be")

        def work() -> Sequence[RawDelivery]:
            clock = self.service.clock
            ends = clock.monotonic() + wait
            while True:
                with self.service.changed:
                    self._queue(queue, "receive")
                    taken = self.service.take(queue, max_messages, lease)
                    if taken or interrupt.is_set() or clock.monotonic() >= ends:
                        return [self._raw(queue, stored) for stored in taken]
                    self.service.changed.wait(0.005)  # real time: a manual clock or the interrupt may move meanwhile

        result: Sequence[RawDelivery] = self._do(Call("receive", queue, (), wait), work)
        return result

    def _raw(self, queue: str, stored: Stored) -> RawDelivery:
        can, left = self._capabilities(queue), stored.lease_ends - self.service.clock.monotonic()
        return RawDelivery(
            message=stored.message, handle=(stored, stored.token), lease=left if self.tell_lease else None,
            delivery_count=stored.count if can.delivery_count else None,
            enqueued_at=stored.enqueued_at, native=stored,
        )  # fmt: skip

    def _each(
        self, name: str, queue: str, deliveries: Sequence[RawDelivery], work: Callable[[Stored], Any], seconds: float
    ) -> Any:
        self._expect(1 <= len(deliveries) <= self._capabilities(queue).max_settle_count, "over max_settle_count")

        def one(raw: RawDelivery) -> Any:
            handle: Any = raw.handle
            stored, token = handle
            held = stored in self.service.queues[queue].stored and stored.token == token
            if not held or stored.lease_ends <= self.service.clock.monotonic():
                lost = LeaseLostError("the lease is gone", code="LeaseLost")
                return lost if self._capabilities(queue).ack_is_checked or name == "extend" else None
            return work(stored)

        def all_of_them() -> Any:
            with self.service.changed:
                self._queue(queue, "receive")
                outcomes = [one(raw) for raw in deliveries]
                self.service.changed.notify_all()
                return outcomes

        return self._do(Call(name, queue, tuple(raw.message.id for raw in deliveries), seconds), all_of_them)

    def _ack(self, queue: str, deliveries: Sequence[RawDelivery], timeout: float) -> Sequence[CloudDirectError | None]:
        def remove(stored: Stored) -> None:
            self.service.queues[queue].stored.remove(stored)

        result: Sequence[CloudDirectError | None] = self._each("ack", queue, deliveries, remove, timeout)
        return result

    def _nack(
        self, queue: str, deliveries: Sequence[RawDelivery], delay: float, timeout: float
    ) -> Sequence[CloudDirectError | None]:
        self._expect(0 <= delay <= self._capabilities(queue).max_nack_delay, "a nack delay over max_nack_delay")

        def give_back(stored: Stored) -> None:
            stored.token, stored.visible_at = None, self.service.clock.monotonic() + delay

        result: Sequence[CloudDirectError | None] = self._each("nack", queue, deliveries, give_back, delay)
        return result

    def _release(
        self, queue: str, deliveries: Sequence[RawDelivery], timeout: float
    ) -> Sequence[CloudDirectError | None]:
        free = self._capabilities(queue).free_release

        def give_back(stored: Stored) -> None:
            stored.token, stored.visible_at = None, self.service.clock.monotonic()
            stored.count -= 1 if free else 0

        result: Sequence[CloudDirectError | None] = self._each("release", queue, deliveries, give_back, timeout)
        return result

    def _extend(
        self, queue: str, deliveries: Sequence[RawDelivery], seconds: float, timeout: float
    ) -> Sequence[float | CloudDirectError]:
        granted = seconds if self._capabilities(queue).settable_lease else self.service.queues[queue].lease

        def renew(stored: Stored) -> float:
            stored.lease_ends = self.service.clock.monotonic() + granted
            return granted

        result: Sequence[float | CloudDirectError] = self._each("extend", queue, deliveries, renew, seconds)
        return result

    def _dead_letter(
        self, queue: str, delivery: RawDelivery, reason: str, description: str | None, timeout: float
    ) -> None:
        self._expect(self._capabilities(queue).native_dead_letter, "dead_letter called where it is not native")

        def bury(stored: Stored) -> None:
            self.service.bury(queue, stored, reason, description)

        outcome = self._each("dead_letter", queue, [delivery], bury, timeout)[0]
        if outcome is not None:
            raise outcome

    def _check(self, queue: str, access: Access, timeout: float) -> CheckResult:
        with self.service.changed:
            self._do(Call("check", queue), lambda: self._queue(queue, access))
        return CheckResult(access, "likely", f"the queue answers for {access}; nothing was {access}d")

    def _classify(self, error: Exception) -> CloudDirectError | None:
        kinds = {
            "Forbidden": PermissionDeniedError, "NoSuchQueue": NotFoundError, "Down": UnavailableError,
            "BadKey": AuthenticationError,
        }  # fmt: skip
        kind = kinds.get(error.status) if isinstance(error, SdkError) else None
        if kind is None:
            return None
        assert isinstance(error, SdkError)
        return kind(f"memory answered {error.status}", code=error.status)

    def _native(self) -> object:
        return self.service

    def _close(self, timeout: float) -> None:
        self._do(Call("close", "", (), timeout), lambda: None)
        self.closed.set()
