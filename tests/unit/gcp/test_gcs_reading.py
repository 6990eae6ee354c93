"""Reading objects as they are stored: compressed ones, pinned ones, and through what does not keep to the protocol."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from clouddirect.conformance.storage_harness import AT_ONCE, content
from clouddirect.errors import ChangedError, NotFoundError, UnavailableError
from clouddirect.storage import FileStore, StoreRuntime
from clouddirect_gcp.store import GcpStore
from clouddirect_gcp.store_options import GcpStoreOptions
from emulators.gcs import GcsServer
from emulators.http_line import Damage, HttpLine, Reply
from unit.gcp.gcs_fixtures import is_download, kinds

PART = 256 << 10
DATA = content(4 * PART + 10)


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with GcsServer() as server:
        server.add_bucket("images")
        yield server


@pytest.fixture
def line(server: GcsServer) -> Iterator[HttpLine]:
    with HttpLine(server.port) as line:
        yield line


@pytest.fixture
def store(line: HttpLine) -> Iterator[FileStore]:
    options = GcpStoreOptions(container="images", endpoint=line.url, anonymous=True)
    with GcpStore(options, StoreRuntime(retry=AT_ONCE, part_size=PART, concurrency=2)) as store:
        yield store


def test_compressed_objects_are_read_as_stored(store: FileStore, server: GcsServer, tmp_path: Path) -> None:
    """What was stored with Content-Encoding: gzip comes as it is stored; sizes, ranges and digests are of that."""
    stored = gzip.compress(DATA, 1)
    assert len(stored) > 2 * PART
    server.put("images", "packed", stored, contentEncoding="gzip", contentType="text/plain")
    assert store.get("packed") == stored
    fetched = store.download("packed", tmp_path / "packed")
    assert (tmp_path / "packed").read_bytes() == stored
    assert (fetched.size, fetched.verified) == (len(stored), "crc32c")
    with store.open("packed", 5, 100) as stream:
        assert stream.read() == stored[5:105]


def test_packed_objects_are_asked_for(store: FileStore, server: GcsServer, line: HttpLine) -> None:
    """The service unpacks for those who do not say that they take gzip; every read says so."""
    server.put("images", "key", DATA)
    store.get("key")
    assert {one.headers["accept-encoding"] for one in line.seen if is_download(one)} == {"gzip"}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, {"X-Goog-Generation": "1"}, b"from the first byte on"),
        Reply(206, {"Content-Range": "bytes 0-9/100"}, b"0123456789"),
        Reply(206, {"Content-Range": "somewhere"}, b"0123456789"),
        Reply(200, {"Transfer-Encoding": "chunked"}, b"3\r\nabc\r\n0\r\n\r\n"),
    ],
    ids=["all of it", "another range", "no range", "unpacked on the way"],
)
def test_other_bytes_than_asked_for_are_never_taken(store: FileStore, line: HttpLine, reply: Reply) -> None:
    """A proxy that does not know ranges is an error, and no other bytes come out."""
    line.rule = lambda request: reply
    with pytest.raises(UnavailableError, match="range") as raised:
        store.open("key", 5, 10)
    assert not raised.value.retryable


def test_whole_objects_need_no_ranges(store: FileStore, line: HttpLine) -> None:
    """From the first byte on, an answer with all of it will do."""
    headers = {"X-Goog-Generation": "1", "X-Goog-Hash": "crc32c=mnG7TA=="}
    line.rule = lambda request: Reply(200, headers, b"hello")
    assert store.get("key") == b"hello"


def test_later_ranges_name_the_generation(store: FileStore, server: GcsServer, line: HttpLine, tmp_path: Path) -> None:
    """The first answer pins the generation; all other ranges ask for it."""
    generation = server.put("images", "key", DATA)
    store.download("key", tmp_path / "key")
    asked = [one.query.get("generation") for one in line.seen if is_download(one)]
    assert asked == [None, *[str(generation)] * 4]


def test_generation_that_is_gone(store: FileStore, server: GcsServer) -> None:
    """Replaced and deleted objects are told as changed."""
    for change in (
        lambda: server.put("images", "key", b"other"), lambda: store.delete("key"),
    ):  # fmt: skip
        server.put("images", "key", DATA)
        with store.open("key") as stream:
            stream.read(10)
            change()
            stream.seek(3 * PART)
            with pytest.raises(ChangedError) as raised:
                stream.read()
        assert raised.value.resource == "key"


def test_generation_that_is_gone_is_no_missing_object(store: FileStore, server: GcsServer) -> None:
    """The primitive itself tells the two apart."""
    server.put("images", "key", DATA)
    with pytest.raises(ChangedError) as raised:
        store._read("key", 0, None, "17", 5.0)
    assert raised.value.code == "404 NoSuchKey"
    with pytest.raises(NotFoundError):
        store._read("no such key", 0, None, None, 5.0)


def test_behind_the_end(store: FileStore, server: GcsServer, line: HttpLine) -> None:
    """What begins behind the end, or is empty, yields nothing, and the object is told by its description."""
    server.put("images", "key", b"content", contentType="text/plain")
    for offset, length in ((7, None), (100, 5), (3, 0)):
        line.seen.clear()
        with store.open("key", offset, length) as stream:
            assert (stream.read(), stream.file.size, stream.file.content_type) == (b"", 7, "text/plain")
        assert kinds(line.seen)[-1] == "read"


def test_one_flipped_bit_anywhere(store: FileStore, server: GcsServer, line: HttpLine, tmp_path: Path) -> None:
    """Damage in any one of the ranges is found."""
    server.put("images", "key", DATA)
    for start in range(0, len(DATA), PART):
        line.rule = lambda request, start=start: (
            Damage(5, of="response") if request.headers.get("range", "").startswith(f"bytes={start}-") else None
        )
        with pytest.raises(Exception, match="crc32c differs"):
            store.download("key", tmp_path / "key")
        assert not (tmp_path / "key").exists()
