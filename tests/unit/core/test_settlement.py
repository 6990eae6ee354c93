"""Settling: once, with the broker's answer read, retried for what failed, never lost and never for ever."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import (
    AlreadySettledError,
    ClosedError,
    CloudDirectError,
    InvalidMessageError,
    LeaseLostError,
    PermissionDeniedError,
    ThrottledError,
    UnavailableError,
    UnsupportedError,
)
from clouddirect.messaging import Delivery, Message
from unit.core.conftest import NO_WAIT, OpenBroker, receive
from unit.core.memory_broker import POOR, RICH, Call, Hang, after, partial
from unit.core.memory_service import SdkError

NO_DEAD = replace(RICH, native_dead_letter=False, dead_letter_queue=None)


# -- settling once ------------------------------------------------------------------------------------------


def test_settling_again_the_same_way_is_nothing_and_another_way_an_error(open_broker: OpenBroker) -> None:
    broker = open_broker()
    acked, nacked, dead = receive(broker, 3)
    acked.ack()
    nacked.nack()
    dead.dead_letter("unreadable")
    before = len(broker.calls)
    acked.ack()
    nacked.nack(5)
    dead.dead_letter("another")
    assert len(broker.calls) == before
    for delivery, ways in ((acked, "nd"), (nacked, "ad"), (dead, "an")):
        for way in ways:
            with pytest.raises(AlreadySettledError, match="already settled") as caught:
                {"a": delivery.ack, "n": delivery.nack, "d": lambda one=delivery: one.dead_letter("r")}[way]()
            assert (caught.value.provider, caught.value.resource) == ("memory", "q")
        with pytest.raises(AlreadySettledError):
            delivery.extend(30)
    assert [one.settled for one in (acked, nacked, dead)] == ["ack", "nack", "dead_letter"]


def test_context_manager_acks_nacks_and_leaves_settled_ones_alone(open_broker: OpenBroker) -> None:
    broker = open_broker()
    first, second, third = receive(broker, 3)
    with first:
        pass
    with pytest.raises(KeyError), second:
        raise KeyError
    with third:
        third.nack(60)
    assert [one.settled for one in (first, second, third)] == ["ack", "nack", "nack"]


def test_a_context_manager_keeps_the_callers_own_exception(open_broker: OpenBroker) -> None:
    broker = open_broker()
    (delivery,) = receive(broker)
    broker.script("nack", PermissionDeniedError("no"))
    with pytest.raises(KeyError) as caught, delivery:
        raise KeyError("mine")
    assert "could not be given back (PermissionDeniedError)" in caught.value.__notes__[0]
    assert delivery.settled is None


def test_a_settlement_that_failed_can_be_repeated(open_broker: OpenBroker) -> None:
    broker = open_broker()
    (delivery,) = receive(broker)
    broker.script("ack", PermissionDeniedError("no"))
    with pytest.raises(PermissionDeniedError) as caught:
        delivery.ack()
    assert (caught.value.provider, caught.value.operation, caught.value.resource) == ("memory", "ack", "q")
    delivery.ack()
    assert broker.service.depth("q") == 0


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf")])
def test_a_senseless_delay_is_refused(open_broker: OpenBroker, delay: float) -> None:
    (delivery,) = receive(open_broker())
    with pytest.raises(InvalidMessageError, match="delay"):
        delivery.nack(delay)
    with pytest.raises(InvalidMessageError, match="seconds"):
        delivery.extend(delay)
    with pytest.raises(InvalidMessageError, match="reason"):
        delivery.dead_letter("")
    assert delivery.settled is None


def test_repr_shows_no_content(open_broker: OpenBroker) -> None:
    (delivery,) = receive(open_broker(), subject="MARLOWE", attributes={"a": "MARLOWE"})
    assert "MARLOWE" not in repr(delivery)
    assert "m0" in repr(delivery)


# -- ack_many -----------------------------------------------------------------------------------------------


def test_ack_many_in_full_batches_with_results_in_order(open_broker: OpenBroker) -> None:
    broker = open_broker()
    got = receive(broker, 25)
    results = broker.ack_many(list(reversed(got)))
    assert [result.delivery for result in results] == list(reversed(got))
    assert all(result.ok for result in results)
    assert sorted(len(call.ids) for call in broker.named("ack")) == [5, 10, 10]
    assert broker.service.depth("q") == 0


def test_ack_many_of_several_queues_and_repetitions(open_broker: OpenBroker) -> None:
    broker = open_broker()
    broker.service.create("r")
    broker.send("r", Message(body=b""))
    (one,), (other,) = receive(broker), broker.receive("r")
    results = broker.ack_many([one, other, one])
    assert [result.delivery for result in results] == [one, other, one]
    assert sorted(call.queue for call in broker.named("ack")) == ["q", "r"]
    assert broker.ack_many([]) == []


def test_ack_many_tells_each_ones_fate(open_broker: OpenBroker) -> None:
    broker = open_broker()
    got = receive(broker, 5)
    got[0].nack(60)
    got[1].ack()
    broker.script("ack", partial({0: LeaseLostError("gone"), 2: PermissionDeniedError("no")}))
    results = broker.ack_many(got)
    kinds = [type(result.error) for result in results]
    assert kinds == [AlreadySettledError, type(None), LeaseLostError, type(None), PermissionDeniedError]
    assert got[2].lease_lost.is_set()
    assert results[4].error is not None
    assert results[4].error.resource == "q"
    assert got[4].settled is None


def test_only_failed_acks_are_repeated(open_broker: OpenBroker) -> None:
    broker = open_broker(replace(RICH, ack_is_checked=False))
    got = receive(broker, 4)
    broker.script("ack", partial({1: ThrottledError("busy"), 2: UnavailableError("down")}))
    assert all(result.ok for result in broker.ack_many(got))
    assert [call.ids for call in broker.named("ack")] == [("m0", "m1", "m2", "m3"), ("m1", "m2")]


def test_acks_give_up_after_the_last_attempt(open_broker: OpenBroker) -> None:
    broker = open_broker()
    got = receive(broker, 2)
    broker.script("ack", *[SdkError("Down")] * NO_WAIT.max_attempts)
    assert [type(result.error) for result in broker.ack_many(got)] == [UnavailableError] * 2
    assert len(broker.named("ack")) == NO_WAIT.max_attempts
    assert [one.settled for one in got] == [None, None]


def test_a_bug_in_a_provider_is_a_result_not_an_exception(open_broker: OpenBroker) -> None:
    broker = open_broker()
    got = receive(broker, 12)
    broker.script("ack", RuntimeError("bug"))
    results = broker.ack_many(got)
    assert sorted(result.ok for result in results) == [False] * 10 + [True] * 2


def test_a_delivery_of_another_broker_is_refused(open_broker: OpenBroker) -> None:
    one, other = open_broker(), open_broker()
    with pytest.raises(InvalidMessageError, match="another broker"):
        one.ack_many(receive(other))
    assert other.service.depth("q") == 1


def test_two_threads_with_the_same_deliveries_do_not_block_each_other(open_broker: OpenBroker) -> None:
    broker = open_broker()
    got = receive(broker, 10)
    begin = threading.Barrier(2)
    fine: list[bool] = []

    def ack(mine: list[Delivery]) -> None:
        begin.wait(10)
        fine.extend(all(result.ok for result in broker.ack_many(mine)) for _ in range(200))

    threads = [threading.Thread(target=ack, args=(order,), daemon=True) for order in (got, got[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert fine == [True] * 400


def test_an_ack_that_is_interrupted_keeps_nothing_locked(open_broker: OpenBroker) -> None:
    """Ctrl-C while it waits for a delivery that another thread is settling."""

    class Interrupted:
        def acquire(self) -> None:
            raise KeyboardInterrupt

    broker = open_broker()
    *others, last = sorted(receive(broker, 10), key=id)
    last._lock, lock = Interrupted(), last._lock  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        broker.ack_many([*others, last])
    last._lock = lock
    fine: list[bool] = []
    thread = threading.Thread(
        target=lambda: fine.extend(one.ok for one in broker.ack_many([*others, last])), daemon=True
    )
    thread.start()
    thread.join(20)
    assert fine == [True] * 10


# -- leases that have ended ---------------------------------------------------------------------------------


def test_a_late_ack_is_attempted_and_the_brokers_word_counts(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    (delivery,) = receive(broker)
    clock.advance(31)
    with pytest.raises(LeaseLostError) as caught:
        delivery.ack()
    assert caught.value.code == "LeaseLost"
    assert len(broker.named("ack")) == 1
    assert delivery.lease_lost.is_set()
    with pytest.raises(LeaseLostError):
        delivery.ack()
    assert len(broker.named("ack")) == 1


def test_a_late_ack_that_the_broker_takes_and_checks_is_fine(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    (delivery,) = receive(broker)
    clock.advance(31)
    broker.script("ack", lambda call: [None])
    delivery.ack()
    assert not delivery.lease_lost.is_set()


def test_where_the_broker_cannot_tell_our_clock_decides(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(POOR, clock=clock)
    early, late = receive(broker, 2)
    clock.advance(29.5)
    early.ack()
    clock.advance(0.5)
    with pytest.raises(LeaseLostError, match="after the lease had ended"):
        late.ack()
    assert len(broker.named("ack")) == 2


def test_a_corrected_wall_clock_does_not_end_leases(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(POOR, clock=clock)
    (delivery,) = receive(broker)
    clock.set_back(-86400)
    delivery.ack()


def test_lease_expires_at_follows_extend(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    (delivery,) = receive(broker)
    assert delivery.lease_expires_at is not None
    assert (delivery.lease_expires_at - clock.now()).total_seconds() == 30
    clock.advance(10)
    ends = delivery.extend(100)
    assert ends is not None
    assert (ends - clock.now()).total_seconds() == 100
    clock.advance(99)
    assert broker.receive("q") == []
    delivery.ack()


def test_extend_reads_what_was_granted(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(POOR, clock=clock)  # its leases are 30 s, whatever is asked for
    (delivery,) = receive(broker)
    ends = delivery.extend(500)
    assert ends is not None
    assert (ends - clock.now()).total_seconds() == 30


def test_extend_is_retried_refused_and_reports_a_lost_lease(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    (delivery,) = receive(broker)
    broker.script("extend", SdkError("Down"))
    delivery.extend(30)
    assert len(broker.named("extend")) == 2
    with pytest.raises(UnsupportedError, match="at most 43200 s"):
        delivery.extend(43201)
    clock.advance(31)
    with pytest.raises(LeaseLostError):
        delivery.extend(30)
    assert delivery.lease_lost.is_set()
    assert delivery.settled is None


def test_lease_lost_can_be_looked_at_while_the_delivery_is_being_settled(open_broker: OpenBroker) -> None:
    broker = open_broker()
    (delivery,) = receive(broker)
    hang = Hang()
    broker.script("ack", hang)
    thread = threading.Thread(target=delivery.ack, daemon=True)
    thread.start()
    assert hang.begun.wait(10)
    assert not delivery.lease_lost.is_set()  # must not wait for the call
    assert delivery.settled is None
    hang.go.set()
    thread.join(10)
    assert delivery.settled == "ack"


def test_an_unknown_lease_is_unknown(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(POOR, clock=clock)
    broker.tell_lease = False
    (delivery,) = receive(broker)
    assert delivery.lease_expires_at is None
    clock.advance(10_000)
    delivery.ack()  # nobody can say that it was late


# -- nack ---------------------------------------------------------------------------------------------------


def test_nack_delay_is_the_brokers_where_it_can(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock)
    (delivery,) = receive(broker)
    delivery.nack(120)
    assert broker.named("nack") == [Call("nack", "q", ("m0",), 120)]
    assert broker.receive("q") == []
    clock.advance(120)
    assert broker.receive("q")[0].delivery_count == 2


def test_nack_without_delay_needs_no_holding(open_broker: OpenBroker) -> None:
    broker = open_broker(POOR)
    (delivery,) = receive(broker)
    delivery.nack()
    assert broker.named("nack") == [Call("nack", "q", ("m0",), 0.0)]


def test_a_nack_whose_lease_has_ended_is_not_held(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(replace(POOR, ack_is_checked=True), clock=clock)
    (delivery,) = receive(broker)
    clock.advance(31)
    with pytest.raises(LeaseLostError):
        delivery.nack(60)
    assert broker.named("extend") == []


# -- closed -------------------------------------------------------------------------------------------------


def test_settling_after_close_is_refused(open_broker: OpenBroker) -> None:
    broker = open_broker()
    (delivery,) = receive(broker)
    broker.close()
    for settle in (delivery.ack, delivery.nack, lambda: delivery.dead_letter("r"), lambda: delivery.extend(5)):
        with pytest.raises(ClosedError):
            settle()
    with pytest.raises(ClosedError):
        broker.ack_many([delivery])
    assert broker.service.depth("q") == 1


def test_an_ambiguous_ack_is_repeated_and_a_lost_lease_then_means_it_counted_or_not(open_broker: OpenBroker) -> None:
    broker = open_broker()
    (delivery,) = receive(broker)
    broker.script("ack", after(UnavailableError("cut")))
    with pytest.raises(CloudDirectError):
        delivery.ack()  # the broker says that the lease is gone: the first attempt removed the message
    assert broker.service.depth("q") == 0
