"""MessageBroker: receiving, checking, closing in the middle of everything, and what never shows."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import (
    AuthenticationError,
    ClosedError,
    CloudDirectError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
    UnsupportedError,
)
from clouddirect.messaging import ConsumerOptions, Delivery, Message, MessageBroker
from clouddirect.retry import RetryPolicy
from unit.core.conftest import OpenBroker, eventually
from unit.core.memory_broker import POOR, RICH, Hang, MemoryBroker
from unit.core.memory_service import SECRET, SdkError


def fill(broker: MemoryBroker, count: int) -> None:
    broker.send_many("q", [Message(body=b"x", id=f"m{number}") for number in range(count)])


def in_thread(target: Any, *args: Any) -> tuple[threading.Thread, list[Any]]:
    """Run in a thread; the list gets what it returned or raised."""
    got: list[Any] = []

    def run() -> None:
        try:
            got.append(target(*args))
        except CloudDirectError as error:
            got.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, got


# -- receive ------------------------------------------------------------------------------------------------


def test_receive_returns_what_is_there_up_to_the_brokers_batch(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill(broker, 25)
    assert len(broker.receive("q", 3)) == 3
    assert len(broker.receive("q", 100)) == 10
    assert broker.named("receive")[0].seconds == 0


def test_nothing_there_is_an_empty_list(open_broker: OpenBroker) -> None:
    assert open_broker().receive("q") == []


@pytest.mark.parametrize("count", [0, -1])
def test_asking_for_nothing_is_refused(open_broker: OpenBroker, count: int) -> None:
    with pytest.raises(ConfigurationError, match="max_messages"):
        open_broker().receive("q", count)


def test_short_waits_are_raised_to_the_floor_and_long_ones_put_together(
    open_broker: OpenBroker, clock: ManualClock
) -> None:
    broker = open_broker(replace(RICH, min_receive_wait=2.0, max_receive_wait=20.0), clock=clock)
    thread, got = in_thread(broker.receive, "q", 1, 0.5)
    assert eventually(lambda: len(broker.named("receive")) == 1)
    assert broker.named("receive")[0].seconds == 2.0
    clock.advance(2)
    thread.join(10)
    thread, got = in_thread(broker.receive, "q", 1, 45.0)
    for turn, seconds in enumerate((20.0, 20.0, 5.0), start=2):
        assert eventually(lambda turn=turn: len(broker.named("receive")) == turn)
        assert broker.named("receive")[-1].seconds == seconds
        clock.advance(seconds)
    thread.join(10)
    assert got == [[]]


def test_a_message_ends_the_wait(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    thread, got = in_thread(broker.receive, "q", 10, 300.0)
    assert eventually(lambda: broker.named("receive"))
    fill(broker, 1)
    thread.join(10)
    assert [one.message.id for one in got[0]] == ["m0"]


def test_receive_is_retried(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill(broker, 1)
    broker.script("receive", SdkError("Down"), SdkError("Down"))
    assert len(broker.receive("q")) == 1


def test_a_lease_of_ones_own_where_it_can_be_set(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    fill(broker, 1)
    (delivery,) = broker.receive("q", lease=300)
    assert delivery.lease_expires_at is not None
    assert (delivery.lease_expires_at - clock.now()).total_seconds() == 300
    with pytest.raises(UnsupportedError, match="at most 43200 s"):
        broker.receive("q", lease=43201)
    with pytest.raises(UnsupportedError, match="more than 0"):
        broker.receive("q", lease=0)
    with pytest.raises(UnsupportedError, match="settable_lease"):
        open_broker(POOR).receive("q", lease=60)
    with pytest.raises(UnsupportedError, match="settable_lease"):
        open_broker(POOR).consume("q", print, options=ConsumerOptions(lease=60))


# -- errors -------------------------------------------------------------------------------------------------


def test_opening_does_nothing_and_a_missing_queue_is_told_on_use(open_broker: OpenBroker) -> None:
    broker = open_broker()
    assert broker.calls == []
    for use in (
        lambda: broker.send("none", Message(body=b"")),
        lambda: broker.receive("none"),
    ):
        with pytest.raises(NotFoundError) as caught:
            use()
        assert caught.value.resource == "none"
        assert isinstance(caught.value.__cause__, SdkError)
    assert "none" not in broker.service.queues


@pytest.mark.parametrize("operation", ["send", "receive", "ack", "nack", "dead_letter", "extend", "check"])
@pytest.mark.parametrize("error", [SdkError("BadKey"), SdkError("Unheard"), ValueError(SECRET)])
def test_no_secret_and_no_body_in_any_error(
    open_broker: OpenBroker, operation: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    broker = open_broker()
    broker.send("q", Message(body=b"MARLOWE", subject="MARLOWE", attributes={"n": "MARLOWE"}))
    (delivery,) = broker.receive("q")
    broker.script(operation, error)
    calls = {
        "send": lambda: broker.send("q", Message(body=b"MARLOWE")), "receive": lambda: broker.receive("q"),
        "ack": delivery.ack, "nack": delivery.nack, "dead_letter": lambda: delivery.dead_letter("r"),
        "extend": lambda: delivery.extend(30), "check": lambda: _raise(broker.check("q", "send").error),
    }  # fmt: skip
    with caplog.at_level(logging.DEBUG), pytest.raises(CloudDirectError) as caught:
        calls[operation]()
    shown = f"{caught.value} {caught.value!r} {caught.value.__dict__} {caplog.text} {delivery!r}"
    assert SECRET not in shown
    assert "MARLOWE" not in shown
    assert caught.value.operation == operation
    assert not caught.value.retryable
    if isinstance(error, SdkError) and error.status == "BadKey":
        assert isinstance(caught.value, AuthenticationError)


def _raise(error: CloudDirectError | None) -> None:
    assert error is not None
    raise error


def test_check_never_raises_for_what_it_finds(open_broker: OpenBroker) -> None:
    broker = open_broker(rights=("send",))
    assert broker.check("q", "send").status == "likely"
    result = broker.check("q", "receive")
    assert result.status == "failed"
    assert isinstance(result.error, PermissionDeniedError)
    assert broker.check("none", "send").status == "failed"
    assert broker.service.depth("q") == 0


def test_the_native_client_is_reachable(open_broker: OpenBroker) -> None:
    broker = open_broker()
    assert broker.native is broker.service
    fill(broker, 1)
    assert broker.receive("q")[0].native is broker.service.queues["q"].stored[0]


def test_public_methods_are_final() -> None:
    for name in ("send", "send_many", "receive", "consume", "ack_many", "capabilities", "check", "close"):
        assert getattr(getattr(MessageBroker, name), "__final__", False), name


# -- close --------------------------------------------------------------------------------------------------


def test_a_closed_broker_refuses(open_broker: OpenBroker) -> None:
    broker = open_broker()
    broker.close()
    uses: list[Any] = [
        lambda: broker.send("q", Message(body=b"")), lambda: broker.send_many("q", []), lambda: broker.receive("q"),
        lambda: broker.consume("q", print), lambda: broker.check("q", "send"), lambda: broker.ack_many([]),
        lambda: broker.native,
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(ClosedError, match="memory broker has been closed"):
            use()
    broker.close()
    assert len(broker.named("close")) == 1


def test_close_releases_what_is_not_settled_without_counting(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill(broker, 25)
    got = [one for _ in range(3) for one in broker.receive("q", 10)]
    got[0].ack()
    broker.close()
    assert sum(len(call.ids) for call in broker.named("release")) == 24
    again = open_broker(service=broker.service)
    assert {one.delivery_count for _ in range(3) for one in again.receive("q", 10)} == {1}


def test_leaving_the_with_block_closes(open_broker: OpenBroker) -> None:
    with open_broker() as broker:
        fill(broker, 1)
    assert broker.closed.is_set()


def test_close_ends_a_waiting_receive(open_broker: OpenBroker) -> None:
    broker = open_broker()
    thread, got = in_thread(broker.receive, "q", 1, 300.0)
    assert eventually(lambda: broker.named("receive"))
    broker.close()
    thread.join(10)
    assert got == [[]]


def test_what_arrives_while_closing_is_given_back(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill(broker, 1)
    hang = Hang()
    broker.script("receive", hang)
    receiver, got = in_thread(broker.receive, "q")
    assert hang.begun.wait(10)
    closer, _ = in_thread(broker.close, 30)
    assert eventually(lambda: broker.inside.closed)
    hang.go.set()
    receiver.join(10)
    closer.join(10)
    assert isinstance(got[0], ClosedError)
    assert len(broker.named("release")) == 1
    assert len(open_broker(service=broker.service).receive("q")) == 1


def test_close_waits_for_a_send_under_way(open_broker: OpenBroker) -> None:
    broker = open_broker()
    hang = Hang()
    broker.script("send", hang)
    sender, got = in_thread(broker.send, "q", Message(body=b"x"))
    assert hang.begun.wait(10)
    closer, _ = in_thread(broker.close, 30)
    assert eventually(lambda: broker.inside.closed)
    assert not broker.closed.is_set()
    hang.go.set()
    sender.join(10)
    closer.join(10)
    assert got[0].message_id
    assert broker.service.depth("q") == 1


def test_close_lets_a_retry_happen_within_its_time(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock, retry=RetryPolicy(base_delay=0.0))
    broker.script("send", UnavailableError("down", retry_after=5.0))
    sender, got = in_thread(broker.send, "q", Message(body=b"x"))
    assert clock.wait_for_sleepers()
    closer, _ = in_thread(broker.close, 30)
    assert clock.wait_for_sleepers(2)
    clock.advance(5)
    sender.join(10)
    closer.join(10)
    assert got[0].message_id


def test_close_cuts_retries_short_when_its_time_is_up(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock, retry=RetryPolicy(base_delay=0.0, deadline=None))
    broker.script("send", UnavailableError("down", retry_after=500.0, maybe_sent=True))
    sender, got = in_thread(broker.send, "q", Message(body=b"x"))
    assert clock.wait_for_sleepers()
    closer, _ = in_thread(broker.close, 30)
    assert clock.wait_for_sleepers(2)
    clock.advance(30)
    sender.join(10)
    closer.join(10)
    assert isinstance(got[0], UnavailableError)
    assert got[0].maybe_sent
    assert broker.closed.is_set()


def test_close_is_bounded_when_a_call_hangs_and_nothing_is_called_after_it(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill(broker, 2)
    held, stuck = broker.receive("q", 2)
    hang = Hang()
    broker.script("ack", hang)
    thread, _ = in_thread(stuck.ack)
    assert hang.begun.wait(10)
    broker.close(timeout=0.0)
    assert broker.closed.is_set()
    assert held.settled == "release"
    hang.go.set()
    thread.join(10)
    with pytest.raises(ClosedError):
        broker.attempt("ack", "q", lambda: pytest.fail("a primitive was called"))


def test_close_is_bounded_when_nothing_can_be_given_back(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(replace(RICH, max_settle_count=1), clock=clock)
    fill(broker, 10)
    held = broker.receive("q", 10)

    def slow(call: Any) -> Any:
        clock.advance(5)
        raise SdkError("Down")

    broker.script("release", *[slow] * 1000)
    broker.close(timeout=10)
    assert len(broker.named("release")) <= 10 + 3
    assert {one.settled for one in held} == {None}
    assert broker.closed.is_set()


def test_connections_that_cannot_be_closed_are_logged(
    open_broker: OpenBroker, caplog: pytest.LogCaptureFixture
) -> None:
    broker = open_broker()
    broker.script("close", SdkError("Down"))
    broker.close()
    assert "could not be closed (UnavailableError)" in caplog.text
    assert SECRET not in caplog.text


def test_what_the_caller_has_dropped_is_given_back_too(open_broker: OpenBroker) -> None:
    broker = open_broker()
    fill(broker, 5)
    assert len(broker.receive("q", 5)) == 5
    broker.close()
    assert sum(len(call.ids) for call in broker.named("release")) == 5


@pytest.mark.parametrize("tell_lease", [True, False])
def test_deliveries_that_nobody_settles_are_not_remembered_for_ever(
    open_broker: OpenBroker, clock: ManualClock, tell_lease: bool
) -> None:
    broker = open_broker(clock=clock)
    broker.tell_lease = tell_lease
    fill(broker, 10)
    for _ in range(500):
        assert len(broker.receive("q", 10)) == 10
        clock.advance(31)
    assert len(broker._outstanding) <= (1010 if tell_lease else 2400)  # of 5,000; an hour of them where nobody knows


class _Traffic:
    """Senders, receivers and handlers at work, noting what was confirmed and what was done."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker
        self.confirmed: list[str] = []
        self.done: list[str] = []

    def send(self) -> None:
        while True:
            results = self.broker.send_many("q", [Message(body=b"") for _ in range(7)])
            self.confirmed.extend([result.message.id for result in results if result.ok])

    def receive(self) -> None:
        while True:
            for one in self.broker.receive("q", 5, wait=0.1):
                one.ack()
                self.done.append(one.message.id)

    def handle(self, delivery: Delivery) -> None:
        if delivery.message.id[0] in "02468" and delivery.delivery_count == 1:
            raise KeyError
        delivery.ack()
        self.done.append(delivery.message.id)


def test_closing_in_the_middle_of_everything_loses_nothing(open_broker: OpenBroker) -> None:
    for turn in range(20):
        broker = open_broker(replace(RICH, native_dead_letter=False))
        traffic = _Traffic(broker)
        broker.consume("q", traffic.handle, 4)
        threads = [in_thread(work) for work in (traffic.send, traffic.send, traffic.receive, traffic.receive)]
        assert eventually(lambda traffic=traffic, turn=turn: len(traffic.done) > 20 * turn)
        broker.close()
        for thread, got in threads:
            thread.join(10)
            assert isinstance(got[0], ClosedError)
        left = {stored.message.id for stored in broker.service.queues["q"].stored}
        assert set(traffic.confirmed) <= left | set(traffic.done)
        assert not left & set(traffic.done)
        assert all(stored.token is None for stored in broker.service.queues["q"].stored)
