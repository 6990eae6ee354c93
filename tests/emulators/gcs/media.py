"""Downloads: whole objects and ranges, with the headers that tell what they are.

Sources: "Objects: get" (alt=media), "Range" and "x-goog-hash" in the XML API's reference of headers.
"""

from __future__ import annotations

import re

from .errors import HttpError
from .http import Request, Response
from .objects import StoredObject

__all__ = ["describe", "media"]


def media(found: StoredObject, request: Request) -> Response:
    """Answer with an object's content, or the range that was asked for."""
    size = len(found.data)
    headers = describe(found)
    span = _span(request.headers.get("range", ""), size)
    if span is None:
        return Response(200, headers, memoryview(found.data))
    begin, end = span
    if begin >= size or begin >= end:
        raise HttpError(416, "requestedRangeNotSatisfiable", "Request range not satisfiable")
    headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    return Response(206, headers, memoryview(found.data)[begin:end])


def describe(found: StoredObject) -> dict[str, str]:
    """Return the headers that go with an object's content; the hash is that of the whole object."""
    hashes = [f"crc32c={found.crc32c}", *([f"md5={found.md5}"] if found.md5 is not None else [])]
    headers = {
        "Content-Type": found.content_type,
        "ETag": found.etag,
        "Last-Modified": found.updated.strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "Accept-Ranges": "bytes",
        "X-Goog-Hash": ",".join(hashes),
        "X-Goog-Generation": str(found.generation),
        "X-Goog-Metageneration": str(found.metageneration),
        "X-Goog-Stored-Content-Encoding": found.fields.get("contentEncoding", "identity"),
        "X-Goog-Stored-Content-Length": str(len(found.data)),
        "X-Goog-Storage-Class": "STANDARD",
    }
    for field, name in (
        ("cacheControl", "Cache-Control"),
        ("contentDisposition", "Content-Disposition"),
        ("contentEncoding", "Content-Encoding"),
        ("contentLanguage", "Content-Language"),
    ):
        if field in found.fields:
            headers[name] = found.fields[field]
    for key, value in found.fields.get("metadata", {}).items():
        headers[f"X-Goog-Meta-{key}"] = value
    return headers


def _span(text: str, size: int) -> tuple[int, int] | None:
    """Return begin and end of a range header; None where there is none that can be read."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", text.strip())
    if found is None or (not found[1] and not found[2]):
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size
    return int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
