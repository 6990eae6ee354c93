"""One retry policy: bounded attempts, full jitter, a deadline, and no memory lost about ambiguous outcomes."""

from __future__ import annotations

import logging
import random
import threading

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import ConfigurationError, NotFoundError, ThrottledError, UnavailableError
from clouddirect.retry import Interrupt, RetryPolicy


class Flaky:
    """Raises the given errors one after another, then returns."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


NOW = RetryPolicy(max_attempts=3, base_delay=0.0)


def test_retries_what_may_pass() -> None:
    flaky = Flaky(UnavailableError("1"), ThrottledError("2"))
    assert NOW.call(flaky, clock=ManualClock()) == "done"
    assert flaky.calls == 3


def test_attempts_are_bounded_and_the_last_error_is_raised() -> None:
    flaky = Flaky(*(UnavailableError(str(number)) for number in range(9)))
    with pytest.raises(UnavailableError, match="2"):
        NOW.call(flaky, clock=ManualClock())
    assert flaky.calls == 3


@pytest.mark.parametrize("error", [NotFoundError("no"), KeyError("bug"), UnavailableError("final", retryable=False)])
def test_what_cannot_pass_is_raised_at_once(error: Exception) -> None:
    flaky = Flaky(error)
    with pytest.raises(type(error)):
        NOW.call(flaky, clock=ManualClock())
    assert flaky.calls == 1


def test_an_ambiguous_attempt_is_not_forgotten() -> None:
    flaky = Flaky(
        UnavailableError("cut", maybe_sent=True), UnavailableError("b", maybe_own_write=True), NotFoundError("x")
    )
    with pytest.raises(NotFoundError) as caught:
        NOW.call(flaky, clock=ManualClock())
    assert caught.value.maybe_sent
    assert caught.value.maybe_own_write


def test_backoff_is_jittered_within_a_doubling_ceiling() -> None:
    random.seed(7)
    policy = RetryPolicy(base_delay=1.0, max_delay=8.0)
    for attempt, ceiling in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (9, 8.0), (5000, 8.0)]:
        waits = [policy.backoff(attempt) for _ in range(500)]
        assert 0 <= min(waits) < ceiling * 0.1
        assert ceiling * 0.9 < max(waits) <= ceiling


def test_the_services_wish_is_honoured() -> None:
    policy = RetryPolicy(base_delay=0.1, max_delay=0.1)
    assert policy.backoff(1, ThrottledError("slow", retry_after=7.0)) == 7.0
    assert policy.backoff(1, ThrottledError("slow", retry_after=0.0)) <= 0.1


def test_no_attempt_begins_after_the_deadline() -> None:
    flaky = Flaky(ThrottledError("slow", retry_after=61.0))
    policy = RetryPolicy(base_delay=0.0, deadline=60.0)
    with pytest.raises(ThrottledError):
        policy.call(flaky, clock=ManualClock())
    assert flaky.calls == 1


def test_the_callers_deadline_caps_the_policys() -> None:
    clock = ManualClock()
    assert RetryPolicy(deadline=60.0).ends(clock, 5.0) == 5.0
    assert RetryPolicy(deadline=60.0).ends(clock, 100.0) == 60.0
    assert RetryPolicy(deadline=60.0).ends(clock) == 60.0
    assert RetryPolicy(deadline=None).ends(clock, 5.0) == 5.0
    assert RetryPolicy(deadline=None).ends(clock) is None


def test_waits_run_on_the_injected_clock() -> None:
    clock, flaky, got = ManualClock(), Flaky(ThrottledError("slow", retry_after=10.0)), []
    policy = RetryPolicy(base_delay=0.0)
    thread = threading.Thread(target=lambda: got.append(policy.call(flaky, clock=clock)), daemon=True)
    thread.start()
    assert clock.wait_for_sleepers()
    assert flaky.calls == 1
    clock.advance(10)
    thread.join(10)
    assert got == ["done"]


def test_an_interrupt_ends_the_wait_and_raises_the_last_error() -> None:
    interrupt = Interrupt(ManualClock())
    interrupt.set()
    flaky = Flaky(UnavailableError("1"), UnavailableError("2"))
    with pytest.raises(UnavailableError, match="1"):
        RetryPolicy(base_delay=5.0).call(flaky, clock=ManualClock(), interrupt=interrupt)
    assert flaky.calls == 1


def test_the_log_names_the_kind_of_error_only(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        NOW.call(Flaky(UnavailableError("SharedAccessKey=abc")), clock=ManualClock(), what="send")
    assert "send failed (UnavailableError)" in caplog.text
    assert "abc" not in caplog.text


@pytest.mark.parametrize(
    "values",
    [{"max_attempts": 0}, {"base_delay": -1}, {"max_delay": -0.1}, {"deadline": 0}, {"deadline": -5.0}],
)
def test_senseless_values_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(values))):
        RetryPolicy(**values)  # type: ignore[arg-type]


def test_waiting_for_something_ends_when_it_comes_true_or_the_switch_is_thrown() -> None:
    for throw in (False, True):
        clock = ManualClock()
        interrupt, state, got = Interrupt(clock), {"true": False}, list[bool]()

        def wait(interrupt: Interrupt = interrupt, state: dict[str, bool] = state, got: list[bool] = got) -> None:
            got.append(interrupt.wait_for(lambda: state["true"], 60.0))

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        assert clock.wait_for_sleepers()
        interrupt.wake()  # nothing has come true: it goes on waiting
        state["true"] = not throw
        (interrupt.set if throw else interrupt.wake)()
        thread.join(10)
        assert got == [True]
        assert interrupt.is_set() is throw


def test_waiting_for_something_ends_with_its_time() -> None:
    assert Interrupt(ManualClock()).wait_for(lambda: False, 0.0) is False
