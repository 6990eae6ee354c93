"""Ordering keys, delays and time to live: what may be delivered when, and in which order."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from clouddirect.clock import ManualClock
from clouddirect.messaging import BrokerRuntime, Delivery, Message
from clouddirect_local.broker import LocalBroker
from clouddirect_local.broker_options import LocalBrokerOptions
from clouddirect_local.queue_admin import create_queue

QUEUE = "orders"


def put(broker: LocalBroker, key: str | None, *bodies: bytes, **fields: float) -> None:
    for body in bodies:
        broker.send(QUEUE, Message(body=body, ordering_key=key, **fields))


def bodies(deliveries: Iterable[Delivery]) -> list[bytes]:
    return [each.message.body for each in deliveries]


class TestOrderingKey:
    def test_one_call_returns_several_of_a_key_in_order(self, broker: LocalBroker) -> None:
        put(broker, "a", b"1", b"2", b"3", b"4")
        assert bodies(broker.receive(QUEUE, 3)) == [b"1", b"2", b"3"]

    def test_nothing_of_a_key_is_delivered_while_an_earlier_one_is_on_lease(self, broker: LocalBroker) -> None:
        put(broker, "a", b"1", b"2")
        put(broker, "b", b"3")
        put(broker, None, b"4")
        (first,) = broker.receive(QUEUE)
        assert bodies(broker.receive(QUEUE, 9)) == [b"3", b"4"]
        assert broker.receive(QUEUE, 9) == []
        first.ack()
        assert bodies(broker.receive(QUEUE, 9)) == [b"2"]

    def test_a_message_sent_behind_one_on_lease_waits(self, broker: LocalBroker) -> None:
        put(broker, "a", b"1")
        (first,) = broker.receive(QUEUE)
        put(broker, "a", b"2")
        assert broker.receive(QUEUE) == []
        first.dead_letter("unreadable")
        assert bodies(broker.receive(QUEUE)) == [b"2"]

    def test_a_delayed_nack_holds_up_its_key_alone(self, broker: LocalBroker, manual_clock: ManualClock) -> None:
        put(broker, "a", b"1", b"2")
        put(broker, "b", b"3")
        (first,) = broker.receive(QUEUE)
        first.nack(delay=10)
        assert bodies(broker.receive(QUEUE, 9)) == [b"3"]
        manual_clock.advance(11)
        assert bodies(broker.receive(QUEUE, 9)) == [b"1", b"2"]

    def test_a_delayed_message_holds_up_its_key_alone(self, broker: LocalBroker, manual_clock: ManualClock) -> None:
        put(broker, "a", b"1", delay=10)
        put(broker, "a", b"2")
        put(broker, "b", b"3")
        assert bodies(broker.receive(QUEUE, 9)) == [b"3"]
        manual_clock.advance(11)
        assert bodies(broker.receive(QUEUE, 9)) == [b"1", b"2"]

    def test_a_delayed_message_behind_another_keeps_its_delay(
        self, broker: LocalBroker, manual_clock: ManualClock
    ) -> None:
        put(broker, "a", b"1")
        put(broker, "a", b"2", delay=10)
        put(broker, "a", b"3")
        (first,) = broker.receive(QUEUE, 9)
        first.ack()
        assert broker.receive(QUEUE, 9) == []
        manual_clock.advance(11)
        assert bodies(broker.receive(QUEUE, 9)) == [b"2", b"3"]

    def test_a_message_given_back_comes_before_those_behind_it(self, broker: LocalBroker) -> None:
        put(broker, "a", b"1", b"2", b"3")
        first, second = broker.receive(QUEUE, 2)
        second.nack()
        assert broker.receive(QUEUE, 9) == []  # the first is still on lease
        first.nack()
        assert bodies(broker.receive(QUEUE, 9)) == [b"1", b"2", b"3"]

    def test_a_receiver_gets_none_from_behind_one_that_another_still_holds(
        self, broker: LocalBroker, manual_clock: ManualClock
    ) -> None:
        put(broker, "a", b"1", b"2", b"3")
        _, second = broker.receive(QUEUE, 2)
        second.extend(600)
        manual_clock.advance(31)
        assert bodies(broker.receive(QUEUE, 9)) == [b"1"]

    def test_an_expired_message_holds_up_nothing(self, broker: LocalBroker, manual_clock: ManualClock) -> None:
        put(broker, "a", b"1", b"2", time_to_live=5)
        put(broker, "a", b"3")
        manual_clock.advance(6)
        assert bodies(broker.receive(QUEUE, 1)) == [b"3"]

    def test_one_delivered_too_often_holds_up_nothing(self, broker: LocalBroker) -> None:
        put(broker, "a", b"1", b"2")
        for _ in range(10):
            broker.receive(QUEUE)[0].nack()
        assert bodies(broker.receive(QUEUE)) == [b"2"]
        assert bodies(broker.receive(f"{QUEUE}/$dead", 9)) == [b"1"]

    def test_all_keys_come_forward_before_a_second_message_of_one(self, broker: LocalBroker) -> None:
        for body in (b"1", b"2"):
            for key in "abcd":
                put(broker, key, key.encode() + body)
        assert bodies(broker.receive(QUEUE, 4)) == [b"a1", b"b1", b"c1", b"d1"]

    def test_keys_of_different_queues_have_nothing_to_do_with_each_other(self, broker, queue_file) -> None:
        create_queue(queue_file, "other")
        put(broker, "a", b"1")
        broker.send("other", Message(body=b"2", ordering_key="a"))
        broker.receive(QUEUE)
        assert bodies(broker.receive("other")) == [b"2"]

    def test_finding_what_is_ready_never_walks_over_what_waits_behind(self, broker: LocalBroker) -> None:
        messages = [Message(body=b"", ordering_key=f"key {place % 3}") for place in range(20_000)]
        assert all(result.ok for result in broker.send_many(QUEUE, messages))
        held = broker.receive(QUEUE, 3)
        put(broker, None, b"free")
        with broker._file.write(1.0) as connection:
            steps = 0

            def count() -> int:
                nonlocal steps
                steps += 1
                return 0

            connection.set_progress_handler(count, 10)
        assert bodies(broker.receive(QUEUE, 9)) == [b"free"]
        held[0].ack()
        assert len(broker.receive(QUEUE, 5)) == 5
        with broker._file.write(1.0) as connection:
            connection.set_progress_handler(None, 0)
        assert (
            steps < 500
        )  # times ten instructions of SQLite's machine; a walk over the table takes hundreds of thousands


def test_messages_without_a_key_come_oldest_first(broker: LocalBroker) -> None:
    sent = [b"%d" % place for place in range(50)]
    put(broker, None, *sent)
    assert bodies(broker.receive(QUEUE, 20)) + bodies(broker.receive(QUEUE, 50)) == sent


class TestDelay:
    def test_it_hides_the_message_until_then(self, broker: LocalBroker, manual_clock: ManualClock) -> None:
        put(broker, None, b"later", delay=60)
        put(broker, None, b"now", delay=0)
        broker.ack_many(now := broker.receive(QUEUE, 9))
        assert bodies(now) == [b"now"]
        manual_clock.advance(59)
        assert broker.receive(QUEUE) == []
        manual_clock.advance(1.1)
        assert bodies(broker.receive(QUEUE)) == [b"later"]

    def test_a_waiting_receiver_wakes_when_it_is_over(self, broker, manual_clock: ManualClock, in_thread) -> None:
        put(broker, None, b"later", delay=3)
        waiting = in_thread(lambda: broker.receive(QUEUE, wait=60))
        assert manual_clock.wait_for_sleepers()
        for _ in range(7):
            manual_clock.advance(0.5)
            manual_clock.wait_for_sleepers(timeout=0.2)
        assert bodies(waiting.result(timeout=10)) == [b"later"]

    def test_it_runs_on_the_wall_clock(self, broker: LocalBroker, manual_clock: ManualClock) -> None:
        put(broker, None, b"later", delay=60)
        manual_clock.set_back(-3600)
        assert bodies(broker.receive(QUEUE)) == [b"later"]


class TestTimeToLive:
    def test_an_expired_message_is_dropped(self, broker: LocalBroker, manual_clock: ManualClock) -> None:
        put(broker, None, b"short", time_to_live=10)
        put(broker, None, b"long", time_to_live=1000)
        manual_clock.advance(11)
        assert bodies(broker.receive(QUEUE, 9)) == [b"long"]
        assert broker.receive(f"{QUEUE}/$dead") == []

    def test_it_begins_when_the_message_becomes_visible(self, broker: LocalBroker, manual_clock: ManualClock) -> None:
        put(broker, None, b"x", delay=100, time_to_live=10)
        manual_clock.advance(105)
        assert bodies(broker.receive(QUEUE)) == [b"x"]

    def test_a_message_that_expired_on_lease_can_still_be_settled(self, broker, manual_clock: ManualClock) -> None:
        put(broker, None, b"x", b"y", time_to_live=10)
        first, second = broker.receive(QUEUE, 2)
        manual_clock.advance(20)
        first.ack()
        second.nack()
        assert broker.receive(QUEUE) == []

    def test_thousands_of_expired_messages_hide_none_that_lives(self, broker, manual_clock: ManualClock) -> None:
        broker.send_many(QUEUE, [Message(body=b"", time_to_live=1) for _ in range(2500)])
        put(broker, None, b"alive")
        manual_clock.advance(2)
        assert bodies(broker.receive(QUEUE)) == [b"alive"]

    def test_a_dead_letter_does_not_expire(self, broker: LocalBroker, manual_clock: ManualClock) -> None:
        put(broker, None, b"x", time_to_live=10)
        broker.receive(QUEUE)[0].dead_letter("unreadable")
        manual_clock.advance(10_000)
        assert bodies(broker.receive(f"{QUEUE}/$dead")) == [b"x"]


class Steps(RuleBasedStateMachine):
    """Whatever is done in whatever order: nothing is lost, nothing overtakes in its key, the states are right."""

    directory: str
    serial = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.path = f"{self.directory}/{next(self.serial)}.db"
        create_queue(self.path, QUEUE, max_deliveries=None)
        self.clock = ManualClock()
        self.broker = LocalBroker(LocalBrokerOptions(path=self.path), BrokerRuntime(clock=self.clock))
        self.sent: dict[str, tuple[int, str | None]] = {}  # id -> place and key, until it is removed
        self.place = 0
        self.held: list[Delivery] = []

    @rule(
        keys=st.lists(st.sampled_from([None, "a", "b"]), min_size=1, max_size=4),
        delay=st.sampled_from([None, 5.0, 40.0]),
    )
    def send(self, keys: list[str | None], delay: float | None) -> None:
        messages = [Message(body=b"", ordering_key=key, delay=delay) for key in keys]
        for result in self.broker.send_many(QUEUE, messages):
            assert result.ok
            self.place += 1
            self.sent[result.message.id] = (self.place, result.message.ordering_key)

    @rule(most=st.integers(1, 4))
    def receive(self, most: int) -> None:
        found = self.broker.receive(QUEUE, most)
        newest: dict[str, int] = {}
        for each in found:
            place, key = self.sent[each.message.id]
            if key is None:
                continue
            assert newest.get(key, 0) < place
            newest[key] = place
            earlier = [one for one, (where, its) in self.sent.items() if its == key and where < place]
            assert set(earlier) <= {one.message.id for one in found}  # no earlier one of its key is anywhere else
        self.held += found

    @rule(
        which=st.randoms(use_true_random=False), how=st.sampled_from(["ack", "ack", "nack", "later", "release", "dead"])
    )
    def settle(self, which: random.Random, how: str) -> None:
        open_ones = [each for each in self.held if each.settled is None and self._counts(each)]
        if not open_ones:
            return
        delivery = which.choice(open_ones)
        if how in ("ack", "dead"):
            delivery.ack() if how == "ack" else delivery.dead_letter("unreadable")
            del self.sent[delivery.message.id]
        elif how == "release":
            self.broker.settlement.release(QUEUE, [delivery])
        else:
            delivery.nack(20.0 if how == "later" else None)
        self.held.remove(delivery)

    @rule(seconds=st.sampled_from([1.0, 6.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def _counts(self, delivery: Delivery) -> bool:
        ends = delivery.lease_expires_at
        return ends is not None and ends > self.clock.now()

    @invariant()
    def states_are_right(self) -> None:
        with self.broker._file.read() as connection:
            rows = connection.execute(
                """SELECT m.id, m.state, m.due, m.ordering_key, c.message_id FROM message m JOIN content c USING (id)
                WHERE queue = (SELECT id FROM queue WHERE name = ?) ORDER BY m.id""",
                (QUEUE,),
            ).fetchall()
            assert {row[4] for row in rows} == set(self.sent)
            assert (
                connection.execute("SELECT count(*) FROM content").fetchone()
                == connection.execute("SELECT count(*) FROM message").fetchone()
            )
        heads: set[str] = set()
        for _, state, due, key, _ in rows:
            first = not key or key not in heads
            assert state in ((0, 1, 2) if first else (1, 3))
            assert state != 0 or due == 0
            heads.add(key)

    def teardown(self) -> None:
        """Everything that was sent and not removed still comes, each key in order."""
        found: list[Delivery] = []
        for _ in range(len(self.sent) + 2):
            self.clock.advance(100)
            batch = self.broker.receive(QUEUE, 2)
            self.broker.ack_many(batch)
            found += batch
        assert {each.message.id for each in found} == set(self.sent)
        for key in ("a", "b"):
            places = [self.sent[each.message.id][0] for each in found if each.message.ordering_key == key]
            assert places == sorted(places)
        self.broker.close()


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
def test_any_sequence_of_steps_keeps_order_and_loses_nothing(tmp_path, long_run: bool) -> None:
    Steps.directory = str(tmp_path)
    machine = Steps.TestCase()
    machine.settings = settings(
        max_examples=1000 if long_run else 30, stateful_step_count=30, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    machine.runTest()
