"""LeaseKeeper: renews in time, holds nacks, tells what is lost, survives errors, and forgets what is settled."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import ThrottledError, UnavailableError, UnsupportedError
from clouddirect.messaging import Delivery, Message
from clouddirect.messaging.leases import LeaseKeeper
from clouddirect.observers import MessageEvent, Observers, hookimpl
from unit.core.conftest import OpenBroker, eventually
from unit.core.memory_broker import POOR, RICH, Hang, MemoryBroker, partial
from unit.core.memory_service import SdkError


class Watch:
    """Waits for events instead of sleeping."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.changed = threading.Condition()

    @hookimpl
    def clouddirect_message_settled(self, event: MessageEvent) -> None:
        with self.changed:
            self.outcomes.append(event.outcome)
            self.changed.notify_all()

    def wait_for(self, outcome: str) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: outcome in self.outcomes, 10)


def receive(broker: MemoryBroker, count: int = 1, lease: float | None = None) -> list[Delivery]:
    broker.send_many("q", [Message(body=b"x", id=f"m{number}") for number in range(count)])
    return broker.receive("q", count, lease=lease)


def keeper_of(broker: MemoryBroker) -> LeaseKeeper:
    return broker.settlement.keeper


def calls_reach(broker: MemoryBroker, name: str, count: int) -> bool:
    """Wait until a primitive was called ``count`` times."""
    return eventually(lambda: len(broker.named(name)) >= count)


def step(clock: ManualClock, broker: MemoryBroker, name: str, seconds: float, calls: int) -> None:
    """Let time pass once the keeper sleeps; wait until it has made its calls and sleeps again."""
    assert clock.wait_for_sleepers()
    clock.advance(seconds)
    assert calls_reach(broker, name, calls)


def test_a_lease_is_renewed_when_seventy_percent_have_passed(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    (delivery,) = receive(broker)
    keeper_of(broker).keep([delivery], 30.0, 3600.0)
    assert clock.wait_for_sleepers()
    clock.advance(20)
    assert clock.wait_for_sleepers()
    assert broker.named("extend") == []
    for turn in range(1, 6):
        step(clock, broker, "extend", 1 if turn == 1 else 21, turn)
    assert broker.receive("q") == []
    assert {call.seconds for call in broker.named("extend")} == {30.0}
    delivery.ack()
    assert not delivery.lease_lost.is_set()


def test_a_delivery_keeps_its_lease_until_told_to_stop(open_broker: OpenBroker, clock: ManualClock) -> None:
    """`Delivery.keep_lease` and `stop_keeping`, for those who receive without a consumer."""
    broker = open_broker(clock=clock)
    (delivery,) = receive(broker)
    delivery.keep_lease()
    step(clock, broker, "extend", 21, 1)
    assert {call.seconds for call in broker.named("extend")} == {30.0}
    delivery.stop_keeping()
    assert not keeper_of(broker)._kept
    delivery.ack()
    delivery.keep_lease()
    assert not keeper_of(broker)._kept


def test_leases_due_together_are_renewed_together_within_the_brokers_limit(
    open_broker: OpenBroker, clock: ManualClock
) -> None:
    broker = open_broker(replace(RICH, max_settle_count=4, max_send_count=6), clock=clock)
    got = receive(broker, 6)
    keeper_of(broker).keep(got, 30.0, 3600.0)
    step(clock, broker, "extend", 21, 2)
    assert sorted(len(call.ids) for call in broker.named("extend")) == [2, 4]


def test_a_failed_renewal_is_repeated_before_the_lease_ends(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    (delivery,) = receive(broker)
    broker.script("extend", SdkError("Down"), RuntimeError("bug"), partial({0: ThrottledError("busy")}))
    keeper_of(broker).keep([delivery], 30.0, 3600.0)
    for turn, seconds in enumerate((21, 6.5, 2), start=1):
        step(clock, broker, "extend", seconds, turn)
        assert not delivery.lease_lost.is_set()
    step(clock, broker, "extend", 0.4, 4)  # 29.9 s after it began
    assert clock.wait_for_sleepers()
    clock.advance(20)
    assert not delivery.lease_lost.is_set()


def test_attempts_to_renew_keep_a_pause(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    watch = Watch()
    (delivery,) = receive(broker)
    broker.script("extend", *[SdkError("Down")] * 1000)
    keeper_of(broker).keep([delivery], 30.0, 3600.0)
    for _ in range(30):
        if clock.wait_for_sleepers(timeout=1):
            clock.advance(1)
    assert delivery.lease_lost.wait(10)
    assert len(broker.named("extend")) < 12
    assert watch.outcomes == []


def test_a_lost_lease_is_signalled_once_and_not_renewed_again(open_broker: OpenBroker, clock: ManualClock) -> None:
    watch = Watch()
    broker = open_broker(clock=clock, observers=Observers([watch]))
    (delivery,) = receive(broker)
    with broker.service.changed:
        broker.service.queues["q"].stored[0].token = -1  # an administrator purged or moved it
    keeper_of(broker).keep([delivery], 30.0, 3600.0)
    step(clock, broker, "extend", 21, 1)
    assert delivery.lease_lost.wait(10)
    assert watch.wait_for("lease_lost")
    clock.advance(1000)
    assert watch.outcomes == ["lease_lost"]
    assert len(broker.named("extend")) == 1


def test_renewing_ends_at_the_cap_and_the_end_of_the_lease_is_signalled(
    open_broker: OpenBroker, clock: ManualClock
) -> None:
    broker = open_broker(clock=clock)
    (delivery,) = receive(broker)
    keeper_of(broker).keep([delivery], 30.0, 40.0)
    step(clock, broker, "extend", 21, 1)  # runs until 51 now; the next look is at 42, after the cap
    assert clock.wait_for_sleepers()
    clock.advance(21)
    assert clock.wait_for_sleepers()
    assert not delivery.lease_lost.is_set()
    clock.advance(9)
    assert delivery.lease_lost.wait(10)
    assert len(broker.named("extend")) == 1


def test_a_lease_of_unknown_length_is_renewed_at_once(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    broker.tell_lease = False
    (delivery,) = receive(broker)
    keeper_of(broker).keep([delivery], 60.0, 3600.0)
    assert calls_reach(broker, "extend", 1)
    assert clock.wait_for_sleepers()
    assert delivery.lease_expires_at is not None
    step(clock, broker, "extend", 42, 2)


def test_an_unknown_lease_that_cannot_be_renewed_is_left_alone(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    broker.tell_lease = False
    (delivery,) = receive(broker)
    broker.script("extend", SdkError("Down"), UnsupportedError("leases are fixed here"))
    keeper_of(broker).keep([delivery], 60.0, 3600.0)
    assert calls_reach(broker, "extend", 1)
    step(clock, broker, "extend", 1, 2)
    clock.advance(1000)
    assert len(broker.named("extend")) == 2
    assert not delivery.lease_lost.is_set()


def test_an_unknown_lease_past_its_cap_is_not_watched_in_a_loop(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    broker.tell_lease = False
    (delivery,) = receive(broker)
    broker.script("extend", *[UnavailableError("down")] * 100)
    keeper_of(broker).keep([delivery], 60.0, 0.5)
    assert calls_reach(broker, "extend", 1)
    assert clock.wait_for_sleepers()
    clock.advance(1)
    assert eventually(lambda: not keeper_of(broker)._kept)
    clock.advance(1000)
    assert len(broker.named("extend")) == 1


def test_a_nack_the_broker_cannot_delay_is_held_and_renewed_until_its_time(
    open_broker: OpenBroker, clock: ManualClock
) -> None:
    watch = Watch()
    broker = open_broker(POOR, clock=clock, observers=Observers([watch]))
    (delivery,) = receive(broker)
    delivery.nack(50)
    assert delivery.settled == "nack"
    assert watch.outcomes == ["nack"]
    step(clock, broker, "extend", 21, 1)
    step(clock, broker, "extend", 21, 2)
    assert broker.receive("q") == []
    step(clock, broker, "nack", 8, 1)
    (again,) = broker.receive("q", wait=5)
    assert again.message.id == "m0"
    delivery.nack(50)  # settled that way before


def test_giving_back_is_repeated_while_the_lease_is_kept(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(POOR, clock=clock)
    (delivery,) = receive(broker)
    broker.script("nack", SdkError("Down"), SdkError("Down"))
    delivery.nack(10)
    step(clock, broker, "nack", 10, 3)
    assert broker.receive("q", wait=5)


def test_giving_back_gives_up_on_what_cannot_pass(
    open_broker: OpenBroker, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    broker = open_broker(POOR, clock=clock)
    (delivery,) = receive(broker)
    broker.script("nack", SdkError("Forbidden"))
    delivery.nack(10)
    step(clock, broker, "nack", 10, 1)
    assert calls_reach(broker, "nack", 1)
    clock.advance(31)
    assert broker.receive("q", wait=5)
    assert "a delayed nack on 'q' failed (PermissionDeniedError)" in caplog.text


def test_a_call_that_hangs_does_not_cost_the_other_leases(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(replace(RICH, max_settle_count=1), clock=clock)
    stuck, other = receive(broker, 2)
    hang = Hang()
    broker.script("extend", hang)
    keeper_of(broker).keep([stuck], 30.0, 3600.0)
    keeper_of(broker).keep([other], 30.0, 3600.0)
    step(clock, broker, "extend", 21, 2)
    assert hang.begun.wait(10)
    step(clock, broker, "extend", 21, 3)
    assert not other.lease_lost.is_set()
    hang.go.set()


def test_a_delivery_that_is_being_settled_is_not_renewed(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    (delivery,) = receive(broker)
    keeper_of(broker).keep([delivery], 30.0, 3600.0)
    hang = Hang()
    broker.script("ack", hang)
    thread = threading.Thread(target=delivery.ack, daemon=True)
    thread.start()
    assert hang.begun.wait(10)
    assert clock.wait_for_sleepers()
    clock.advance(21)
    assert clock.wait_for_sleepers()
    assert broker.named("extend") == []
    hang.go.set()
    thread.join(10)
    assert delivery.settled == "ack"


def test_settling_waits_for_a_renewal_under_way(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    (delivery,) = receive(broker)
    hang = Hang()
    broker.script("extend", hang)
    keeper_of(broker).keep([delivery], 30.0, 3600.0)
    assert clock.wait_for_sleepers()
    clock.advance(21)
    assert hang.begun.wait(10)
    thread = threading.Thread(target=delivery.ack, daemon=True)
    thread.start()
    thread.join(0.1)
    assert broker.named("ack") == []
    hang.go.set()
    thread.join(10)
    assert delivery.settled == "ack"
    assert [call.name for call in broker.calls[-2:]] == ["extend", "ack"]


def test_what_is_settled_leaves_nothing_behind(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    keeper = keeper_of(broker)
    for _ in range(200):
        got = receive(broker, 10)
        keeper.keep(got, 43000.0, 1e6)
        broker.ack_many(got)
    assert not keeper._kept
    assert len(keeper._due) <= 100  # the leases of 2,000 settled messages would run for hours


def test_threads_are_few_and_end_with_the_broker(open_broker: OpenBroker, clock: ManualClock) -> None:
    def count() -> int:
        return sum(thread.name.startswith("clouddirect-leases-memory") for thread in threading.enumerate())

    before = count()
    broker = open_broker(clock=clock)
    assert count() == before
    keeper_of(broker).keep(receive(broker, 10), 30.0, 3600.0)
    step(clock, broker, "extend", 21, 1)
    assert before < count() <= before + 4
    broker.close()
    assert count() == before


def test_close_gives_held_nacks_back_at_once(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(POOR, clock=clock)
    for delivery in receive(broker, 3):
        delivery.nack(600)
    assert broker.named("nack") == []
    broker.close()
    assert len(broker.named("nack")) == 3
    assert len(open_broker(POOR, clock=clock, service=broker.service).receive("q", 10)) == 3


def test_stop_is_bounded_by_its_time(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    (delivery,) = receive(broker)
    hang = Hang()
    broker.script("extend", hang)
    keeper: Any = keeper_of(broker)
    keeper.keep([delivery], 30.0, 3600.0)
    assert clock.wait_for_sleepers()
    clock.advance(21)
    assert hang.begun.wait(10)
    stopped = threading.Event()

    def stop() -> None:
        keeper.stop(0.05)
        stopped.set()

    threading.Thread(target=stop, daemon=True).start()
    assert stopped.wait(10)
    hang.go.set()
