"""Leases, nacks and late settlements, on a clock that the tests move."""

from __future__ import annotations

from datetime import timedelta

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import AlreadySettledError, LeaseLostError, UnsupportedError
from clouddirect.messaging import Delivery, Message
from clouddirect_local.broker import LocalBroker
from clouddirect_local.queue_admin import create_queue, list_queues

QUEUE = "orders"


def send(broker: LocalBroker, *bodies: bytes, queue: str = QUEUE) -> None:
    results = broker.send_many(queue, [Message(body=body) for body in bodies])
    assert all(result.ok for result in results)


def one(broker: LocalBroker, **options: float) -> Delivery:
    (delivery,) = broker.receive(QUEUE, **options)
    return delivery


def test_a_lease_ends_and_the_message_comes_again_with_the_count(
    broker: LocalBroker, manual_clock: ManualClock
) -> None:
    send(broker, b"x")
    first = one(broker)
    assert first.delivery_count == 1
    assert first.lease_expires_at == manual_clock.now() + timedelta(seconds=30)
    manual_clock.advance(29.9)
    assert broker.receive(QUEUE) == []
    manual_clock.advance(0.2)
    again = one(broker, lease=600)
    assert again.delivery_count == 2
    assert again.message.id == first.message.id
    manual_clock.advance(599)
    assert broker.receive(QUEUE) == []
    manual_clock.advance(2)
    assert one(broker).delivery_count == 3


def test_a_waiting_receiver_gets_what_comes_back(broker: LocalBroker, manual_clock: ManualClock, in_thread) -> None:
    send(broker, b"x")
    one(broker, lease=5)
    waiting = in_thread(lambda: broker.receive(QUEUE, wait=60))
    assert manual_clock.wait_for_sleepers()
    for _ in range(11):
        manual_clock.advance(0.5)
        manual_clock.wait_for_sleepers(timeout=0.2)
    assert waiting.result(timeout=10)[0].delivery_count == 2


def test_setting_the_wall_clock_moves_no_lease(broker: LocalBroker, manual_clock: ManualClock) -> None:
    send(broker, b"lease", b"nack")
    leased, nacked = broker.receive(QUEUE, 2)
    nacked.nack(delay=10)
    manual_clock.set_back(3600)
    manual_clock.advance(9)
    assert broker.receive(QUEUE, 9) == []
    leased.extend(60)
    manual_clock.advance(2)
    assert [each.message.body for each in broker.receive(QUEUE, 9)] == [b"nack"]
    manual_clock.set_back(-7200)
    assert broker.receive(QUEUE, 9) == []
    leased.ack()
    manual_clock.advance(600)
    assert [each.message.body for each in broker.receive(QUEUE, 9)] == [b"nack"]


def test_a_restart_of_the_machine_ends_leases_and_nack_delays(open_local, manual_clock: ManualClock) -> None:
    before = open_local(clock=manual_clock)
    send(before, b"leased", b"nacked", b"free")
    leased, nacked = before.receive(QUEUE, 2, lease=600)
    nacked.nack(delay=600)
    after = open_local(clock=ManualClock(manual_clock.now() + timedelta(seconds=40)))  # its monotonic side begins at 0
    found = after.receive(QUEUE, 9, lease=600)
    assert [(each.message.body, each.delivery_count) for each in found] == [
        (b"leased", 2),
        (b"nacked", 2),
        (b"free", 1),
    ]
    assert after.receive(QUEUE, 9) == []
    with pytest.raises(LeaseLostError):
        leased.ack()


def test_after_a_restart_a_lease_that_seems_live_ends_within_its_length(open_local) -> None:
    clock = ManualClock()
    clock.advance(100)
    before = open_local(clock=clock)
    send(before, b"x")
    one(before)
    again = ManualClock()
    again.advance(110)  # by chance the machine has been up for about as long as then
    after = open_local(clock=again)
    assert after.receive(QUEUE) == []
    again.advance(20.1)
    assert len(after.receive(QUEUE)) == 1


def test_a_restart_keeps_the_order_of_a_key(open_local, manual_clock: ManualClock) -> None:
    before = open_local(clock=manual_clock)
    before.send_many(QUEUE, [Message(body=b"%d" % place, ordering_key="k") for place in range(4)])
    before.receive(QUEUE, 2, lease=600)
    after = open_local(clock=ManualClock())
    assert [each.message.body for each in after.receive(QUEUE, 3)] == [b"0", b"1", b"2"]


class TestLate:
    """A settlement after the end of the lease counts exactly when nobody has had the message since."""

    @pytest.fixture
    def late(self, broker: LocalBroker, manual_clock: ManualClock) -> Delivery:
        send(broker, b"x")
        delivery = one(broker)
        manual_clock.advance(31)
        return delivery

    def test_an_ack_that_nobody_forestalled_counts(self, broker: LocalBroker, late: Delivery) -> None:
        late.ack()
        assert broker.receive(QUEUE) == []

    def test_an_ack_counts_when_a_receiver_passed_it_over(self, broker: LocalBroker, manual_clock: ManualClock) -> None:
        send(broker, b"x", b"y")
        mine = broker.receive(QUEUE, 2)
        manual_clock.advance(31)
        theirs = one(broker)  # both are ready again, one is taken
        assert theirs.message.body == b"x"
        mine[1].ack()
        theirs.ack()
        assert broker.receive(QUEUE) == []

    @pytest.mark.parametrize("settle", ["ack", "nack", "dead_letter", "extend"])
    def test_nothing_counts_once_somebody_else_has_it(self, broker: LocalBroker, late: Delivery, settle: str) -> None:
        taken = one(broker)
        call = {
            "ack": late.ack,
            "nack": late.nack,
            "dead_letter": lambda: late.dead_letter("unreadable"),
            "extend": lambda: late.extend(60),
        }[settle]
        with pytest.raises(LeaseLostError):
            call()
        assert late.lease_lost.is_set()
        assert broker.receive(QUEUE) == []
        taken.ack()

    def test_nothing_counts_once_somebody_else_had_it_and_gave_it_back(
        self, broker: LocalBroker, late: Delivery
    ) -> None:
        one(broker).nack()
        with pytest.raises(LeaseLostError):
            late.ack()
        assert len(broker.receive(QUEUE)) == 1

    def test_nothing_counts_once_somebody_else_finished_it(self, broker: LocalBroker, late: Delivery) -> None:
        one(broker).ack()
        with pytest.raises(LeaseLostError):
            late.ack()

    def test_a_nack_and_a_dead_letter_count(
        self, broker: LocalBroker, manual_clock: ManualClock, late: Delivery
    ) -> None:
        late.nack()
        again = one(broker)
        assert again.delivery_count == 2
        manual_clock.advance(31)
        again.dead_letter("unreadable")
        assert broker.receive(QUEUE) == []
        assert len(broker.receive(f"{QUEUE}/$dead")) == 1

    def test_a_lease_that_has_ended_is_not_revived(self, broker: LocalBroker, late: Delivery) -> None:
        with pytest.raises(LeaseLostError):
            late.extend(60)
        assert len(broker.receive(QUEUE)) == 1

    def test_in_a_batch_each_has_its_own_answer(self, broker: LocalBroker, manual_clock: ManualClock) -> None:
        send(broker, *(b"%d" % place for place in range(6)))
        mine = broker.receive(QUEUE, 6)
        manual_clock.advance(31)
        theirs = {each.message.id for each in broker.receive(QUEUE, 3)}
        for result in broker.ack_many(mine):
            lost = result.delivery.message.id in theirs
            assert isinstance(result.error, LeaseLostError) == lost
            assert result.ok != lost
        assert broker.receive(QUEUE, 9) == []
        manual_clock.advance(31)
        assert {each.message.id for each in broker.receive(QUEUE, 9)} == theirs


def test_extend_holds_and_is_from_now(broker: LocalBroker, manual_clock: ManualClock) -> None:
    send(broker, b"x")
    delivery = one(broker, lease=10)
    manual_clock.advance(9)
    assert delivery.extend(20) == manual_clock.now() + timedelta(seconds=20)
    manual_clock.advance(19)
    assert broker.receive(QUEUE) == []
    delivery.extend(1)
    manual_clock.advance(1.5)
    assert one(broker).delivery_count == 2


def test_a_nack_delay_is_kept_and_counts(broker: LocalBroker, manual_clock: ManualClock) -> None:
    send(broker, b"x")
    delivery = one(broker)
    delivery.nack(delay=100)
    delivery.nack(delay=100)
    with pytest.raises(AlreadySettledError):
        delivery.ack()
    manual_clock.advance(99)
    assert broker.receive(QUEUE) == []
    manual_clock.advance(1.1)
    assert one(broker).delivery_count == 2


def test_released_messages_do_not_count(open_local, manual_clock: ManualClock) -> None:
    first = open_local(clock=manual_clock)
    send(first, b"x", b"y")
    held = first.receive(QUEUE, 2)
    held[1].nack()
    first.close()  # gives back what is not settled
    second = open_local(clock=manual_clock)
    assert [(each.message.body, each.delivery_count) for each in second.receive(QUEUE, 9)] == [(b"x", 1), (b"y", 2)]
    assert len(held) == 2


def test_the_queue_settles_how_long_a_lease_is(open_local, queue_file, manual_clock: ManualClock) -> None:
    create_queue(queue_file, "long", lease=1000, max_deliveries=None)
    broker = open_local(clock=manual_clock)
    send(broker, b"x", queue="long")
    assert broker.receive("long")[0].lease_expires_at == manual_clock.now() + timedelta(seconds=1000)
    for _ in range(25):
        manual_clock.advance(1001)
        broker.receive("long")
    assert list_queues(queue_file)[0].messages == 1  # and no limit to deliveries


@pytest.mark.parametrize("lease", [0, -1, 604_801, float("inf"), float("nan")])
def test_impossible_leases_are_refused(broker: LocalBroker, lease: float) -> None:
    with pytest.raises(UnsupportedError):
        broker.receive(QUEUE, lease=lease)


def test_very_short_and_long_leases_work(broker: LocalBroker, manual_clock: ManualClock) -> None:
    send(broker, b"x")
    one(broker, lease=0.001)
    manual_clock.advance(0.01)
    one(broker, lease=604_800)
    manual_clock.advance(604_799)
    assert broker.receive(QUEUE) == []
    manual_clock.advance(2)
    assert one(broker).delivery_count == 3
