"""Cases about what goes wrong on the way: cut, slow and dead lines, damage, cancelling, deadlines."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from clouddirect.conformance.storage_harness import AT_ONCE, Fault, StorageHarness, content
from clouddirect.errors import AlreadyExistsError, CloudDirectError, IntegrityError, TimeoutError, UnavailableError
from clouddirect.storage import FileStore

__all__ = ["FaultCases"]

_BEFORE = b"what was there before"


class _Cancelled(Exception):
    """What a caller's own callback or stream raises."""


class _Progress:
    """Takes progress, and notes who called and with what."""

    def __init__(self, cancel_after: int | None = None) -> None:
        self.counts: list[int] = []
        self.threads: set[int] = set()
        self.at_once = threading.Lock()
        self._cancel_after = cancel_after

    def __call__(self, count: int) -> None:
        assert self.at_once.acquire(blocking=False), "progress was called from two threads at once"
        try:
            self.counts.append(count)
            self.threads.add(threading.get_ident())
            if self._cancel_after is not None and sum(self.counts) >= self._cancel_after:
                raise _Cancelled
        finally:
            self.at_once.release()

    def check(self, size: int) -> None:
        """Every call told of progress, all together of exactly ``size`` bytes."""
        assert sum(self.counts) == size
        assert all(count > 0 for count in self.counts)
        assert self.threads == {threading.get_ident()}


class FaultCases(StorageHarness):
    """Faults."""

    def faulty(self, fault: Fault, **runtime: object) -> FileStore:
        """A store with a fault, with small parts and retries that do not wait."""
        store: FileStore = self.need("faulty_store", fault, **{**self.small_parts(), "retry": AT_ONCE, **runtime})
        return store

    def leaves_nothing(self, key: str, before: bytes | None) -> None:
        """Assert that ``key`` is as it was, and that nothing else is there."""
        store = self.open()
        assert [getattr(one, "key", None) for one in store.list()] == ([] if before is None else [key])
        assert store.exists(key) is (before is not None)
        if before is not None:
            assert store.get(key) == before

    # -- progress -------------------------------------------------------------------------------------------

    def test_progress_sums_to_the_size(self, tmp_path: Path) -> None:
        """Progress comes in the caller's thread, in several steps for several parts, and sums up to the size."""
        runtime = self.small_parts()
        store, size = self.open(**runtime), 10 * runtime["part_size"] + 3
        up, down = _Progress(), _Progress()
        store.put("counted", content(size), progress=up)
        up.check(size)
        assert len(up.counts) > 1
        store.download("counted", tmp_path / "counted", progress=down)
        down.check(size)

    def test_progress_sums_to_the_size_across_retries(self, tmp_path: Path) -> None:
        """So it does when parts had to be sent, or fetched, again."""
        store = self.faulty("cut")
        size = 4 * self.part_size(store) + 3
        up, down = _Progress(), _Progress()
        store.put("counted", content(size), progress=up)
        up.check(size)
        store.download("counted", tmp_path / "counted", progress=down)
        down.check(size)

    # -- cancelling and failing -----------------------------------------------------------------------------

    @pytest.mark.parametrize("before", [None, _BEFORE])
    def test_cancelled_upload_leaves_nothing(self, before: bytes | None) -> None:
        """An exception from the progress callback in mid-upload comes out as it is; what was there before stays."""
        runtime = self.small_parts()
        store = self.open(**runtime)
        if before is not None:
            store.put("cancelled", before)
        size = 8 * runtime["part_size"]
        with pytest.raises(_Cancelled):
            store.put("cancelled", content(size), progress=_Progress(cancel_after=runtime["part_size"]))
        self.leaves_nothing("cancelled", before)
        store.put("cancelled", b"then stored")
        assert store.get("cancelled") == b"then stored"

    @pytest.mark.parametrize("before", [None, _BEFORE])
    def test_failing_source_leaves_nothing(self, before: bytes | None) -> None:
        """An exception from the caller's stream comes out as it is; what was there before stays."""
        runtime = self.small_parts()
        store = self.open(**runtime)
        if before is not None:
            store.put("failing", before)
        left = [content(runtime["part_size"])] * 3

        class Failing:
            def read(self, size: int, /) -> bytes:
                if not left:
                    raise _Cancelled
                piece, left[0] = left[0][:size], left[0][size:]
                if not left[0]:
                    del left[0]
                return piece

        with pytest.raises(_Cancelled):
            store.put("failing", Failing())
        self.leaves_nothing("failing", before)

    @pytest.mark.parametrize("before", [None, _BEFORE])
    def test_failing_service_leaves_nothing(self, before: bytes | None) -> None:
        """When the service fails for good in mid-upload, the error says so and what was there before stays."""
        if before is not None:
            self.open().put("refused", before)
        store = self.faulty("refuse")
        with pytest.raises(CloudDirectError) as failed:
            store.put("refused", content(5 * self.part_size(store)))
        assert failed.value.provider == store.provider
        assert (failed.value.operation, failed.value.resource) == ("put", "refused")
        self.leaves_nothing("refused", before)

    def test_cancelled_download_leaves_the_destination(self, tmp_path: Path) -> None:
        """An exception from the progress callback comes out as it is; the destination stays, nothing lies beside it."""
        runtime = self.small_parts()
        store, size = self.open(**runtime), 30 * runtime["part_size"]
        store.put("fetched", content(size))
        target = tmp_path / "fetched"
        target.write_bytes(_BEFORE)
        with pytest.raises(_Cancelled):
            store.download("fetched", target, progress=_Progress(cancel_after=1))
        assert target.read_bytes() == _BEFORE
        assert len(list(tmp_path.iterdir())) == 1

    def test_damaged_upload_is_refused(self) -> None:
        """Bytes that changed after they had left us are `IntegrityError`, in one request and in parts; nothing
        appears."""
        store: FileStore = self.need("corrupting_upload_store")
        for size in (1000, 2 * self.part_size(store) + 1000):
            with pytest.raises(IntegrityError):
                store.put("damaged", content(size))
            self.leaves_nothing("damaged", None)

    # -- lines ----------------------------------------------------------------------------------------------

    def test_cut_connection_resumes(self, tmp_path: Path) -> None:
        """A connection that breaks in mid-transfer costs a retry, not the transfer: upload, download, ``get`` and
        stream."""
        store = self.faulty("cut")
        data = content(4 * self.part_size(store) + 3)
        assert store.put("cut", data).size == len(data)
        assert self.open().get("cut") == data
        assert store.download("cut", tmp_path / "cut").verified is not None
        assert (tmp_path / "cut").read_bytes() == data
        assert self.faulty("cut").get("cut") == data
        with self.faulty("cut").open("cut", 10, len(data) - 20) as stream:
            assert stream.read() == data[10:-10]

    def test_slow_line_completes(self, tmp_path: Path) -> None:
        """A line that is slow but works is never given up, however much longer than the stall timeout a transfer
        takes."""
        store = self.faulty("slow", stall_timeout=3.0, part_size=8 << 20)
        data = content(self.slow_size)
        began = store.runtime.clock.monotonic()
        store.put("slow", data)
        store.download("slow", tmp_path / "slow")
        assert (tmp_path / "slow").read_bytes() == data
        took = store.runtime.clock.monotonic() - began
        assert took > 2 * 3.0, "the harness's line is not slow enough to prove anything"

    def test_dead_line_times_out(self, tmp_path: Path) -> None:
        """Where no byte moves any more, the transfer ends in `TimeoutError` after bounded attempts and leaves
        nothing."""
        size = 5 * self.part_size(self.open())
        self.open().put("dead", content(size))
        store = self.faulty("stall", stall_timeout=1.0)
        target = tmp_path / "dead"
        target.write_bytes(_BEFORE)
        with pytest.raises(TimeoutError):
            store.download("dead", target)
        assert target.read_bytes() == _BEFORE
        assert len(list(tmp_path.iterdir())) == 1
        with pytest.raises(TimeoutError):
            store.put("dead", content(size, "other"))
        self.leaves_nothing("dead", content(size))

    def test_deadline_is_respected(self, tmp_path: Path) -> None:
        """A deadline ends a transfer in `TimeoutError` soon after it has passed, and leaves nothing; none is set by
        default."""
        self.open().put("late", content(self.slow_size))
        store = self.faulty("slow")
        clock, target = store.runtime.clock, tmp_path / "late"
        target.write_bytes(_BEFORE)
        for transfer in (
            lambda: store.download("late", target, deadline=2.0),
            lambda: store.get("late", deadline=2.0),
            lambda: store.put("late", content(self.slow_size, "other"), deadline=2.0),
        ):
            began = clock.monotonic()
            with pytest.raises(TimeoutError):
                transfer()
            assert clock.monotonic() - began < 10.0
        assert target.read_bytes() == _BEFORE
        self.leaves_nothing("late", content(self.slow_size))

    def test_lost_reply_is_told_apart(self) -> None:
        """When the answer to our own write is lost, a conflict on the retry says that it may be our own write."""
        for size in (1000, 2 * self.part_size(self.open())):
            store = self.faulty("lost-reply")
            key, data = f"lost/{size}", content(size)
            told = True
            try:
                store.put(key, data, if_absent=True)
            except (AlreadyExistsError, UnavailableError) as error:
                told = error.maybe_own_write
            assert told
            assert self.open().get(key) == data
