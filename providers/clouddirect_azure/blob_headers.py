"""From an answer's headers to a `StoredFile`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from clouddirect.storage import StoredFile
from clouddirect_azure.blob_names import decode_metadata

__all__ = ["described", "md5_hex", "quoted", "unquoted"]

_META = "x-ms-meta-"


def described(key: str, headers: Mapping[str, str], *, ranged: bool = False) -> StoredFile:
    """Return what an answer tells of a blob.

    Args:
        key: the blob's name.
        headers: those of Get Blob Properties, or of Get Blob.
        ranged: the answer is to a range: ``Content-MD5`` is of the range, ``x-ms-blob-content-md5`` of the blob
            (https://learn.microsoft.com/rest/api/storageservices/get-blob).
    """
    digest = md5_hex(headers.get("x-ms-blob-content-md5") or ("" if ranged else headers.get("content-md5")))
    total = headers.get("content-range", "").rpartition("/")[2]
    modified = headers.get("last-modified")
    return StoredFile(
        key=key,
        size=int(total or headers.get("content-length") or 0),
        content_type=headers.get("content-type"),
        metadata=decode_metadata(
            {name[len(_META) :]: value for name, value in headers.items() if name.lower().startswith(_META)}
        ),
        version=unquoted(headers.get("etag")),
        modified_at=parsedate_to_datetime(modified) if modified else None,
        digest_algorithm="md5" if digest else None,
        digest=digest,
    )


def md5_hex(value: str | None) -> str | None:
    """Return a digest from a header or listing in hexadecimal; None if there is none."""
    if not value:
        return None
    try:
        return base64.b64decode(value, validate=True).hex()
    except binascii.Error:
        return None


def unquoted(etag: str | None) -> str | None:
    """Return an ETag without its quotes, as listings tell it."""
    return etag.strip('"') if etag else None


def quoted(etag: str) -> str:
    """Return an ETag as it goes into a condition."""
    return f'"{etag}"'
