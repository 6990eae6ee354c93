"""Uploads in parallel parts: when they are chosen, what each request carries, and what may go wrong."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from clouddirect.conformance.storage_harness import AT_ONCE, MIB, content
from clouddirect.errors import IntegrityError, PermissionDeniedError
from clouddirect.storage import FileStore, StoreRuntime
from clouddirect_gcp.gcs_objects import Crc32c, hash_header
from clouddirect_gcp.store import GcpStore
from clouddirect_gcp.store_options import GcpStoreOptions
from emulators.gcs import GcsServer
from emulators.http_line import Damage, Fault, HttpLine, LoseReply, Reply, Request
from unit.gcp.gcs_fixtures import is_commit, is_content

PART = 5 * MIB
DATA = content(2 * PART + 1000)


class Pipe:
    """A stream that can be read once, and does not tell its size."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self._stream.read(size)


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with GcsServer({"all": ["create", "delete", "get", "list"], "creator": ["create"]}) as server:
        server.add_bucket("images")
        yield server


@pytest.fixture
def line(server: GcsServer) -> Iterator[HttpLine]:
    with HttpLine(server.port) as line:
        yield line


def open_store(
    line: HttpLine, token: str = "all", *, runtime: dict[str, Any] | None = None, **options: Any
) -> FileStore:
    """A store behind the line, with parts of 5 MiB."""
    given = GcpStoreOptions(container="images", endpoint=line.url, access_token=SecretStr(token), **options)
    return GcpStore(given, StoreRuntime(**{"retry": AT_ONCE, "part_size": PART, **(runtime or {})}))


def parts(line: HttpLine) -> list[Request]:
    """The requests that carried parts, by their numbers."""
    found = [one for one in line.seen if "partNumber" in one.query]
    return sorted(found, key=lambda one: int(one.query["partNumber"]))


def crc32c(data: bytes) -> str:
    """The header that has the service compare a part."""
    hasher = Crc32c()
    hasher.update(data)
    return hash_header(hasher.digest().hex())


def once(fault: Fault, when: Any) -> Any:
    """A line's rule: the first request of a kind suffers a fault."""
    seen = itertools.count(1)
    return lambda request: fault if when(request) and next(seen) == 1 else None


def test_each_part_carries_its_digest(line: HttpLine, server: GcsServer) -> None:
    """The parts are the content, each with its own digest; the whole is compared at the end."""
    with open_store(line) as store:
        stored = store.put("a/b c.jpg", DATA, content_type="image/jpeg", metadata={"eye": " Früh "})
        assert dict(store.stat("a/b c.jpg").metadata) == {"eye": " Früh "}
    assert [one.headers["x-goog-hash"] for one in parts(line)] == [
        crc32c(DATA[start : start + PART]) for start in range(0, len(DATA), PART)
    ]
    assert server.read("images", "a/b c.jpg") == DATA
    assert (stored.size, stored.verified, stored.content_type) == (len(DATA), "crc32c", "image/jpeg")
    assert stored.version is not None
    assert stored.digest is not None
    assert dict(stored.metadata) == {"eye": " Früh "}
    assert server.uploads.pending() == 0


def test_key_to_encrypt_with_is_told_at_the_beginning(line: HttpLine) -> None:
    """The KMS key goes with the request that begins the upload."""
    key = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
    with open_store(line, kms_key=key) as store:
        store.put("key", DATA)
    assert line.seen[0].headers["x-goog-encryption-kms-key-name"] == key


@pytest.mark.parametrize(
    ("case", "parallel"),
    [
        ({}, True),
        ({"source": "path"}, True),
        ({"source": "file"}, True),
        ({"source": "pipe"}, False),
        ({"if_absent": True}, False),
        ({"options": {"parallel_upload": False}}, False),
        ({"runtime": {"concurrency": 1}}, False),
        ({"runtime": {"part_size": 4 * MIB}}, False),
        ({"size": PART + 1}, True),
        ({"size": PART}, False),
    ],
    ids=str,
)
def test_when_parts_go_in_parallel(
    line: HttpLine, server: GcsServer, case: dict[str, Any], parallel: bool, tmp_path: Path
) -> None:
    """Without a condition, with a known size, in parts of 5 MiB or more, more than one, several at once."""
    data = DATA[: case.get("size", len(DATA))]
    path = tmp_path / "source"
    path.write_bytes(data)
    sources = {"bytes": data, "path": path, "file": io.BytesIO(data), "pipe": Pipe(data)}
    with open_store(line, runtime=case.get("runtime"), **case.get("options", {})) as store:
        store.put("key", sources[case.get("source", "bytes")], if_absent=case.get("if_absent", False))
    assert bool(parts(line)) is parallel
    assert server.read("images", "key") == data


def test_damaged_part_is_sent_again(line: HttpLine, server: GcsServer) -> None:
    """A part that arrives damaged is refused by the service, and sent again alone."""
    line.rule = once(Damage(17), is_content)
    with open_store(line) as store:
        assert store.put("key", DATA).verified == "crc32c"
    assert sorted(one.status or 0 for one in parts(line)) == [200, 200, 200, 400]
    assert server.read("images", "key") == DATA


def test_whole_that_differs_is_an_error(line: HttpLine) -> None:
    """Should the service put parts together wrongly, what it says of the whole gives it away."""
    answer = b"<R xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><ETag>e</ETag></R>"
    line.rule = once(Reply(200, {"X-Goog-Hash": "crc32c=AAAAAA=="}, answer), is_commit)
    with open_store(line) as store, pytest.raises(IntegrityError, match="delete the object"):
        store.put("key", DATA)


def test_whole_that_is_not_told_leaves_the_parts(line: HttpLine) -> None:
    """Where the answer tells no digest of the whole, what was compared is told: each part."""
    line.rule = once(Reply(200, {}, b"<R><ETag>e</ETag></R>"), is_commit)
    with open_store(line) as store:
        assert store.put("key", DATA).verified == "crc32c-ranges"


def test_success_that_holds_an_error_is_none(line: HttpLine, server: GcsServer) -> None:
    """An answer that begins as a success and tells a failure is tried again."""
    line.rule = once(Reply(200, {}, b"<Error><Code>InternalError</Code></Error>"), is_commit)
    with open_store(line) as store:
        store.put("key", DATA)
    assert server.read("images", "key") == DATA


def test_lost_answer_to_the_commit(line: HttpLine, server: GcsServer) -> None:
    """The upload is gone once it was committed, so after a lost answer it is made again, and is right in the end."""
    line.rule = once(LoseReply(), is_commit)
    with open_store(line) as store:
        assert store.put("key", DATA).verified == "crc32c"
    assert server.read("images", "key") == DATA
    assert server.uploads.pending() == 0


def test_lost_answer_to_the_commit_of_one_who_may_not_overwrite(line: HttpLine, server: GcsServer) -> None:
    """Who may not overwrite is told that what is there may be the own, unconfirmed write."""
    line.rule = once(LoseReply(), is_commit)
    with open_store(line, "creator") as store, pytest.raises(PermissionDeniedError) as raised:
        store.put("key", DATA)
    assert raised.value.maybe_own_write
    assert server.read("images", "key") == DATA


def test_dropped_upload_begins_again(line: HttpLine, server: GcsServer) -> None:
    """An upload that is gone in its middle is made again from the first byte."""

    def drop(request: Request) -> None:
        if request.query.get("partNumber") == "2" and not dropped:
            dropped.append(request)
            server.expire_sessions()

    dropped: list[Request] = []
    line.rule = drop
    with open_store(line, runtime={"concurrency": 2}) as store:
        store.put("key", DATA)
    assert dropped
    assert server.read("images", "key") == DATA


def test_failed_upload_leaves_nothing(line: HttpLine, server: GcsServer) -> None:
    """What fails for good is aborted; nothing stays to be paid for."""
    line.rule = lambda request: Reply(503) if request.query.get("partNumber") == "2" else None
    with open_store(line) as store, pytest.raises(Exception, match="asks to try again"):
        store.put("key", DATA)
    assert server.uploads.pending() == 0
    assert server.names("images") == []
