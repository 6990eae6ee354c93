"""`download`: parallel ranges of one version into a temporary file, verified, then moved to where they belong."""

from __future__ import annotations

import os
import uuid
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from clouddirect.durable import sync_directory, sync_file
from clouddirect.storage.crew import Crew
from clouddirect.storage.ranges import PinnedRange, Verification
from clouddirect.storage.stored import StoredFile
from clouddirect.storage.transfer import Transfer
from clouddirect.storage.upload import part_size

__all__ = ["Downloader"]

_PIECE = 1 << 20


class Downloader:
    """Carries out one ``download``."""

    def __init__(self, transfer: Transfer, destination: Path, *, private: bool) -> None:
        self._transfer = transfer
        self._can = transfer.store.capabilities
        self._destination = destination
        self._private = private
        self._of_ranges: list[str | None] = []

    def run(self) -> StoredFile:
        """Fetch the object; the destination is replaced in one step, or left as it was."""
        transfer, can = self._transfer, self._can
        crew_size = min(transfer.store.concurrency, can.max_concurrency)
        length = part_size(can, transfer.store.part_size, None) if crew_size > 1 else None
        first = PinnedRange(transfer, transfer.key, 0, length)
        try:
            file = first.file
            length = length or max(1, file.size)
            with _Landing(self._destination, length, self._private) as landing:
                verified = self._fetch(first, landing, crew_size, length)
                landing.publish()
        finally:
            first.close()
        return verified

    def _fetch(self, first: PinnedRange, landing: _Landing, crew_size: int, length: int) -> StoredFile:
        transfer, file = self._transfer, first.file
        check = None if self._digest_missing(file) else Verification(transfer, file)
        with Crew(transfer, crew_size, lambda: check is not None and landing.feed(check)) as crew:
            crew.give(lambda: self._land(crew, first, landing))
            if check is None:
                file = self._with_digest(file)
                check = Verification(transfer, file)
            for offset in range(length, file.size, length):
                one = PinnedRange(transfer, transfer.key, offset, length, file)
                crew.give(lambda one=one: self._land(crew, one, landing))  # type: ignore[misc]
            crew.finish()
        while landing.feed(check):
            transfer.check()
        return check.finish(self._of_ranges[0] if len(set(self._of_ranges)) == 1 else None)

    def _digest_missing(self, file: StoredFile) -> bool:
        return self._can.digest_from_stat and file.digest is None

    def _with_digest(self, file: StoredFile) -> StoredFile:
        """Ask for the digest that the response to a range did not tell, while that range is being read."""
        transfer = self._transfer
        known = transfer.retry(lambda: transfer.attempt(lambda timeout: transfer.store._stat(transfer.key, timeout)))
        if known.version != file.version:
            return file  # replaced in between: the next range finds that out, or nothing else was needed
        return replace(file, digest_algorithm=known.digest_algorithm, digest=known.digest)

    def _land(self, crew: Crew, source: PinnedRange, landing: _Landing) -> None:
        try:
            with landing.at(source.start) as spot:
                while chunk := source.read():
                    spot.write(chunk)
                    self._transfer.progress.add(len(chunk))
                    crew.moved()
        finally:
            source.close()
        self._of_ranges.append(source.verified)


class _Landing:
    """The temporary file beside the destination. It is removed unless it was published."""

    def __init__(self, destination: Path, range_length: int, private: bool) -> None:
        self._destination = destination
        self._private = private
        self._temporary = destination.with_name(f".{uuid.uuid4().hex}.clouddirect")
        self._range_length = range_length
        self._spots: dict[int, _Spot] = {}
        self._fed = 0

    def __enter__(self) -> Self:
        # unless private, opened as any program opens a file that its user asked for: the umask decides who may read it
        self._file = open(self._temporary, "xb+", buffering=0, opener=_private if self._private else None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def at(self, offset: int) -> _Spot:
        """Return where the range that begins at ``offset`` is written; a context manager."""
        spot = _Spot(self._temporary, offset)
        self._spots[offset] = spot
        return spot

    def feed(self, check: Verification) -> bool:
        """Read back, in order, up to 1 MiB of what has been written, for the digest; returns whether there was
        anything."""
        spot = self._spots.get(self._fed - self._fed % self._range_length)
        if spot is None or self._fed >= spot.place:
            return False
        self._file.seek(self._fed)
        piece = self._file.read(min(_PIECE, spot.place - self._fed))
        check.update(piece or b"")
        self._fed += len(piece or b"")
        return bool(piece)

    def publish(self) -> None:
        """Flush to the disk and take the destination's place."""
        sync_file(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self._destination)
        sync_directory(self._destination.parent)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class _Spot:
    def __init__(self, path: Path, offset: int) -> None:
        self._path = path
        self.place = offset

    def __enter__(self) -> Self:
        self._file = open(self._path, "rb+", buffering=0)
        self._file.seek(self.place)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            written = self._file.write(rest)
            self.place += written
            rest = rest[written:]
