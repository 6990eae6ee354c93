"""Digests of whole objects, computed while their bytes go by."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from typing import Protocol

__all__ = ["Crc32", "Data", "Hasher", "new_hasher"]

Data = bytes | bytearray | memoryview


class Hasher(Protocol):
    """What computes a digest: `hashlib`'s objects, and anything with the same two methods."""

    def update(self, data: Data, /) -> None:
        """Take the next bytes."""
        ...

    def digest(self) -> bytes:
        """Return the digest of all bytes so far."""
        ...


class Crc32:
    """CRC-32 as in zip, gzip and S3; its digest is the checksum in big-endian order."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: Data, /) -> None:
        """Take the next bytes."""
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        """Return the checksum's four bytes."""
        return self._value.to_bytes(4, "big")


_HASHERS: dict[str, Callable[[], Hasher]] = {
    "crc32": Crc32,
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
}


def new_hasher(algorithm: str) -> Hasher | None:
    """Return a fresh hasher for an algorithm of the standard library, or None if it is none."""
    factory = _HASHERS.get(algorithm)
    return factory() if factory else None
