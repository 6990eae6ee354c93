"""Buckets and objects in memory: generations, preconditions, checksums, listing.

Sources: "Objects" (resource representation), "Request preconditions", "Hashes and ETags: best practices" and
"Objects: list" of the Cloud Storage documentation.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import google_crc32c

from .access import Caller
from .errors import bad_request, no_such_bucket, no_such_key, precondition_failed

__all__ = ["Bucket", "Buffer", "Conditions", "Store", "StoredObject", "check_hashes", "crc32c_text", "md5_text"]

#: Larger objects tell no MD5 unless the uploader declared one, as composite objects do not; it is slow to compute.
MD5_LIMIT = 1 << 20

#: What holds an object's content.
Buffer = bytes | bytearray | memoryview

_PIECE = 256 << 10

#: What a client may set, and what PATCH may change.
WRITABLE = (
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "customTime",
    "kmsKeyName",
    "metadata",
    "storageClass",
)


def crc32c_text(data: Buffer) -> str:
    """Return a CRC32C as the service writes it: base64 of four bytes, big-endian."""
    view, value = memoryview(data), 0
    for at in range(0, len(view), _PIECE):
        value = google_crc32c.extend(value, bytes(view[at : at + _PIECE]))
    return base64.b64encode(value.to_bytes(4, "big")).decode()


def md5_text(data: Buffer) -> str:
    """Return an MD5 as the service writes it: base64."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def check_hashes(data: Buffer, declared: Mapping[str, str]) -> str:
    """Refuse data that are not what the uploader declared (``crc32c``, ``md5``); return the CRC32C."""
    found = crc32c_text(data)
    if declared.get("crc32c", found) != found:
        message = f'Provided CRC32C "{declared["crc32c"]}" doesn\'t match calculated CRC32C "{found}".'
        raise bad_request(message, xml_code="BadDigest")
    if "md5" in declared and declared["md5"] != (calculated := md5_text(data)):
        message = f'Provided MD5 hash "{declared["md5"]}" doesn\'t match calculated MD5 hash "{calculated}".'
        raise bad_request(message, xml_code="BadDigest")
    return found


@dataclass(frozen=True)
class Conditions:
    """Preconditions of one request; None: not asked."""

    generation: int | None = None
    not_generation: int | None = None
    metageneration: int | None = None
    not_metageneration: int | None = None

    def check(self, found: StoredObject | None) -> None:
        """Refuse with 412 where they do not hold; generation 0 means that there is no object."""
        generation = found.generation if found is not None else 0
        metageneration = found.metageneration if found is not None else 0
        if (
            self.generation not in (None, generation)
            or (self.not_generation is not None and self.not_generation == generation)
            or self.metageneration not in (None, metageneration)
            or (self.not_metageneration is not None and self.not_metageneration == metageneration)
        ):
            raise precondition_failed()


@dataclass
class StoredObject:
    """One object, live."""

    bucket: str
    name: str
    data: Buffer
    generation: int
    crc32c: str
    fields: dict[str, Any]
    md5: str | None = None
    metageneration: int = 1
    components: int | None = None
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        self.updated = self.created
        if self.md5 is None and self.components is None and len(self.data) <= MD5_LIMIT:
            self.md5 = md5_text(self.data)

    @property
    def etag(self) -> str:
        """Changes with the content and with the metadata."""
        return base64.b64encode(f"{self.generation}/{self.metageneration}".encode()).decode()

    @property
    def content_type(self) -> str:
        """The media type; downloads of objects without one say application/octet-stream."""
        return str(self.fields.get("contentType") or "application/octet-stream")

    def resource(self, base: str) -> dict[str, Any]:
        """Return the JSON representation; ``base`` begins its links."""
        link = f"{base}/storage/v1/b/{self.bucket}/o/{quote(self.name, safe='')}"
        media = f"{base}/download/storage/v1/b/{self.bucket}/o/{quote(self.name, safe='')}"
        shown: dict[str, Any] = {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "selfLink": link,
            "mediaLink": f"{media}?generation={self.generation}&alt=media",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "storageClass": "STANDARD",
            "size": str(len(self.data)),
            "crc32c": self.crc32c,
            "etag": self.etag,
            "timeCreated": _stamp(self.created),
            "updated": _stamp(self.updated),
            "timeStorageClassUpdated": _stamp(self.created),
            **self.fields,
        }
        if self.md5 is not None:
            shown["md5Hash"] = self.md5
        if self.components is not None:
            shown["componentCount"] = self.components
        return shown


@dataclass
class Bucket:
    """A bucket and its objects, by name."""

    name: str
    objects: dict[str, StoredObject] = field(default_factory=dict)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    def resource(self, base: str) -> dict[str, Any]:
        """Return the JSON representation."""
        return {
            "kind": "storage#bucket",
            "id": self.name,
            "name": self.name,
            "selfLink": f"{base}/storage/v1/b/{self.name}",
            "location": "US",
            "storageClass": "STANDARD",
            "metageneration": "1",
            "timeCreated": _stamp(self.created),
            "updated": _stamp(self.created),
        }


class Store:
    """All buckets. Any thread may call it; each call is atomic."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._buckets: dict[str, Bucket] = {}
        self._generations = itertools.count(time.time_ns() // 1_000)

    def add_bucket(self, name: str) -> Bucket:
        """Add a bucket, or return the one of this name."""
        with self._lock:
            return self._buckets.setdefault(name, Bucket(name))

    def bucket(self, name: str) -> Bucket:
        """Return a bucket, or refuse with 404."""
        if name not in self._buckets:
            raise no_such_bucket()
        return self._buckets[name]

    def find(self, bucket: str, name: str) -> StoredObject | None:
        """Return the live object of a name, None where there is none."""
        return self.bucket(bucket).objects.get(name)

    def get(self, bucket: str, name: str, generation: int | None, conditions: Conditions) -> StoredObject:
        """Return an object, or refuse with 404 or 412. Only the live generation is kept."""
        with self._lock:
            found = self.find(bucket, name)
            if found is None or generation not in (None, found.generation):
                raise no_such_key(bucket, name)
            conditions.check(found)
            return found

    def check_put(self, bucket: str, name: str, conditions: Conditions, caller: Caller) -> None:
        """Refuse with 412 where the preconditions do not hold, with 403 who replaces without being allowed to."""
        found = self.find(bucket, name)
        conditions.check(found)
        if found is not None:
            caller.need("delete")

    def put(
        self,
        bucket: str,
        name: str,
        data: Buffer,
        fields: Mapping[str, Any],
        *,
        conditions: Conditions = Conditions(),
        declared: Mapping[str, str] | None = None,
        components: int | None = None,
    ) -> StoredObject:
        """Store an object, replacing what had its name.

        Args:
            bucket: the bucket's name.
            name: the object's name.
            data: its content.
            fields: what of the JSON representation the uploader sets.
            conditions: preconditions.
            declared: ``crc32c`` and ``md5`` that the content must have.
            components: of how many objects it was composed.
        """
        if not name or len(name.encode()) > 1_024:
            raise bad_request(
                f"The maximum object length is 1024 characters, but got a name with {len(name.encode())} characters."
            )
        crc32c = check_hashes(data, declared or {})
        kept = {key: value for key, value in fields.items() if key in WRITABLE and value is not None}
        with self._lock:
            home = self.bucket(bucket)
            conditions.check(home.objects.get(name))
            stored = StoredObject(
                bucket,
                name,
                data,
                next(self._generations),
                crc32c,
                kept,
                (declared or {}).get("md5"),
                components=components,
            )
            home.objects[name] = stored
            return stored

    def patch(self, bucket: str, name: str, fields: Mapping[str, Any], conditions: Conditions) -> StoredObject:
        """Change an object's metadata; None removes a field."""
        with self._lock:
            found = self.get(bucket, name, None, conditions)
            for key, value in fields.items():
                if key == "metadata" and value is not None:
                    merged = {**found.fields.get("metadata", {}), **value}
                    found.fields["metadata"] = {one: text for one, text in merged.items() if text is not None}
                elif key in WRITABLE and value is not None:
                    found.fields[key] = value
                elif key in WRITABLE:
                    found.fields.pop(key, None)
            found.metageneration += 1
            found.updated = datetime.now(UTC)
            return found

    def delete(self, bucket: str, name: str, generation: int | None, conditions: Conditions) -> None:
        """Delete an object, or refuse with 404 or 412."""
        with self._lock:
            self.get(bucket, name, generation, conditions)
            del self.bucket(bucket).objects[name]

    def listing(
        self, bucket: str, prefix: str, delimiter: str, start: str, end: str
    ) -> tuple[list[StoredObject], list[str]]:
        """Return the objects and the common prefixes of a listing, each in order of their names."""
        with self._lock:
            found = sorted(self.bucket(bucket).objects.values(), key=lambda one: one.name.encode())
        items: list[StoredObject] = []
        prefixes: dict[str, None] = {}
        for one in found:
            if not one.name.startswith(prefix) or one.name < start or (end and one.name >= end):
                continue
            rest = one.name[len(prefix) :]
            if delimiter and delimiter in rest:
                prefixes[prefix + rest.split(delimiter)[0] + delimiter] = None
            else:
                items.append(one)
        return items, list(prefixes)

    def compose(
        self,
        bucket: str,
        name: str,
        sources: Iterable[tuple[str, Conditions]],
        fields: Mapping[str, Any],
        conditions: Conditions,
    ) -> StoredObject:
        """Join objects of a bucket into one."""
        with self._lock:
            parts = [self.get(bucket, source, None, wanted) for source, wanted in sources]
            if not 1 <= len(parts) <= 32:
                raise bad_request("The number of source components provided must be 1 to 32.")
            data = b"".join(part.data for part in parts)
            components = sum(part.components or 1 for part in parts)
            return self.put(bucket, name, data, fields, conditions=conditions, components=components)


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
