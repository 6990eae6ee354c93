"""The S3 store: a bucket of Amazon S3, or of a server that speaks its protocol."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from clouddirect.checks import CheckResult
from clouddirect.errors import CloudDirectError, IntegrityError, TooLargeError, UnsupportedError
from clouddirect.storage import (
    FileStore,
    ListPage,
    Part,
    PresignedUrl,
    PutRequest,
    RangeRead,
    StoreAccess,
    StoreCapabilities,
    StoredFile,
    StoredPrefix,
    StoreRuntime,
    Upload,
)
from clouddirect.storage.digests import Hasher
from clouddirect.storage.upload import part_size
from clouddirect_aws.s3_checksums import composite_parts, confirmed, digest_of, new_s3_hasher, to_base64
from clouddirect_aws.s3_client import S3Client
from clouddirect_aws.s3_errors import classify_s3, code_of, status_of
from clouddirect_aws.s3_metadata import PART_SIZE, decode_metadata, encode_metadata, metadata_size
from clouddirect_aws.s3_upload import S3Upload

if TYPE_CHECKING:
    from clouddirect_aws.store_options import AwsStoreOptions

__all__ = ["AwsStore"]

MIB, GIB = 1 << 20, 1 << 30
_PIECE = 256 << 10
_PAGE = 1000
_MAX_METADATA = 2048
_PROBE = "clouddirect-check"

# "Amazon S3 multipart upload limits" in the S3 User Guide; a URL signed with version 4 is good for seven days at most
_CAPABILITIES = StoreCapabilities(
    max_object_bytes=10_000 * 5 * GIB,
    max_whole_bytes=5 * GIB,
    min_part_bytes=5 * MIB,
    max_part_bytes=5 * GIB,
    max_parts=10_000,
    max_concurrency=64,
    upload_digest="crc32",
    digest_from_stat=True,
    max_metadata_bytes=_MAX_METADATA,
    presign=frozenset({"GET", "PUT"}),
    max_presign_seconds=7 * 24 * 3600.0,
)


class AwsStore(FileStore):
    """A `FileStore` over one bucket. Its ``native`` is boto3's S3 client."""

    provider = "aws"
    preferred_part_size = 5 << 20  # the least that S3 takes
    preferred_concurrency = 16

    def __init__(self, options: AwsStoreOptions, runtime: StoreRuntime | None = None) -> None:
        """Open the store; no I/O."""
        self.container = options.container
        super().__init__(runtime)
        self._options = options
        self._secrets = options.secrets()
        self._client = S3Client(options, stall_timeout=self.runtime.stall_timeout, connections=self.concurrency + 1)
        self._can = _CAPABILITIES
        if options.checksum == "off":
            self._can = replace(_CAPABILITIES, upload_digest=None, digest_from_stat=False)
        self._required = options.checksum == "required"
        self._part_sizes_told = True

    # -- writing --------------------------------------------------------------------------------------------

    def _capabilities(self) -> StoreCapabilities:
        return self._can

    def _validate_put(self, request: PutRequest) -> None:
        size = metadata_size({PART_SIZE: "5497558138880", **encode_metadata(request.metadata)})
        if size > _MAX_METADATA:
            raise TooLargeError(
                f"the metadata has {size:,} bytes as S3 keeps it (text that is not ASCII grows by a third), at most "
                f"{_MAX_METADATA:,} are kept; put more into the content"
            )

    def _hasher(self, algorithm: str) -> Hasher | None:
        return new_s3_hasher(algorithm)

    def _put_whole(self, request: PutRequest, content: Part, digest: str | None, timeout: float) -> StoredFile:
        wishes = self._described_object(request, encode_metadata(request.metadata))
        if digest is not None:
            wishes["ChecksumCRC32"] = to_base64(digest)
        if request.if_absent:
            wishes["IfNoneMatch"] = "*"
        answer = self._client.request(
            "put_object", timeout, Key=request.key, Body=content.open(), ContentLength=len(content), **wishes
        )
        stored = StoredFile(key=request.key, size=len(content), version=answer.get("ETag"))
        algorithm = confirmed(answer, wishes.get("ChecksumCRC32"), content.data, required=self._required)
        if algorithm == "crc32":
            stored = replace(stored, digest_algorithm=algorithm, digest=digest)
        return replace(stored, verified=algorithm)

    def _begin_upload(self, request: PutRequest, timeout: float) -> Upload:
        size = part_size(self._can, self.part_size, request.size_hint)
        metadata = encode_metadata(request.metadata)
        checksum = self._options.checksum
        if checksum != "off" and not self._client.is_aws:
            # AWS keeps the checksum of the whole; who does not keeps one of parts, which tells nothing without this
            metadata[PART_SIZE] = str(size)
        wishes = self._described_object(request, metadata)
        if checksum != "off":
            wishes |= {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"}
        begun = self._client.request("create_multipart_upload", timeout, Key=request.key, **wishes)
        return S3Upload(self._client, request, begun, checksum=checksum, part_size=size)

    def _delete(self, key: str, timeout: float) -> None:
        self._client.request("delete_object", timeout, Key=key)

    # -- reading --------------------------------------------------------------------------------------------

    def _stat(self, key: str, timeout: float) -> StoredFile:
        return self._head(key, None, timeout)

    def _read(self, key: str, offset: int, length: int | None, version: str | None, timeout: float) -> RangeRead:
        wishes = {} if version is None else {"IfMatch": version}
        if length == 0:
            return _nothing_of(self._head(key, version, timeout))
        if offset or length is not None:
            # without a range where all is wanted: only then the answer tells the checksum of the whole
            wishes["Range"] = f"bytes={offset}-{'' if length is None else offset + length - 1}"
        try:
            answer = self._client.request("get_object", timeout, Key=key, **wishes)
        except ClientError as error:
            if status_of(error) != 416:
                raise
            return _nothing_of(self._head(key, version, timeout))
        body = answer["Body"]
        try:
            size = _size_of(answer, offset, "Range" in wishes)
            file = self._file(key, size, answer, timeout, whole="Range" not in wishes and version is None)
        except BaseException:
            body.close()
            raise
        return RangeRead(file=file, chunks=_chunks(body), close=body.close)

    def _list(self, prefix: str, delimiter: Literal["/"] | None, page: object | None, timeout: float) -> ListPage:
        wishes: dict[str, Any] = {} if page is None else {"ContinuationToken": page}
        if delimiter is not None:
            wishes["Delimiter"] = delimiter
        answer = self._client.request("list_objects_v2", timeout, Prefix=prefix, MaxKeys=_PAGE, **wishes)
        entries: list[tuple[bytes, StoredFile | StoredPrefix]] = [
            (one["Key"].encode(), _listed(one)) for one in answer.get("Contents", ())
        ]
        entries += [(one["Prefix"].encode(), StoredPrefix(one["Prefix"])) for one in answer.get("CommonPrefixes", ())]
        entries.sort(key=lambda entry: entry[0])
        more = answer.get("NextContinuationToken") if answer["IsTruncated"] else None
        if answer["IsTruncated"] and not more:
            raise UnsupportedError(
                "the server cut the listing short and did not say how to go on: it does not know ListObjectsV2"
            )
        return ListPage([entry for _, entry in entries], more)

    # -- the rest -------------------------------------------------------------------------------------------

    def _presign(self, key: str, method: Literal["GET", "PUT"], expires: float) -> PresignedUrl:
        seconds = max(1, math.ceil(expires))
        ends = self.runtime.clock.now().astimezone(UTC) + timedelta(seconds=seconds)
        if method == "GET":
            url = self._client.sign("get_object", seconds, Key=key)
            return PresignedUrl(url=url, method=method, expires_at=ends)
        url = self._client.sign("put_object", seconds, Key=key, **self._kept_as())
        return PresignedUrl(url=url, method=method, headers=self._kept_as_headers(), expires_at=ends)

    def _check(self, access: StoreAccess, timeout: float) -> CheckResult:
        return self._check_write(timeout) if access == "write" else self._check_read(timeout)

    def _check_read(self, timeout: float) -> CheckResult:
        found = self._client.request("list_objects_v2", timeout, MaxKeys=1)
        if not found.get("Contents"):
            return CheckResult("read", "likely", "the bucket can be listed; it is empty, so nothing could be read")
        self._head(found["Contents"][0]["Key"], None, timeout)
        return CheckResult("read", "ok", "the bucket can be listed, and an object's head was read")

    def _check_write(self, timeout: float) -> CheckResult:
        try:
            # a part of an upload that never began stores nothing, and asks for the same permission as a put
            self._client.request(
                "upload_part", timeout, Key=_PROBE, UploadId=_PROBE, PartNumber=1, Body=b"", ContentLength=0
            )
        except ClientError as error:
            if code_of(error) != "NoSuchUpload":
                raise
        return CheckResult(
            "write", "likely", f"writing the key {_PROBE} would be permitted; nothing was written, other keys were not "
            "asked for"
        )  # fmt: skip

    def _classify(self, error: Exception) -> CloudDirectError | None:
        return classify_s3(error, self._secrets)

    def _native(self) -> object:
        """boto3's client."""
        return self._client.sdk

    def _close(self) -> None:
        self._client.close()

    # -- inside ---------------------------------------------------------------------------------------------

    def _described_object(self, request: PutRequest, metadata: Mapping[str, str]) -> dict[str, Any]:
        wishes: dict[str, Any] = {"Metadata": metadata, **self._kept_as()}
        if request.content_type is not None:
            wishes["ContentType"] = request.content_type
        return wishes

    def _kept_as(self) -> dict[str, str]:
        wishes = {}
        if self._options.storage_class is not None:
            wishes["StorageClass"] = self._options.storage_class
        if self._options.kms_key_id is not None:
            wishes |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self._options.kms_key_id}
        return wishes

    def _kept_as_headers(self) -> dict[str, str]:
        names = {
            "StorageClass": "x-amz-storage-class",
            "ServerSideEncryption": "x-amz-server-side-encryption",
            "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
        }
        return {names[name]: value for name, value in self._kept_as().items()}

    def _head(self, key: str, version: str | None, timeout: float) -> StoredFile:
        wishes = {} if version is None else {"IfMatch": version}
        try:
            answer = self._client.request("head_object", timeout, Key=key, **wishes)
        except ClientError as error:
            if status_of(error) not in (400, 403, 404):
                raise
            # the answer to a HEAD has no body, so it does not tell a missing key from a missing bucket, nor a refused
            # credential from a missing permission; the same question as a GET is answered with a code
            answer = self._client.request("get_object", timeout, Key=key, **wishes)
            answer["Body"].close()
        return self._file(key, int(answer["ContentLength"]), answer, timeout, whole=True)

    def _file(self, key: str, size: int, answer: Mapping[str, Any], timeout: float, *, whole: bool) -> StoredFile:
        """Describe an object by an answer; what one to a range tells of checksums is not of the ``whole``."""
        headers = {name.lower(): value for name, value in answer.get("Metadata", {}).items()}
        algorithm = digest = None
        if whole:
            algorithm, digest = digest_of(answer, size, self._part_size(key, answer, headers, timeout))
        return StoredFile(
            key=key,
            size=size,
            content_type=answer.get("ContentType"),
            metadata=decode_metadata(headers),
            version=answer.get("ETag"),
            modified_at=answer.get("LastModified"),
            digest_algorithm=algorithm,
            digest=digest,
        )

    def _part_size(
        self, key: str, answer: Mapping[str, Any], metadata: Mapping[str, str], timeout: float
    ) -> int | None:
        """Return the bytes of each part but the last behind a composite checksum; None if there is none, or if they
        differ or cannot be found out.
        """
        parts = composite_parts(answer)
        if parts is None:
            return None
        own = metadata.get(PART_SIZE, "")
        if own.isdigit():
            return int(own)
        if not self._part_sizes_told:
            return None
        try:
            told = self._client.request(
                "get_object_attributes", timeout, Key=key, ObjectAttributes=["ETag", "ObjectParts"], MaxParts=_PAGE
            )
        except ClientError as error:
            # a server that answers with something else, such as the object, is a 500 without a code to the SDK
            if status_of(error) not in (400, 403, 404, 405, 501) and code_of(error) != "500":
                raise
            # a credential without s3:GetObjectAttributes, or a server that does not know it: not asked again
            self._part_sizes_told = code_of(error) == "NoSuchKey"
            return None
        sizes = [part["Size"] for part in told.get("ObjectParts", {}).get("Parts", ())]
        same = str(told.get("ETag", "")).strip('"') == str(answer.get("ETag", "")).strip('"')
        if not same or len(sizes) != min(parts, _PAGE) or len(set(sizes[: parts - 1])) > 1:
            return None
        return int(sizes[0])


def _nothing_of(file: StoredFile) -> RangeRead:
    return RangeRead(file=file, chunks=iter(()), close=lambda: None)


def _size_of(answer: Mapping[str, Any], offset: int, ranged: bool) -> int:
    """Return the whole object's size, and see to it that the range is the one asked for."""
    if not ranged:
        return int(answer["ContentLength"])
    unit, _, told = str(answer.get("ContentRange", "")).partition(" ")
    place, _, size = told.partition("/")
    if unit != "bytes" or not place.startswith(f"{offset}-") or not size.isdigit():
        raise IntegrityError("the server answered with another range than was asked for; it cannot be read in ranges")
    return int(size)


def _chunks(body: Any) -> Iterator[bytes]:
    while piece := body.read(_PIECE):
        yield piece


def _listed(one: Mapping[str, Any]) -> StoredFile:
    return StoredFile(
        key=one["Key"], size=int(one["Size"]), version=one.get("ETag"), modified_at=one.get("LastModified")
    )
