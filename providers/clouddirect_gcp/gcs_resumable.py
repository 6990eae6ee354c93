"""Uploads in order, through a session that remembers what has arrived.

After https://cloud.google.com/storage/docs/resumable-uploads and
https://cloud.google.com/storage/docs/performing-resumable-uploads. A session's address needs no credential: whoever
knows it can write, so it appears nowhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace

import requests

from clouddirect.errors import IntegrityError, UnavailableError
from clouddirect.storage import Part, PutRequest, StoredFile, Upload
from clouddirect_gcp.gcs_answers import header_of, json_of
from clouddirect_gcp.gcs_objects import FIELDS, REQUIRED, file_of_resource, hash_header, resource_of
from clouddirect_gcp.gcs_wire import Body, Wire

__all__ = ["CHUNK", "ResumableUpload", "verified"]

#: Chunks, the last one excepted, are a multiple of this.
CHUNK = 256 << 10

_ARRIVED = re.compile(r"bytes=0-(\d+)")
_INCOMPLETE = 308
_CANCELLED = 499


class ResumableUpload(Upload):
    """One session. Its last chunk carries the digest of everything, which the service compares before the object
    becomes visible; a condition (``if_absent``) is decided then, too."""

    parallel = False
    last_with_commit = True

    def __init__(self, wire: Wire, request: PutRequest, query: Mapping[str, str], timeout: float) -> None:
        """Begin the session. ``query`` holds what goes for every way to write: condition and key."""
        headers = {"Content-Type": "application/json; charset=UTF-8"}
        if request.content_type is not None:
            headers["X-Upload-Content-Type"] = request.content_type
        response = wire.send(
            "POST", wire.uploads(), about="bucket", timeout=timeout, headers=headers, if_absent=request.if_absent,
            query={**query, "uploadType": "resumable", "fields": FIELDS},
            body=json.dumps(resource_of(request)).encode(), expected=(200, 201),
        )  # fmt: skip
        self._wire = wire
        self._if_absent = request.if_absent
        self._session = wire.session(header_of(response, "Location"))
        self._stored: StoredFile | None = None

    def write_part(self, part: Part, timeout: float) -> None:
        end = part.offset + len(part)
        arrived = part.offset
        while arrived < end:  # the service may keep less of a chunk than was sent, in multiples of 256 KiB
            before, rest = arrived, part.rest(arrived)
            response = self._put(f"bytes {arrived}-{end - 1}/*", rest.open, timeout)
            arrived = _arrived(response)
            if not before < arrived <= end:
                raise UnavailableError(
                    f"Cloud Storage holds {arrived:,} bytes of this upload after it was sent those up to {end:,}"
                )

    def confirmed(self, timeout: float) -> int:
        response = self._put("bytes */*", b"", timeout, (_INCOMPLETE, 200, 201))
        if response.status_code == _INCOMPLETE:
            return _arrived(response)
        self._stored = file_of_resource(json_of(response, *REQUIRED))  # the commit, whose answer was lost
        return self._stored.size

    def commit(self, size: int, digest: str | None, last: Part | None, timeout: float) -> StoredFile:
        if self._stored is None:
            body: Body = b""
            span = f"bytes */{size}"
            if last is not None and len(last):
                span, body = f"bytes {last.offset}-{size - 1}/{size}", last.open
            headers = {"X-Goog-Hash": hash_header(digest)} if digest else {}
            try:
                response = self._put(span, body, timeout, (200, 201, _INCOMPLETE), headers)
            except IntegrityError as error:
                error.retryable = False  # any chunk may be the damaged one, and sending the last again mends nothing
                raise
            if response.status_code == _INCOMPLETE:
                raise UnavailableError(f"Cloud Storage holds only {_arrived(response):,} of {size:,} bytes so far")
            self._stored = file_of_resource(json_of(response, *REQUIRED))
        return verified(self._stored, size, digest)

    def abort(self, timeout: float) -> None:
        # 499 is the documented answer; the others say that there is nothing to discard
        self._wire.send(
            "DELETE", self._session, about="upload", timeout=timeout, expected=(_CANCELLED, 200, 204, 404, 410)
        )

    def _put(
        self,
        span: str,
        body: Body,
        timeout: float,
        expected: tuple[int, ...] = (_INCOMPLETE,),
        headers: Mapping[str, str] | None = None,
    ) -> requests.Response:
        return self._wire.send(
            "PUT", self._session, about="upload", timeout=timeout, body=body, expected=expected,
            headers={**(headers or {}), "Content-Range": span}, if_absent=self._if_absent,
        )  # fmt: skip


def verified(stored: StoredFile, size: int, digest: str | None) -> StoredFile:
    """Compare what the service says that it has stored with what it was sent.

    Raises:
        IntegrityError: they differ; the object is visible.
    """
    if stored.size != size or (digest and stored.digest and stored.digest != digest):
        raise IntegrityError(
            "Cloud Storage has stored other bytes than were sent, and did not refuse them; delete the object"
        )
    return replace(stored, verified=stored.digest_algorithm) if digest and stored.digest else stored


def _arrived(response: requests.Response) -> int:
    """How many bytes from the start the service says that it keeps; without a header, none."""
    match = _ARRIVED.fullmatch(response.headers.get("Range", ""))
    return int(match[1]) + 1 if match else 0
