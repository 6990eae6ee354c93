"""The checksums that S3 keeps of objects, and what computes them.

An object has one, either of the whole content (``FULL_OBJECT``) or of the checksums of its parts (``COMPOSITE``, told
with ``-N`` behind it for N parts). "Checking object integrity" in the S3 User Guide has both, and which algorithm knows
which.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from clouddirect.errors import IntegrityError, UnsupportedError
from clouddirect.storage.digests import Data, Hasher, new_hasher

__all__ = ["composite_parts", "confirmed", "crc32_header", "digest_of", "new_s3_hasher", "same_crc32", "to_base64"]

#: Members of a response, each with the algorithm's name here.
_MEMBERS = {
    "ChecksumCRC32": "crc32",
    "ChecksumCRC32C": "crc32c",
    "ChecksumCRC64NVME": "crc64nvme",
    "ChecksumSHA256": "sha256",
    "ChecksumSHA1": "sha1",
    "ChecksumSHA512": "sha512",
    "ChecksumMD5": "md5",
}

#: Behind an algorithm's name: a checksum of the checksums of parts, each of so many bytes but the last.
_PARTS = "-parts-"


def to_base64(digest: str) -> str:
    """Return a hexadecimal digest as S3 writes it."""
    return base64.b64encode(bytes.fromhex(digest)).decode("ascii")


def crc32_header(data: Data) -> str:
    """Return the CRC32 of ``data`` as S3 writes it."""
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode("ascii")


def composite_parts(answer: Mapping[str, Any]) -> int | None:
    """Return the number of parts behind the composite checksum in a response; None if there is no such checksum."""
    for member in _MEMBERS:
        _, dash, parts = str(answer.get(member, "")).partition("-")
        if dash and parts.isdigit():
            return int(parts)
    return None


def confirmed(answer: Mapping[str, Any], sent: str | None, data: Data, *, required: bool) -> str | None:
    """Return the algorithm by which the answer to an upload confirms the bytes, or None.

    Servers that do not tell the checksum may tell the MD5 nevertheless, as the ETag of what came in one request. An
    ETag that is not the MD5 says nothing: of encrypted objects it is something else.

    Args:
        answer: the response.
        sent: the CRC32 as it was sent, or None.
        data: the bytes.
        required: something must confirm them.

    Raises:
        IntegrityError: it tells another CRC32.
        UnsupportedError: it confirms nothing although that is ``required``.
    """
    if sent is not None and "ChecksumCRC32" in answer:
        return same_crc32(answer, sent)
    if str(answer.get("ETag", "")).strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest():
        return "md5"
    if required:
        raise UnsupportedError(
            'the server confirms no checksum, which checksum = "required" asks for; use "auto", or a server that '
            "compares CRC32"
        )
    return None


def same_crc32(answer: Mapping[str, Any], sent: str) -> str | None:
    """Return ``crc32`` if the answer tells the checksum that was sent, None if it tells none.

    Raises:
        IntegrityError: it tells another one.
    """
    told = answer.get("ChecksumCRC32")
    if told is not None and told != sent:
        raise IntegrityError("the service received other bytes than were sent", retryable=True)
    return None if told is None else "crc32"


def digest_of(answer: Mapping[str, Any], size: int, part_size: int | None) -> tuple[str | None, str | None]:
    """Return the algorithm and the hexadecimal digest that a response tells of a whole object, or two Nones.

    Args:
        answer: the response.
        size: bytes of the object.
        part_size: bytes of each of its parts but the last, if known. A composite checksum cannot be computed without.
    """
    for member, algorithm in _MEMBERS.items():
        if value := answer.get(member):
            encoded, _, parts = value.partition("-")
            digest = base64.b64decode(encoded).hex()
            if not parts and answer.get("ChecksumType") != "COMPOSITE":
                return algorithm, digest
            if part_size and parts.isdigit() and -(-size // part_size) == int(parts):
                return f"{algorithm}{_PARTS}{part_size}", digest
    return None, None


def new_s3_hasher(algorithm: str) -> Hasher | None:
    """Return a hasher for any name that `digest_of` returns; None if what computes it is not installed."""
    of_part, found, part_size = algorithm.partition(_PARTS)
    if found:
        return _OfParts(of_part, int(part_size)) if new_s3_hasher(of_part) else None
    if algorithm == "sha512":
        return hashlib.sha512()
    if algorithm in ("crc32c", "crc64nvme"):
        try:
            checksums = importlib.import_module("awscrt.checksums")
        except ImportError:
            return None
        if algorithm == "crc32c":
            return _Crc(checksums.crc32c, 4)
        return _Crc(checksums.crc64nvme, 8)
    return new_hasher(algorithm)


class _Crc:
    """A checksum of awscrt, whose functions take the value so far."""

    def __init__(self, function: Callable[[Data, int], int], size: int) -> None:
        self._function = function
        self._size = size
        self._value = 0

    def update(self, data: Data, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


class _OfParts:
    """The checksum of the checksums of parts of one size."""

    def __init__(self, algorithm: str, part_size: int) -> None:
        self._algorithm = algorithm
        self._part_size = part_size
        self._parts = self._new()
        self._part = self._new()
        self._filled = 0

    def update(self, data: Data, /) -> None:
        rest = memoryview(data)
        while rest:
            if self._filled == self._part_size:
                self._next_part()
            piece = rest[: self._part_size - self._filled]
            self._part.update(piece)
            self._filled += len(piece)
            rest = rest[len(piece) :]

    def digest(self) -> bytes:
        if self._filled:
            self._next_part()
        return self._parts.digest()

    def _next_part(self) -> None:
        self._parts.update(self._part.digest())
        self._part = self._new()
        self._filled = 0

    def _new(self) -> Hasher:
        hasher = new_s3_hasher(self._algorithm)
        assert hasher is not None
        return hasher
