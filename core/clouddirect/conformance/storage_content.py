"""Cases about what goes in and comes out: sizes, sources, metadata, overwriting, ``if_absent``."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from clouddirect.conformance.storage_harness import MIB, StorageHarness, content
from clouddirect.errors import AlreadyExistsError
from clouddirect.storage import FileStore, StoredFile

__all__ = ["ContentCases"]


class _Pipe:
    """A stream that can be read once, in pieces of awkward sizes, and does nothing else."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self._stream.read(min(size, 100_003))


class ContentCases(StorageHarness):
    """Round trips."""

    @pytest.mark.parametrize("parts", [0, 1, 3])
    @pytest.mark.parametrize("more", [-1, 0, 1])
    def test_content_of_every_size_comes_back(self, parts: int, more: int) -> None:
        """Nothing, one byte, and whole parts give or take a byte come back exactly, by ``get`` and by ``download``."""
        runtime = self.small_parts()
        data = content(max(0, parts * runtime["part_size"] + more))
        store = self.open(**runtime)
        stored = store.put("sized", data)
        assert (stored.key, stored.size) == ("sized", len(data))
        assert store.get("sized") == data
        assert store.stat("sized").size == len(data)

    def test_content_of_64_mib_comes_back(self, store: FileStore, tmp_path: Path) -> None:
        """64 MiB come back exactly, with the default sizes of parts."""
        data = content(64 * MIB)
        store.put("large", data)
        assert store.get("large") == data
        store.download("large", tmp_path / "large")
        assert (tmp_path / "large").read_bytes() == data

    @pytest.mark.parametrize("size", ["small", "parts"])
    @pytest.mark.parametrize("kind", ["bytes", "bytearray", "path", "text path", "file", "buffer", "pipe"])
    def test_every_kind_of_source_is_read(self, kind: str, size: str, tmp_path: Path) -> None:
        """Bytes, a path, a file, a seekable stream from where it stands, and a stream that can be read only once."""
        runtime = self.small_parts()
        data = content(100 if size == "small" else 2 * runtime["part_size"] + 17, kind)
        path = tmp_path / "source"
        path.write_bytes(data)
        buffer = io.BytesIO(b"skipped" + data)
        buffer.seek(7)
        with open(path, "rb") as file:
            sources: dict[str, Any] = {
                "bytes": data, "bytearray": bytearray(data), "path": path, "text path": str(path), "file": file,
                "buffer": buffer, "pipe": _Pipe(data),
            }  # fmt: skip
            store = self.open(**runtime)
            store.put("source", sources[kind])
            assert not file.closed, "the caller's stream must stay open"
            assert not buffer.closed, "the caller's stream must stay open"
        assert store.get("source") == data

    def test_content_type_and_metadata_are_kept(self, store: FileStore) -> None:
        """Content type and metadata come back from ``stat`` and ``download`` as given, Unicode and blanks included."""
        metadata = {"eye": "OD", "camera": "Früh–Kamera №5 眼底 👁", "blanks": "  a  b ", "empty_like": "=?%41+"}
        for key, size in (("small", 10), ("parts", 2 * self.part_size(store))):
            store.put(key, content(size), content_type="image/jpeg", metadata=metadata)
            found = store.stat(key)
            assert found.content_type == "image/jpeg"
            assert dict(found.metadata) == metadata

    def test_stat_tells_what_put_returned(self, store: FileStore) -> None:
        """Key, size and version are the same from ``put``, ``stat`` and ``list``; the time is aware and in UTC."""
        stored = store.put("told", b"content")
        found = store.stat("told")
        (listed,) = store.list("told")
        assert isinstance(listed, StoredFile)
        for one in (stored, found, listed):
            assert (one.key, one.size) == ("told", 7)
            assert one.version in (None, found.version)
        assert found.version is not None
        assert found.modified_at is not None
        assert found.modified_at.utcoffset() is not None

    def test_overwriting_replaces_everything(self, store: FileStore) -> None:
        """A second ``put`` replaces content, content type and metadata, and gives another version."""
        first = store.put("twice", content(2000, "old"), content_type="image/png", metadata={"a": "1", "b": "2"})
        second = store.put("twice", content(10, "new"), content_type="image/jpeg", metadata={"a": "3"})
        found = store.stat("twice")
        assert store.get("twice") == content(10, "new")
        assert (found.size, found.content_type, dict(found.metadata)) == (10, "image/jpeg", {"a": "3"})
        assert first.version is None or first.version != second.version

    @pytest.mark.parametrize("parts", [0, 2])
    def test_if_absent_writes_once(self, parts: int) -> None:
        """With ``if_absent`` the first one is stored; the next is refused, not as our own write, and changes
        nothing."""
        runtime = self.small_parts()
        store, size = self.open(**runtime), parts * runtime["part_size"] + 5
        store.put("once", content(size, "first"), if_absent=True)
        with pytest.raises(AlreadyExistsError) as refused:
            store.put("once", content(size, "second"), if_absent=True)
        assert not refused.value.maybe_own_write
        assert (refused.value.operation, refused.value.resource) == ("put", "once")
        assert store.get("once") == content(size, "first")

    @pytest.mark.parametrize(("parts", "rounds"), [(0, 10), (1, 1)])
    def test_if_absent_race_has_one_winner(self, parts: int, rounds: int) -> None:
        """Of 16 writers at once exactly one succeeds, the others are told that they did not, and its content stays."""
        runtime = self.small_parts()
        size, start = parts * runtime["part_size"] + 5, threading.Barrier(16)
        stores = [self.open(**runtime) for _ in range(4)]

        def write(key: str, number: int) -> int | None:
            start.wait()
            try:
                stores[number % 4].put(key, content(size, number), if_absent=True)
            except AlreadyExistsError as refused:
                return -1 if refused.maybe_own_write else None
            return number

        with ThreadPoolExecutor(16) as pool:
            for key in (f"raced/{number}" for number in range(rounds)):
                said = list(pool.map(write, [key] * 16, range(16)))
                winners = [number for number in said if number is not None]
                assert len(winners) == 1
                assert winners[0] >= 0, "a writer that never had to retry was told that it may have been itself"
                assert stores[0].get(key) == content(size, winners[0])

    def test_if_absent_is_decided_at_commit(self) -> None:
        """What somebody else stores while parts are being uploaded stays, and the upload is refused at its end."""
        runtime = self.small_parts()
        store, other = self.open(**runtime), self.open()
        data = content(3 * runtime["part_size"])

        class Overtaken(_Pipe):
            overtaken = False

            def read(self, size: int, /) -> bytes:
                piece = super().read(size)
                if not self.overtaken and not piece:
                    self.overtaken = True
                    other.put("overtaken", b"the other's")
                return piece

        with pytest.raises(AlreadyExistsError):
            store.put("overtaken", Overtaken(data), if_absent=True)
        assert store.get("overtaken") == b"the other's"

    def test_upload_is_verified(self) -> None:
        """Where the service compares a digest, ``put`` says which, for one request and for parts."""
        runtime = self.small_parts()
        store = self.open(**runtime)
        if store.capabilities.upload_digest is None:
            pytest.skip("this store takes no digest of the whole content (capability upload_digest)")
        assert store.put("small", b"content").verified is not None
        assert store.put("parts", content(2 * runtime["part_size"])).verified is not None

    def test_sixteen_threads_at_once(self, store: FileStore, tmp_path: Path) -> None:
        """One store serves 16 threads that write, read and delete at the same time."""

        def work(number: int) -> None:
            key, data = f"thread/{number}", content(50_000, number)
            for _ in range(3):
                store.put(key, data)
                assert store.get(key) == data
                store.download(key, tmp_path / str(number))
                assert (tmp_path / str(number)).read_bytes() == data
                assert store.exists(key)
            store.delete(key)
            assert not store.exists(key)

        with ThreadPoolExecutor(16) as pool:
            for done in [pool.submit(work, number) for number in range(16)]:
                done.result()
        assert not list(store.list("thread/"))
