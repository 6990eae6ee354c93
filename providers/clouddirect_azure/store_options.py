"""Options of the Azure store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

__all__ = ["AzureStoreOptions"]

# https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
_CONTAINER = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}|\$root|\$web|\$logs")


class AzureStoreOptions(BaseModel):
    """Which container of which account, and the credential for it.

    Give either ``connection_string``, or ``account_url`` with one of ``sas_token`` and ``account_key``; with
    ``account_url`` alone the credential is whatever ``DefaultAzureCredential`` finds (environment, workload or managed
    identity, ``az login``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    container: str = Field(description="Name of the container.")
    connection_string: SecretStr | None = Field(
        default=None,
        description="BlobEndpoint=…;SharedAccessSignature=…, or AccountName=…;AccountKey=…, as Azure hands them out.",
    )
    account_url: str | None = Field(
        default=None, description="https://ACCOUNT.blob.core.windows.net, without container and SAS."
    )
    sas_token: SecretStr | None = Field(
        default=None, description="Shared access signature (sv=…&sig=…) of the account or the container."
    )
    account_key: SecretStr | None = Field(default=None, description="One of the account's two keys.")
    account_name: str | None = Field(
        default=None, description="The account's name, where account_key is used with a domain of your own."
    )
    ca_file: Path | None = Field(
        default=None, description="PEM file with the certificate authorities to trust instead of the usual ones."
    )
    verify_tls: bool = Field(
        default=True, description="Whether the service must prove who it is; false is for test servers alone."
    )
    proxy: SecretStr | None = Field(
        default=None,
        description="http://[USER:PASSWORD@]HOST:PORT of a proxy; HTTPS_PROXY and NO_PROXY are heeded without it.",
    )

    @field_validator("container")
    @classmethod
    def _container_name(cls, value: str) -> str:
        if not _CONTAINER.fullmatch(value) or len(value) > 63:
            raise ValueError("must be 3 to 63 lower-case letters, digits and single hyphens, as Azure names containers")
        return value

    @field_validator("account_url")
    @classmethod
    def _plain_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if not _has_usable_port(parts):
            raise ValueError("must be a URL such as https://ACCOUNT.blob.core.windows.net")
        if parts.query or parts.fragment or parts.username or parts.password:
            raise ValueError("must not hold a SAS or password; put what follows the '?' into sas_token")
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise ValueError("must be a URL such as https://ACCOUNT.blob.core.windows.net")
        return value.rstrip("/")

    @field_validator("sas_token")
    @classmethod
    def _signed(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        text = value.get_secret_value().strip()
        if "sig=" not in text or "://" in text:
            raise ValueError("must be the part of the SAS URL behind the '?': sv=…&sig=…")
        return SecretStr(text.removeprefix("?"))

    @field_validator("account_key")
    @classmethod
    def _without_blanks(cls, value: SecretStr | None) -> SecretStr | None:
        return value and SecretStr(value.get_secret_value().strip())

    @field_validator("proxy")
    @classmethod
    def _proxy_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parts = urlsplit(value.get_secret_value())
            if parts.scheme not in ("http", "https") or not parts.hostname or not _has_usable_port(parts):
                raise ValueError("must be a URL such as http://proxy.example:3128")
        return value

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if (self.connection_string is None) == (self.account_url is None):
            raise ValueError("give connection_string or account_url, and only one of them")
        given = [name for name in ("sas_token", "account_key") if getattr(self, name) is not None]
        if given and self.connection_string is not None:
            raise ValueError(f"{given[0]} goes with account_url; connection_string brings its own credential")
        if len(given) > 1:
            raise ValueError("give sas_token or account_key, not both")
        if self.account_name is not None and self.account_key is None:
            raise ValueError("account_name is of use only with account_key")
        if self.ca_file is not None and not self.verify_tls:
            raise ValueError("ca_file says whom to trust, verify_tls = false to ask nobody; leave one of them out")
        return self


def _has_usable_port(parts: SplitResult) -> bool:
    """Whether the port is a number that can be one, or none is given."""
    try:
        return parts.port != 0
    except ValueError:
        return False
