"""Resumable uploads: what the service may answer in the middle of one, and what comes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from clouddirect.conformance.storage_harness import AT_ONCE, content
from clouddirect.errors import AlreadyExistsError, IntegrityError, PreconditionFailedError, UnavailableError
from clouddirect.storage import FileStore, StoreRuntime
from clouddirect_gcp.gcs_objects import Crc32c, to_base64
from clouddirect_gcp.store import GcpStore
from clouddirect_gcp.store_options import GcpStoreOptions
from emulators.http_line import HttpLine, Reply, Request
from emulators.processes import free_port

CHUNK = 256 << 10


class Sessions:
    """Answers in the service's place, by a script: how much each chunk leaves in a session, and other answers."""

    def __init__(self) -> None:
        self.begun = 0
        self.held = 0
        self.answers: list[Reply | int | None] = []  # for each PUT: an answer, bytes that stay of it, or as usual
        self.digest: str | None = None
        self.done: Reply | None = None

    def __call__(self, request: Request) -> Reply:
        if request.method == "POST":
            self.begun += 1
            self.held, self.done = 0, None
            return Reply(200, {"Location": f"http://{request.headers['host']}/upload?upload_id={self.begun}"})
        if request.method == "DELETE":
            return Reply(499)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Reply):
            return answer
        return self._put(request.headers, answer)

    def _put(self, headers: dict[str, str], keep: int | None) -> Reply:  # type: ignore[override]
        first, last, total = self._span(headers["content-range"])
        if first is not None and last is not None:
            assert first == self.held, "chunks continue where the service stands"
            self.held = last + 1 if keep is None else first + keep
        if self.done is None and total is not None and self.held == total:
            self.digest = headers.get("x-goog-hash")
            resource = {"name": "key", "size": str(total), "generation": "7"}
            if self.digest:
                resource["crc32c"] = self.digest.removeprefix("crc32c=")
            self.done = Reply(200, {}, json.dumps(resource).encode())
        if self.done is not None:
            return self.done
        return Reply(308, {"Range": f"bytes=0-{self.held - 1}"} if self.held else {})

    @staticmethod
    def _span(header: str) -> tuple[int | None, int | None, int | None]:
        match = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", header)
        assert match is not None
        numbers = [None if one in (None, "*") else int(one) for one in match.groups()]
        return numbers[0], numbers[1], numbers[2]


@pytest.fixture
def service() -> Sessions:
    return Sessions()


@pytest.fixture
def line(service: Sessions) -> Iterator[HttpLine]:
    with HttpLine(free_port(), rule=service) as line:
        yield line


@pytest.fixture
def store(line: HttpLine) -> Iterator[FileStore]:
    options = GcpStoreOptions(container="images", endpoint=line.url, anonymous=True)
    with GcpStore(options, StoreRuntime(retry=AT_ONCE, part_size=CHUNK, stall_timeout=5.0)) as store:
        yield store


def spans(line: HttpLine) -> list[str]:
    """The ranges of all requests to sessions."""
    return [one.headers["content-range"].removeprefix("bytes ") for one in line.seen if one.method == "PUT"]


def digest_of(data: bytes) -> str:
    """The header that has the service compare the whole."""
    hasher = Crc32c()
    hasher.update(data)
    return f"crc32c={to_base64(hasher.digest().hex())}"


def test_chunks_in_order_then_the_digest(store: FileStore, line: HttpLine, service: Sessions) -> None:
    """Each chunk is sent once; the last one says the size and carries the digest of everything."""
    data = content(2 * CHUNK + 100)
    stored = store.put("key", data, if_absent=True)
    assert spans(line) == [f"0-{CHUNK - 1}/*", f"{CHUNK}-{2 * CHUNK - 1}/*", f"{2 * CHUNK}-{len(data) - 1}/{len(data)}"]
    assert service.digest == digest_of(data)
    assert (stored.size, stored.version, stored.verified) == (len(data), "7", "crc32c")
    assert [one.query.get("ifGenerationMatch") for one in line.seen if one.method == "POST"] == ["0"]


def test_content_that_ends_with_a_chunk(store: FileStore, line: HttpLine) -> None:
    """The last whole chunk is the last one; nothing empty is sent after it."""
    store.put("key", content(2 * CHUNK))
    assert spans(line) == [f"0-{CHUNK - 1}/*", f"{CHUNK}-{2 * CHUNK - 1}/{2 * CHUNK}"]


def test_chunks_are_multiples_of_256_kib(line: HttpLine) -> None:
    """Whatever size of parts is wished for, the service takes no others, the last one excepted."""
    options = GcpStoreOptions(container="images", endpoint=line.url, anonymous=True)
    with GcpStore(options, StoreRuntime(retry=AT_ONCE, part_size=300_000)) as store:
        store.put("key", content(3 * CHUNK))
    assert spans(line) == [f"0-{2 * CHUNK - 1}/*", f"{2 * CHUNK}-{3 * CHUNK - 1}/{3 * CHUNK}"]


def test_chunk_that_is_kept_in_part(store: FileStore, line: HttpLine, service: Sessions) -> None:
    """The service may keep less than it was sent; the rest follows without a failure."""
    service.answers = [CHUNK // 2]
    store.put("key", content(2 * CHUNK))
    assert spans(line)[:3] == [
        f"0-{CHUNK - 1}/*",
        f"{CHUNK // 2}-{CHUNK - 1}/*",
        f"{CHUNK}-{2 * CHUNK - 1}/{2 * CHUNK}",
    ]


def test_chunk_of_which_nothing_is_kept(store: FileStore, line: HttpLine, service: Sessions) -> None:
    """No progress is a failure: the service is asked where it stands, and attempts are bounded."""
    service.answers = [0] * 100
    with pytest.raises(UnavailableError):
        store.put("key", content(2 * CHUNK))
    assert "*/*" in spans(line)
    assert len(spans(line)) < 12


def test_failed_chunk_goes_on_where_the_service_stands(store: FileStore, line: HttpLine, service: Sessions) -> None:
    """After a failure the service is asked, and only what it lacks is sent."""
    service.answers = [None, Reply(503)]
    store.put("key", content(3 * CHUNK))
    assert spans(line) == [
        f"0-{CHUNK - 1}/*", f"{CHUNK}-{2 * CHUNK - 1}/*", "*/*", f"{CHUNK}-{2 * CHUNK - 1}/*",
        f"{2 * CHUNK}-{3 * CHUNK - 1}/{3 * CHUNK}",
    ]  # fmt: skip
    assert service.begun == 1


def test_last_chunk_kept_in_part(store: FileStore, line: HttpLine, service: Sessions) -> None:
    """A commit that leaves the session open is continued."""
    service.answers = [None, CHUNK // 2]
    assert store.put("key", content(2 * CHUNK)).size == 2 * CHUNK
    assert spans(line)[1:] == [
        f"{CHUNK}-{2 * CHUNK - 1}/{2 * CHUNK}", "*/*", f"{CHUNK + CHUNK // 2}-{2 * CHUNK - 1}/{2 * CHUNK}",
    ]  # fmt: skip


def test_everything_held_but_not_finished(store: FileStore, line: HttpLine, service: Sessions) -> None:
    """Should the service hold all bytes of a session that is still open, it is finished without sending one again."""
    held = Reply(308, {"Range": f"bytes=0-{2 * CHUNK - 1}"})
    service.answers = [None, Reply(503), held]

    def finishing(request: Request) -> Reply:
        if request.headers.get("content-range") == "bytes */*":
            service.held = 2 * CHUNK
        return service(request)

    line.rule = finishing
    assert store.put("key", content(2 * CHUNK)).size == 2 * CHUNK
    assert spans(line)[-1] == f"*/{2 * CHUNK}"
    assert service.digest == digest_of(content(2 * CHUNK))


def test_commit_whose_answer_is_lost(store: FileStore, line: HttpLine, service: Sessions) -> None:
    """The session knows that it was finished: nothing is sent again, and nothing stays open."""

    def losing(request: Request) -> Reply:
        answer = service(request)
        commits = [one for one in line.seen if one.headers.get("content-range", "/*").endswith(f"/{2 * CHUNK}")]
        return Reply(502) if commits and commits[-1] is request else answer

    line.rule = losing
    stored = store.put("key", content(2 * CHUNK), if_absent=True)
    assert (stored.size, stored.version, stored.verified) == (2 * CHUNK, "7", "crc32c")
    assert spans(line)[1:] == [f"{CHUNK}-{2 * CHUNK - 1}/{2 * CHUNK}", "*/*"]
    assert "DELETE" not in [one.method for one in line.seen]


@pytest.mark.parametrize("status", [404, 410])
def test_dropped_session_begins_again(store: FileStore, service: Sessions, status: int) -> None:
    """A session that is gone is replaced by a new one, from the first byte on."""
    service.answers = [None, Reply(status)]
    assert store.put("key", content(3 * CHUNK)).size == 3 * CHUNK
    assert service.begun == 2


def test_dropped_session_of_a_stream_cannot_begin_again(store: FileStore, service: Sessions) -> None:
    """What can be read only once fails, as something that may succeed later."""

    class Once:
        left = 3

        def read(self, size: int, /) -> bytes:
            self.left -= 1
            return bytes(size) if self.left >= 0 else b""

    service.answers = [Reply(410)]
    source: BinaryIO = Once()  # type: ignore[assignment]
    with pytest.raises(PreconditionFailedError, match="put again") as raised:
        store.put("key", source)
    assert raised.value.retryable


def test_condition_is_decided_at_the_end(store: FileStore, service: Sessions) -> None:
    """A refusal of the last chunk for the condition is no dropped session."""
    service.answers = [
        None,
        Reply(412, {}, b'{"error": {"message": "words", "errors": [{"reason": "conditionNotMet"}]}}'),
    ]
    with pytest.raises(AlreadyExistsError) as raised:
        store.put("key", content(2 * CHUNK), if_absent=True)
    assert not raised.value.maybe_own_write
    assert service.begun == 1


def test_service_that_stores_other_bytes(store: FileStore, service: Sessions) -> None:
    """Should the service not compare the digest, we do."""
    other = json.dumps({"name": "key", "size": str(2 * CHUNK), "crc32c": "AAAAAA=="}).encode()
    service.answers = [None, Reply(200, {}, other)]
    with pytest.raises(IntegrityError, match="did not refuse"):
        store.put("key", content(2 * CHUNK))


def test_damage_is_found_at_the_end(store: FileStore, line: HttpLine, service: Sessions) -> None:
    """A digest that differs ends the upload: any of its chunks may be the damaged one."""
    service.answers = [None, Reply(400, {}, b'Provided CRC32C "AAAAAA==" doesn\'t match calculated CRC32C "x".')]
    with pytest.raises(IntegrityError, match="nothing was stored") as raised:
        store.put("key", content(2 * CHUNK))
    assert not raised.value.retryable
    assert len(spans(line)) == 2
    assert line.seen[-1].method == "DELETE"


def test_cancelled_upload_cancels_the_session(store: FileStore, line: HttpLine) -> None:
    """An upload that fails discards what was sent."""

    def stop(count: int) -> None:
        raise KeyError("the caller's own")

    with pytest.raises(KeyError):
        store.put("key", content(4 * CHUNK), progress=stop)
    assert [one.method for one in line.seen][-1] == "DELETE"
