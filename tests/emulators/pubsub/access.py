"""Who may do what: bearer tokens, the roles they hold and the permissions of each RPC.

Sources: "Access control with IAM" of the Pub/Sub documentation (roles and the permissions in them); AIP-4111 (tokens
that a service account signs itself).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import grpc
from google.auth import exceptions, jwt

from .refusals import Refusal

__all__ = ["ROLES", "Access", "Tokens"]

#: For each token the resources it may use: a full name, or ``projects/<id>`` for all in it, and a role for each.
Tokens = Mapping[str, Mapping[str, str]]

_VIEWER = frozenset(
    {
        "pubsub.snapshots.get",
        "pubsub.snapshots.list",
        "pubsub.subscriptions.get",
        "pubsub.subscriptions.list",
        "pubsub.topics.get",
        "pubsub.topics.list",
    }
)
_PUBLISHER = frozenset({"pubsub.topics.publish"})
_SUBSCRIBER = frozenset({"pubsub.snapshots.seek", "pubsub.subscriptions.consume", "pubsub.topics.attachSubscription"})
_EDITOR = (
    _VIEWER
    | _PUBLISHER
    | _SUBSCRIBER
    | {
        "pubsub.snapshots.create",
        "pubsub.snapshots.delete",
        "pubsub.snapshots.update",
        "pubsub.subscriptions.create",
        "pubsub.subscriptions.delete",
        "pubsub.subscriptions.update",
        "pubsub.topics.create",
        "pubsub.topics.delete",
        "pubsub.topics.detachSubscription",
        "pubsub.topics.update",
    }
)
#: The permissions of each role, by the part of its name behind ``roles/pubsub.``.
ROLES: Mapping[str, frozenset[str]] = {
    "viewer": _VIEWER,
    "publisher": _PUBLISHER,
    "subscriber": _SUBSCRIBER,
    "editor": _EDITOR,
}


class Access:
    """Decides by the ``authorization`` metadata of a call. Without tokens everybody may do everything."""

    def __init__(self, tokens: Tokens | None) -> None:
        self._tokens = tokens
        self._accounts: dict[str, tuple[bytes, Mapping[str, str]]] = {}
        for grants in (tokens or {}).values():
            _check_roles(grants)

    def add_account(self, email: str, public_key: bytes, grants: Mapping[str, str]) -> None:
        """Accept the tokens that this service account signs; ``public_key`` (PEM) checks them."""
        _check_roles(grants)
        self._accounts[email] = public_key, grants

    @property
    def asked(self) -> bool:
        """Whether calls must carry a token."""
        return self._tokens is not None

    def check(self, metadata: Iterable[tuple[str, str | bytes]], needed: Iterable[tuple[str, str]]) -> None:
        """Refuse a call that lacks one of the needed (permission, resource) pairs.

        Raises:
            Refusal: UNAUTHENTICATED without a known token, PERMISSION_DENIED without the permission.
        """
        grants = self._grants(metadata)
        for permission, resource in needed:
            if not _holds(grants, permission, resource):
                raise Refusal(grpc.StatusCode.PERMISSION_DENIED, "User not authorized to perform this action.")

    def held(self, metadata: Iterable[tuple[str, str | bytes]], resource: str, asked: Iterable[str]) -> list[str]:
        """Return which of the permissions asked for the caller holds on a resource (TestIamPermissions)."""
        if self._tokens is None:
            return list(asked)
        grants = self._grants(metadata)
        return [permission for permission in asked if _holds(grants, permission, resource)]

    def _grants(self, metadata: Iterable[tuple[str, str | bytes]]) -> Mapping[str, str]:
        assert self._tokens is not None
        authorization = dict(metadata).get("authorization", "")
        scheme, _, token = str(authorization).partition(" ")
        grants = (self._tokens.get(token) or self._self_signed(token)) if scheme.lower() == "bearer" else None
        if grants is None:
            raise Refusal(
                grpc.StatusCode.UNAUTHENTICATED,
                "Request had invalid authentication credentials. Expected OAuth 2 access token or other valid "
                "authentication credential.",
            )
        return grants

    def _self_signed(self, token: str) -> Mapping[str, str] | None:
        """Return the grants of the service account whose own token this is, None where it is nobody's."""
        try:
            email = jwt.decode(token, verify=False).get("iss", "")  # type: ignore[no-untyped-call]
            public_key, grants = self._accounts[email]
            jwt.decode(token, certs=public_key)  # type: ignore[no-untyped-call]
        except (KeyError, ValueError, exceptions.GoogleAuthError):
            return None
        return grants


def _check_roles(grants: Mapping[str, str]) -> None:
    unknown = set(grants.values()) - set(ROLES)
    if unknown:
        raise ValueError(f"unknown roles {sorted(unknown)}; there are {sorted(ROLES)}")


def _holds(grants: Mapping[str, str], permission: str, resource: str) -> bool:
    project = "/".join(resource.split("/")[:2])
    return any(permission in ROLES[grants[name]] for name in {resource, project} if name in grants)
