"""What the server keeps: buckets, objects, uploads in parts, and their checksums.

Behaviour after the public "Amazon S3 API Reference" (the operations' pages) and "Checking object integrity" in the S3
User Guide.
"""

from __future__ import annotations

import base64
import hashlib
import threading
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from awscrt import checksums as crt

__all__ = ["ALGORITHMS", "Bucket", "Bucketful", "Refusal", "StoredObject", "UploadInParts", "checksum"]

#: Smallest part of an upload, the last one excepted.
MIN_PART = 5 << 20

#: Digest of bytes, by the name that the headers have.
ALGORITHMS: Mapping[str, Callable[[bytes], bytes]] = {
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "crc32c": lambda data: crt.crc32c(data).to_bytes(4, "big"),
    "crc64nvme": lambda data: crt.crc64nvme(data).to_bytes(8, "big"),
    "sha1": lambda data: hashlib.sha1(data).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
}


def checksum(algorithm: str, data: bytes) -> str:
    """Return a checksum as the headers have it."""
    return base64.b64encode(ALGORITHMS[algorithm](data)).decode()


class Refusal(Exception):
    """An error answer: status, code, text, and headers or elements beside them."""

    def __init__(self, status: int, code: str, text: str = "", **elements: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.text = text or code
        self.elements = elements


@dataclass
class StoredObject:
    """An object: its bytes, the headers that it was stored with, and its checksum."""

    body: bytes
    headers: Mapping[str, str]
    algorithm: str
    checksum: str
    checksum_type: str = "FULL_OBJECT"
    part_sizes: tuple[int, ...] = ()
    etag: str = ""
    modified: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        suffix = f"-{len(self.part_sizes)}" if self.part_sizes else ""
        self.etag = self.etag or f'"{hashlib.md5(self.body).hexdigest()}{suffix}"'


@dataclass
class UploadInParts:
    """An upload under way: its parts by number, and what was asked for at its beginning."""

    key: str
    headers: Mapping[str, str]
    algorithm: str
    checksum_type: str
    parts: dict[int, bytes] = field(default_factory=dict)

    def part_checksum(self, number: int) -> str:
        """Return the checksum of a part."""
        return checksum(self.algorithm, self.parts[number])

    def complete(
        self,
        listed: list[tuple[int, str]],
        seal: Callable[[bytes], bytes],
        expected: str | None,
        size: str | None,
    ) -> StoredObject:
        """Put the listed parts (number, ETag) together; an ETag is the MD5 of what ``seal`` makes of a part.

        Raises:
            Refusal: a part is unknown, out of order or too small, or checksum or size are not the expected ones.
        """
        if not listed or listed != sorted(set(listed)):
            raise Refusal(400, "InvalidPartOrder")
        for number, etag in listed:
            if number not in self.parts or part_etag(seal(self.parts[number])) != etag:
                raise Refusal(400, "InvalidPart", "One or more of the specified parts could not be found.")
        pieces = [self.parts[number] for number, _ in listed]
        if any(len(piece) < MIN_PART for piece in pieces[:-1]):
            raise Refusal(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
        body = b"".join(pieces)
        if size is not None and int(size) != len(body):
            raise Refusal(400, "InvalidRequest", "The provided 'x-amz-mp-object-size' header does not match")
        if not self.algorithm:
            found = ""
        elif self.checksum_type == "FULL_OBJECT":
            found = checksum(self.algorithm, body)
        else:
            digests = b"".join(ALGORITHMS[self.algorithm](piece) for piece in pieces)
            found = f"{checksum(self.algorithm, digests)}-{len(pieces)}"
        if expected is not None and expected != found:
            raise Refusal(400, "BadDigest", f"The {self.algorithm} you specified did not match what we received.")
        sizes = tuple(len(piece) for piece in pieces)
        return StoredObject(body, self.headers, self.algorithm, found, self.checksum_type, sizes)


def part_etag(body: bytes) -> str:
    """Return the ETag of a part."""
    return f'"{hashlib.md5(body).hexdigest()}"'


@dataclass
class Bucket:
    """One bucket. Its lock is held while an object becomes visible."""

    name: str
    objects: dict[str, StoredObject] = field(default_factory=dict)
    uploads: dict[str, UploadInParts] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def store(self, key: str, item: StoredObject, if_absent: bool) -> None:
        """Make an object visible."""
        with self.lock:
            if if_absent and key in self.objects:
                raise Refusal(412, "PreconditionFailed", "At least one of the preconditions you specified did not hold")
            self.objects[key] = item

    def begin(self, upload: UploadInParts) -> str:
        """Begin an upload in parts; return its id."""
        upload_id = uuid.uuid4().hex
        self.uploads[upload_id] = upload
        return upload_id

    def upload(self, upload_id: str, key: str) -> UploadInParts:
        """Return an upload that is under way."""
        found = self.uploads.get(upload_id)
        if found is None or found.key != key:
            raise Refusal(404, "NoSuchUpload", "The specified upload does not exist.")
        return found


@dataclass
class Bucketful:
    """A page of a listing."""

    keys: list[str]
    prefixes: list[str]
    next: str | None

    @classmethod
    def of(cls, bucket: Bucket, prefix: str, delimiter: str, after: str, limit: int) -> Bucketful:
        """List what begins with ``prefix`` and comes behind ``after``, in the order of the keys' UTF-8 bytes."""
        page = cls([], [], None)
        last = after
        for key in sorted(bucket.objects.copy(), key=str.encode):
            if not key.startswith(prefix):
                continue
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            entry = prefix + head + delimiter if found else key
            if entry.encode() <= last.encode() or (found and entry in page.prefixes):
                continue
            if len(page.keys) + len(page.prefixes) == limit:
                page.next = last
                break
            (page.prefixes if found else page.keys).append(entry)
            last = entry
        return page
