"""How messages leave the sandbox: at once, or with the faults that were asked for."""

from __future__ import annotations

import math
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import UnavailableError
from clouddirect.orders.models import (
    Event,
    OrderEvent,
    OrderGradedEvent,
    OrderResult,
    ReadyForGradingEvent,
    ResultOrder,
)
from clouddirect.sandbox.dispatch import Dispatch, Parcel
from clouddirect.settings import FaultSettings


class Line:
    """Takes what is sent, and can be down."""

    def __init__(self) -> None:
        self.sent: list[Parcel] = []
        self.down = False

    def __call__(self, parcel: Parcel) -> None:
        if self.down:
            raise UnavailableError("down")
        self.sent.append(parcel)

    @property
    def numbers(self) -> list[int | None]:
        """The ids of what was sent; None for what cannot be read."""
        return [number(parcel) for parcel in self.sent]


def number(parcel: Parcel) -> int | None:
    return getattr(parcel.message, "iris_order_id", None)


def event(number: int, local_id: str = "ORD-1") -> OrderEvent:
    return ReadyForGradingEvent(
        iris_order_id=number, order_local_id=local_id, transaction_id="DB816B37-07EC-43D0-9848-70BEC36F4024"
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def line() -> Line:
    return Line()


def dispatch(line: Line, clock: ManualClock, seed: int = 0, **faults: float) -> Dispatch:
    return Dispatch(line, clock, seed, FaultSettings(**faults))


def test_without_faults_everything_leaves_at_once_as_it_is(line: Line, clock: ManualClock) -> None:
    out, settled = dispatch(line, clock), []
    out.emit("m-1", event(1))
    out.emit("m-1", OrderResult(order=ResultOrder(local_id="ORD-1")))
    out.when_sent("m-1", lambda: settled.append(1))
    assert [(one.endpoint, one.order_local_id) for one in line.sent] == [("events", "ORD-1"), ("results", "ORD-1")]
    assert settled == [1]
    assert not out.made
    assert (len(out), out.seconds_until_due()) == (0, math.inf)


def test_what_is_delayed_leaves_within_the_time_and_settles_its_message(line: Line, clock: ManualClock) -> None:
    out, settled = dispatch(line, clock, delays=1.0, longest_delay=60.0), []
    for one in range(20):
        out.emit("m-1", event(one))
    out.when_sent("m-1", lambda: settled.append("ack"))
    assert (line.sent, settled, len(out), out.is_settling("m-1")) == ([], [], 1, True)
    left: list[float] = []
    while (wait := out.seconds_until_due()) < math.inf:
        assert wait >= 0
        clock.advance(wait)
        out.flush()
        left += [clock.monotonic()] * (len(line.sent) - len(left))
        assert settled == (["ack"] if len(line.sent) == 20 else [])
    assert sorted(line.numbers, key=str) == sorted(range(20), key=str)
    assert line.numbers != list(range(20))  # each has a delay of its own
    assert 0 < left[0] < 20.0 < 40.0 < left[-1] <= 60.0
    assert (len(out), out.is_settling("m-1")) == (0, False)
    assert out.made == {"delays": 20}


def test_nothing_leaves_before_its_time(line: Line, clock: ManualClock) -> None:
    out = dispatch(line, clock, delays=1.0)
    out.emit("m-1", event(1))
    clock.advance(out.seconds_until_due() - 0.001)
    out.flush()
    assert line.sent == []


def test_a_duplicate_follows_its_message(line: Line, clock: ManualClock) -> None:
    out = dispatch(line, clock, duplicates=1.0)
    out.emit("m-1", event(1))
    out.emit("m-1", OrderResult(order=ResultOrder(local_id="ORD-1")))
    assert [one.endpoint for one in line.sent] == ["events", "events", "results", "results"]
    assert line.sent[0].body == line.sent[1].body
    assert line.sent[2].body == line.sent[3].body


def test_a_duplicate_may_come_late_and_is_waited_for(line: Line, clock: ManualClock) -> None:
    out, settled = dispatch(line, clock, duplicates=1.0, delays=1.0), []
    out.emit("m-1", event(1))
    out.when_sent("m-1", lambda: settled.append("ack"))
    clock.advance(out.seconds_until_due())
    out.flush()
    assert (line.numbers, settled) == ([1], [])
    clock.advance(out.seconds_until_due())
    out.flush()
    assert (line.numbers, settled) == ([1, 1], ["ack"])


def test_an_event_lets_the_next_one_of_its_order_go_first(line: Line, clock: ManualClock) -> None:
    out, settled = dispatch(line, clock, reordering=1.0, longest_delay=30.0), []
    for one in (1, 2, 3, 4):
        out.emit("m-1", event(one))
        out.emit("m-2", event(one + 10, "ORD-2"))
    assert line.numbers == [2, 1, 12, 11, 4, 3, 14, 13]
    out.when_sent("m-1", lambda: settled.append("ack"))
    assert settled == ["ack"]


def test_an_event_that_nothing_follows_leaves_in_the_end(line: Line, clock: ManualClock) -> None:
    out, settled = dispatch(line, clock, reordering=1.0, longest_delay=30.0), []
    out.emit("m-1", event(1))
    out.emit("m-1", OrderResult(order=ResultOrder(local_id="ORD-1")))  # on another queue: no order to be changed
    out.when_sent("m-1", lambda: settled.append("ack"))
    assert [one.endpoint for one in line.sent] == ["results"]
    assert out.seconds_until_due() == 30.0
    clock.advance(30.0)
    out.flush()
    assert [one.endpoint for one in line.sent] == ["results", "events"]
    assert settled == ["ack"]


def test_an_overtaken_event_with_a_duplicate_comes_twice_and_no_more(line: Line, clock: ManualClock) -> None:
    out, settled = dispatch(line, clock, reordering=1.0, duplicates=1.0, longest_delay=30.0), []
    out.emit("m-1", event(1))
    out.emit("m-1", event(2))
    assert line.numbers == [2, 2, 1, 1]
    out.emit("m-1", event(3))
    out.when_sent("m-1", lambda: settled.append("ack"))
    clock.advance(30.0)
    out.flush()
    assert line.numbers == [2, 2, 1, 1, 3, 3]
    clock.advance(1000.0)
    out.flush()
    assert len(line.sent) == 6
    assert settled == ["ack"]


def test_a_stranger_and_a_malformed_one_go_before(line: Line, clock: ManualClock) -> None:
    out = dispatch(line, clock, unknown_kinds=1.0, malformed=1.0)
    out.emit("m-1", event(1))
    out.emit("m-1", OrderResult(order=ResultOrder(local_id="ORD-1")))
    kinds = [str(one.message.result_object_type) if one.message else None for one in line.sent]
    assert [one.endpoint for one in line.sent] == ["events"] * 3 + ["results"] * 2
    assert kinds[0] is not None
    assert kinds[0].startswith("Sandbox")
    assert kinds[1:4] == [None, "ReadyForGradingEvent", None]
    assert isinstance(line.sent[4].message, OrderResult)
    assert out.made == {"unknown_kinds": 1, "malformed": 2}


def pattern(clock: ManualClock, seed: int, owner: str, **faults: float) -> tuple[list[Any], Dispatch]:
    line = Line()
    out = dispatch(line, clock, seed, **faults)
    for order in range(10):
        for one in (1, 2, 3):
            out.emit(f"{owner}-{order}", event(one, f"ORD-{order}"))
    return [(one.order_local_id, number(one)) for one in line.sent], out


@pytest.mark.parametrize("fault", ["duplicates", "delays", "reordering", "unknown_kinds", "malformed"])
def test_the_same_seed_and_order_meet_the_same_faults(fault: str, clock: ManualClock) -> None:
    first, out = pattern(clock, 3, "one id", **{fault: 0.4})
    again, _ = pattern(clock, 3, "another id", **{fault: 0.4})
    other, _ = pattern(clock, 4, "one id", **{fault: 0.4})
    assert first == again
    assert first != other
    assert 4 <= out.made[fault] <= 20  # of 30


def test_repeats_of_one_kind_are_drawn_each_for_itself(line: Line, clock: ManualClock) -> None:
    out = dispatch(line, clock, duplicates=0.5)
    for one in range(40):
        out.emit("m-1", event(one))
    assert 8 <= out.made["duplicates"] <= 32


def test_what_begins_again_meets_the_same_faults_and_what_was_held_back_is_dropped(
    line: Line, clock: ManualClock
) -> None:
    out, settled = dispatch(line, clock, delays=0.5, reordering=0.5), []
    numbers = list(range(12))
    for one in numbers:
        out.emit("m-1", event(one))
    before = line.numbers
    line.sent = []
    out.begin_again("m-1")
    clock.advance(1000.0)
    out.flush()
    assert line.sent == []
    for one in numbers:
        out.emit("m-1", event(one))
    assert line.numbers == before
    out.when_sent("m-1", lambda: settled.append("ack"))
    clock.advance(1000.0)
    out.flush()
    assert sorted(line.numbers, key=str) == sorted(numbers, key=str)
    assert settled == ["ack"]


@pytest.mark.parametrize("faults", [{"delays": 1.0}, {"reordering": 1.0}, {"delays": 1.0, "duplicates": 1.0}])
def test_what_could_not_be_sent_stays(faults: dict[str, float], line: Line, clock: ManualClock) -> None:
    out, settled = dispatch(line, clock, **faults), []
    out.emit("m-1", event(1))
    out.when_sent("m-1", lambda: settled.append("ack"))
    clock.advance(1000.0)
    line.down = True
    with pytest.raises(UnavailableError):
        out.flush()
    assert (line.sent, settled, out.seconds_until_due()) == ([], [], 0.0)
    line.down = False
    out.flush()
    clock.advance(1000.0)
    out.flush()
    assert set(line.numbers) == {1}
    assert settled == ["ack"]


def test_faults_may_be_changed_on_the_way(line: Line, clock: ManualClock) -> None:
    out = dispatch(line, clock)
    out.emit("m-1", event(1))
    out.faults = FaultSettings(duplicates=1.0)
    out.emit("m-1", event(2))
    assert line.numbers == [1, 2, 2]


def test_messages_of_other_kinds_are_drawn_apart(clock: ManualClock) -> None:
    def drawn(make: type[Event]) -> list[int]:
        line = Line()
        out = dispatch(line, clock, duplicates=0.5)
        for one in range(30):
            out.emit(f"m-{one}", make(order_local_id=f"ORD-{one}"))
        return [int(str(parcel.order_local_id)[4:]) for parcel in line.sent]

    assert drawn(ReadyForGradingEvent) != drawn(OrderGradedEvent)
