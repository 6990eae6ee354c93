"""Lines with faults, for stores that have no wire to disturb: they sit between core and a provider's primitives.

A store that talks over a network is better tested behind a proxy that cuts, stalls and damages what really goes by.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, MutableSequence
from dataclasses import replace
from typing import Any

from clouddirect.clock import ManualClock
from clouddirect.conformance.storage_harness import KIB, MIB, Fault
from clouddirect.errors import CloudDirectError, TimeoutError, UnavailableError
from clouddirect.storage import FileStore, Part, PutRequest, RangeRead, StoredFile, Upload

__all__ = ["DamagingLine", "Line", "behind"]


def behind(fault: Fault, make_store: Callable[..., FileStore], **runtime: Any) -> FileStore:
    """Open a store behind a line with one of the faults of `StorageHarness.faulty_store`."""
    if fault == "slow":
        clock = ManualClock()
        return _SlowLine(clock).attach(make_store(**{**runtime, "clock": clock}))
    lines: dict[str, type[Line]] = {
        "cut": _CutLine, "stall": _DeadLine, "refuse": _RefusingLine, "lost-reply": _ForgetfulLine,
    }  # fmt: skip
    return lines[fault]().attach(make_store(**runtime))


class Line:
    """Carries everything as it is; subclasses do not."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.parts = 0
        self.chunks = 0
        self.commits = 0

    def sending(self, part: Part) -> None:
        """Called before the provider gets a part, a copy of which it may change."""

    def receiving(self, chunk: bytes) -> Iterator[bytes]:
        """Called with each chunk that the provider has read; yields what arrives of it."""
        yield chunk

    def committed(self) -> None:
        """Called after an object became visible."""

    def attach(self, store: FileStore, seen: MutableSequence[str] | None = None) -> FileStore:
        """Put ``store`` behind this line, and note in ``seen`` the kinds of requests that go over it; return it."""

        def note(kind: str, primitive: Callable[..., Any]) -> Callable[..., Any]:
            def noted(*arguments: Any) -> Any:
                if seen is not None:
                    seen.append(kind)
                return primitive(*arguments)

            return noted

        begin, put, read = store._begin_upload, store._put_whole, store._read

        def begin_upload(request: PutRequest, timeout: float) -> Upload:
            return _LineUpload(begin(request, timeout), self)

        def put_whole(request: PutRequest, part: Part, digest: str | None, timeout: float) -> StoredFile:
            stored = put(request, self._sent(part), digest, timeout)
            self.committed()
            return stored

        def read_range(*arguments: Any) -> RangeRead:
            opened = read(*arguments)
            opened.chunks = (piece for chunk in opened.chunks for piece in self.receiving(chunk))
            return opened

        wrapped = {
            "_begin_upload": note("write", begin_upload), "_put_whole": note("write", put_whole),
            "_delete": note("write", store._delete), "_read": note("read", read_range),
            "_stat": note("read", store._stat), "_list": note("list", store._list),
        }  # fmt: skip
        for name, primitive in wrapped.items():
            setattr(store, name, primitive)
        return store

    def _sent(self, part: Part) -> Part:
        copy = replace(part, data=memoryview(bytearray(part.data)))
        self.sending(copy)
        return copy

    def count(self, what: str) -> int:
        """Add one to a counter and return it; several threads send at once."""
        with self.lock:
            value: int = getattr(self, what) + 1
            setattr(self, what, value)
            return value


class _LineUpload(Upload):
    def __init__(self, upload: Upload, line: Line) -> None:
        self._upload = upload
        self._line = line
        self.parallel = upload.parallel
        self.last_with_commit = upload.last_with_commit

    def write_part(self, part: Part, timeout: float) -> None:
        self._upload.write_part(self._line._sent(part), timeout)

    def confirmed(self, timeout: float) -> int:
        return self._upload.confirmed(timeout)

    def commit(self, size: int, digest: str | None, last: Part | None, timeout: float) -> StoredFile:
        if last is not None:
            last = self._line._sent(last)
        stored = self._upload.commit(size, digest, last, timeout)
        self._line.committed()
        return stored

    def abort(self, timeout: float) -> None:
        self._upload.abort(timeout)


def _reset() -> CloudDirectError:
    return UnavailableError("the connection was reset")


class _CutLine(Line):
    def sending(self, part: Part) -> None:
        if self.count("parts") == 2:
            raise _reset()

    def receiving(self, chunk: bytes) -> Iterator[bytes]:
        if self.count("chunks") == 1:
            yield chunk[: len(chunk) // 2]
            raise _reset()
        yield chunk


class _SlowLine(Line):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def sending(self, part: Part) -> None:
        stream = part.open()
        while piece := stream.read(64 * KIB):
            self._clock.advance(len(piece) / MIB)

    def receiving(self, chunk: bytes) -> Iterator[bytes]:
        for start in range(0, len(chunk), 64 * KIB):
            piece = chunk[start : start + 64 * KIB]
            self._clock.advance(len(piece) / MIB)
            yield piece


class _DeadLine(Line):
    """A primitive notices by its timeout that no byte moves; this reports it at once."""

    def sending(self, part: Part) -> None:
        if self.count("parts") > 1:
            raise TimeoutError("no byte moved")

    def receiving(self, chunk: bytes) -> Iterator[bytes]:
        if self.count("chunks") == 1:
            yield chunk[:10]
        raise TimeoutError("no byte moved")


class _RefusingLine(Line):
    def sending(self, part: Part) -> None:
        if self.count("parts") > 1:
            raise UnavailableError("the service is broken", retryable=False)


class _ForgetfulLine(Line):
    def committed(self) -> None:
        if self.count("commits") == 1:
            raise _reset()


class DamagingLine(Line):
    """Flips a bit of every part's first byte."""

    def sending(self, part: Part) -> None:
        part.data[0] ^= 1
