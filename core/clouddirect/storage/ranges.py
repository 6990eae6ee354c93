"""`PinnedRange`: one range of one version of an object, read to its end across cut connections."""

from __future__ import annotations

import logging
from dataclasses import replace

from clouddirect.errors import ChangedError, IntegrityError, NotFoundError, UnavailableError
from clouddirect.storage.digests import Hasher
from clouddirect.storage.primitives import RangeRead
from clouddirect.storage.stored import StoredFile
from clouddirect.storage.transfer import Transfer

__all__ = ["PinnedRange", "Verification"]

log = logging.getLogger("clouddirect.storage")


class PinnedRange:
    """Reads a range in chunks. After a cut connection it goes on with the byte after the last one that arrived.

    The first response pins the version: what is read later is of the same content, or raises `ChangedError`. One thread
    at a time.
    """

    def __init__(
        self, transfer: Transfer, key: str, offset: int, length: int | None, file: StoredFile | None = None
    ) -> None:
        """``file`` is the object as it is already known, to be pinned to; None to find out with the first response."""
        self._transfer = transfer
        self._key = key
        self._length = length
        self._file = file
        self._read: RangeRead | None = None
        self.start = offset
        self.place = offset
        self.verified: str | None = None

    @property
    def file(self) -> StoredFile:
        """The object; asks for it if nothing was read yet."""
        if self._file is None:
            self._transfer.retry(self._begin)
        assert self._file is not None
        return self._file

    @property
    def end(self) -> int:
        """The place behind the range's last byte; no further than the end of the object."""
        size = self.file.size
        return size if self._length is None else min(size, self.start + self._length)

    def read(self) -> bytes:
        """Return the next chunk, or no bytes at the end."""
        if self._length == 0:
            return b""
        chunk = self._transfer.retry(self._next)
        if not chunk:
            self.close()
        return chunk

    def close(self) -> None:
        """Give the connection back; reading afterwards opens another one."""
        read, self._read = self._read, None
        if read is not None:
            try:
                self._transfer.store.attempt("close", self._key, read.close)
            except Exception as error:  # noqa: BLE001 - the bytes have been read; the connection matters to nobody now
                log.debug("a connection could not be given back (%s)", type(error).__name__)

    def _next(self) -> bytes:
        if self._file is not None and self.place >= self.end:
            return b""
        if self._read is None:
            self._begin()
        read = self._read
        assert read is not None
        if self.place >= self.end:
            return b""
        try:
            chunk = self._transfer.attempt(lambda timeout: next(filter(None, read.chunks), b""))
            if not chunk:
                missing = self.end - self.place
                raise UnavailableError(f"the connection ended {missing:,} bytes before the end of the range")
            if self.place + len(chunk) > self.end:
                raise IntegrityError(f"the service sent more than the {self.end - self.start:,} bytes asked for")
        except Exception:
            self.close()
            raise
        self.place += len(chunk)
        return chunk

    def _begin(self) -> None:
        pinned = self._file
        version = None if pinned is None else pinned.version
        left = None if self._length is None else self.start + self._length - self.place
        try:
            read = self._transfer.attempt(
                lambda timeout: self._transfer.store._read(self._key, self.place, left, version, timeout)
            )
        except NotFoundError as error:
            if pinned is None:
                raise
            raise self._changed("deleted") from error
        self._read = read
        self.verified = read.verified
        if pinned is None:
            self._file = read.file
        elif (read.file.version, read.file.size) != (pinned.version, pinned.size):
            self.close()
            raise self._changed("replaced")

    def _changed(self, how: str) -> ChangedError:
        return ChangedError(
            f"the object was {how} while it was being read; nothing was kept, read it again",
            provider=self._transfer.store.provider, operation=self._transfer.operation, resource=self._key,
        )  # fmt: skip


class Verification:
    """Compares a whole object with the digest that the service holds of it, while its bytes go by in order."""

    def __init__(self, transfer: Transfer, file: StoredFile) -> None:
        self._transfer = transfer
        self._file = file
        self._hasher: Hasher | None = None
        if file.digest is not None and file.digest_algorithm is not None:
            self._hasher = transfer.store._hasher(file.digest_algorithm)
        self._size = 0

    def update(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes."""
        self._size += len(chunk)
        if self._hasher is not None:
            self._hasher.update(chunk)

    def finish(self, of_ranges: str | None = None) -> StoredFile:
        """Compare, and return the object with what was verified; ``of_ranges`` is what the provider verified range by
        range.

        Raises:
            IntegrityError: size or digest differ.
        """
        if self._size != self._file.size:
            raise self._damaged(f"{self._size:,} bytes arrived of {self._file.size:,}")
        if self._hasher is None:
            return replace(self._file, verified=of_ranges)
        if self._hasher.digest().hex() != self._file.digest:
            raise self._damaged(f"its {self._file.digest_algorithm} differs from the one it was stored with")
        return replace(self._file, verified=self._file.digest_algorithm)

    def _damaged(self, what: str) -> IntegrityError:
        return IntegrityError(
            f"the object was damaged in the store or on the way: {what}; nothing was kept, read it again",
            provider=self._transfer.store.provider, operation=self._transfer.operation, resource=self._file.key,
        )  # fmt: skip
