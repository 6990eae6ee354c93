"""Writing blobs: small ones in one request, others in blocks that are sent side by side and committed in one step."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import replace

from clouddirect.errors import AlreadyExistsError, PreconditionFailedError
from clouddirect.storage import Part, PutRequest, StoredFile, Upload
from clouddirect_azure.blob_headers import described
from clouddirect_azure.blob_http import BlobHttp
from clouddirect_azure.blob_names import encode_metadata

__all__ = ["BlockUpload", "put_whole"]


def put_whole(http: BlobHttp, request: PutRequest, content: Part, digest: str | None, timeout: float) -> StoredFile:
    """Store a blob by one Put Blob (https://learn.microsoft.com/rest/api/storageservices/put-blob).

    The service compares the MD5 with what it received, and keeps it.
    """
    md5 = _base64(bytes.fromhex(digest)) if digest else _md5(content.data)
    headers = {
        **_properties(request, md5), "x-ms-blob-type": "BlockBlob", "Content-MD5": md5,
        "Content-Type": "application/octet-stream",
    }  # fmt: skip
    try:
        response = http.send(
            "PUT", request.key, timeout, headers=headers, content=content.open() if len(content) else b"",
            length=len(content),
        )  # fmt: skip
    except PreconditionFailedError as error:
        raise _exists(request, error) from None
    return _stored(request, len(content), md5, response.headers, "md5")


class BlockUpload(Upload):
    """One upload in blocks: Put Block, as often as there are parts, and Put Block List.

    Blocks that are never committed are invisible, and Azure discards them after a week, or as soon as somebody else
    writes the same blob. No request that a write-only credential may make discards them sooner.
    """

    def __init__(self, http: BlobHttp, request: PutRequest) -> None:
        self._http = http
        self._request = request
        # The blocks of all who upload to one key lie side by side, so their names must not meet.
        self._name = uuid.uuid4().bytes
        self._blocks: dict[int, str] = {}

    def write_part(self, part: Part, timeout: float) -> None:
        """Send one block (https://learn.microsoft.com/rest/api/storageservices/put-block); the service compares its
        MD5."""
        block = self._block_id(part.index)
        self._http.send(
            "PUT", self._request.key, timeout,
            query={"blockid": block, "comp": "block"},
            headers={"Content-MD5": _md5(part.data), "Content-Type": "application/octet-stream"},
            content=part.open() if len(part) else b"", length=len(part),
        )  # fmt: skip
        self._blocks[part.index] = block

    def commit(self, size: int, digest: str | None, last: Part | None, timeout: float) -> StoredFile:
        """Make the blob of its blocks (https://learn.microsoft.com/rest/api/storageservices/put-block-list).

        The service keeps the digest without comparing it: it has compared that of each block.
        """
        md5 = _base64(bytes.fromhex(digest)) if digest else None
        latest = "".join(f"<Latest>{self._blocks[index]}</Latest>" for index in sorted(self._blocks))
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{latest}</BlockList>'.encode()
        headers = {**_properties(self._request, md5), "Content-MD5": _md5(body), "Content-Type": "application/xml"}
        try:
            response = self._http.send(
                "PUT", self._request.key, timeout, query={"comp": "blocklist"}, headers=headers, content=body,
                length=len(body),
            )  # fmt: skip
        except PreconditionFailedError as error:
            raise _exists(self._request, error) from None
        return _stored(self._request, size, md5, response.headers, "md5-ranges")

    def abort(self, timeout: float) -> None:
        """Leave the blocks to be discarded by the service."""

    def _block_id(self, index: int) -> str:
        # 48 bytes, 64 characters: all blocks of one blob, other clients' left-overs included, must have names of one
        # length, and that is the length which Microsoft's own tools use
        return _base64(self._name + index.to_bytes(4, "big") + bytes(28))


def _properties(request: PutRequest, md5: str | None) -> dict[str, str]:
    headers = {f"x-ms-meta-{name}": value for name, value in encode_metadata(request.metadata).items()}
    if md5 is not None:
        headers["x-ms-blob-content-md5"] = md5
    if request.content_type is not None:
        headers["x-ms-blob-content-type"] = request.content_type
    if request.if_absent:
        headers["If-None-Match"] = "*"
    return headers


def _exists(request: PutRequest, error: PreconditionFailedError) -> PreconditionFailedError | AlreadyExistsError:
    """A condition that failed is the one of ``if_absent``, if it was asked for."""
    if request.if_absent and error.code == "ConditionNotMet":
        return AlreadyExistsError("something is stored under this key already", code=error.code)
    return error


def _stored(request: PutRequest, size: int, md5: str | None, headers: Mapping[str, str], verified: str) -> StoredFile:
    """Tell what was stored: the answer has version and time, the rest is what was sent."""
    told = described(request.key, {**{name.lower(): value for name, value in headers.items()}, "content-range": ""})
    digest = base64.b64decode(md5).hex() if md5 else None
    return replace(
        told, size=size, content_type=request.content_type or "application/octet-stream",
        metadata=dict(request.metadata), digest_algorithm="md5" if digest else None, digest=digest, verified=verified,
    )  # fmt: skip


def _md5(data: bytes | memoryview) -> str:
    return _base64(hashlib.md5(data, usedforsecurity=False).digest())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
