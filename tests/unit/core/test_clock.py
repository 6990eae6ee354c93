"""ManualClock: time passes when told, wakes who waits for it, and loses nobody."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from clouddirect.clock import ManualClock, SystemClock
from clouddirect.retry import Interrupt


def _in_thread(target: object) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_system_clock_is_aware_and_waits() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    before = clock.monotonic()
    condition = threading.Condition()
    with condition:
        assert clock.wait(condition, 0.01) is False
    assert clock.monotonic() > before


def test_time_stands_still_until_advanced() -> None:
    clock = ManualClock(datetime(2026, 5, 1, tzinfo=UTC))
    assert clock.monotonic() == 0.0
    clock.advance(90)
    assert clock.monotonic() == 90.0
    assert clock.now() == datetime(2026, 5, 1, 0, 1, 30, tzinfo=UTC)


def test_setting_the_wall_clock_back_leaves_monotonic_time_alone() -> None:
    clock = ManualClock()
    before = clock.now()
    clock.set_back(3600)
    assert clock.now() == before - timedelta(hours=1)
    assert clock.monotonic() == 0.0


def test_advance_wakes_those_whose_moment_has_come_and_no_others() -> None:
    clock = ManualClock()
    short, long = Interrupt(clock), Interrupt(clock)
    ended: list[str] = []
    threads = [
        _in_thread(lambda: ended.append(f"short {short.wait(5)}")),
        _in_thread(lambda: ended.append(f"long {long.wait(50)}")),
    ]
    assert clock.wait_for_sleepers(2)
    clock.advance(5)
    threads[0].join(10)
    assert ended == ["short False"]
    long.set()
    threads[1].join(10)
    assert ended == ["short False", "long True"]


def test_time_that_passes_between_reading_and_waiting_is_not_slept_again() -> None:
    clock = ManualClock()
    condition = threading.Condition()
    with condition:
        left = 10.0 - clock.monotonic()
        clock.advance(10)  # another thread would do this
        assert clock.wait(condition, left) is False  # returns at once: its moment has passed


def test_a_wait_for_nothing_returns_at_once() -> None:
    clock = ManualClock()
    condition = threading.Condition()
    with condition:
        assert clock.wait(condition, 0) is False
        assert clock.wait(condition, -1) is False
    assert clock.wait_for_sleepers(1, timeout=0) is False


def test_interrupt_without_a_limit_waits_for_the_switch() -> None:
    interrupt = Interrupt(ManualClock())
    ended = threading.Event()

    def wait() -> None:
        assert interrupt.wait() is True
        ended.set()

    _in_thread(wait)
    assert not interrupt.is_set()
    interrupt.set()
    assert ended.wait(10)
