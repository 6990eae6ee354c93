"""Signed URLs: service SAS where there is an account key, user-delegation SAS where there are Entra credentials.

They are made for the service version that all our requests name, where the SDK signs for its own newest one, which a
private cloud, an emulator or a gateway may not know yet.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlencode, urlsplit

from clouddirect.errors import UnsupportedError
from clouddirect.storage import PresignedUrl
from clouddirect_azure.blob_account import Account
from clouddirect_azure.blob_http import API_VERSION, BlobHttp

if TYPE_CHECKING:
    from azure.storage.blob import UserDelegationKey

__all__ = ["MAX_DELEGATED_SECONDS", "Signer"]

#: Clocks differ a little; a key that begins in the service's future would be of no use yet.
_SKEW = timedelta(minutes=5)

#: A key is good for seven days (https://learn.microsoft.com/rest/api/storageservices/get-user-delegation-key).
MAX_DELEGATED_SECONDS = (timedelta(days=7) - _SKEW).total_seconds()


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

        Raises whatever the request for a user delegation key raises, or:
            UnsupportedError: the account's name is not known.
        """
        if self._account.name is None:
            raise UnsupportedError("URLs are signed for an account's own address, which this account_url is not")
        until = (now + timedelta(seconds=expires)).replace(microsecond=0)
        secure = urlsplit(self._account.url).scheme == "https"
        values = {
            "sp": "r" if method == "GET" else "cw",
            "se": _time(until),
            "spr": "https" if secure else "https,http",
            "sv": API_VERSION,
            "sr": "b",
        }
        resource = f"/blob/{self._account.name}/{self._container}/{key}"
        if self._account.key is not None:
            values["sig"] = _signature(self._account.key, _service_lines(values, resource))
        else:
            delegated = self._delegation(now, until)
            values |= _delegation_values(delegated)
            values["sig"] = _signature(delegated.value or "", _delegated_lines(values, resource))
        return PresignedUrl(
            url=f"{self._account.url}/{self._container}/{quote(key, safe='/~')}?{urlencode(values)}",
            method=method, headers={} if method == "GET" else {"x-ms-blob-type": "BlockBlob"}, expires_at=until,
        )  # fmt: skip

    def _delegation(self, now: datetime, until: datetime) -> UserDelegationKey:
        """Return a key that is good until then at least; one is kept for as long as it lasts."""
        from azure.storage.blob import BlobServiceClient

        with self._lock:
            if self._delegated is None or self._delegated[0] < until:
                ends = min(max(until, now + timedelta(days=1)), now + timedelta(seconds=MAX_DELEGATED_SECONDS))
                client = BlobServiceClient(
                    self._account.url, self._http.credential, transport=self._http.transport, retry_total=0
                )
                self._delegated = ends, client.get_user_delegation_key(now - _SKEW, ends)
            return self._delegated[1]


def _service_lines(values: dict[str, str], resource: str) -> list[str]:
    """https://learn.microsoft.com/rest/api/storageservices/create-service-sas, version 2020-12-06 and later."""
    return [values["sp"], "", values["se"], resource, "", *_common_lines(values)]


def _delegated_lines(values: dict[str, str], resource: str) -> list[str]:
    """https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas, 2020-12-06 and later."""
    key = [values[name] for name in ("skoid", "sktid", "skt", "ske", "sks", "skv")]
    return [values["sp"], "", values["se"], resource, *key, "", "", "", *_common_lines(values)]


def _common_lines(values: dict[str, str]) -> list[str]:
    """From the permitted addresses to the five headers that an answer could be given; most are left empty."""
    return ["", values["spr"], values["sv"], values["sr"], *[""] * 7]


def _delegation_values(key: UserDelegationKey) -> dict[str, str]:
    return {
        "skoid": key.signed_oid or "", "sktid": key.signed_tid or "", "skt": key.signed_start or "",
        "ske": key.signed_expiry or "", "sks": key.signed_service or "", "skv": key.signed_version or "",
    }  # fmt: skip


def _signature(key: str, lines: list[str]) -> str:
    digest = hmac.digest(base64.b64decode(key), "\n".join(lines).encode(), hashlib.sha256)
    return base64.b64encode(digest).decode()


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
