"""Options of the Cloud Storage store."""

from __future__ import annotations

from pydantic import Field

from clouddirect_gcp.credential_options import GcpCredentialOptions

__all__ = ["GcpStoreOptions"]

_EMAIL = r"^[^@\s/]+@[^@\s/]+$"
_URL = r"^https?://[^\s?#]+$"


class GcpStoreOptions(GcpCredentialOptions):
    """Which bucket, and how it is reached.

    Attributes:
        container: the bucket's name.
        endpoint: base URL of the service, such as a private endpoint or an emulator; None for the SDK's own rules: the
            variable ``STORAGE_EMULATOR_HOST``, then ``https://storage.<universe_domain>``.
        kms_key: Cloud KMS key that new objects are encrypted with, as
            ``projects/<p>/locations/<l>/keyRings/<r>/cryptoKeys/<k>``; None for the bucket's default.
        parallel_upload: send large objects in parallel parts (the XML API's multipart uploads) where nothing speaks
            against it. Switch it off for an endpoint that knows only the JSON API.
        signing_account: email of a service account that signs URLs, by the IAM credentials API. Needed where the
            credential has no private key of its own. It may be the credential's own account; the credential needs
            ``iam.serviceAccounts.signBlob`` on it.
        iam_endpoint: base URL of the IAM credentials API; None for ``https://iamcredentials.<universe_domain>``.
    """

    container: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$", description="The bucket's name.")
    endpoint: str | None = Field(default=None, pattern=_URL)
    kms_key: str | None = Field(
        default=None, pattern=r"^projects/[^/\s]+/locations/[^/\s]+/keyRings/[^/\s]+/cryptoKeys/[^/\s]+$"
    )
    parallel_upload: bool = True
    signing_account: str | None = Field(default=None, pattern=_EMAIL)
    iam_endpoint: str | None = Field(default=None, pattern=_URL)
