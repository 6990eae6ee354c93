"""A file store in memory, in the three shapes that the clouds' services have, with faults on demand."""

from __future__ import annotations

import hashlib
import itertools
import threading
import zlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

import pytest

from clouddirect.checks import CheckResult
from clouddirect.errors import (
    AlreadyExistsError,
    ChangedError,
    CloudDirectError,
    ContainerNotFoundError,
    IntegrityError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from clouddirect.retry import RetryPolicy
from clouddirect.storage import (
    FileStore,
    ListPage,
    Part,
    PutRequest,
    RangeRead,
    StoreCapabilities,
    StoredFile,
    StoredPrefix,
    StoreRuntime,
    Upload,
)

KIB = 1 << 10
PART = 64 * KIB
AT_ONCE = RetryPolicy(max_attempts=4, base_delay=0, max_delay=0)
DATA = bytes(range(256)) * 1024  # 256 KiB: four parts


SHAPES = {
    # one request for what is small, else parts in any order; a range does not tell the object's digest
    "parts": StoreCapabilities(
        max_whole_bytes=64 * KIB,
        min_part_bytes=64 * KIB,
        max_parts=10_000,
        upload_digest="crc32",
        digest_from_stat=True,
    ),
    # the same, and every range is compared on its own
    "blocks": StoreCapabilities(max_whole_bytes=64 * KIB, upload_digest="md5"),
    # parts in order, the last one with the commit; a digest that the standard library does not have
    "resumable": StoreCapabilities(part_multiple=16 * KIB, upload_digest="adler32"),
}


class Adler32:
    """Stands for a digest that only the provider can compute."""

    def __init__(self) -> None:
        self._value = 1

    def update(self, data: Any, /) -> None:
        self._value = zlib.adler32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


@dataclass
class Service:
    """What is on the other side: containers with objects, and what is to go wrong.

    ``faults[operation]`` holds what the next calls of a primitive do before anything else: an exception is raised,
    None lets the call through.
    """

    shape: str = "parts"
    objects: dict[str, tuple[bytes, StoredFile]] = field(default_factory=dict)
    exists: bool = True
    calls: list[str] = field(default_factory=list)
    faults: defaultdict[str, deque[Exception | None]] = field(default_factory=lambda: defaultdict(deque))
    timeouts: list[float] = field(default_factory=list)
    open_uploads: int = 0
    page: int = 100
    damages: bool = False  # the middle byte of each object, on its way to the reader
    lock: Any = field(default_factory=threading.RLock)
    versions: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def called(self, operation: str, timeout: float) -> None:
        with self.lock:
            self.calls.append(operation)
            self.timeouts.append(timeout)
            fault = self.faults[operation].popleft() if self.faults[operation] else None
        if fault is not None:
            raise fault
        if not self.exists:
            raise ContainerNotFoundError("there is no such bucket")

    def write(self, request: PutRequest, data: bytes, digest: str | None) -> StoredFile:
        algorithm = SHAPES[self.shape].upload_digest or ""
        hasher = Adler32() if algorithm == "adler32" else hashlib.new(algorithm) if algorithm == "md5" else None
        if hasher is None:
            found = zlib.crc32(data).to_bytes(4, "big").hex()
        else:
            hasher.update(data)
            found = hasher.digest().hex()
        if digest != found:
            raise IntegrityError("the digest does not match")
        with self.lock:
            if request.if_absent and request.key in self.objects:
                raise AlreadyExistsError("something is there")
            file = StoredFile(
                key=request.key, size=len(data), content_type=request.content_type, metadata=request.metadata,
                version=str(next(self.versions)), modified_at=datetime.now(UTC), digest_algorithm=algorithm,
                digest=found,
            )  # fmt: skip
            self.objects[request.key] = (data, file)
        return replace(file, verified=algorithm)


class MemoryUpload(Upload):
    def __init__(self, service: Service, request: PutRequest) -> None:
        self.parallel = service.shape != "resumable"
        self.last_with_commit = not self.parallel
        self._service = service
        self._request = request
        self._parts: dict[int, bytes] = {}
        self._held = bytearray()
        with service.lock:
            service.open_uploads += 1

    def write_part(self, part: Part, timeout: float) -> None:
        try:
            self._service.called("write_part", timeout)
        except UnavailableError:
            if not self.parallel and len(part) > 16 * KIB:
                self._held += part.data[: 16 * KIB]  # part of it had arrived
            raise
        data = part.open().read()
        can = SHAPES[self._service.shape]
        assert part.last or (len(data) >= can.min_part_bytes and len(data) % can.part_multiple == 0)
        if self.parallel:
            self._parts[part.index] = data
        else:
            assert part.offset == len(self._held), "parts must come in order"
            self._held += data

    def confirmed(self, timeout: float) -> int:
        self._service.called("confirmed", timeout)
        return len(self._held)

    def commit(self, size: int, digest: str | None, last: Part | None, timeout: float) -> StoredFile:
        assert (last is not None) is self.last_with_commit
        if last is not None and last.offset == len(self._held):
            self._service.called("commit", timeout)
            self._held += last.open().read()
        else:
            self._service.called("commit", timeout)
        data = bytes(self._held) if last is not None else b"".join(self._parts[index] for index in sorted(self._parts))
        assert len(data) == size
        stored = self._service.write(self._request, data, digest)
        if self._service.faults["committed"]:
            fault = self._service.faults["committed"].popleft()
            if fault is not None:
                raise fault
        with self._service.lock:
            self._service.open_uploads -= 1
        return stored

    def abort(self, timeout: float) -> None:
        self._service.called("abort", timeout)
        with self._service.lock:
            self._service.open_uploads -= 1


class MemoryStore(FileStore):
    provider = "memory"
    container = "bucket"

    def __init__(self, service: Service, runtime: StoreRuntime | None = None, access: str = "both") -> None:
        super().__init__(runtime)
        self.service = service
        self.access = access
        self.closed = 0

    def _capabilities(self) -> StoreCapabilities:
        return SHAPES[self.service.shape]

    def _hasher(self, algorithm: str) -> Any:
        return Adler32() if algorithm == "adler32" else super()._hasher(algorithm)

    def _called(self, operation: str, access: str, timeout: float) -> None:
        if self.access not in (access, "both"):
            raise PermissionDeniedError("403")
        self.service.called(operation, timeout)

    def _put_whole(self, request: PutRequest, content: Part, digest: str | None, timeout: float) -> StoredFile:
        self._called("put", "write", timeout)
        stored = self.service.write(request, content.open().read(), digest)
        if self.service.faults["committed"]:
            fault = self.service.faults["committed"].popleft()
            if fault is not None:
                raise fault
        return stored

    def _begin_upload(self, request: PutRequest, timeout: float) -> Upload:
        self._called("begin", "write", timeout)
        return MemoryUpload(self.service, request)

    def _object(self, key: str) -> tuple[bytes, StoredFile]:
        with self.service.lock:
            if key not in self.service.objects:
                raise NotFoundError("404")
            return self.service.objects[key]

    def _stat(self, key: str, timeout: float) -> StoredFile:
        self._called("stat", "read", timeout)
        return self._object(key)[1]

    def _read(self, key: str, offset: int, length: int | None, version: str | None, timeout: float) -> RangeRead:
        self._called("read", "read", timeout)
        data, file = self._object(key)
        if version is not None and file.version != version:
            raise ChangedError("412")
        piece = data[offset : None if length is None else offset + length]
        if self.service.shape == "parts" and length is not None:
            file = replace(file, digest=None, digest_algorithm=None)
        verified = None
        if self.service.shape == "blocks":
            file = replace(file, digest=None, digest_algorithm=None)
            verified = "md5-ranges"
        arrived = bytearray(piece)
        if self.service.damages and offset <= len(data) // 2 < offset + len(piece):
            arrived[len(data) // 2 - offset] ^= 1

        damaged = arrived != piece

        def chunks() -> Iterator[bytes]:
            for start in range(0, len(piece), 10_000):
                self.service.called("chunk", timeout)
                if verified and damaged:
                    raise IntegrityError("the range's MD5 does not match")
                yield bytes(arrived[start : start + 10_000])

        def close() -> None:
            with self.service.lock:
                self.service.calls.append("close")

        return RangeRead(file=file, chunks=chunks(), close=close, verified=verified)

    def _list(self, prefix: str, delimiter: Literal["/"] | None, page: Any, timeout: float) -> ListPage:
        self._called("list", "read", timeout)
        with self.service.lock:
            found: dict[str, StoredFile | StoredPrefix] = {}
            for key, (_, file) in self.service.objects.items():
                if not key.startswith(prefix):
                    continue
                head, slash, _ = key[len(prefix) :].partition("/")
                if delimiter and slash:
                    found[prefix + head + slash] = StoredPrefix(prefix + head + slash)
                else:
                    found[key] = StoredFile(key=key, size=file.size, version=file.version, modified_at=file.modified_at)
        names = sorted((name for name in found if page is None or name.encode() > page), key=str.encode)
        names, more = names[: self.service.page], len(names) > self.service.page
        return ListPage([found[name] for name in names], names[-1].encode() if more else None)

    def _delete(self, key: str, timeout: float) -> None:
        self._called("delete", "write", timeout)
        with self.service.lock:
            if self.service.objects.pop(key, None) is None:
                raise NotFoundError("404")

    def _check(self, access: str, timeout: float) -> CheckResult:
        self._called("check", access, timeout)
        return CheckResult(access, "likely", "asked")

    def _classify(self, error: Exception) -> CloudDirectError | None:
        return UnavailableError("the SDK's connection failed") if isinstance(error, ConnectionError) else None

    def _native(self) -> object:
        return self.service

    def _close(self) -> None:
        self.closed += 1


@pytest.fixture(params=sorted(SHAPES))
def shape(request: pytest.FixtureRequest) -> str:
    """Each of the shapes in turn."""
    return str(request.param)


@pytest.fixture
def new_service() -> type[Service]:
    """The service's class."""
    return Service


@pytest.fixture
def open_memory() -> Callable[..., MemoryStore]:
    """Open a store on a service, with the fields of `StoreRuntime`."""

    def opened(service: Service, access: str = "both", **runtime: Any) -> MemoryStore:
        return MemoryStore(service, StoreRuntime(**runtime), access)

    return opened


@pytest.fixture
def service(new_service: Any, shape: str) -> Any:
    return new_service(shape)


@pytest.fixture
def store(service: Any, open_memory: Any) -> Any:
    with open_memory(service, retry=AT_ONCE, part_size=PART) as opened:
        opened.put("key", DATA, content_type="image/png")
        service.calls.clear()
        yield opened


def count(service: Any, operation: str) -> int:
    return service.calls.count(operation)
