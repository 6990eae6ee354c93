"""Downloads: ranges of one version, verified, resumed, bounded."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import (
    ChangedError,
    ClosedError,
    IntegrityError,
    NotFoundError,
    TimeoutError,
    UnavailableError,
)
from unit.storage.conftest import AT_ONCE, DATA, PART, count

BEFORE = b"before"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target"
    path.write_bytes(BEFORE)
    return path


def untouched(target: Path) -> bool:
    return target.read_bytes() == BEFORE and list(target.parent.iterdir()) == [target]


def test_one_request_for_each_range(service: Any, store: Any, target: Path, shape: str) -> None:
    fetched = store.download("key", target)
    assert target.read_bytes() == DATA
    assert count(service, "read") == count(service, "close") == 4
    assert count(service, "stat") == (1 if shape == "parts" else 0), "only where a range does not tell the digest"
    assert fetched.verified == {"parts": "crc32", "blocks": "md5-ranges", "resumable": "adler32"}[shape]
    assert fetched.content_type == "image/png"


def test_what_is_small_is_one_range(service: Any, store: Any, target: Path) -> None:
    store.put("small", b"content")
    service.calls.clear()
    store.download("small", target)
    assert count(service, "read") == 1


def test_no_more_ranges_are_under_way_than_asked_for(new_service: Any, open_memory: Any, target: Path) -> None:
    service, lock, running, most = new_service("resumable"), threading.Lock(), 0, 0
    with open_memory(service, retry=AT_ONCE, part_size=PART, concurrency=2) as store:
        store.put("key", DATA)
        meet = threading.Barrier(2)
        read = store._read

        def slow(*arguments: Any) -> Any:
            nonlocal running, most
            opened = read(*arguments)
            chunks, close = opened.chunks, opened.close

            def closing() -> None:
                nonlocal running
                with lock:
                    running -= 1
                close()

            def counted() -> Any:
                nonlocal running, most
                with lock:
                    running += 1
                    most = max(most, running)
                meet.wait(10)
                yield from chunks

            opened.chunks, opened.close = counted(), closing
            return opened

        store._read = slow
        store.download("key", target)
    assert most == 2
    assert target.read_bytes() == DATA


def test_a_cut_range_goes_on_with_its_next_byte(store: Any, target: Path) -> None:
    asked: list[tuple[int, int]] = []
    read = store._read

    def cut(chunks: Iterator[bytes]) -> Iterator[bytes]:
        yield next(chunks)
        raise UnavailableError("reset")

    def cutting(*arguments: Any) -> Any:
        opened = read(*arguments)
        if arguments[1] % PART == 0:
            opened.chunks = cut(opened.chunks)
        asked.append(arguments[1:3])
        return opened

    store._read = cutting
    store.download("key", target)
    assert target.read_bytes() == DATA
    again = sorted(one for one in asked if one[0] % PART)
    assert len(again) == len(asked) - len(again) == 4, "a range that was cut begins once more, where it had come to"
    assert all((offset + length) % PART == 0 for offset, length in asked)


def test_a_response_that_ends_early_is_asked_for_again(store: Any, target: Path) -> None:
    read, short = store._read, [True, False, True]

    def ending(*arguments: Any) -> Any:
        opened = read(*arguments)
        if short and short.pop():
            opened.chunks = iter([next(opened.chunks)[:100]])
        return opened

    store._read = ending
    store.download("key", target)
    assert target.read_bytes() == DATA


def test_attempts_without_progress_are_bounded(service: Any, store: Any, target: Path) -> None:
    service.faults["read"].append(None)
    service.faults["chunk"].extend(UnavailableError("reset") for _ in range(100))
    with pytest.raises(UnavailableError) as failed:
        store.download("key", target)
    assert (failed.value.operation, failed.value.resource) == ("download", "key")
    assert count(service, "read") <= 16
    assert count(service, "close") == count(service, "read"), "every connection is given back"
    assert untouched(target)


def test_a_service_that_sends_too_much_is_not_believed(store: Any, target: Path) -> None:
    read = store._read

    def longer(*arguments: Any) -> Any:
        opened = read(*arguments)
        opened.chunks = iter([b"x" * (PART + 1)])
        return opened

    store._read = longer
    with pytest.raises(IntegrityError, match="more than"):
        store.download("key", target)
    assert untouched(target)


def before_a_later_range(store: Any, action: Callable[[], object]) -> None:
    """Have ``action`` done once, before the first range is asked for that is not the object's beginning."""
    read, lock, left = store._read, threading.Lock(), [action]

    def reading(key: str, offset: int, *rest: Any) -> Any:
        with lock:
            if offset and left:
                left.pop()()
        return read(key, offset, *rest)

    store._read = reading


def test_replaced_between_two_ranges(store: Any, target: Path) -> None:
    before_a_later_range(store, lambda: store.put("key", DATA[::-1]))
    with pytest.raises(ChangedError):
        store.download("key", target)
    assert untouched(target)


def test_a_version_that_the_provider_did_not_check_is_checked(store: Any, target: Path) -> None:
    read = store._read

    def careless(key: str, offset: int, length: int | None, version: str | None, timeout: float) -> Any:
        opened = read(key, offset, length, None, timeout)
        if offset:
            opened.file = replace(opened.file, version="another")
        return opened

    store._read = careless
    with pytest.raises(ChangedError, match="replaced"):
        store.download("key", target)
    assert untouched(target)


def test_deleted_between_two_ranges(store: Any, target: Path) -> None:
    before_a_later_range(store, lambda: store.delete("key"))
    with pytest.raises(ChangedError, match="deleted"):
        store.download("key", target)
    assert untouched(target)


def test_a_digest_of_another_version_is_not_taken(new_service: Any, open_memory: Any, target: Path) -> None:
    """The digest is asked for while the first range is read: should the object be replaced in between, that is no
    damage."""
    service = new_service("parts")
    with open_memory(service, retry=AT_ONCE, part_size=PART) as store:
        store.put("key", b"small")
        known = store._stat
        store._stat = lambda *arguments: replace(known(*arguments), version="newer", digest="00000000")
        assert store.download("key", target).verified is None
    assert target.read_bytes() == b"small"


def test_a_digest_that_cannot_be_computed_is_not_verified(new_service: Any, open_memory: Any, target: Path) -> None:
    service = new_service("resumable")
    with open_memory(service, part_size=PART) as store:
        store.put("key", DATA)
        store._hasher = lambda algorithm: None
        assert store.download("key", target).verified is None
        assert store.get("key") == DATA


def test_a_damaged_range_is_read_again_if_the_provider_says_so(store: Any, target: Path) -> None:
    read, damaged = store._read, [True]

    def once(*arguments: Any) -> Any:
        opened = read(*arguments)
        if damaged and damaged.pop():
            opened.chunks = iter(_raising(IntegrityError("MD5 of the range", retryable=True)))
        return opened

    store._read = once
    store.download("key", target)
    assert target.read_bytes() == DATA


def _raising(error: Exception) -> Any:
    raise error
    yield b""


def test_the_target_is_written_like_any_file_of_the_user(store: Any, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        store.download("key", tmp_path)
    with pytest.raises(FileNotFoundError):
        store.download("key", tmp_path / "missing" / "target")
    store.download("key", str(tmp_path / "new"))
    if os.name == "posix":
        mask = os.umask(0)
        os.umask(mask)
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o666 & ~mask
        store.download("key", tmp_path / "private", private=True)
        assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o600


def test_a_missing_key_costs_nothing_but_the_question(service: Any, store: Any, target: Path) -> None:
    with pytest.raises(NotFoundError):
        store.download("missing", target)
    assert service.calls == ["read"]
    assert untouched(target)


def test_primitives_are_told_how_long_they_may_stand_still(service: Any, open_memory: Any, target: Path) -> None:
    with open_memory(service, clock=ManualClock(), stall_timeout=45.0, part_size=PART) as store:
        store.put("key", DATA)
        service.timeouts.clear()
        store.download("key", target)
        store.get("key")
        store.stat("key")
        list(store.list())
        assert set(service.timeouts) == {45.0}
        service.timeouts.clear()
        store.download("key", target, deadline=7.0)
        store.get("key", deadline=7.0)
        assert set(service.timeouts) == {7.0}


def test_a_deadline_passes_between_two_chunks(service: Any, open_memory: Any, target: Path) -> None:
    clock = ManualClock()
    with open_memory(service, clock=clock, retry=AT_ONCE, part_size=PART) as store:
        store.put("key", DATA)
        before_a_later_range(store, lambda: clock.advance(6.0))
        with pytest.raises(TimeoutError, match="deadline of 5 s"):
            store.download("key", target, deadline=5.0)
        assert untouched(target)


def test_closing_the_store_ends_its_downloads(new_service: Any, open_memory: Any, target: Path) -> None:
    service = new_service("parts")
    store = open_memory(service, retry=AT_ONCE, part_size=PART)
    store.put("key", DATA)
    failed: list[BaseException] = []
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        go_on.wait(10)

    before_a_later_range(store, hold)

    def download() -> None:
        try:
            store.download("key", target)
        except ClosedError as error:
            failed.append(error)

    thread = threading.Thread(target=download)
    thread.start()
    assert begun.wait(10)
    closer = threading.Thread(target=store.close, args=(0,))
    closer.start()
    while not store._closing.is_set():
        closer.join(0.01)
    go_on.set()
    thread.join(10)
    closer.join(10)
    assert len(failed) == 1
    assert untouched(target)
