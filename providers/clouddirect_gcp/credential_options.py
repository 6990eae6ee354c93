"""Options that say who we are to Google Cloud; the broker's and the store's options derive from these."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

__all__ = ["GcpCredentialOptions"]

#: Options of which at most one may be given: each is a way to get a credential.
_SOURCES = ("service_account_file", "service_account_key", "access_token", "anonymous")


class GcpCredentialOptions(BaseModel):
    """Who we are to Google Cloud. With nothing given, Application Default Credentials are used.

    Attributes:
        service_account_file: path of a service account's key file (JSON).
        service_account_key: the content of such a file.
        access_token: an OAuth 2.0 access token that somebody else obtained. It is not renewed: when it expires, calls
            fail with `AuthenticationError`.
        anonymous: send no credential at all. For emulators, and for buckets open to everybody.
        impersonate: email address of a service account to act as. The credential above, or the default one, needs
            the role ``roles/iam.serviceAccountTokenCreator`` on it.
        impersonate_through: service accounts in between, the first one impersonated by our credential.
        quota_project: the project that calls are billed to and whose quota they use, where that is not the
            credential's own. The credential needs ``serviceusage.services.use`` there.
        universe_domain: domain of the cloud's services; other than ``googleapis.com`` only in sovereign clouds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    service_account_file: Path | None = None
    service_account_key: SecretStr | None = None
    access_token: SecretStr | None = None
    anonymous: bool = False
    impersonate: str | None = Field(default=None, pattern=r"^[^@\s/]+@[^@\s/]+$")
    impersonate_through: tuple[str, ...] = ()
    quota_project: str | None = Field(default=None, min_length=1)
    universe_domain: str = Field(default="googleapis.com", pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$")

    @field_validator("access_token")
    @classmethod
    def _check_token(cls, token: SecretStr | None) -> SecretStr | None:
        text = "x" if token is None else token.get_secret_value()
        if not text or not all("!" <= character <= "~" for character in text):
            raise ValueError("must be the token alone, without blanks or line ends around it")
        return token

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        given = [name for name in _SOURCES if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other: give one of them")
        if self.anonymous and self.impersonate:
            raise ValueError("anonymous and impersonate exclude each other: nobody can act as somebody else")
        if self.impersonate_through and not self.impersonate:
            raise ValueError("impersonate_through needs impersonate, the service account at the end of the chain")
        return self
