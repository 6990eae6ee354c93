"""What content is read from."""

from __future__ import annotations

import array
import gzip
import io
import os
from pathlib import Path
from typing import Any

import pytest

from clouddirect.errors import ConfigurationError
from clouddirect.storage import Part
from clouddirect.storage.sources import SourceReader, open_source


class Pipe:
    def __init__(self, data: bytes, most: int = 7) -> None:
        self.stream, self.most = io.BytesIO(data), most

    def read(self, size: int, /) -> bytes:
        return self.stream.read(min(size, self.most))


def parts(reader: SourceReader, size: int) -> list[bytes]:
    found = []
    while True:
        data, last = reader.read_part(size)
        found.append(bytes(data))
        reader.recycle(data)
        if last:
            return found


def sources(data: bytes, directory: Path) -> dict[str, Any]:
    (directory / "file").write_bytes(data)
    return {"bytes": data, "view": memoryview(data), "path": directory / "file", "pipe": Pipe(data),
            "buffer": io.BytesIO(data)}  # fmt: skip


@pytest.mark.parametrize("kind", ["bytes", "view", "path", "pipe", "buffer"])
@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 200, 250])
def test_parts_are_full_and_the_last_one_is_known(tmp_path: Path, kind: str, size: int) -> None:
    data = os.urandom(size)
    with open_source(sources(data, tmp_path)[kind]) as reader:
        found = parts(reader, 100)
    assert b"".join(found) == data
    assert [len(part) for part in found[:-1]] == [100] * max(0, -(-size // 100) - 1)


@pytest.mark.parametrize(("kind", "again", "size"), [("bytes", True, 250), ("path", True, 250), ("buffer", True, 250),
                                                     ("pipe", False, None)])  # fmt: skip
def test_rewinding(tmp_path: Path, kind: str, again: bool, size: int | None) -> None:
    data = os.urandom(250)
    with open_source(sources(data, tmp_path)[kind]) as reader:
        assert reader.size == size
        reader.read_part(100)
        assert reader.rewind() is again
        if again:
            assert b"".join(parts(reader, 100)) == data


def test_a_stream_is_read_from_where_it_stands_and_stays_open() -> None:
    stream = io.BytesIO(b"0123456789")
    stream.seek(4)
    with open_source(stream) as reader:
        assert reader.size == 6
        assert parts(reader, 100) == [b"456789"]
        assert reader.rewind()
        assert parts(reader, 4) == [b"4567", b"89"]
    assert not stream.closed


def test_a_compressed_stream_is_read_unpacked_and_again(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "file.gz", "wb") as file:
        file.write(b"x" * 1000)
    with gzip.open(tmp_path / "file.gz") as stream, open_source(stream) as reader:
        assert reader.size in (None, 1000)
        assert b"".join(parts(reader, 300)) == b"x" * 1000
        assert reader.rewind()
        assert b"".join(parts(reader, 300)) == b"x" * 1000


class NoEnd(io.BytesIO):
    def seek(self, place: int, whence: int = 0, /) -> int:
        if whence == os.SEEK_END:
            raise io.UnsupportedOperation
        return super().seek(place, whence)


def test_a_stream_whose_end_cannot_be_found_has_no_known_size() -> None:
    with open_source(NoEnd(b"0123456789")) as reader:
        assert reader.size is None
        assert parts(reader, 100) == [b"0123456789"]
        assert reader.rewind()


def test_items_wider_than_a_byte_count_as_bytes() -> None:
    with open_source(memoryview(array.array("I", [1, 2, 3]))) as reader:
        assert reader.size == 12
        assert len(parts(reader, 100)[0]) == 12


def test_a_file_that_grows_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 10)
    with open_source(path) as reader:
        path.write_bytes(b"b" * 350)
        assert [len(part) for part in parts(reader, 100)] == [100, 100, 100, 50]


def test_buffers_are_used_again(tmp_path: Path) -> None:
    with open_source(Pipe(b"x" * 1000)) as reader:
        first, _ = reader.read_part(100)
        buffer = first.obj
        reader.recycle(first)
        second, _ = reader.read_part(100)
        assert second.obj is buffer


class Refuses:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def read(self, size: int, /) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (12, "of type int"), (None, "of type NoneType"), (io.StringIO("text"), "returned text"),
        (Refuses(None), "non-blocking"), (Refuses(b"x" * 1_000_000), "more bytes than"),
    ],
)  # fmt: skip
def test_what_is_no_source_is_refused(source: Any, what: str) -> None:
    with pytest.raises(ConfigurationError) as refused, open_source(source) as reader:
        reader.read_part(100)
    assert what in str(refused.value)


def test_a_missing_file_is_the_callers_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_source(tmp_path / "missing")


def test_a_part_is_a_seekable_stream() -> None:
    part = Part(3, 300, memoryview(b"0123456789"), False)
    stream = part.open()
    assert (len(part), len(stream)) == (10, 10)  # type: ignore[arg-type]  # what SDKs look for
    assert (stream.read(3), stream.tell(), stream.read()) == (b"012", 3, b"3456789")
    assert (stream.seek(-4, io.SEEK_END), stream.read()) == (6, b"6789")
    assert (stream.seek(2), stream.seek(1, io.SEEK_CUR), stream.read(2)) == (2, 3, b"34")
    buffer = bytearray(4)
    stream.seek(8)
    assert (stream.readinto(buffer), bytes(buffer[:2])) == (2, b"89")  # type: ignore[attr-defined]
    assert (stream.readable(), stream.seekable(), stream.writable()) == (True, True, False)
    rest = part.rest(304)
    assert (rest.index, rest.offset, bytes(rest.data)) == (3, 304, b"456789")


def test_a_parts_stream_refuses_once_the_transfer_is_over() -> None:
    def over() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        Part(0, 0, memoryview(b"x"), True, over).open().read(1)
