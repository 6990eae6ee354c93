"""Signed URLs (V4), with a private key or by the IAM credentials API.

After https://cloud.google.com/storage/docs/access-control/signed-urls and
https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob.
"""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any, Literal

from google.auth.credentials import Signing

from clouddirect.errors import UnsupportedError
from clouddirect_gcp.gcs_answers import json_of
from clouddirect_gcp.gcs_wire import Wire
from clouddirect_gcp.store_options import GcpStoreOptions

__all__ = ["MAX_SECONDS", "can_sign", "signed_url", "signing_wire"]

#: Longest validity of a V4 signature.
MAX_SECONDS = 7 * 86_400.0


def signing_wire(wire: Wire, options: GcpStoreOptions) -> Wire:
    """Return what signing is asked for over: ``wire``, unless the account that is acted as signs."""
    account = options.signing_account or options.impersonate
    if account is None or account != options.impersonate:
        return wire
    # who may act as the account may sign for it, too; the account itself need not be allowed to
    return Wire(options.model_copy(update={"impersonate": None, "impersonate_through": ()}), 1)


def can_sign(options: GcpStoreOptions) -> bool:
    """Whether the credential may be able to sign. No I/O: for Application Default Credentials it shows on use."""
    if options.signing_account or options.impersonate:
        return True
    return options.access_token is None and not options.anonymous


def signed_url(
    wire: Wire,
    signing: Wire,
    options: GcpStoreOptions,
    key: str,
    method: Literal["GET", "PUT"],
    expires: float,
    timeout: float,
) -> str:
    """Return a URL that lets its holder do one thing to one object. ``signing`` is of `signing_wire`.

    Raises:
        UnsupportedError: the credential has no private key, and no account is named to sign in its place.
    """
    blob = wire.client.bucket(options.container).blob(key)
    url: str = blob.generate_signed_url(
        version="v4", expiration=timedelta(seconds=max(1, int(expires))), method=method,
        api_access_endpoint=wire.endpoint, credentials=_signer(wire, signing, options, timeout),
    )  # fmt: skip
    return url


def _signer(wire: Wire, signing: Wire, options: GcpStoreOptions, timeout: float) -> Any:
    account = options.signing_account or options.impersonate
    if account is not None:
        return _IamSigner(signing, options, account, timeout)
    if isinstance(wire.credentials, Signing):
        return wire.credentials
    raise UnsupportedError(
        "this credential has no private key to sign URLs with; name a service account in signing_account that signs "
        "for it",
        code="presign",
    )


class _IamSigner(Signing):
    """Signs as a service account without having its key."""

    def __init__(self, wire: Wire, options: GcpStoreOptions, account: str, timeout: float) -> None:
        self._wire = wire
        self._timeout = timeout
        self._account = account
        self._delegates: list[str] = []
        if account == options.impersonate:
            self._delegates = [f"projects/-/serviceAccounts/{one}" for one in options.impersonate_through]
        base = options.iam_endpoint or f"https://iamcredentials.{options.universe_domain}"
        self._url = f"{base.rstrip('/')}/v1/projects/-/serviceAccounts/{account}:signBlob"

    def sign_bytes(self, message: bytes) -> bytes:
        payload = {"payload": base64.b64encode(message).decode(), "delegates": self._delegates}
        response = self._wire.send(
            "POST", self._url, about="account", timeout=self._timeout, body=json.dumps(payload).encode(),
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
        return base64.b64decode(json_of(response, "signedBlob")["signedBlob"])

    @property
    def signer_email(self) -> str:
        return self._account

    @property
    def signer(self) -> Any:
        return self
