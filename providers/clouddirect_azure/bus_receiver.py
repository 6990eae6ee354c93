"""`Receiver`: receives from one queue, subscription or session over one connection, and settles what came by it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from azure.servicebus import ServiceBusReceiver
from azure.servicebus._pyamqp.outcomes import Released

from clouddirect.errors import CloudDirectError, LeaseLostError, TimeoutError, UnavailableError
from clouddirect.retry import Interrupt
from clouddirect_azure.bus_delivery import MAX_LOCK, Held, Leases, Settlement
from clouddirect_azure.bus_errors import from_condition
from clouddirect_azure.bus_line import QUIET, Line, Outcome
from clouddirect_azure.bus_worker import GRACE, Job, Worker

__all__ = ["Receiver"]

#: Seconds without use after which a connection is closed: Service Bus detaches links that are idle for ten minutes.
IDLE_LIMIT = 480.0
#: Seconds without use after which a connection is looked at before it is used: it may have been closed meanwhile.
IDLE_CHECK = 0.05
#: Seconds after which a session is let go that has nothing unsettled and that nobody receives from.
SESSION_IDLE_LIMIT = 1.0


class Receiver(Worker):
    """One link to receive by, reopened when it was lost. Session receivers are not: their session is lost with it."""

    def __init__(
        self,
        name: str,
        connect: Callable[[float], ServiceBusReceiver],
        translate: Callable[[BaseException], CloudDirectError],
        leases: Leases,
        *,
        session: bool = False,
    ) -> None:
        """``connect`` makes the SDK's object; a session's accepts the next one within the seconds it is given."""
        super().__init__(name)
        self._connect = connect
        self._translate = translate
        self._leases = leases
        self._is_session = session
        self._line: Line | None = None
        self._session_ends: datetime | None = None
        #: A session's deliveries that are neither settled nor lost. A deferred one is settled twice.
        self.outstanding: set[Held] = set()

    # -- any thread -----------------------------------------------------------------------------------------

    def receive(self, count: int, wait: float, interrupt: Interrupt, timeout: float) -> list[Held]:
        """Return up to ``count`` messages, as soon as there is one; none when none came within ``wait`` seconds."""
        ends = time.monotonic() + wait
        left = threading.Event()  # the caller has
        job = self.submit(lambda: self._receive(count, ends, lambda: interrupt.is_set() or left.is_set()))
        try:
            done = job.wait(wait + timeout + GRACE)
        except BaseException:  # Ctrl-C, say: what comes is for nobody
            left.set()
            job.abandon(lambda came: None if self.dead else self._release_quietly(came))
            raise
        if not done:
            job.abandon(lambda came: None)  # the connection is broken, which gives it back
            raise self.overrun(wait + timeout)
        return job.result()

    def open(self, timeout: float) -> None:
        """Open the link now."""
        self.call(self._opened, timeout)

    def accept(self, wait: float, then: Callable[[], None]) -> Job[object]:
        """Begin to accept the next session there is within ``wait`` seconds; ``then`` is called when that has ended.

        The job ends in `TimeoutError` where there was none.
        """
        return self.submit(lambda: self._opened(wait), then)

    def settle(self, held: Sequence[Held], how: Settlement, timeout: float) -> Job[list[CloudDirectError | None]]:
        """Begin to settle deliveries of this queue; one outcome each."""
        return self.submit(lambda: self._settle(held, how, timeout))

    def release(self, held: Sequence[Held]) -> Job[list[CloudDirectError | None]]:
        """Begin to give deliveries back without counting them."""
        return self.submit(lambda: self._release(held))

    def renew(self, held: Sequence[Held], timeout: float) -> Job[list[float | CloudDirectError]]:
        """Begin to renew locks; the seconds granted, or the error, for each."""
        return self.submit(lambda: self._renew(held, timeout))

    def abort(self) -> None:
        """Break the connection."""
        line = self._line
        if line is not None:
            line.abort()

    # -- the worker's thread --------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._line is not None

    def look_after(self) -> None:
        """Look for a lost link, and close one that has not been used for long."""
        line = self._line
        if line is None:
            return
        try:
            line.look()
        except Exception:
            self._drop()
            raise
        if self._is_session and not self.outstanding and line.idle > SESSION_IDLE_LIMIT:
            self._drop()
        elif line.idle > IDLE_LIMIT:
            self.shut()

    def shut(self) -> None:
        """Close the connection."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _drop(self) -> None:
        """Let a connection go that is of no use any more."""
        self._quietly(self.shut)
        if self._is_session:
            self.dead = True

    def _opened(self, wait: float = 0.0) -> Line:
        if self._line is not None and self._line.idle > IDLE_CHECK:
            self._quietly(self.look_after)
        if self._line is None:
            if self.dead:
                raise UnavailableError("the session has just been let go", code="closed")
            line = Line(self._connect(wait))
            self._line = line  # so that it can be aborted while it opens
            try:
                line.open()
            except Exception as error:  # noqa: BLE001 - translated
                self._drop()
                translated = self._translate(error)
                raise translated from translated.__cause__
            if self._is_session:
                self._session_ends = line.session_ends()
        self._line.used = time.monotonic()
        return self._line

    def _receive(self, count: int, ends: float, is_over: Callable[[], bool]) -> list[Held]:
        line = self._opened()
        try:
            came = self._gather(line, count, ends, is_over)
        except Exception as error:  # noqa: BLE001 - translated
            self._drop()
            translated = self._translate(error)
            raise translated from translated.__cause__
        if self._is_session:
            self.outstanding.update(came)
        return came

    def _gather(self, line: Line, count: int, ends: float, is_over: Callable[[], bool]) -> list[Held]:
        """Wait for a message, then drain: what else is there comes, and no credit is left that a later one could use.

        Without a wait the drain comes first, and its answer says for certain that the queue is empty.
        """
        if time.monotonic() < ends:
            line.ask(count, drain=False)
            while time.monotonic() < ends and not is_over():
                line.read()
                if frames := line.take(count):
                    return self._drain(line, self._held(line, frames), count)
                self.run_waiting()
                if self._line is not line:
                    raise UnavailableError("the connection was lost while receiving", code="closed")
        return self._drain(line, [], count)

    def _drain(self, line: Line, came: list[Held], count: int) -> list[Held]:
        came += self._held(line, line.take(count - len(came)))
        if len(came) == count:
            return came
        try:
            line.ask(count - len(came), drain=True)
            quiet = time.monotonic() + QUIET
            while len(came) < count and not line.drained and time.monotonic() < quiet:
                line.read()
                if frames := line.take(count - len(came)):
                    came += self._held(line, frames)
                    quiet = time.monotonic() + QUIET
            came += self._held(line, line.take(count - len(came)))
        except Exception:
            if not came or self._is_session:
                raise
            self._drop()  # what has come can be settled over the next connection
        return came

    def _held(self, line: Line, frames: Sequence[tuple[Any, Any]]) -> list[Held]:
        now = time.monotonic()
        held = []
        for pair in frames:
            message = line.sdk._build_received_message(pair)
            if self._is_session:
                lease = self._leases.length(self._session_ends, None)
            else:
                lease = self._leases.length(message.locked_until_utc, message.enqueued_time_utc)
            held.append(Held(message, self, line.link, pair[0][1], bytes(pair[0][2]), now, lease))
        return held

    def _settle(self, held: Sequence[Held], how: Settlement, timeout: float) -> list[CloudDirectError | None]:
        outcomes: dict[Held, CloudDirectError | None] = {one: None for one in held if one.deferred}
        line = self._line
        here = [one for one in held if line is not None and one.link is line.link and not one.unconfirmed
                and not one.refused and not one.deferred]  # fmt: skip
        if line is not None and here:
            answers = line.settle([(one.delivery_id, one.tag) for one in here], how.state, timeout)
            for one, answer in zip(here, answers, strict=True):
                outcomes[one] = self._read_answer(one, how, answer)
            if None in answers:
                self._drop()
            line.used = time.monotonic()
        for one in held:
            if one not in outcomes:
                outcomes[one] = self._settle_by_token(one, how)
        self.outstanding -= {one for one in held if outcomes[one] is None or isinstance(outcomes[one], LeaseLostError)}
        return [outcomes[one] for one in held]

    def _read_answer(self, one: Held, how: Settlement, answer: Outcome) -> CloudDirectError | None:
        if answer is None:
            one.unconfirmed = True
            return UnavailableError("the connection was lost before the settlement was confirmed", code="unconfirmed")
        refusal = (answer.get("rejected") or [None])[0]
        if how.answer in answer and not refusal:
            return None
        one.refused = True  # any answer settles the delivery on its link (AMQP 1.0, 2.6.12): none comes to a second
        if refusal:
            return from_condition(refusal[0], refusal[1] if len(refusal) > 1 else None)
        return UnavailableError(
            f"Service Bus answered a settlement with {', '.join(answer)}", code="unexpected-outcome"
        )

    def _settle_by_token(self, one: Held, how: Settlement) -> CloudDirectError | None:
        """Settle over the management node: the link that the delivery came by is gone, or has forgotten it."""
        if self._is_session and (self._line is None or one.link is not self._line.link):
            return LeaseLostError("the connection that held the session was lost, and the session with it",
                                  code="session-lock-lost")  # fmt: skip
        details = None
        if how.name == "dead_letter":
            details = {"deadletter-reason": how.reason or "", "deadletter-description": how.description or ""}
        try:
            line = self._opened()
            line.sdk._settle_message_via_mgmt_link(how.status, [one.token], dead_letter_details=details)
        except Exception as failure:  # noqa: BLE001 - translated, and reported as this delivery's outcome
            error = self._failed(failure)
            if isinstance(error, LeaseLostError) and one.unconfirmed:
                return LeaseLostError(
                    "the answer to the settlement was lost with the connection, and now the lock is gone: either it "
                    "was carried out, or the message is delivered again",
                    code="unconfirmed",
                )
            return error
        return None

    def _release(self, held: Sequence[Held]) -> list[CloudDirectError | None]:
        line = self._line
        here = [one for one in held if line is not None and one.link is line.link and not one.deferred]
        outcomes: list[CloudDirectError | None] = [
            None if one in here or one.deferred else
            UnavailableError("the link that the delivery came by is closed: its lock will end by itself", code="closed",
                             retryable=False)
            for one in held
        ]  # fmt: skip
        if line is not None and here:
            try:
                line.release([(one.delivery_id, one.tag) for one in here], Released())
            except Exception as failure:  # noqa: BLE001 - translated
                translated = self._failed(failure)
                raise translated from translated.__cause__
            self.outstanding.difference_update(here)
            line.used = time.monotonic()
        return outcomes

    def _release_quietly(self, held: Sequence[Held]) -> None:
        if held:
            self.release(held)

    def _renew(self, held: Sequence[Held], timeout: float) -> list[float | CloudDirectError]:
        ends: Sequence[datetime | None]
        try:
            line = self._opened()
            if self._is_session:
                if any(one.link is not line.link for one in held):
                    raise LeaseLostError("the session was lost", code="session-lock-lost")
                line.sdk.session.renew_lock(timeout=timeout)
                self._session_ends = line.session_ends()
                ends = [self._session_ends] * len(held)
            else:
                ends = line.renew([one.token for one in held], timeout)
        except Exception as failure:  # noqa: BLE001 - translated, and reported as these deliveries' outcome
            error = self._failed(failure)
            if isinstance(error, LeaseLostError) and len(held) > 1 and not self._is_session:
                return [self._renew([one], timeout)[0] for one in held]  # all are refused for one that is lost
            return [error.copy() for _ in held]
        now, granted = time.monotonic(), list[float | CloudDirectError]()
        for one, until in zip(held, ends, strict=True):
            one.came, one.lease = now, self._leases.length(until, None)
            granted.append(one.lease or MAX_LOCK / 10)
        return granted

    def _failed(self, failure: BaseException) -> CloudDirectError:
        error = self._translate(failure)
        if isinstance(error, (UnavailableError, TimeoutError)):
            self._drop()
        return error
