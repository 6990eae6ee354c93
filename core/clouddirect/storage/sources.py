"""Where the content of a ``put`` comes from: bytes, a file's path, or a stream that can be read once or again."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Protocol, Self

from clouddirect.errors import ConfigurationError
from clouddirect.storage.digests import Data

__all__ = ["Readable", "Source", "SourceReader", "open_source"]

_PIECE = 1 << 20


class Readable(Protocol):
    """The one method that a stream must have; it returns bytes, none of them at the end."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes; none only at the end."""
        ...


#: What ``put`` reads from.
Source = bytes | bytearray | memoryview | str | os.PathLike[str] | Readable


def open_source(source: Source) -> SourceReader:
    """Return a reader for whatever was passed to ``put``.

    Raises:
        ConfigurationError: it is none of the permitted kinds, or a text stream.
        OSError: a path cannot be opened.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _BytesReader(source)
    if isinstance(source, (str, os.PathLike)):
        return _FileReader(source)
    if callable(getattr(source, "read", None)):
        return _StreamReader(source)
    raise ConfigurationError(
        f"source is of type {type(source).__name__}; pass bytes, a path, or a stream opened in binary mode"
    )


class SourceReader(ABC):
    """Reads content in parts. Used by one thread; `recycle` may be called from any."""

    #: Size in bytes if it can be told beforehand, else None.
    size: int | None = None

    @abstractmethod
    def read_part(self, size: int) -> tuple[memoryview, bool]:
        """Return the next ``size`` bytes, fewer only at the end, and whether the end was reached."""

    def recycle(self, data: memoryview) -> None:  # noqa: B027 - only buffers are reused
        """Take back the memory of a part that has been sent, to be used for a later one."""

    @abstractmethod
    def rewind(self) -> bool:
        """Go back to the first byte; False if that is not possible."""

    def close(self) -> None:  # noqa: B027 - only a file is opened here
        """Close what this reader opened itself; the caller's stream stays open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _BytesReader(SourceReader):
    def __init__(self, data: Data) -> None:
        self._data = memoryview(data).cast("B")
        self.size = len(self._data)
        self._place = 0

    def read_part(self, size: int) -> tuple[memoryview, bool]:
        part = self._data[self._place : self._place + size]
        self._place += len(part)
        return part, self._place >= len(self._data)

    def rewind(self) -> bool:
        self._place = 0
        return True


class _BufferedReader(SourceReader):
    """Fills buffers, looking one byte ahead so that the last part is known as such."""

    def __init__(self) -> None:
        self._ahead = b""
        self._free: list[bytearray] = []

    def read_part(self, size: int) -> tuple[memoryview, bool]:
        whole = memoryview(self._buffer(size))
        filled = len(self._ahead)
        whole[:filled] = self._ahead
        self._ahead = b""
        while filled < size:
            if filled == len(whole):  # the source is longer than it said
                whole = memoryview(bytearray(whole) + bytes(size - filled))
            count = self._fill(whole[filled:size])
            if not count:
                return whole[:filled], True
            filled += count
        one = bytearray(1)
        if not self._fill(memoryview(one)):
            return whole[:size], True
        self._ahead = bytes(one)
        return whole[:size], False

    def recycle(self, data: memoryview) -> None:
        buffer = data.obj
        if isinstance(buffer, bytearray):
            self._free.append(buffer)

    def _buffer(self, size: int) -> bytearray:
        while self._free:
            buffer = self._free.pop()
            if len(buffer) >= size:
                return buffer
        # what is known to be small needs no buffer of a part's full size
        return bytearray(size if self.size is None else min(size, self.size + 1))

    @abstractmethod
    def _fill(self, target: memoryview) -> int:
        """Read up to ``len(target)`` bytes into it; return how many, 0 at the end only."""


class _FileReader(_BufferedReader):
    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
        self.size = os.fstat(self._file.fileno()).st_size or None  # files in /proc say 0

    def _fill(self, target: memoryview) -> int:
        return self._file.readinto(target) or 0

    def rewind(self) -> bool:
        self._ahead = b""
        try:
            self._file.seek(0)
        except OSError:
            return False  # a named pipe
        return True

    def close(self) -> None:
        self._file.close()


class _StreamReader(_BufferedReader):
    def __init__(self, stream: Readable) -> None:
        super().__init__()
        self._stream = stream
        self._start: int | None = None
        seekable = getattr(stream, "seekable", None)
        if callable(seekable) and seekable():
            self._start = stream.tell()  # type: ignore[attr-defined]
            self.size = self._measure(self._start)

    def _measure(self, start: int) -> int | None:
        try:
            self._stream.seek(0, os.SEEK_END)  # type: ignore[attr-defined]
            end: int = self._stream.tell()  # type: ignore[attr-defined]
        except (OSError, ValueError):
            end = start - 1  # a compressed stream, say, cannot go to its end
        self._stream.seek(start)  # type: ignore[attr-defined]
        return end - start if end >= start else None

    def _fill(self, target: memoryview) -> int:
        piece = self._stream.read(min(len(target), _PIECE))
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            what = "nothing although it has not ended (a non-blocking stream)" if piece is None else "text"
            raise ConfigurationError(
                f"the source's read() returned {what}; pass a blocking stream opened in binary mode"
            )
        if len(piece) > len(target):
            raise ConfigurationError("the source's read() returned more bytes than it was asked for")
        target[: len(piece)] = piece
        return len(piece)

    def rewind(self) -> bool:
        self._ahead = b""
        if self._start is None:
            return False
        self._stream.seek(self._start)  # type: ignore[attr-defined]
        return True
