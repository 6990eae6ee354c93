"""The Cloud Storage store: one bucket, by the JSON API and, where that serves better, the XML API.

Reading goes by the XML API, whose answer tells metadata beside the bytes; the JSON API's does not. Writing goes by the
JSON API, in one request or through a resumable session. Large content without a condition goes in parallel parts,
which only the XML API has.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from clouddirect.checks import CheckResult
from clouddirect.errors import CloudDirectError, PermissionDeniedError
from clouddirect.storage import (
    FileStore,
    Hasher,
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
from clouddirect.storage.upload import part_size
from clouddirect_gcp.credentials import classify_credential_error
from clouddirect_gcp.gcs_answers import json_of, not_understood
from clouddirect_gcp.gcs_errors import broken_line
from clouddirect_gcp.gcs_multipart import MAX_PARTS, MIN_PART, MultipartUpload
from clouddirect_gcp.gcs_objects import ALGORITHM, FIELDS, REQUIRED, Crc32c, encode_metadata, file_of_resource
from clouddirect_gcp.gcs_reading import read_range
from clouddirect_gcp.gcs_resumable import CHUNK, ResumableUpload
from clouddirect_gcp.gcs_signing import MAX_SECONDS, can_sign, signed_url, signing_wire
from clouddirect_gcp.gcs_whole import put_whole
from clouddirect_gcp.gcs_wire import Wire
from clouddirect_gcp.store_options import GcpStoreOptions

__all__ = ["GcpStore"]

_MIB = 1 << 20
_PAGE = "1000"
_PERMISSIONS: dict[StoreAccess, tuple[str, ...]] = {
    "read": ("storage.objects.get", "storage.objects.list"),
    "write": ("storage.objects.create", "storage.objects.delete"),
}


class GcpStore(FileStore):
    """A `FileStore` over one bucket of Google Cloud Storage. The SDK's client is behind ``native``."""

    provider = "gcp"
    # the smallest parts that go in parallel, so that as many as possible share a fast line within the same memory
    preferred_part_size = MIN_PART
    preferred_concurrency = 10

    def __init__(self, options: GcpStoreOptions, runtime: StoreRuntime | None = None) -> None:
        """Open the store; no I/O, not even for a credential."""
        self.container = options.container
        super().__init__(runtime)
        self._options = options
        self._wire = Wire(options, self.concurrency)
        self._signing = signing_wire(self._wire, options)
        self._can = StoreCapabilities(
            max_object_bytes=5 << 40,
            max_whole_bytes=8 * _MIB,
            min_part_bytes=CHUNK,
            part_multiple=CHUNK,
            upload_digest=ALGORITHM,
            presign=frozenset({"GET", "PUT"}) if can_sign(options) else frozenset(),
            max_presign_seconds=MAX_SECONDS,
        )

    # -- primitives -----------------------------------------------------------------------------------------

    def _capabilities(self) -> StoreCapabilities:
        return self._can

    def _validate_put(self, request: PutRequest) -> None:
        encode_metadata(request.metadata)

    def _hasher(self, algorithm: str) -> Hasher | None:
        return Crc32c() if algorithm == ALGORITHM else super()._hasher(algorithm)

    def _put_whole(self, request: PutRequest, content: Part, digest: str | None, timeout: float) -> StoredFile:
        return put_whole(self._wire, request, self._writing(request), content, digest, timeout)

    def _begin_upload(self, request: PutRequest, timeout: float) -> Upload:
        if self._pays_in_parallel(request):
            return MultipartUpload(self._wire, request, self._options.kms_key, timeout)
        return ResumableUpload(self._wire, request, self._writing(request), timeout)

    def _stat(self, key: str, timeout: float) -> StoredFile:
        response = self._wire.send(
            "GET", self._wire.objects(key), about="object", timeout=timeout, query={"fields": FIELDS}
        )
        return file_of_resource(json_of(response, *REQUIRED))

    def _read(self, key: str, offset: int, length: int | None, version: str | None, timeout: float) -> RangeRead:
        if length != 0:
            found = read_range(self._wire, key, offset, length, version, timeout)
            if found is not None:
                return found
        return RangeRead(file=self._stat(key, timeout), chunks=iter(()), close=_nothing)

    def _list(self, prefix: str, delimiter: Literal["/"] | None, page: object | None, timeout: float) -> ListPage:
        query = {"maxResults": _PAGE, "fields": "nextPageToken,prefixes,items(name,size,generation,timeCreated,crc32c)"}
        wanted = {"prefix": prefix, "delimiter": delimiter, "pageToken": page}
        query.update({name: str(value) for name, value in wanted.items() if value})
        response = self._wire.send("GET", self._wire.objects(), about="bucket", timeout=timeout, query=query)
        found = json_of(response)
        entries: list[StoredFile | StoredPrefix] = [file_of_resource(one) for one in found.get("items", ())]
        entries += [StoredPrefix(one) for one in found.get("prefixes", ())]
        return ListPage(sorted(entries, key=_place), found.get("nextPageToken") or None)

    def _delete(self, key: str, timeout: float) -> None:
        response = self._wire.send(
            "DELETE", self._wire.objects(key), about="object", timeout=timeout, expected=(204, 200)
        )
        if response.content.strip() not in (b"", b"null"):  # the latter is fake-gcs-server's way
            raise not_understood(response, "the emptiness of a deletion's")

    def _presign(self, key: str, method: Literal["GET", "PUT"], expires: float) -> PresignedUrl:
        began = self.runtime.clock.now()
        url = signed_url(self._wire, self._signing, self._options, key, method, expires, self.runtime.stall_timeout)
        return PresignedUrl(url=url, method=method, expires_at=began + timedelta(seconds=expires))

    def _check(self, access: StoreAccess, timeout: float) -> CheckResult:
        asked = _PERMISSIONS[access]
        response = self._wire.send(
            "GET", f"{self._wire.objects().removesuffix('/o')}/iam/testPermissions", about="bucket", timeout=timeout,
            query={"permissions": list(asked)},
        )  # fmt: skip
        granted = json_of(response).get("permissions", ())
        needed, useful = asked
        if needed not in granted:
            raise PermissionDeniedError(f"the credential lacks {needed} on the bucket; grant it a role that has it")
        detail = f"the service says that the credential has {needed} on the bucket"
        if useful not in granted:
            detail += f", but not {useful}: " + _WITHOUT[useful]
        return CheckResult(access, "likely", detail)

    def _classify(self, error: Exception) -> CloudDirectError | None:
        return classify_credential_error(error) or broken_line(error)

    def _native(self) -> Any:
        """A `google.cloud.storage.Client`."""
        return self._wire.client

    def _close(self) -> None:
        self._wire.close()
        self._signing.close()

    # -- inside ---------------------------------------------------------------------------------------------

    def _writing(self, request: PutRequest) -> dict[str, str]:
        """The query of every request that writes by the JSON API."""
        query = {}
        if request.if_absent:
            query["ifGenerationMatch"] = "0"
        if self._options.kms_key is not None:
            query["kmsKeyName"] = self._options.kms_key
        return query

    def _pays_in_parallel(self, request: PutRequest) -> bool:
        """Whether parallel parts are possible and worth it.

        They take no condition, are 5 MiB or larger and at most 10,000, so the size must be known.
        """
        size = request.size_hint
        if not self._options.parallel_upload or request.if_absent or size is None or self.concurrency < 2:
            return False
        part = part_size(self._can, self.part_size, size)
        return part >= MIN_PART and part < size <= part * MAX_PARTS


_WITHOUT = {
    "storage.objects.list": "it cannot list, and is not told that a key is missing",
    "storage.objects.delete": "it can neither overwrite nor delete",
}


def _place(entry: StoredFile | StoredPrefix) -> bytes:
    return (entry.prefix if isinstance(entry, StoredPrefix) else entry.key).encode()


def _nothing() -> None:
    """There is no connection to give back."""
