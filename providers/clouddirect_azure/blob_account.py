"""The account behind the options: its URL, and which of the three kinds of credential is used."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from clouddirect.errors import ConfigurationError
from clouddirect_azure.store_options import AzureStoreOptions

__all__ = ["Account", "sas_expiry"]

#: What every emulator of Azure Storage knows; public, and named by Microsoft's documentation of Azurite.
_DEVELOPMENT = (
    "AccountName=devstoreaccount1;BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;AccountKey="
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@dataclass(frozen=True, slots=True)
class Account:
    """Where to send requests and what proves who sends them; neither `key` nor `sas` means an Entra token.

    Attributes:
        url: the account's URL, without a slash at its end.
        name: the account's name; None where only a SAS or token is used with a domain of one's own.
        key: the account key in base64, or None.
        sas: the shared access signature as a query, or None.
    """

    url: str
    name: str | None
    key: str | None = field(default=None, repr=False)
    sas: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, options: AzureStoreOptions) -> Account:
        """Resolve the options.

        Raises:
            ConfigurationError: a connection string or key is malformed. Its text holds no part of the secret.
        """
        if options.connection_string is not None:
            return _from_connection_string(options.connection_string.get_secret_value(), options.container)
        url = options.account_url or ""
        key = options.account_key.get_secret_value() if options.account_key else None
        sas = options.sas_token.get_secret_value() if options.sas_token else None
        _refuse_container(url, options.container, "account_url")
        return _checked(url, options.account_name, key, sas)


def _from_connection_string(text: str, container: str) -> Account:
    """Read what https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string describes."""
    pairs: dict[str, str] = {}
    for pair in filter(None, (piece.strip() for piece in text.strip().split(";"))):
        part, equals, value = pair.partition("=")
        if not equals:
            raise ConfigurationError(
                "connection_string is malformed: it must consist of NAME=VALUE pairs parted by ';'"
            )
        pairs[part.strip().lower()] = value.strip()
    if pairs.get("usedevelopmentstorage", "").lower() == "true":
        return _from_connection_string(_DEVELOPMENT, container)
    name, key, sas = pairs.get("accountname"), pairs.get("accountkey"), pairs.get("sharedaccesssignature")
    url = pairs.get("blobendpoint")
    if url is None:
        if name is None:
            raise ConfigurationError("connection_string names no account: it has neither BlobEndpoint nor AccountName")
        scheme, suffix = pairs.get("defaultendpointsprotocol", "https"), pairs.get("endpointsuffix", "core.windows.net")
        url = f"{scheme}://{name}.blob.{suffix}"
    if key is None and sas is None:
        raise ConfigurationError(
            "connection_string holds no credential: it must have a SharedAccessSignature or an AccountKey; for Entra "
            "credentials give account_url instead"
        )
    url = url.partition("?")[0].rstrip("/")
    if not _is_address(url):
        raise ConfigurationError(
            "connection_string is malformed: BlobEndpoint must be a URL with http or https, without user or password"
        )
    _refuse_container(url, container, "connection_string, BlobEndpoint")
    return _checked(url, name, key, None if key else (sas or "").removeprefix("?"))


def _refuse_container(url: str, container: str, where: str) -> None:
    """Refuse the container's URL in place of the account's: what is stored would get another name, unnoticed."""
    parts = urlsplit(url)
    segments = [segment for segment in parts.path.split("/") if segment]
    if _is_without_name(parts.hostname or ""):
        is_more = len(segments) > 1  # the account's name is the first
    else:
        is_more = bool(segments) and (_name_in(url) is not None or segments[-1] == container)
    if is_more:
        raise ConfigurationError(
            f"{where}: this is not the address of an account, there is a path behind it; leave it out, for the name of "
            "the container is an option of its own"
        )


def _checked(url: str, name: str | None, key: str | None, sas: str | None) -> Account:
    name = name or _name_in(url)
    if key is not None:
        if name is None:
            raise ConfigurationError(
                "account_key needs the account's name, which this URL does not tell: give account_name"
            )
        try:
            base64.b64decode(key, validate=True)
        except (binascii.Error, ValueError):
            raise ConfigurationError("the account key is malformed: it must be base64, as Azure shows it") from None
    if key is None and sas is None and urlsplit(url).scheme != "https":
        raise ConfigurationError("Entra tokens are sent over https only; account_url begins with http")
    return Account(url, name, key, sas)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises, as urlsplit does, for what is none
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc


def _name_in(url: str) -> str | None:
    """Return the account's name as the URL tells it: the host's first label, or the path's where the host is an
    address."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_without_name(host):
        return parts.path.strip("/").split("/")[0] or None
    label, _, rest = host.partition(".")
    return label.removesuffix("-secondary") if rest.startswith("blob.") else None


def _is_without_name(host: str) -> bool:
    """Whether the host is an address, as emulators have: the account's name is then in the path."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return True


def sas_expiry(sas: str) -> datetime | None:
    """Return when a SAS ends, as it says itself (``se``), or None if it leaves that to a stored access policy."""
    try:
        found = datetime.fromisoformat(parse_qs(sas)["se"][0])
    except (KeyError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
