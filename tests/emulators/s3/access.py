"""Who asks, and may they: signatures of version 4, in headers and in URLs, and IAM policies.

After "Authenticating Requests (AWS Signature Version 4)" in the S3 API Reference and "IAM JSON policy reference".
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qsl, quote

from emulators.s3.objects import Refusal

__all__ = ["User", "authenticate"]

_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class User:
    """An access key's secret, and the policy that says what its holder may do; None for everything."""

    secret: str
    policy: Mapping[str, Any] | None = None

    def may(self, action: str, resource: str) -> bool:
        """Whether a statement allows an action (``s3:GetObject``) on a resource (``arn:aws:s3:::bucket/key``)."""
        if self.policy is None:
            return True
        return any(
            statement["Effect"] == "Allow"
            and any(fnmatchcase(action, pattern) for pattern in _several(statement["Action"]))
            and any(fnmatchcase(resource, pattern) for pattern in _several(statement["Resource"]))
            for statement in self.policy["Statement"]
        )


def _several(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def authenticate(
    users: Mapping[str, User], method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
) -> User:
    """Return who signed the request; ``headers`` are by lower-case name, path and query as they came.

    Raises:
        Refusal: unknown key, wrong signature, expired URL, or a body that is not the one that was signed.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    if "authorization" in headers:
        _, _, told = headers["authorization"].partition(" ")
        fields = dict(field.strip().split("=", 1) for field in told.split(","))
        signed, signature, scope = fields["SignedHeaders"], fields["Signature"], fields["Credential"]
        stamp, payload = headers["x-amz-date"], headers["x-amz-content-sha256"]
    else:
        fields = dict(pairs)
        if "X-Amz-Signature" not in fields:
            raise Refusal(403, "AccessDenied", "Access Denied")
        signed, signature, scope = (fields[f"X-Amz-{name}"] for name in ("SignedHeaders", "Signature", "Credential"))
        stamp, payload = fields["X-Amz-Date"], "UNSIGNED-PAYLOAD"
        ends = datetime.strptime(stamp, _TIME).replace(tzinfo=UTC) + timedelta(seconds=int(fields["X-Amz-Expires"]))
        if datetime.now(UTC) > ends:
            raise Refusal(403, "AccessDenied", "Request has expired")
    access_key, _, rest = scope.partition("/")
    if access_key not in users:
        raise Refusal(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
    canonical = "\n".join(
        (
            method,
            path,
            "&".join(
                sorted(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in pairs if k != "X-Amz-Signature")
            ),
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in signed.split(";")),
            "",
            signed,
            payload,
        )
    )
    if not hmac.compare_digest(signature, _signature(users[access_key].secret, stamp, rest, canonical)):
        raise Refusal(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match.",
            CanonicalRequest=canonical,
        )
    if payload not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
        raise Refusal(400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match")
    return users[access_key]


def _signature(secret: str, stamp: str, scope: str, canonical: str) -> str:
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()
