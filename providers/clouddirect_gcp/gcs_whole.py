"""Writing a small object in one request: its description and its bytes together.

After https://cloud.google.com/storage/docs/uploading-objects#rest-upload-objects (a JSON API multipart upload, which
has nothing to do with the XML API's).
"""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, BinaryIO, cast

from clouddirect.storage import Part, PutRequest, StoredFile
from clouddirect_gcp.gcs_answers import json_of
from clouddirect_gcp.gcs_objects import ALGORITHM, FIELDS, REQUIRED, file_of_resource, resource_of, to_base64
from clouddirect_gcp.gcs_resumable import verified
from clouddirect_gcp.gcs_wire import Wire

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["put_whole"]


def put_whole(
    wire: Wire, request: PutRequest, query: Mapping[str, str], content: Part, digest: str | None, timeout: float
) -> StoredFile:
    """Write the object; the service compares the digest before it becomes visible."""
    resource = resource_of(request)
    if digest is not None:
        resource[ALGORITHM] = to_base64(digest)
    boundary = uuid.uuid4().hex
    kind = request.content_type or "application/octet-stream"
    head = (
        f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(resource)}\r\n"
        f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n"
    ).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    response = wire.send(
        "POST", wire.uploads(), about="bucket", timeout=timeout, if_absent=request.if_absent,
        query={**query, "uploadType": "multipart", "fields": FIELDS},
        headers={"Content-Type": f'multipart/related; boundary="{boundary}"'},
        body=lambda: cast(BinaryIO, _Joined(io.BytesIO(head), content.open(), io.BytesIO(tail))),
    )  # fmt: skip
    return verified(file_of_resource(json_of(response, *REQUIRED)), len(content), digest)


class _Joined(io.RawIOBase):
    """Streams one after another, without copying them together."""

    def __init__(self, *streams: BinaryIO) -> None:
        super().__init__()
        self._streams = list(streams)
        self._size = sum(stream.seek(0, io.SEEK_END) for stream in streams)
        self._place = 0
        for stream in streams:
            stream.seek(0)

    def __len__(self) -> int:  # less what `tell` says, becomes Content-Length
        return self._size

    def tell(self) -> int:
        return self._place

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        filled = 0
        while self._streams and filled < len(target):
            piece = self._streams[0].read(len(target) - filled)
            target[filled : filled + len(piece)] = piece
            filled += len(piece)
            if not piece:
                self._streams.pop(0)
        self._place += filled
        return filled
