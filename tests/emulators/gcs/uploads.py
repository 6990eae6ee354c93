"""Uploads in several requests: resumable sessions (JSON API) and multipart uploads (XML API).

Sources: "Resumable uploads" and "Perform resumable uploads" (chunks of 256 KiB multiples, 308 with Range, status
checks), "XML API multipart uploads" (part numbers, sizes, ETags) of the Cloud Storage documentation.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .access import Caller
from .errors import HttpError, bad_request, no_such_upload
from .http import Body, Response
from .objects import Buffer, Conditions, Store, StoredObject, check_hashes

__all__ = ["Multipart", "Session", "Uploads"]

#: Chunks of a resumable upload are multiples of this, save the last.
CHUNK = 256 << 10
#: Parts of a multipart upload are at least this large, save the last.
MIN_PART = 5 << 20
MAX_PART_NUMBER = 10_000

_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


@dataclass
class Session:
    """A resumable upload that was begun."""

    bucket: str
    name: str
    fields: Mapping[str, Any]
    conditions: Conditions
    declared: dict[str, str]
    caller: Caller
    data: Buffer = b""
    size: int = 0
    stored: StoredObject | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fresh: memoryview, total: int | None) -> None:
        """Keep what came. Room for the whole is made at once where its size is known."""
        if len(fresh) == total and not self.size:
            self.data = fresh
        else:
            if not isinstance(self.data, bytearray):
                self.data = bytearray(total or 0)
            self.data[self.size : self.size + len(fresh)] = fresh
        self.size += len(fresh)


@dataclass
class Multipart:
    """A multipart upload that was begun."""

    bucket: str
    name: str
    fields: Mapping[str, Any]
    parts: dict[int, tuple[str, Buffer]] = field(default_factory=dict)


class Uploads:
    """All uploads that are under way. Any thread may call it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sessions: dict[str, Session] = {}
        self._multiparts: dict[str, Multipart] = {}
        self._gone: dict[str, int] = {}

    def pending(self) -> int:
        """Return how many uploads have begun and not ended."""
        unfinished = [one for one in self._sessions.values() if one.stored is None]
        return len(unfinished) + len(self._multiparts)

    # Resumable

    def begin(self, session: Session) -> str:
        """Begin a resumable upload and return its id; preconditions that fail already are told."""
        session.conditions.check(self._store.find(session.bucket, session.name))
        upload_id = secrets.token_urlsafe(48)
        self._sessions[upload_id] = session
        return upload_id

    def session(self, upload_id: str) -> Session:
        """Return a session, or refuse with 404 (or 410, see `expire`)."""
        if upload_id in self._gone:
            raise HttpError(self._gone[upload_id], "notFound", "The upload session is gone.")
        if upload_id not in self._sessions:
            raise no_such_upload()
        return self._sessions[upload_id]

    def receive(self, session: Session, body: Body, headers: Mapping[str, str], base: str) -> Response | None:
        """Take a chunk or answer a status check; None where the connection broke and nobody waits for an answer."""
        with session.lock:
            if session.stored is not None:
                return Response.of_json(session.stored.resource(base))
            begin, end, total = self._range(headers, len(body.data))
            if end is not None:
                data = body.data
                if begin > session.size:
                    raise bad_request(f"Invalid request. The chunk begins at {begin}, {session.size} bytes are here.")
                if not body.complete:
                    data = data[: len(data) // CHUNK * CHUNK]
                elif end + 1 != total and (end + 1) % CHUNK:
                    raise bad_request(f"Invalid request. Chunks end at multiples of {CHUNK} bytes.")
                session.add(data[session.size - begin :], total)
                if not body.complete:
                    return None
            session.declared.update(declared_hashes(headers))
            if total is not None and session.size >= total:
                return self._finish(session, base)
            return Response(308, {"Range": f"bytes=0-{session.size - 1}"} if session.size else {})

    def cancel(self, upload_id: str) -> Response:
        """Delete a session; the service answers 499."""
        self.session(upload_id)
        del self._sessions[upload_id]
        self._gone[upload_id] = 404
        return Response(499)

    def expire(self, status: int = 410) -> None:
        """Let all sessions be gone: their URIs answer with 404 or 410."""
        self._gone.update(dict.fromkeys(self._sessions, status))
        self._sessions.clear()
        self._multiparts.clear()

    def _finish(self, session: Session, base: str) -> Response:
        self._store.check_put(session.bucket, session.name, session.conditions, session.caller)
        session.stored = self._store.put(
            session.bucket,
            session.name,
            session.data,
            session.fields,
            conditions=session.conditions,
            declared=session.declared,
        )
        session.data = b""
        return Response.of_json(session.stored.resource(base))

    @staticmethod
    def _range(headers: Mapping[str, str], length: int) -> tuple[int, int | None, int | None]:
        """Return begin, end (None for a status check) and total (None while unknown)."""
        text = headers.get("content-range")
        if text is None:  # the whole object in one request
            size = int(headers.get("content-length", length))
            return 0, size - 1, size
        found = _RANGE.fullmatch(text)
        if found is None:
            raise bad_request(f"Failed to parse Content-Range header: {text}")
        total = None if found[3] == "*" else int(found[3])
        if found[1] is None:
            return 0, None, total
        return int(found[1]), int(found[2]), total

    # Multipart

    def initiate(self, multipart: Multipart) -> str:
        """Begin a multipart upload and return its id."""
        self._store.bucket(multipart.bucket)
        upload_id = secrets.token_urlsafe(32)
        self._multiparts[upload_id] = multipart
        return upload_id

    def multipart(self, upload_id: str) -> Multipart:
        """Return a multipart upload, or refuse with 404."""
        if upload_id not in self._multiparts:
            raise no_such_upload()
        return self._multiparts[upload_id]

    def add_part(self, multipart: Multipart, number: int, data: Buffer, declared: Mapping[str, str]) -> tuple[str, str]:
        """Keep a part, replacing one of its number; return its ETag and its CRC32C."""
        if not 1 <= number <= MAX_PART_NUMBER:
            raise bad_request(f"Part number must be an integer between 1 and {MAX_PART_NUMBER}.")
        crc32c = check_hashes(data, declared)
        etag = f'"{number:x}-{time.time_ns():x}"'
        multipart.parts[number] = (etag, data)
        return etag, crc32c

    def complete(self, upload_id: str, listed: Sequence[tuple[int, str]]) -> StoredObject:
        """Make the object of the listed parts, in their order."""
        multipart = self.multipart(upload_id)
        numbers = [number for number, _ in listed]
        if numbers != sorted(set(numbers)):
            raise bad_request("The parts are not in ascending order.", xml_code="InvalidPartOrder")
        data = []
        for position, (number, etag) in enumerate(listed, 1):
            known_etag, part = multipart.parts.get(number, ("", b""))
            if known_etag.strip('"') != etag.strip('"') or not known_etag:
                raise bad_request(f"Part {number} could not be found.", xml_code="InvalidPart")
            if len(part) < MIN_PART and position < len(listed):
                raise bad_request(f"Part {number} is under {MIN_PART} bytes.", xml_code="EntityTooSmall")
            data.append(part)
        if not data:
            raise bad_request("No parts were listed.", xml_code="MalformedXML")
        stored = self._store.put(
            multipart.bucket, multipart.name, b"".join(data), multipart.fields, components=len(data)
        )
        del self._multiparts[upload_id]
        return stored

    def abort(self, upload_id: str) -> None:
        """Drop a multipart upload."""
        self.multipart(upload_id)
        del self._multiparts[upload_id]


def declared_hashes(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the hashes that headers declare: ``x-goog-hash`` (one or several) and ``content-md5``."""
    declared = {}
    for part in headers.get("x-goog-hash", "").split(","):
        kind, found, value = part.strip().partition("=")
        if found:
            declared[kind] = value
    if "content-md5" in headers:
        declared["md5"] = headers["content-md5"]
    return declared
