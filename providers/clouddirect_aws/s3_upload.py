"""`S3Upload`: a multipart upload, its parts and its commit compared by CRC32.

"Uploading and copying objects using multipart upload" in the S3 User Guide. Whether the service compares the whole
content's CRC32 at the commit it says in its answer at the beginning (``ChecksumType``); where it does not, it keeps the
checksum of the parts' checksums, each of which it compared when the part came.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from clouddirect.errors import IntegrityError, UnsupportedError
from clouddirect.storage import Part, PutRequest, StoredFile, Upload
from clouddirect_aws.s3_checksums import crc32_header, to_base64
from clouddirect_aws.s3_errors import code_of

if TYPE_CHECKING:
    from clouddirect_aws.s3_client import S3Client

__all__ = ["S3Upload", "confirmed_crc32"]


def confirmed_crc32(answer: Mapping[str, Any], sent: str, required: bool) -> bool:
    """Whether an answer confirms the checksum that was sent.

    Raises:
        IntegrityError: it tells another one.
        UnsupportedError: it tells none although that is ``required``.
    """
    told = answer.get("ChecksumCRC32")
    if told is None:
        if required:
            raise UnsupportedError(
                'the server did not confirm the checksum; with checksum = "required" it must: use "auto", or a server '
                "that compares CRC32"
            )
        return False
    if told != sent:
        raise IntegrityError("the service received other bytes than were sent", retryable=True)
    return True


class S3Upload(Upload):
    """One multipart upload."""

    def __init__(
        self, client: S3Client, request: PutRequest, begun: Mapping[str, Any], *, checksum: str, part_size: int
    ) -> None:
        """``begun`` is the answer to CreateMultipartUpload; parts, the last one excepted, have ``part_size`` bytes."""
        self._client = client
        self._request = request
        self._upload = {"Key": request.key, "UploadId": begun["UploadId"]}
        self._checked = checksum != "off"
        self._required = checksum == "required"
        self._whole = begun.get("ChecksumType") == "FULL_OBJECT"
        self._part_size = part_size
        self._parts: dict[int, dict[str, Any]] = {}
        self._checksums: dict[int, bytes] = {}

    def write_part(self, part: Part, timeout: float) -> None:
        number = part.index + 1
        wishes = {"ChecksumCRC32": crc32_header(part.data)} if self._checked else {}
        answer = self._client.request(
            "upload_part", timeout,
            **self._upload, PartNumber=number, Body=part.open(), ContentLength=len(part), **wishes,
        )  # fmt: skip
        told: dict[str, Any] = {"PartNumber": number, "ETag": answer["ETag"]}
        if self._checked and confirmed_crc32(answer, wishes["ChecksumCRC32"], self._required):
            told |= wishes
            self._checksums[number] = base64.b64decode(wishes["ChecksumCRC32"])
        self._parts[number] = told

    def commit(self, size: int, digest: str | None, last: Part | None, timeout: float) -> StoredFile:
        wishes: dict[str, Any] = {}
        if self._whole and digest is not None:
            wishes |= {"ChecksumCRC32": to_base64(digest), "ChecksumType": "FULL_OBJECT"}
        if self._request.if_absent:
            wishes["IfNoneMatch"] = "*"
        parts = [self._parts[number] for number in sorted(self._parts)]
        answer = self._client.request(
            "complete_multipart_upload", timeout,
            **self._upload, MultipartUpload={"Parts": parts}, MpuObjectSize=size, **wishes,
        )  # fmt: skip
        key, version = self._request.key, answer.get("ETag")
        if self._whole and digest is not None and confirmed_crc32(answer, wishes["ChecksumCRC32"], self._required):
            return StoredFile(
                key=key, size=size, version=version, digest_algorithm="crc32", digest=digest, verified="crc32"
            )
        if self._checked and len(self._checksums) == len(parts):
            return self._of_parts(size, version, answer)
        return StoredFile(key=key, size=size, version=version)

    def abort(self, timeout: float) -> None:
        try:
            self._client.request("abort_multipart_upload", timeout, **self._upload)
        except ClientError as error:
            if code_of(error) not in ("NoSuchUpload", "404"):
                raise

    def _of_parts(self, size: int, version: str | None, answer: Mapping[str, Any]) -> StoredFile:
        """The object whose parts were each compared; the service may tell the checksum of their checksums."""
        key, checksums = self._request.key, b"".join(self._checksums[number] for number in sorted(self._checksums))
        composite = zlib.crc32(checksums).to_bytes(4, "big")
        told = f"{base64.b64encode(composite).decode('ascii')}-{len(self._checksums)}"
        if not confirmed_crc32(answer, told, required=False):
            return StoredFile(key=key, size=size, version=version, verified="crc32-ranges")
        algorithm = f"crc32-parts-{self._part_size}"
        return StoredFile(
            key=key, size=size, version=version,
            digest_algorithm=algorithm, digest=composite.hex(), verified=algorithm,
        )  # fmt: skip
