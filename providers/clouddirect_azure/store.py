"""`AzureStore`: a container of Azure Blob Storage as a `FileStore`."""

from __future__ import annotations

import uuid
from datetime import UTC
from typing import TYPE_CHECKING, Literal

from clouddirect.checks import CheckResult
from clouddirect.errors import (
    AuthenticationError,
    CloudDirectError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
)
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
    StoreRuntime,
    Upload,
)
from clouddirect_azure.blob_account import Account, sas_expiry
from clouddirect_azure.blob_errors import failure
from clouddirect_azure.blob_http import BlobHttp
from clouddirect_azure.blob_listing import PAGE_SIZE, read_page
from clouddirect_azure.blob_names import check_key, check_metadata
from clouddirect_azure.blob_read import Ranges, stat
from clouddirect_azure.blob_sign import MAX_DELEGATED_SECONDS, Signer
from clouddirect_azure.blob_upload import BlockUpload, put_whole
from clouddirect_azure.store_options import AzureStoreOptions

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.storage.blob import ContainerClient

__all__ = ["AzureStore"]

_MIB = 1 << 20
# https://learn.microsoft.com/azure/storage/blobs/scalability-targets
_MAX_BLOCKS = 50_000
_MAX_BLOCK_BYTES = 4000 * _MIB
_MAX_PUT_BLOB_BYTES = 5000 * _MIB


class AzureStore(FileStore):
    """A `FileStore` over one container.

    - What fits into one part is stored by one Put Blob, else by Put Block and Put Block List; no request but these is
      made, so a SAS with ``w`` or ``c`` suffices (``c`` alone for new blobs of one part).
    - Each request carries the MD5 of its body, which the service compares; the MD5 of the whole is kept with the blob.
    - A blob that others have stored without an MD5 is read in ranges of 4 MiB, each compared with the MD5 that the
      service computes of it (``verified`` is then ``md5-ranges``).
    - Signing URLs needs an account key or Entra credentials.
    """

    provider = "azure"
    # measured beside other sizes on a fast line to a far region: more than one connection carries, in little memory
    preferred_part_size = 2 << 20
    preferred_concurrency = 16

    def __init__(
        self,
        options: AzureStoreOptions,
        runtime: StoreRuntime | None = None,
        credential: TokenCredential | None = None,
    ) -> None:
        """Open the store; no I/O.

        Args:
            options: where and with which credential.
            runtime: what core hands over.
            credential: Entra credentials in place of ``DefaultAzureCredential``, where the options hold neither a key
                nor a SAS.
        """
        self.container = options.container
        super().__init__(runtime)
        self._account = Account.of(options)
        self._entra = self._account.key is None and self._account.sas is None
        if self._entra and credential is None:
            from azure.identity import DefaultAzureCredential

            credential = DefaultAzureCredential()
        self._http = BlobHttp(self._account, options, self.concurrency, credential if self._entra else None)
        self._ranges = Ranges(self._http)
        self._signer = Signer(self._account, self.container, self._http)
        self._can = StoreCapabilities(
            max_object_bytes=_MAX_BLOCKS * _MAX_BLOCK_BYTES,
            max_whole_bytes=_MAX_PUT_BLOB_BYTES,
            max_part_bytes=_MAX_BLOCK_BYTES,
            max_parts=_MAX_BLOCKS,
            upload_digest="md5",
            presign=frozenset() if self._account.sas is not None else frozenset({"GET", "PUT"}),
            max_presign_seconds=MAX_DELEGATED_SECONDS if self._entra else None,
        )

    # -- primitives -----------------------------------------------------------------------------------------

    def _capabilities(self) -> StoreCapabilities:
        return self._can

    def _validate_key(self, key: str) -> None:
        check_key(key)

    def _validate_put(self, request: PutRequest) -> None:
        check_metadata(request.metadata)

    def _put_whole(self, request: PutRequest, content: Part, digest: str | None, timeout: float) -> StoredFile:
        return put_whole(self._http, request, content, digest, timeout)

    def _begin_upload(self, request: PutRequest, timeout: float) -> Upload:
        return BlockUpload(self._http, request)

    def _stat(self, key: str, timeout: float) -> StoredFile:
        return stat(self._http, key, None, timeout)

    def _read(self, key: str, offset: int, length: int | None, version: str | None, timeout: float) -> RangeRead:
        return self._ranges.read(key, offset, length, version, timeout)

    def _list(self, prefix: str, delimiter: Literal["/"] | None, page: object | None, timeout: float) -> ListPage:
        query = {"comp": "list", "maxresults": str(PAGE_SIZE), "restype": "container"}
        if prefix:
            query["prefix"] = prefix
        if delimiter is not None:
            query["delimiter"] = delimiter
        if isinstance(page, str):
            query["marker"] = page
        return read_page(self._http.send("GET", None, timeout, query=query).content)

    def _delete(self, key: str, timeout: float) -> None:
        self._http.send("DELETE", key, timeout, headers={"x-ms-delete-snapshots": "include"})

    def _presign(self, key: str, method: Literal["GET", "PUT"], expires: float) -> PresignedUrl:
        return self._signer.sign(key, method, self.runtime.clock.now().astimezone(UTC), expires)

    def _check(self, access: StoreAccess, timeout: float) -> CheckResult:
        probe = f"clouddirect-check-{uuid.uuid4().hex}"
        if access == "read":
            try:
                self._stat(probe, timeout)
            except NotFoundError:
                pass
            return CheckResult(access, "ok", self._listing_detail(timeout))
        # a condition that no blob fulfils: the service looks at the credential first, and then refuses
        condition = {"If-Match": '"clouddirect"', "x-ms-blob-type": "BlockBlob"}
        try:
            self._http.send("PUT", probe, timeout, headers=condition)
        except PreconditionFailedError:
            pass
        return CheckResult(
            access, "likely", f"the credential may create blobs in {self.container!r}; nothing was written"
        )

    def _classify(self, error: Exception) -> CloudDirectError | None:
        return failure(error, self._http.host)

    def _native(self) -> ContainerClient:
        """The SDK's client of the container, with the SDK's own retries."""
        from azure.storage.blob import ContainerClient

        account = self._account
        key = {"account_name": account.name or "", "account_key": account.key} if account.key else None
        return ContainerClient(
            account.url, self.container, credential=account.sas or key or self._http.credential,
            transport=self._http.transport,
        )  # fmt: skip

    def _close(self) -> None:
        self._http.close()

    # -- inside ---------------------------------------------------------------------------------------------

    def _describe(self, error: CloudDirectError, operation: str, key: str | None) -> None:
        super()._describe(error, operation, key)
        if isinstance(error, AuthenticationError) and self._account.sas is not None:
            ends = sas_expiry(self._account.sas)
            if ends is not None and ends < self.runtime.clock.now() and "has ended" not in error.message:
                error.message += f"; the SAS has ended at {ends:%Y-%m-%d %H:%M} UTC, ask for a new one"

    def _listing_detail(self, timeout: float) -> str:
        try:
            self._list("clouddirect-check-", None, None, timeout)
        except PermissionDeniedError:
            return f"the credential may read blobs of {self.container!r}, but not list them"
        return f"the credential may read and list blobs of {self.container!r}"
