"""Who may do what: shared access signatures, bearer tokens, and the claims a connection has gathered.

Sources: "Service Bus access control with Shared Access Signatures" (form and signature of a token, key names, rights,
scopes) and the Service Bus AMQP protocol guide, "Claims-based authorization" (put-token, status codes).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qs, quote_plus, urlsplit

from .protocol import AmqpError, Condition
from .settings import AccessKey, BearerToken

__all__ = ["Authority", "Claim", "Claims", "TokenRefusedError", "sign"]

_SAS = "SharedAccessSignature "


class TokenRefusedError(Exception):
    """A token is not accepted; the text is the service's status description."""


@dataclass(frozen=True)
class Claim:
    """What a token allows: rights on all paths at or below ``path`` (lower case; empty for all) until ``expires``."""

    path: str
    rights: frozenset[str]
    expires: float

    def covers(self, path: str, right: str, now: float) -> bool:
        """Whether this allows ``right`` on the entity at ``path``."""
        return right in self.rights and now < self.expires and _is_within(path.lower(), self.path)


class Claims:
    """The claims of one connection."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}

    def add(self, claim: Claim) -> None:
        """Add a claim; it replaces the older one of this path and these rights."""
        self._claims[f"{claim.path} {sorted(claim.rights)}"] = claim

    def require(self, path: str, right: str) -> None:
        """Refuse what no claim allows.

        Raises:
            AmqpError: ``right`` on ``path`` is not among the claims, or no longer.
        """
        now = time.time()
        if not any(claim.covers(path, right, now) for claim in self._claims.values()):
            raise AmqpError(
                Condition.UNAUTHORIZED,
                f"Unauthorized access. '{right}' claim(s) are required to perform this operation. Resource: '{path}'.",
            )


class Authority:
    """Checks tokens against the keys and bearer tokens it was given."""

    def __init__(self, keys: Iterable[AccessKey], tokens: Iterable[BearerToken] = ()) -> None:
        self.keys = {key.name: key for key in keys}
        self.tokens = {token.token: token for token in tokens}

    def check(self, audience: str, token: object) -> Claim:
        """Return what ``token`` allows on ``audience``, the URI of an entity.

        Raises:
            TokenRefusedError: it is malformed, expired, wrongly signed, or not for this audience.
        """
        if not isinstance(token, str):
            raise TokenRefusedError("MalformedToken: The token is malformed.")
        if token.startswith(_SAS):
            return self._check_signature(audience, token)
        bearer = self.tokens.get(token)
        if bearer is None:
            raise TokenRefusedError("InvalidSignature: The token has an invalid signature.")
        return _claim(audience, bearer, bearer.expires or float("inf"))

    def _check_signature(self, audience: str, token: str) -> Claim:
        try:
            fields = {name: values[0] for name, values in parse_qs(token[len(_SAS) :], strict_parsing=True).items()}
            resource, signature, name = fields["sr"], fields["sig"], fields["skn"]
            expires = int(fields["se"])
        except (KeyError, ValueError):
            raise TokenRefusedError("MalformedToken: The token is malformed.") from None
        key = self.keys.get(name)
        if key is None or not _is_signed(token, signature, key.key, expires):
            raise TokenRefusedError("InvalidSignature: The token has an invalid signature.")
        if expires <= time.time():
            raise TokenRefusedError("ExpiredToken: The token is expired.")
        if _host(resource) != _host(audience) or not _is_within(_path(audience), _path(resource)):
            raise TokenRefusedError(
                "InvalidAudience: The authorization header contains a token with the wrong audience."
            )
        return _claim(audience, key, expires)


def sign(resource: str, key: AccessKey, *, expires: float) -> str:
    """Return a shared access signature for ``resource`` (a URI), good until ``expires`` (Unix seconds)."""
    encoded = quote_plus(resource)
    signature = quote_plus(_signature(encoded, key.key, int(expires)))
    return f"{_SAS}sr={encoded}&sig={signature}&se={int(expires)}&skn={quote_plus(key.name)}"


def _signature(encoded_resource: str, key: str, expires: int) -> str:
    text = f"{encoded_resource}\n{expires}"
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()


def _is_signed(token: str, signature: str, key: str, expires: int) -> bool:
    """The resource is signed as it stands in the token, encoded in whichever way its maker chose."""
    encoded = next(part[3:] for part in token[len(_SAS) :].split("&") if part.startswith("sr="))
    return hmac.compare_digest(_signature(encoded, key, expires).encode(), signature.encode())


def _claim(audience: str, grant: AccessKey | BearerToken, expires: float) -> Claim:
    path = _path(audience)
    if grant.entity is not None and not _is_within(path, grant.entity.lower()):
        raise TokenRefusedError("InvalidSignature: The token has an invalid signature.")  # no such policy there
    return Claim(path, frozenset(grant.rights), expires)


def _path(uri: str) -> str:
    return urlsplit(uri).path.strip("/").lower()


def _host(uri: str) -> str:
    """Without the port: a connection string has one and a URI of the service has none."""
    return (urlsplit(uri).hostname or "").lower()


def _is_within(path: str, scope: str) -> bool:
    return not scope or path == scope or path.startswith(f"{scope}/")
