"""Signed URLs: service SAS where there is an account key, user-delegation SAS where there are Entra credentials."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlsplit

from clouddirect.errors import UnsupportedError
from clouddirect.storage import PresignedUrl
from clouddirect_azure.blob_account import Account
from clouddirect_azure.blob_http import BlobHttp

if TYPE_CHECKING:
    from azure.storage.blob import UserDelegationKey

__all__ = ["MAX_DELEGATED_SECONDS", "Signer"]

#: https://learn.microsoft.com/rest/api/storageservices/get-user-delegation-key: at most seven days.
MAX_DELEGATED_SECONDS = 7 * 86400.0


class Signer:
    """Signs URLs for single blobs."""

    def __init__(self, account: Account, container: str, http: BlobHttp) -> None:
        self._account = account
        self._container = container
        self._http = http
        self._lock = threading.Lock()
        self._delegated: tuple[datetime, UserDelegationKey] | None = None

    def sign(self, key: str, method: Literal["GET", "PUT"], now: datetime, expires: float) -> PresignedUrl:
        """Return a URL for ``method``, good until ``expires`` seconds after ``now``.

        Raises whatever the request for a user delegation key raises.
        """
        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        until = now + timedelta(seconds=expires)
        by_user = None if self._account.key else self._delegation(now, until)
        reads = method == "GET"
        sas = generate_blob_sas(
            self._account.name or "", self._container, key, account_key=self._account.key,
            user_delegation_key=by_user, expiry=until,
            permission=BlobSasPermissions(read=reads, create=not reads, write=not reads),
            protocol="https" if urlsplit(self._account.url).scheme == "https" else None,
        )  # fmt: skip
        return PresignedUrl(
            url=f"{self._account.url}/{self._container}/{quote(key, safe='/~')}?{sas}",
            method=method, headers={} if reads else {"x-ms-blob-type": "BlockBlob"}, expires_at=until,
        )  # fmt: skip

    def _delegation(self, now: datetime, until: datetime) -> UserDelegationKey:
        """Return a key that is good until then at least; one is kept for as long as it lasts."""
        from azure.storage.blob import BlobServiceClient

        if self._account.name is None:
            raise UnsupportedError("URLs are signed for an account's own address, which this account_url is not")
        with self._lock:
            if self._delegated is None or self._delegated[0] < until:
                ends = min(max(until, now + timedelta(days=1)), now + timedelta(seconds=MAX_DELEGATED_SECONDS))
                client = BlobServiceClient(
                    self._account.url, self._http.credential, transport=self._http.transport, retry_total=0
                )
                self._delegated = ends, client.get_user_delegation_key(now - timedelta(minutes=5), ends)
            return self._delegated[1]
