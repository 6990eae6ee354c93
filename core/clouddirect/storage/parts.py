"""`Part`: a stretch of the content on its way into the store."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["Part"]


def _nothing() -> None:
    """Stands for the check of a part that belongs to no transfer."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A stretch of the content. Its memory is reused once the primitive that it was handed to has returned.

    Attributes:
        index: 0 for the first part.
        offset: place of its first byte in the content.
        data: the bytes.
        last: nothing follows it.
        check: raises if the transfer has been cancelled or is out of time; `open`'s stream calls it.
    """

    index: int
    offset: int
    data: memoryview = field(repr=False)
    last: bool
    check: Callable[[], None] = field(default=_nothing, repr=False)

    def __len__(self) -> int:
        return len(self.data)

    def open(self) -> BinaryIO:
        """Return a seekable stream over the bytes, for an SDK to send.

        Reading from it raises once the transfer has been cancelled or its deadline has passed, which ends the request
        at once.
        """
        return cast(BinaryIO, _PartStream(self.data, self.check))

    def rest(self, offset: int) -> Part:
        """Return what of this part lies at or behind ``offset`` in the content."""
        return Part(self.index, offset, self.data[offset - self.offset :], self.last, self.check)


class _PartStream(io.RawIOBase):
    def __init__(self, data: memoryview, check: Callable[[], None]) -> None:
        super().__init__()
        self._data = data
        self._check = check
        self._place = 0

    def __len__(self) -> int:  # requests and the Azure SDK look here for Content-Length
        return len(self._data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        self._check()
        end = len(self._data) if size is None or size < 0 else self._place + size
        piece = bytes(self._data[self._place : end])
        self._place += len(piece)
        return piece

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        piece = self.read(len(target))
        target[: len(piece)] = piece
        return len(piece)

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: len(self._data)}[whence]
        self._place = max(0, start + offset)
        return self._place
