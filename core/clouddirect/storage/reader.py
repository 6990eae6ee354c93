"""`FileReader`: the readable stream that `FileStore.open` returns."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from clouddirect.errors import ConfigurationError
from clouddirect.storage.ranges import PinnedRange, Verification
from clouddirect.storage.stored import StoredFile
from clouddirect.storage.transfer import Transfer

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["FileReader"]

_BUFFER = 64 * 1024


class FileReader(io.BufferedReader):
    """A seekable, buffered binary stream over one version of an object, or over a range of it.

    Reading goes on after a cut connection, and raises `ChangedError` when the object has been replaced by then. A
    stream that reads the whole
    object from its first byte to its last compares the digest, where the service has one: the read that reaches the end
        raises
    `IntegrityError` instead of returning the last bytes. Seeking gives that up. Close it, or use it as a context
    manager.
    """

    def __init__(self, transfer: Transfer, opened: PinnedRange, on_end: Callable[[StoredFile], None]) -> None:
        """Made by `FileStore.open`; ``on_end`` is told once the whole object has been read."""
        self._range = _RawReader(transfer, opened, on_end)
        super().__init__(self._range, _BUFFER)

    @property
    def file(self) -> StoredFile:
        """The object, as told when it was opened; ``verified`` is set once its end has been read and compared."""
        return self._range.file

    def __repr__(self) -> str:
        return f"FileReader({self._range.file.key!r}, {'closed' if self.closed else 'open'})"


class _RawReader(io.RawIOBase):
    """Positions are relative to the range's start."""

    def __init__(self, transfer: Transfer, opened: PinnedRange, on_end: Callable[[StoredFile], None]) -> None:
        super().__init__()
        self._transfer = transfer
        self._range = opened
        self._start = opened.start
        self._on_end = on_end
        self._chunk = memoryview(b"")
        self._place = 0
        self.file = opened.file
        self._size = max(0, opened.end - opened.start)
        whole = self._size == self.file.size
        self._verification = Verification(transfer, self.file) if whole else None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ConfigurationError(f"cannot seek to {start + offset}, before the beginning")
        if start + offset != self._place:
            self._range.close()
            self._verification = None
            self._place = start + offset
            self._chunk = memoryview(b"")
            left = max(0, self._size - self._place)
            self._range = PinnedRange(self._transfer, self.file.key, self._start + self._place, left, self.file)
        return self._place

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        if not self._chunk and len(target):
            self._chunk = memoryview(self._next())
        count = min(len(target), len(self._chunk))
        target[:count] = self._chunk[:count]
        self._chunk = self._chunk[count:]
        self._place += count
        return count

    def readall(self) -> bytes:
        pieces = [bytes(self._chunk)]
        self._chunk = memoryview(b"")
        while piece := self._next():
            pieces.append(piece)
        whole = b"".join(pieces)
        self._place += len(whole)
        return whole

    def close(self) -> None:
        if not self.closed:
            self._range.close()
        super().close()

    def _next(self) -> bytes:
        with self._transfer.store.inside:
            chunk = self._range.read()
            if self._verification is not None:
                self._verification.update(chunk)
                if self._range.place >= self._range.end:
                    verification, self._verification = self._verification, None
                    self.file = verification.finish(self._range.verified)
                    self._on_end(self.file)
        return chunk
