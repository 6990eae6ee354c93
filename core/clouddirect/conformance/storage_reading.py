"""Cases about reading: ranges, streams, downloads, damage and change."""

from __future__ import annotations

import collections
import io
from pathlib import Path

import pytest

from clouddirect.conformance.storage_harness import AT_ONCE, StorageHarness, content
from clouddirect.errors import ChangedError, ConfigurationError, IntegrityError, NotFoundError
from clouddirect.storage import FileStore

__all__ = ["ReadingCases"]

_BEFORE = b"what was there before"


class ReadingCases(StorageHarness):
    """Streams and downloads."""

    @pytest.mark.parametrize(
        ("offset", "length"),
        [(0, None), (999_000, None), (500_000, 1000), (0, 1), (999_999, 1), (500, 0), (999_990, 100), (1_000_000, 10),
         (2_000_000, None), (2_000_000, 5), (1_000_000, None)],
    )  # fmt: skip
    def test_ranges(self, store: FileStore, offset: int, length: int | None) -> None:
        """A range returns exactly its bytes: tail, middle, none, over the end (ends there), beyond the end (none)."""
        data = content(1_000_000)
        store.put("ranged", data)
        end = None if length is None else offset + length
        with store.open("ranged", offset, length) as stream:
            assert stream.read() == data[offset:end]
            assert stream.file.size == len(data)
            assert stream.read() == b""

    def test_ranges_of_an_empty_object(self, store: FileStore) -> None:
        """An empty object is read as empty, whatever the range."""
        store.put("empty", b"")
        for offset, length in ((0, None), (0, 10), (5, None)):
            with store.open("empty", offset, length) as stream:
                assert stream.read() == b""

    def test_negative_ranges_are_refused(self, store: FileStore) -> None:
        """Offset and length are never negative."""
        for offset, length in ((-1, None), (0, -1)):
            with pytest.raises(ConfigurationError):
                store.open("ranged", offset, length)

    def test_stream_reads_and_seeks(self, store: FileStore) -> None:
        """The stream that ``open`` returns reads by pieces and lines, seeks like a file, and says so."""
        data = b"first line\nsecond line\n" + content(300_000)
        store.put("stream", data)
        with store.open("stream") as stream:
            assert (stream.readable(), stream.seekable(), stream.writable()) == (True, True, False)
            assert [stream.readline(), stream.readline()] == [b"first line\n", b"second line\n"]
            assert stream.seek(-10, io.SEEK_END) == len(data) - 10
            assert stream.read() == data[-10:]
            assert stream.seek(100) == 100
            assert stream.read(50) == data[100:150]
            assert stream.tell() == 150
            assert stream.read() == data[150:]
        with store.open("stream", 1000, 500) as stream:
            stream.seek(100)
            assert stream.read() == data[1100:1500]

    @pytest.mark.parametrize("parts", [0, 3])
    def test_download_is_whole_and_verified(self, parts: int, tmp_path: Path) -> None:
        """The file has the object's bytes, no temporary file remains, and the returned object says what was
        verified."""
        runtime = self.small_parts()
        store, data = self.open(**runtime), content(parts * runtime["part_size"] + 1)
        told: list[int] = []
        store.put("fetched", data, content_type="image/png", metadata={"eye": "OS"})
        target = tmp_path / "fetched"
        target.write_bytes(_BEFORE)
        fetched = store.download("fetched", target, progress=told.append)
        assert target.read_bytes() == data
        assert [path.name for path in tmp_path.iterdir()] == ["fetched"]
        assert (fetched.size, fetched.content_type, dict(fetched.metadata)) == (len(data), "image/png", {"eye": "OS"})
        assert fetched.verified is not None, "an object that this store wrote has a digest to verify"
        assert sum(told) == len(data)
        assert min(told) > 0

    def test_missing_key(self, store: FileStore, tmp_path: Path) -> None:
        """Reading what is not there is `NotFoundError`, also as FileNotFoundError, names the key, and leaves files
        alone."""
        target = tmp_path / "missing"
        target.write_bytes(_BEFORE)
        for read in (store.open, store.get, store.stat, lambda key: store.download(key, target)):
            with pytest.raises(NotFoundError) as missing:
                read("no/such.jpg")
            assert isinstance(missing.value, FileNotFoundError)
            assert missing.value.resource == "no/such.jpg"
        assert target.read_bytes() == _BEFORE
        assert len(list(tmp_path.iterdir())) == 1

    @pytest.mark.parametrize("parts", [0, 3])
    def test_damage_is_detected(self, parts: int, tmp_path: Path) -> None:
        """One flipped byte is `IntegrityError` for ``download``, ``get`` and a stream read whole; the destination
        stays."""
        runtime = self.small_parts()
        self.open(**runtime).put("damaged", content(parts * runtime["part_size"] + 1000))
        store: FileStore = self.need("corrupt_stored", "damaged")
        target = tmp_path / "damaged"
        target.write_bytes(_BEFORE)
        with pytest.raises(IntegrityError):
            store.download("damaged", target)
        assert target.read_bytes() == _BEFORE
        assert len(list(tmp_path.iterdir())) == 1
        with pytest.raises(IntegrityError):
            store.get("damaged")
        with store.open("damaged") as stream, pytest.raises(IntegrityError):
            collections.deque(iter(lambda: stream.read(10_000), b""), maxlen=0)

    def test_replaced_while_downloading(self, tmp_path: Path) -> None:
        """A download is of one version: the old content whole, or `ChangedError` with the destination as it was."""
        runtime = self.small_parts()
        store, size = self.open(**runtime), 20 * runtime["part_size"]
        store.put("replaced", content(size, "old"))
        target = tmp_path / "replaced"
        target.write_bytes(_BEFORE)

        def replace(count: int) -> None:
            store.put("replaced", content(size, "new"))

        try:
            store.download("replaced", target, progress=replace)
        except ChangedError:
            assert target.read_bytes() == _BEFORE
        else:
            assert target.read_bytes() == content(size, "old")
        assert len(list(tmp_path.iterdir())) == 1
        assert store.get("replaced") == content(size, "new")

    def test_replaced_while_a_stream_is_open(self) -> None:
        """A stream never mixes two versions, however it is read and wherever it seeks."""
        runtime = self.small_parts()
        store, size = self.open(**runtime, retry=AT_ONCE), 20 * runtime["part_size"]
        store.put("replaced", content(size, "old"))
        with store.open("replaced") as stream:
            assert stream.read(10) == content(size, "old")[:10]
            store.put("replaced", content(size, "new"))
            stream.seek(size // 2)
            with pytest.raises(ChangedError):
                stream.read()

    def test_deleted_while_a_stream_is_open(self) -> None:
        """What is deleted while a stream stands elsewhere reads as changed, not as missing."""
        runtime = self.small_parts()
        store, size = self.open(**runtime, retry=AT_ONCE), 20 * runtime["part_size"]
        store.put("deleted", content(size))
        with store.open("deleted") as stream:
            stream.read(10)
            store.delete("deleted")
            stream.seek(size // 2)
            with pytest.raises(ChangedError):
                stream.read()
