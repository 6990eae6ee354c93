"""Uploads in parallel parts, by the XML API.

After https://cloud.google.com/storage/docs/multipart-uploads. It takes no condition, so ``if_absent`` cannot go this
way. Each part carries its own digest, which the service compares; what the service says of the whole is compared when
it has been put together.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from xml.etree import ElementTree

import requests

from clouddirect.errors import TooLargeError
from clouddirect.storage import Part, PutRequest, StoredFile, Upload
from clouddirect_gcp.gcs_answers import header_of, not_understood
from clouddirect_gcp.gcs_objects import ALGORITHM, Crc32c, encode_metadata, file_of_headers, hash_header
from clouddirect_gcp.gcs_resumable import verified
from clouddirect_gcp.gcs_wire import Wire

__all__ = ["MAX_PARTS", "MIN_PART", "MultipartUpload"]

#: Most parts of one upload, and fewest bytes of each, the last one excepted
#: (https://cloud.google.com/storage/quotas#requests).
MAX_PARTS = 10_000
MIN_PART = 5 << 20


class MultipartUpload(Upload):
    """One upload in parts that may be sent in any order, several at once."""

    parallel = True

    def __init__(self, wire: Wire, request: PutRequest, kms_key: str | None, timeout: float) -> None:
        """Begin the upload."""
        headers = {f"x-goog-meta-{name}": value for name, value in encode_metadata(request.metadata).items()}
        if request.content_type is not None:
            headers["Content-Type"] = request.content_type
        if kms_key is not None:
            headers["x-goog-encryption-kms-key-name"] = kms_key
        self._wire = wire
        self._request = request
        self._url = wire.plain(request.key)
        self._lock = threading.Lock()
        self._parts: dict[int, str] = {}
        response = wire.send("POST", self._url, about="bucket", timeout=timeout, query={"uploads": ""}, headers=headers)
        self._id = _text(response, "UploadId")

    def write_part(self, part: Part, timeout: float) -> None:
        number = part.index + 1
        if number > MAX_PARTS:
            raise TooLargeError(f"the content has grown beyond {MAX_PARTS:,} parts while it was being sent")
        hasher = Crc32c()
        hasher.update(part.data)
        response = self._wire.send(
            "PUT", self._url, about="upload", timeout=timeout, query={"partNumber": str(number), "uploadId": self._id},
            headers={"X-Goog-Hash": hash_header(hasher.digest().hex())}, body=part.open,
        )  # fmt: skip
        etag = header_of(response, "ETag")
        with self._lock:
            self._parts[number] = etag

    def commit(self, size: int, digest: str | None, last: Part | None, timeout: float) -> StoredFile:
        response = self._wire.send(
            "POST", self._url, about="upload", timeout=timeout, query={"uploadId": self._id},
            headers={"Content-Type": "application/xml"}, body=_list_of(self._parts),
        )  # fmt: skip
        _text(response, "ETag")  # an answer may begin as a success and end as a failure
        told = file_of_headers(self._request.key, size, response.headers)
        stored = StoredFile(
            key=self._request.key, size=size, content_type=self._request.content_type, metadata=self._request.metadata,
            version=told.version, digest_algorithm=ALGORITHM, digest=told.digest or digest,
            verified=f"{ALGORITHM}-ranges",
        )  # fmt: skip
        return verified(stored, size, digest) if told.digest else stored

    def abort(self, timeout: float) -> None:
        self._wire.send(
            "DELETE", self._url, about="upload", timeout=timeout, query={"uploadId": self._id}, expected=(204, 200, 404)
        )


def _list_of(parts: Mapping[int, str]) -> bytes:
    root = ElementTree.Element("CompleteMultipartUpload")
    for number, etag in sorted(parts.items()):
        part = ElementTree.SubElement(root, "Part")
        ElementTree.SubElement(part, "PartNumber").text = str(number)
        ElementTree.SubElement(part, "ETag").text = etag
    return ElementTree.tostring(root)


def _text(response: requests.Response, name: str) -> str:
    """The text of an element, whatever its namespace."""
    try:
        found = ElementTree.fromstring(response.content).findtext(f"{{*}}{name}")  # noqa: S314 - the service's own answer
    except ElementTree.ParseError:
        found = None
    if not found:
        raise not_understood(response, f"the element {name}")
    return found
