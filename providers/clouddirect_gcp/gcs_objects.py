"""How Cloud Storage writes things down: checksums, metadata, objects as JSON resources and as response headers.

After https://cloud.google.com/storage/docs/json_api/v1/objects and
https://cloud.google.com/storage/docs/xml-api/reference-headers.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import google_crc32c

from clouddirect.errors import TooLargeError
from clouddirect.storage import PutRequest, StoredFile
from clouddirect.storage.digests import Data

__all__ = [
    "ALGORITHM", "Crc32c", "FIELDS", "REQUIRED", "encode_metadata", "file_of_headers", "file_of_resource",
    "hash_header", "resource_of", "to_base64",
]  # fmt: skip

#: The digest that Cloud Storage has of every object.
ALGORITHM = "crc32c"
#: The fields of an object resource that we read.
FIELDS = "name,size,generation,timeCreated,contentType,metadata,crc32c"
#: Those without which it is none.
REQUIRED = ("name", "size")

# Names and values of custom metadata together (https://cloud.google.com/storage/quotas#objects).
_MAX_METADATA = 8 * 1024
_ENCODED = re.compile(r"=\?utf-8\?b\?([A-Za-z0-9+/]*={0,2})\?=", re.IGNORECASE)
_SLICE = 128 << 10


class Crc32c:
    """CRC-32C (Castagnoli); its digest is the checksum in big-endian order, as the service tells it in base64."""

    def __init__(self) -> None:
        self._checksum = google_crc32c.Checksum()  # type: ignore[no-untyped-call]

    def update(self, data: Data, /) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        for start in range(0, len(view), _SLICE):  # the C code takes nothing but bytes, so little is copied at a time
            self._checksum.update(bytes(view[start : start + _SLICE]))  # type: ignore[no-untyped-call]

    def digest(self) -> bytes:
        """Return the checksum's four bytes."""
        return bytes(self._checksum.digest())  # type: ignore[no-untyped-call]


def to_base64(digest: str) -> str:
    """Turn a digest in hexadecimal into the service's notation."""
    return base64.b64encode(bytes.fromhex(digest)).decode()


def hash_header(digest: str) -> str:
    """Return the value of ``X-Goog-Hash`` that has the service compare a CRC-32C, given in hexadecimal."""
    return f"{ALGORITHM}={to_base64(digest)}"


# -- metadata -----------------------------------------------------------------------------------------------


def encode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Encode metadata so that it survives as HTTP headers, too: what is not plain ASCII becomes an RFC 2047 encoded
    word in UTF-8 and base64.

    Raises:
        TooLargeError: encoded, it is more than the 8 KiB that the service keeps.
    """
    encoded = {name: value if _is_plain(value) else _encoded_word(value) for name, value in metadata.items()}
    size = sum(len(name) + len(value) for name, value in encoded.items())
    if size > _MAX_METADATA:
        raise TooLargeError(f"the metadata has {size:,} bytes once encoded; Cloud Storage keeps {_MAX_METADATA:,}")
    return encoded


def _decode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    return {name: _decoded(value) for name, value in metadata.items()}


def _is_plain(value: str) -> bool:
    # a header loses blanks at its ends; what looks encoded would be decoded
    return value.isascii() and value.isprintable() and value == value.strip() != "" and not value.startswith("=?")


def _encoded_word(value: str) -> str:
    return f"=?utf-8?b?{base64.b64encode(value.encode()).decode()}?="


def _decoded(value: str) -> str:
    match = _ENCODED.fullmatch(value)
    if match is None:
        return value
    try:
        return base64.b64decode(match[1], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return value  # somebody else's, who meant something else


# -- objects ------------------------------------------------------------------------------------------------


def resource_of(request: PutRequest) -> dict[str, Any]:
    """Return the object resource that describes what is to be written."""
    resource: dict[str, Any] = {"name": request.key}
    if request.content_type is not None:
        resource["contentType"] = request.content_type
    if request.metadata:
        resource["metadata"] = encode_metadata(request.metadata)
    return resource


def file_of_resource(resource: Mapping[str, Any]) -> StoredFile:
    """Read an object resource of the JSON API, as far as it was asked for."""
    created = resource.get("timeCreated")
    digest = _hex(resource.get("crc32c"))
    return StoredFile(
        key=resource["name"],
        size=int(resource["size"]),
        content_type=resource.get("contentType"),
        metadata=_decode_metadata(resource.get("metadata") or {}),
        version=resource.get("generation"),
        modified_at=datetime.fromisoformat(created).astimezone(UTC) if created else None,
        digest_algorithm=ALGORITHM if digest else None,
        digest=digest,
    )


def file_of_headers(key: str, size: int, headers: Mapping[str, str]) -> StoredFile:
    """Read what the headers of the XML API tell of an object. ``headers`` finds names in any case."""
    modified = headers.get("Last-Modified")
    digest = _digest_in(headers.get("x-goog-hash", ""))
    metadata = {
        name.lower().removeprefix("x-goog-meta-"): value
        for name, value in headers.items()
        if name.lower().startswith("x-goog-meta-")
    }
    return StoredFile(
        key=key,
        size=size,
        content_type=headers.get("Content-Type"),
        metadata=_decode_metadata(metadata),
        version=headers.get("x-goog-generation"),
        modified_at=parsedate_to_datetime(modified).astimezone(UTC) if modified else None,
        digest_algorithm=ALGORITHM if digest else None,
        digest=digest,
    )


def _digest_in(header: str) -> str | None:
    """The CRC-32C in ``X-Goog-Hash``, which lists several hashes, in one header or in many."""
    for one in header.split(","):
        name, _, value = one.strip().partition("=")
        if name.lower() == ALGORITHM:
            return _hex(value)
    return None


def _hex(value: str | None) -> str | None:
    return base64.b64decode(value).hex() if value else None
