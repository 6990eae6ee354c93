"""Who may do what: bearer tokens with permissions, and signed URLs (V4).

Sources: "IAM permissions for JSON methods", "IAM permissions for XML methods", "V4 signing process with your own
program" (canonical request, string to sign) of the Cloud Storage documentation; AIP-4111 (tokens that a service account
signs itself).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .errors import HttpError
from .http import Request

__all__ = ["Access", "Caller", "PERMISSIONS", "Tokens"]

#: For each bearer token what its holder may do with the objects of every bucket: "create", "get", "list", "delete",
#: "update"; "buckets.get" and "buckets.create" for buckets.
Tokens = Mapping[str, Collection[str]]

#: Everything a token may be allowed.
PERMISSIONS = frozenset({"buckets.create", "buckets.get", "create", "delete", "get", "list", "update"})
_MAX_EXPIRY = 604_800


class Caller:
    """Who sent a request, and what that allows."""

    def __init__(self, permissions: Collection[str], name: str) -> None:
        self.permissions = permissions
        self.name = name

    def may(self, permission: str) -> bool:
        """Whether the caller has a permission."""
        return permission in self.permissions

    def need(self, permission: str) -> None:
        """Refuse with 403 (401 for nobody in particular) where the caller lacks a permission."""
        if self.may(permission):
            return
        full = f"storage.{permission}" if "." in permission else f"storage.objects.{permission}"
        kind = "bucket" if permission.startswith("buckets.") or permission == "list" else "object"
        message = f"{self.name} does not have {full} access to the Google Cloud Storage {kind}."
        if self.name == _ANONYMOUS:
            raise HttpError(401, "required", message)
        raise HttpError(403, "forbidden", f"{message} Permission '{full}' denied on resource (or it may not exist).")


_ANONYMOUS = "Anonymous caller"


class Access:
    """Tells who calls. Without tokens everybody may do everything."""

    def __init__(self, tokens: Tokens | None) -> None:
        self._tokens = None if tokens is None else {token: (_known(allowed), None) for token, allowed in tokens.items()}
        self._keys: dict[str, tuple[rsa.RSAPublicKey, frozenset[str], str | None]] = {}
        #: By how much the clock that signatures expire by is ahead.
        self.ahead = timedelta()

    def add_token(self, token: str, permissions: Collection[str], bucket: str | None = None) -> None:
        """Allow one more token; with ``bucket`` in that one alone."""
        if self._tokens is not None:
            self._tokens[token] = (_known(permissions), bucket)

    def add_key(
        self, email: str, key: rsa.RSAPublicKey, permissions: Collection[str], bucket: str | None = None
    ) -> None:
        """Let what this service account has signed do what it may; with ``bucket`` in that one alone."""
        self._keys[email] = (key, _known(permissions), bucket)

    def caller(self, request: Request) -> Caller:
        """Tell who sent a request by its signature or its token; refuse with 400, 401 or 403."""
        if "X-Goog-Signature" in request.query:
            return self._signer(request)
        if self._tokens is None:
            return Caller(PERMISSIONS, "Everybody")
        authorization = request.headers.get("authorization", "")
        if not authorization:
            return Caller((), _ANONYMOUS)
        scheme, _, token = authorization.partition(" ")
        held = (self._tokens.get(token) or self._self_signed(token)) if scheme.lower() == "bearer" else None
        if held is None:
            raise HttpError(401, "authError", "Invalid Credentials")
        return Caller(_within(*held, request), "The caller")

    def _self_signed(self, token: str) -> tuple[frozenset[str], str | None] | None:
        """Return what the service account may do whose own token this is, None where it is nobody's."""
        from google.auth import exceptions, jwt

        try:
            email = jwt.decode(token, verify=False).get("iss", "")  # type: ignore[no-untyped-call]
            key, permissions, bucket = self._keys[email]
            certificate = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            jwt.decode(token, certs=certificate)  # type: ignore[no-untyped-call]
        except (KeyError, ValueError, exceptions.GoogleAuthError):
            return None
        return permissions, bucket

    def _signer(self, request: Request) -> Caller:
        query = request.query
        email, _, scope = query.get("X-Goog-Credential", "").partition("/")
        if email not in self._keys:
            raise HttpError(403, "forbidden", "The service account of the signature is not known.")
        key, permissions, bucket = self._keys[email]
        began = datetime.strptime(query["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        seconds = int(query["X-Goog-Expires"])
        if not 0 < seconds <= _MAX_EXPIRY:
            raise HttpError(
                400, "invalid", f"X-Goog-Expires is at most {_MAX_EXPIRY}.", "AuthorizationQueryParametersError"
            )
        if datetime.now(UTC) + self.ahead > began + timedelta(seconds=seconds):
            raise HttpError(400, "invalid", "The provided token has expired.", "ExpiredToken")
        text = "\n".join(["GOOG4-RSA-SHA256", query["X-Goog-Date"], scope, _canonical_hash(request)])
        try:
            signature = bytes.fromhex(query["X-Goog-Signature"])
            key.verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            message = "Access denied. The request signature we calculated does not match the one you provided."
            raise HttpError(403, "forbidden", message, "SignatureDoesNotMatch") from None
        return Caller(_within(permissions, bucket, request), email)


def _within(permissions: frozenset[str], bucket: str | None, request: Request) -> frozenset[str]:
    """What is left of permissions that hold in ``bucket`` alone (None: in all)."""
    segments = request.segments
    if segments[0] in ("storage", "upload", "download"):
        segments = [*segments[segments.index("b") + 1 :], ""] if "b" in segments else [""]
    return permissions if bucket in (None, segments[0]) else frozenset()


def _canonical_hash(request: Request) -> str:
    """Return the hash of the canonical request, without the signature itself."""
    parts = urlsplit(request.target)
    pairs = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "X-Goog-Signature"]
    query = "&".join(sorted(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs))
    signed = request.query["X-Goog-SignedHeaders"]
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in signed.split(";"))
    payload = request.headers.get("x-goog-content-sha256", "UNSIGNED-PAYLOAD")
    canonical = "\n".join([request.method, parts.path, query, headers, signed, payload])
    return hashlib.sha256(canonical.encode()).hexdigest()


def _known(permissions: Collection[str]) -> frozenset[str]:
    unknown = set(permissions) - PERMISSIONS
    if unknown:
        raise ValueError(f"unknown permissions {sorted(unknown)}; there are {sorted(PERMISSIONS)}")
    return frozenset(permissions)
