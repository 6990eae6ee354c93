"""Uploads: parts, restarts, retries, what is promised when something fails."""

from __future__ import annotations

import io
import logging
import threading
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import (
    AlreadyExistsError,
    ClosedError,
    ConfigurationError,
    IntegrityError,
    PermissionDeniedError,
    PreconditionFailedError,
    ThrottledError,
    TimeoutError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from clouddirect.retry import RetryPolicy
from clouddirect.storage import StoreCapabilities
from clouddirect.storage.upload import part_size
from unit.storage.conftest import AT_ONCE, DATA, PART, count


class Pipe:
    def __init__(self, data: bytes) -> None:
        self.stream = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self.stream.read(size)


@pytest.fixture
def store(service: Any, open_memory: Any) -> Any:
    with open_memory(service, retry=AT_ONCE, part_size=PART) as opened:
        yield opened


def test_part_size() -> None:
    can = StoreCapabilities(min_part_bytes=5, max_part_bytes=1000, max_parts=10, part_multiple=4)
    assert part_size(can, 1, None) == 8
    assert part_size(can, 8, None) == 8
    assert part_size(can, 9, 50) == 12
    assert part_size(can, 8, 100) == 12
    assert part_size(can, 5000, 100) == 1000
    assert part_size(StoreCapabilities(), 7, 10**12) == 7


def test_what_is_small_takes_one_request(service: Any, store: Any, shape: str) -> None:
    store.put("small", b"x" * PART)
    if shape == "resumable":
        assert service.calls == ["begin", "commit"]
    else:
        assert service.calls == ["put"]


def test_what_is_large_takes_each_part_once(service: Any, store: Any, shape: str) -> None:
    store.put("large", DATA + b"x")
    assert count(service, "write_part") == (4 if shape == "resumable" else 5)  # there the last one goes with the commit
    assert (count(service, "begin"), count(service, "commit"), count(service, "abort")) == (1, 1, 0)
    assert service.open_uploads == 0


def test_a_part_that_fails_is_sent_again(service: Any, store: Any) -> None:
    service.faults["write_part"].extend([None, UnavailableError("reset"), ConnectionResetError(), ThrottledError("")])
    assert store.put("retried", DATA).size == len(DATA)
    assert service.objects["retried"][0] == DATA
    assert count(service, "begin") == 1


def test_a_resumable_upload_goes_on_where_the_service_came_to(new_service: Any, open_memory: Any) -> None:
    """Progress is not counted twice, and attempts are bounded only as long as nothing moves."""
    service = new_service("resumable")
    service.faults["write_part"].extend(UnavailableError("reset") for _ in range(7))  # each lets 16 KiB through
    told: list[int] = []
    with open_memory(service, retry=AT_ONCE, part_size=2 * PART) as store:
        store.put("resumed", DATA, progress=told.append)
    assert service.objects["resumed"][0] == DATA
    assert sum(told) == len(DATA)
    assert count(service, "confirmed") == 7


def test_a_resumable_commit_goes_on_where_the_service_came_to(new_service: Any, open_memory: Any) -> None:
    """The request that carries the last part is repeated with what of it is missing."""
    service = new_service("resumable")
    service.faults["commit"].extend([UnavailableError("reset"), None])
    told: list[int] = []
    with open_memory(service, retry=AT_ONCE, part_size=PART) as store:
        store.put("resumed", DATA, progress=told.append)
    assert service.objects["resumed"][0] == DATA
    assert sum(told) == len(DATA)
    assert (count(service, "commit"), count(service, "confirmed")) == (2, 1)


def test_a_resumable_service_that_lost_what_it_had_confirmed_begins_again(new_service: Any, open_memory: Any) -> None:
    service = new_service("resumable")
    service.faults["write_part"].extend([None, UnavailableError("reset")])
    with open_memory(service, retry=AT_ONCE, part_size=PART) as store:
        begin = store._begin_upload

        def forgetful(*arguments: Any) -> Any:
            upload = begin(*arguments)
            if service.calls.count("begin") == 1:
                upload.confirmed = lambda timeout: 0
            return upload

        store._begin_upload = forgetful
        store.put("again", DATA)
    assert service.objects["again"][0] == DATA
    assert (count(service, "begin"), count(service, "abort")) == (2, 1)


def test_an_upload_that_the_service_dropped_begins_again(service: Any, store: Any, shape: str) -> None:
    told: list[int] = []
    where = "write_part" if shape == "resumable" else "commit"
    service.faults[where].extend([None] * (where == "write_part"))
    service.faults[where].append(PreconditionFailedError("dropped", retryable=True))
    store.put("again", io.BytesIO(DATA), progress=told.append)
    assert service.objects["again"][0] == DATA
    assert (count(service, "begin"), count(service, "abort")) == (2, 1)
    assert sum(told) == len(DATA)
    assert all(one > 0 for one in told)


def test_a_source_that_cannot_be_rewound_is_not_begun_again(service: Any, store: Any) -> None:
    service.faults["commit"].append(PreconditionFailedError("dropped", retryable=True))
    with pytest.raises(PreconditionFailedError) as dropped:
        store.put("once", Pipe(DATA))
    assert dropped.value.retryable, "the caller can do it again"
    assert count(service, "begin") == 1
    assert "once" not in service.objects


def test_beginning_again_is_bounded(service: Any, store: Any) -> None:
    service.faults["commit"].extend(PreconditionFailedError("dropped", retryable=True) for _ in range(9))
    with pytest.raises(PreconditionFailedError):
        store.put("again", DATA)
    assert (count(service, "begin"), count(service, "abort")) == (4, 4)


def test_a_precondition_that_failed_for_good_ends_the_upload(service: Any, store: Any) -> None:
    service.faults["commit"].append(PreconditionFailedError("no"))
    with pytest.raises(PreconditionFailedError):
        store.put("ended", DATA)
    assert (count(service, "begin"), count(service, "abort")) == (1, 1)


def test_a_small_object_is_tried_again_from_memory(new_service: Any, open_memory: Any) -> None:
    service = new_service("parts")
    service.faults["put"].append(PreconditionFailedError("conflict", retryable=True))
    with open_memory(service, retry=AT_ONCE) as store:
        store.put("small", Pipe(b"content"))
    assert service.objects["small"][0] == b"content"


@pytest.mark.parametrize("size", [100, len(DATA)])
def test_a_conflict_after_a_lost_reply_may_be_our_own(service: Any, store: Any, size: int) -> None:
    service.faults["committed"].append(UnavailableError("reset"))
    with pytest.raises(AlreadyExistsError) as conflict:
        store.put("lost", DATA[:size], if_absent=True)
    assert conflict.value.maybe_own_write
    assert "own, unconfirmed write" in str(conflict.value)


@pytest.mark.parametrize("fault", [UnavailableError("reset"), TimeoutError("silence"), ConnectionResetError()])
def test_a_commit_that_is_never_answered_says_so(service: Any, store: Any, fault: Exception) -> None:
    service.faults["commit"].extend([fault] * 4)
    with pytest.raises((UnavailableError, TimeoutError)) as failed:
        store.put("unknown", DATA)
    assert failed.value.maybe_own_write


@pytest.mark.parametrize("fault", [ThrottledError("slow down"), PermissionDeniedError("403")])
def test_a_commit_that_was_refused_is_no_riddle(service: Any, store: Any, fault: Exception) -> None:
    service.faults["commit"].extend([fault] * 4)
    with pytest.raises(type(fault)) as failed:
        store.put("refused", DATA)
    assert not failed.value.maybe_own_write  # type: ignore[attr-defined]


@pytest.mark.parametrize("fault", [AlreadyExistsError("there"), PermissionDeniedError("may not overwrite")])
def test_an_upload_begun_again_after_a_lost_reply_may_meet_our_own(service: Any, store: Any, fault: Exception) -> None:
    service.faults["committed"].append(UnavailableError("reset"))
    service.faults["commit"].extend([None, PreconditionFailedError("gone", retryable=True)])
    service.faults["begin"].extend([None, fault])
    with pytest.raises(type(fault)) as failed:
        store.put("lost", DATA)
    assert failed.value.maybe_own_write  # type: ignore[attr-defined]


def test_a_conflict_without_a_retry_is_not_ours(service: Any, store: Any) -> None:
    store.put("there", b"other")
    service.faults["write_part"].append(UnavailableError("a part is not the commit"))
    with pytest.raises(AlreadyExistsError) as conflict:
        store.put("there", DATA, if_absent=True)
    assert not conflict.value.maybe_own_write


def test_a_damaged_part_is_sent_again(service: Any, store: Any) -> None:
    service.faults["write_part"].append(IntegrityError("BadDigest", retryable=True))
    store.put("damaged", DATA)
    assert service.objects["damaged"][0] == DATA


def test_attempts_are_bounded_and_what_was_sent_is_discarded(service: Any, store: Any, shape: str) -> None:
    fault = ThrottledError("slow down")  # unlike a reset, this lets nothing of a part through
    service.faults["write_part"].extend([fault] * 1000)
    with pytest.raises(ThrottledError) as failed:
        store.put("never", DATA)
    assert (failed.value.provider, failed.value.operation, failed.value.resource) == ("memory", "put", "never")
    assert count(service, "write_part") <= 4 * (1 if shape == "resumable" else 4)
    assert (count(service, "abort"), count(service, "commit"), service.open_uploads) == (1, 0, 0)


def test_an_abort_that_fails_is_logged_and_hides_nothing(
    service: Any, store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    service.faults["commit"].append(PermissionDeniedError("403"))
    service.faults["abort"].extend([UnavailableError("reset")] * 9)
    with caplog.at_level(logging.WARNING, "clouddirect.storage"), pytest.raises(PermissionDeniedError):
        store.put("orphan", DATA)
    assert count(service, "abort") == 3
    assert "could not be discarded (UnavailableError)" in caplog.text


def test_no_more_parts_are_under_way_than_asked_for(open_memory: Any, new_service: Any) -> None:
    service, lock, running, most = new_service("parts"), threading.Lock(), 0, 0
    meet = threading.Barrier(3)
    called = service.called

    def slow(operation: str, timeout: float) -> None:
        nonlocal running, most
        called(operation, timeout)
        if operation == "write_part":
            with lock:
                running += 1
                most = max(most, running)
            meet.wait(10)  # three are under way at the same time, or this breaks
            with lock:
                running -= 1

    service.called = slow
    with open_memory(service, retry=AT_ONCE, part_size=PART, concurrency=3) as store:
        store.put("parallel", b"x" * 9 * PART)
    assert most == 3


def test_limits_of_the_service(new_service: Any, open_memory: Any) -> None:
    service = new_service("blocks")
    can = StoreCapabilities(max_object_bytes=3 * PART, max_parts=2, upload_digest="md5")
    with open_memory(service, retry=AT_ONCE, part_size=PART) as store:
        store._capabilities = lambda: can
        with pytest.raises(TooLargeError, match="at most 196,608 bytes"):
            store.put("large", b"x" * (3 * PART + 1))
        assert service.calls == [], "what is known to be too large is refused before anything is sent"
        with pytest.raises(TooLargeError, match="larger part_size"):
            store.put("large", Pipe(b"x" * (2 * PART + 1)))
        assert service.open_uploads == 0
        store.put("fits", b"x" * (2 * PART + 1))  # its size was known, so its parts are larger
        with pytest.raises(TooLargeError):
            store.put("large", Pipe(b"x" * (3 * PART + 1)))
        assert list(service.objects) == ["fits"]


def test_what_is_not_declared_is_refused_before_anything_is_sent(new_service: Any, open_memory: Any) -> None:
    service = new_service("parts")
    with open_memory(service) as store:
        store._capabilities = lambda: StoreCapabilities(if_absent=False)
        with pytest.raises(UnsupportedError) as refused:
            store.put("key", b"", if_absent=True)
        assert (refused.value.code, refused.value.provider) == ("if_absent", "memory")
        store._capabilities = lambda: StoreCapabilities(upload_digest="unknown")
        with pytest.raises(UnsupportedError, match="unknown"):
            store.put("key", b"")
    assert service.calls == []


def test_primitives_are_told_how_long_they_may_stand_still(service: Any, open_memory: Any) -> None:
    clock = ManualClock()
    with open_memory(service, clock=clock, stall_timeout=45.0, part_size=PART) as store:
        store.put("key", DATA)
        assert set(service.timeouts) == {45.0}
        service.timeouts.clear()
        store.put("key", DATA, deadline=7.0)
        assert set(service.timeouts) == {7.0}
        for wrong in (0, -1):
            with pytest.raises(ConfigurationError, match="deadline"):
                store.put("key", DATA, deadline=wrong)


def test_the_retry_policys_deadline_does_not_end_a_transfer(service: Any, open_memory: Any) -> None:
    """It is made for short calls: a part may take any time as long as its bytes move."""
    clock = ManualClock()
    called = service.called

    def slow(operation: str, timeout: float) -> None:
        clock.advance(100.0)
        called(operation, timeout)

    service.called = slow
    service.faults["write_part"].append(UnavailableError("reset after 100 s"))
    retry = RetryPolicy(max_attempts=2, base_delay=0, max_delay=0, deadline=5.0)
    with open_memory(service, clock=clock, retry=retry, part_size=PART) as store:
        store.put("slow", DATA)
    assert service.objects["slow"][0] == DATA


def test_a_deadline_ends_the_waits_between_attempts(service: Any, open_memory: Any) -> None:
    clock = ManualClock()
    retry = RetryPolicy(max_attempts=100, base_delay=30.0, max_delay=30.0)
    service.faults["begin"].extend([UnavailableError("reset", retry_after=30.0)] * 99)
    with open_memory(service, clock=clock, retry=retry, part_size=PART) as store, pytest.raises(UnavailableError):
        store.put("late", DATA, deadline=20.0)
    assert count(service, "begin") == 1, "the next attempt would begin after the deadline"


def test_closing_the_store_ends_a_wait_between_attempts(service: Any, open_memory: Any) -> None:
    clock = ManualClock()
    service.faults["write_part"].append(UnavailableError("reset", retry_after=1000.0))
    store = open_memory(service, clock=clock, part_size=PART)
    failed: list[BaseException] = []

    def put() -> None:
        try:
            store.put("closed", DATA)
        except ClosedError as error:
            failed.append(error)

    thread = threading.Thread(target=put)
    thread.start()
    assert clock.wait_for_sleepers()
    store.close(timeout=0)
    thread.join(10)
    assert len(failed) == 1
    assert (service.objects, service.open_uploads, store.closed) == ({}, 0, 1)
