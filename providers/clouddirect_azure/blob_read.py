"""`Ranges`: reading a range of a blob, each of its bytes covered by a digest where the service can give one.

A blob that was uploaded by a careful client has an MD5 of its whole content, which core compares. Others have none:
then the service is asked for the MD5 of each range, which it computes for up to 4 MiB
(https://learn.microsoft.com/rest/api/storageservices/get-blob, ``x-ms-range-get-content-md5``). Which of the two a blob
is shows in the answer to its first range, which is therefore asked for in the second way.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.rest import HttpResponse

from clouddirect.errors import (
    ChangedError,
    IntegrityError,
    NotFoundError,
    PreconditionFailedError,
    UnavailableError,
)
from clouddirect.storage import RangeRead, StoredFile
from clouddirect_azure.blob_headers import described, md5_hex, quoted
from clouddirect_azure.blob_http import BlobHttp

__all__ = ["Ranges", "stat"]

#: The largest range of which the service computes the MD5.
_MAX_VERIFIED = 4 << 20
_MAX_REMEMBERED = 1024


def stat(http: BlobHttp, key: str, version: str | None, timeout: float) -> StoredFile:
    """Return a blob's properties; `ChangedError` if it is not of this version."""
    headers = {} if version is None else {"If-Match": quoted(version)}
    with _changes_told():
        return described(key, http.send("HEAD", key, timeout, headers=headers).headers)


class Ranges:
    """Reads ranges, and remembers which of the blobs read last have a digest of their own."""

    def __init__(self, http: BlobHttp) -> None:
        self._http = http
        self._lock = threading.Lock()
        self._whole: OrderedDict[tuple[str, str], None] = OrderedDict()

    def read(self, key: str, offset: int, length: int | None, version: str | None, timeout: float) -> RangeRead:
        """Begin to read; see ``StorePrimitives._read``."""
        if length == 0:
            return _nothing(stat(self._http, key, version, timeout))
        verified = version is None or not self._has_digest(key, version)
        first = _Request(self._http, key, version, timeout)
        most = min(length or _MAX_VERIFIED, _MAX_VERIFIED) if verified else length
        response = first.send(offset, most, verified)
        if response is None:
            return _nothing(stat(self._http, key, version, timeout))
        file = described(key, response.headers, ranged=True)
        first.version = file.version
        end = file.size if length is None else min(file.size, offset + length)
        reading = _Reading(first, response)
        if file.digest is not None:
            self._remember(key, file.version)
            return RangeRead(file=file, chunks=reading.plain(offset, end), close=reading.close)
        return RangeRead(file=file, chunks=reading.verified(offset, end), close=reading.close, verified="md5-ranges")

    def _has_digest(self, key: str, version: str) -> bool:
        with self._lock:
            return (key, version) in self._whole

    def _remember(self, key: str, version: str | None) -> None:
        if version is not None:
            with self._lock:
                self._whole[key, version] = None
                self._whole.move_to_end((key, version))
                while len(self._whole) > _MAX_REMEMBERED:
                    self._whole.popitem(last=False)


class _Request:
    """Asks for ranges of one version of a blob."""

    def __init__(self, http: BlobHttp, key: str, version: str | None, timeout: float) -> None:
        self._http = http
        self._key = key
        self._timeout = timeout
        self.version = version

    def send(self, offset: int, length: int | None, verified: bool) -> HttpResponse | None:
        """Return the answer, its body yet to be read; None if the blob ends before the range begins."""
        headers = {"x-ms-range": f"bytes={offset}-{'' if length is None else offset + length - 1}"}
        if verified:
            headers["x-ms-range-get-content-md5"] = "true"
        if self.version is not None:
            headers["If-Match"] = quoted(self.version)
        try:
            with _changes_told():
                response = self._http.send("GET", self._key, self._timeout, headers=headers, stream=True)
        except UnavailableError as error:
            if error.code == "InvalidRange":
                return None
            raise
        if not response.headers.get("content-range", "").startswith(f"bytes {offset}-"):
            response.close()
            raise UnavailableError("the answer is not the range that was asked for")
        return response


class _Reading:
    """The bytes from a range's first answer, and from further requests where one did not cover all of it."""

    def __init__(self, request: _Request, response: HttpResponse) -> None:
        self._request = request
        self._response: HttpResponse | None = response

    def close(self) -> None:
        """Give the connection back, or drop it if it is in the middle of an answer."""
        response, self._response = self._response, None
        if response is not None:
            response.close()

    def plain(self, offset: int, end: int) -> Iterator[bytes]:
        """Yield the bytes as they come; core compares them with the digest of the whole."""
        while offset < end:
            for chunk in self._answer(offset, end, verified=False).iter_raw():
                offset += len(chunk)
                yield chunk
            self.close()

    def verified(self, offset: int, end: int) -> Iterator[bytes]:
        """Yield the bytes of up to 4 MiB at a time, once they have been compared with the service's digest of them."""
        while offset < end:
            response = self._answer(offset, min(end, offset + _MAX_VERIFIED), verified=True)
            expected, hasher = md5_hex(response.headers.get("content-md5")), hashlib.md5(usedforsecurity=False)
            chunks = []
            for chunk in response.iter_raw():
                hasher.update(chunk)
                chunks.append(chunk)
            self.close()
            if expected is None:
                raise IntegrityError("the service told no MD5 of the range, although it was asked to")
            if hasher.hexdigest() != expected:
                raise IntegrityError("a range was damaged on the way: its MD5 is not the service's", retryable=True)
            offset += sum(map(len, chunks))
            yield from chunks

    def _answer(self, offset: int, end: int, *, verified: bool) -> HttpResponse:
        if self._response is None:
            try:
                self._response = self._request.send(offset, end - offset, verified)
            except NotFoundError as error:
                raise ChangedError("the blob was deleted while it was being read", code=error.code) from None
        if self._response is None:
            raise ChangedError("the blob became shorter while it was being read; read it again")
        return self._response


@contextmanager
def _changes_told() -> Iterator[None]:
    """A version that is no longer there is `ChangedError`."""
    try:
        yield
    except PreconditionFailedError as error:
        if error.code in ("ConditionNotMet", "412"):
            raise ChangedError("the blob was replaced while it was read; read it again", code=error.code) from None
        raise


def _nothing(file: StoredFile) -> RangeRead:
    return RangeRead(file=file, chunks=iter(()), close=lambda: None)
