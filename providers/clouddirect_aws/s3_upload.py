"""`S3Upload`: a multipart upload, its parts and its commit compared by CRC32.

"Uploading and copying objects using multipart upload" in the S3 User Guide. Whether the service compares the whole
content's CRC32 at the commit it says in its answer at the beginning (``ChecksumType``); where it does not, it keeps the
checksum of the parts' checksums, each of which it compared when the part came.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from clouddirect.storage import Part, PutRequest, StoredFile, Upload
from clouddirect_aws.s3_checksums import confirmed, crc32_header, same_crc32, to_base64
from clouddirect_aws.s3_errors import code_of

if TYPE_CHECKING:
    from clouddirect_aws.s3_client import S3Client

__all__ = ["S3Upload"]


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
        self._confirmed: dict[int, str | None] = {}

    def write_part(self, part: Part, timeout: float) -> None:
        number = part.index + 1
        wishes = {"ChecksumCRC32": crc32_header(part.data)} if self._checked else {}
        answer = self._client.request(
            "upload_part", timeout,
            **self._upload, PartNumber=number, Body=part.open(), ContentLength=len(part), **wishes,
        )  # fmt: skip
        algorithm = confirmed(answer, wishes.get("ChecksumCRC32"), part.data, required=self._required)
        self._confirmed[number] = algorithm
        # what the service does not tell of a part it does not want to be told at the commit
        self._parts[number] = {
            "PartNumber": number, "ETag": answer["ETag"], **(wishes if algorithm == "crc32" else {}),
        }  # fmt: skip

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
        stored = StoredFile(key=self._request.key, size=size, version=answer.get("ETag"))
        if "ChecksumCRC32" in wishes and same_crc32(answer, wishes["ChecksumCRC32"]):
            return replace(stored, digest_algorithm="crc32", digest=digest, verified="crc32")
        how = set(self._confirmed.values())
        if how == {"crc32"} and (composite := self._of_parts(parts, answer)):
            algorithm = f"crc32-parts-{self._part_size}"
            return replace(stored, digest_algorithm=algorithm, digest=composite, verified=algorithm)
        return replace(stored, verified=None if None in how else f"{'md5' if 'md5' in how else 'crc32'}-ranges")

    def abort(self, timeout: float) -> None:
        try:
            self._client.request("abort_multipart_upload", timeout, **self._upload)
        except ClientError as error:
            if code_of(error) not in ("NoSuchUpload", "404"):
                raise

    @staticmethod
    def _of_parts(parts: list[dict[str, Any]], answer: Mapping[str, Any]) -> str | None:
        """Return the checksum of the parts' checksums, if the service tells it."""
        checksums = b"".join(base64.b64decode(part["ChecksumCRC32"]) for part in parts)
        return (
            zlib.crc32(checksums).to_bytes(4, "big").hex()
            if same_crc32(answer, f"{crc32_header(checksums)}-{len(parts)}")
            else None
        )
