"""Options that the broker and the store have in common: which account, which endpoint, which credential, which line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

__all__ = ["SessionOptions"]


def _split(url: str) -> SplitResult | None:
    """Return the parts of an address with a host and, if any, a port that can be one; else None."""
    try:
        parts = urlsplit(url)
        if parts.hostname and parts.port != 0 and not any(sign.isspace() for sign in url):
            return parts
    except ValueError:
        pass
    return None


def _endpoint(url: str) -> str:
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise ValueError("must be https://host or http://host:port, with nothing behind '?' or '#'")
    if "@" in parts.netloc:
        raise ValueError("must hold no user and no password: they would show; give access_key_id and its secret")
    return url


def _proxy(secret: SecretStr) -> SecretStr:
    url = secret.get_secret_value()
    parts = _split(url if "://" in url else f"http://{url}")
    if parts is None or parts.scheme not in ("http", "https"):
        raise ValueError("must be http://host:port, with user:password@ before the host where needed")
    return secret


def _credential(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("is no AWS credential: it is empty or holds blanks, line ends or other signs than ASCII's")
    return secret


_Credential = Annotated[SecretStr, AfterValidator(_credential)]


class SessionOptions(BaseModel):
    """How to reach an AWS account. Times are seconds.

    Without ``profile`` and ``access_key_id``, boto3's own chain finds the credential: environment variables, the shared
    credentials and configuration files, single sign-on, the role of a container or of an EC2 instance.

    Attributes:
        region: the region's code, such as ``us-east-1``; else ``AWS_DEFAULT_REGION`` or the profile's region.
        endpoint_url: another endpoint than the region's own: a VPC endpoint, or a server that speaks the same protocol.
        profile: a profile of the shared configuration files.
        access_key_id: the access key; needs ``secret_access_key``.
        secret_access_key: the secret half of the access key.
        session_token: the token that belongs to a temporary access key.
        role_arn: a role to assume with the credential found; its temporary credentials are renewed before they expire.
        role_session_name: what the role's activity shows up as in CloudTrail.
        role_external_id: the external id that the role's trust policy asks for.
        role_duration: how long temporary credentials of the role last; None for the service's hour.
        sts_endpoint_url: another endpoint for assuming the role, such as a VPC endpoint of STS.
        connect_timeout: for the connection to be made.
        read_timeout: for the next bytes of an answer to come.
        pool_size: connections kept open for reuse.
        proxy: URL of an HTTP proxy; else ``HTTPS_PROXY`` and ``NO_PROXY`` are heeded. It may hold a password.
        ca_bundle: PEM file of the certificate authorities to trust in place of the usual ones.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    region: Annotated[str, Field(min_length=1)] | None = None
    endpoint_url: Annotated[str, AfterValidator(_endpoint)] | None = None
    profile: Annotated[str, Field(min_length=1)] | None = None
    access_key_id: _Credential | None = None
    secret_access_key: _Credential | None = None
    session_token: _Credential | None = None
    role_arn: Annotated[str, Field(pattern=r"^arn:[a-z0-9-]+:iam::\d{12}:role/")] | None = None
    role_session_name: Annotated[str, Field(pattern=r"^[\w+=,.@-]{2,64}$")] = "clouddirect"
    role_external_id: SecretStr | None = None
    role_duration: Annotated[int, Field(ge=900, le=43_200)] | None = None
    sts_endpoint_url: Annotated[str, AfterValidator(_endpoint)] | None = None
    connect_timeout: Annotated[float, Field(gt=0, le=300)] = 10.0
    read_timeout: Annotated[float, Field(gt=0, le=900)] = 60.0
    pool_size: Annotated[int, Field(ge=1, le=1000)] = 16
    proxy: Annotated[SecretStr, AfterValidator(_proxy)] | None = None
    ca_bundle: Path | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together: give both or none")
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("session_token belongs to an access key: give access_key_id and secret_access_key too")
        if self.access_key_id is not None and self.profile is not None:
            raise ValueError("profile and access_key_id name two credentials: give one of them")
        if self.role_arn is None and (self.role_external_id or self.role_duration or self.sts_endpoint_url):
            raise ValueError("role_external_id, role_duration and sts_endpoint_url need a role_arn")
        return self

    def secrets(self) -> list[str]:
        """Return the secret texts among the options, for taking them out of what a service quotes."""
        fields = (self.secret_access_key, self.session_token, self.role_external_id, self.proxy, self.access_key_id)
        return [field.get_secret_value() for field in fields if field is not None and field.get_secret_value()]
