"""The credential as headers of a call, its token renewed when it is about to expire."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request

from clouddirect_gcp.broker_options import GcpBrokerOptions
from clouddirect_gcp.credentials import classify_credential_error, open_credentials

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

__all__ = ["Identity"]

_SCOPES = ("https://www.googleapis.com/auth/pubsub",)


class Identity:
    """Who calls. Tokens are renewed here, not inside gRPC, which would report a refused credential as UNAVAILABLE.

    Attributes:
        credentials: of google-auth.
        project: the credential's own project, or None if it is not known.
    """

    def __init__(self, options: GcpBrokerOptions, target: str, *, plain: bool) -> None:
        """Open the credential; over a plain connection only a token that was given for it is used.

        Raises:
            ConfigurationError, AuthenticationError: as `open_credentials`.
        """
        self._anonymous = options.anonymous or (plain and options.access_token is None)
        self.credentials: Credentials
        self.project: str | None = None
        if self._anonymous:
            self.credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        else:
            self.credentials, self.project = open_credentials(options, _SCOPES)
        self._service = f"https://{target}/google.pubsub.v1"
        self._request = Request()
        self._lock = threading.Lock()

    def headers(self, timeout: float) -> list[tuple[str, str]]:
        """Return the headers that say who calls, after renewing the token if need be, which may take a request.

        Raises:
            AuthenticationError: no token can be had with this credential.
            UnavailableError: the token's issuer cannot be reached.
        """
        if self._anonymous:
            return []
        headers: dict[str, str] = {}
        request = partial(self._request, timeout=timeout)
        try:
            with self._lock:  # one thread renews, the others wait for its token
                self.credentials.before_request(request, "POST", self._service, headers)  # type: ignore[no-untyped-call]
        except GoogleAuthError as error:
            translated = classify_credential_error(error)
            assert translated is not None
            raise translated from error
        return [(name.lower(), value) for name, value in headers.items()]
