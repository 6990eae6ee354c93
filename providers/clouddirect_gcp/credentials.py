"""From options to credentials of google-auth, and what its errors mean. Used by the broker and the store.

google-auth is imported when a credential is opened, not before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clouddirect.errors import AuthenticationError, CloudDirectError, ConfigurationError, UnavailableError

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

    from clouddirect_gcp.credential_options import GcpCredentialOptions

__all__ = ["classify_credential_error", "open_credentials"]

#: What all credentials of the cloud are scoped to; IAM roles, not scopes, say what they may do
#: (https://cloud.google.com/docs/authentication#authorization-gcp).
_CLOUD_PLATFORM = ("https://www.googleapis.com/auth/cloud-platform",)
_DEFAULT_UNIVERSE = "googleapis.com"
#: Seconds that an impersonated credential lasts; the longest without a change of the organisation's policy.
_IMPERSONATION = 3600


def open_credentials(
    options: GcpCredentialOptions, scopes: Sequence[str] = _CLOUD_PLATFORM
) -> tuple[Credentials, str | None]:
    """Return the credentials that ``options`` describe, and the project they belong to, or None if that is not known.

    Service accounts sign their own tokens, so no token endpoint has to be reachable for them. Application Default
    Credentials may ask the metadata server, which takes a few seconds where there is none: open them when they are
    first needed, and keep them.

    Raises:
        ConfigurationError: a key cannot be read, or is not a service account's, or is of another universe.
        AuthenticationError: there are no Application Default Credentials here, or they are malformed or refused.
        UnavailableError: what had to be asked for them cannot be reached.
    """
    credentials, project = _source(options, scopes)
    if options.impersonate:
        credentials = _impersonated(options, credentials, scopes)
    if options.quota_project and hasattr(credentials, "with_quota_project"):
        credentials = credentials.with_quota_project(options.quota_project)
    return credentials, project


def classify_credential_error(error: Exception) -> CloudDirectError | None:
    """Translate what google-auth raises while it obtains or renews a token; None if it is not google-auth's."""
    from google.auth import exceptions

    if not isinstance(error, exceptions.GoogleAuthError):
        return None
    if isinstance(error, exceptions.DefaultCredentialsError):
        return AuthenticationError(
            "no usable Application Default Credentials were found: run 'gcloud auth application-default login', set "
            "GOOGLE_APPLICATION_CREDENTIALS, or give service_account_file, service_account_key or access_token",
            code=type(error).__name__,
        )
    # a refused refresh says "not retryable", a token endpoint that is out of order says "retryable"
    if isinstance(error, exceptions.TransportError) or error.retryable:
        return UnavailableError(
            "the service that issues access tokens could not be reached, or failed on its side: see the cause",
            code=type(error).__name__,
        )
    return AuthenticationError(
        "no access token could be obtained with this credential: it may be revoked, expired or disabled, or may not "
        "impersonate the account; renew it, or check the account's keys and roles",
        code=type(error).__name__,
    )


def _source(options: GcpCredentialOptions, scopes: Sequence[str]) -> tuple[Credentials, str | None]:
    if options.anonymous:
        from google.auth.credentials import AnonymousCredentials

        return AnonymousCredentials(), None  # type: ignore[no-untyped-call]
    if options.access_token is not None:
        from google.oauth2.credentials import Credentials as TokenCredentials

        token = options.access_token.get_secret_value()
        return TokenCredentials(token=token, universe_domain=options.universe_domain), None  # type: ignore[no-untyped-call]
    key = _key(options)
    if key is not None:
        field, info = key
        return _service_account(field, info, options, scopes)
    return _default(options, scopes)


def _key(options: GcpCredentialOptions) -> tuple[str, Mapping[str, Any]] | None:
    """The service account's key as JSON, with the name of the option that brought it."""
    if options.service_account_file is not None:
        try:
            text = options.service_account_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"service_account_file {str(options.service_account_file)!r} cannot be read ({type(error).__name__})"
            ) from None
        field = "service_account_file"
    elif options.service_account_key is not None:
        text, field = options.service_account_key.get_secret_value(), "service_account_key"
    else:
        return None
    try:
        info = json.loads(text)
    except ValueError:
        info = None
    # raised out here: the parser's exception holds the whole text, which is the secret
    if not isinstance(info, dict) or info.get("type") != "service_account":
        raise ConfigurationError(
            f'{field} must be the JSON of a service account\'s key ("type": "service_account"); other kinds of '
            "credentials are found through GOOGLE_APPLICATION_CREDENTIALS when no option is given"
        )
    return field, info


def _service_account(
    field: str, info: Mapping[str, Any], options: GcpCredentialOptions, scopes: Sequence[str]
) -> tuple[Credentials, str | None]:
    from google.oauth2.service_account import Credentials as ServiceAccountCredentials

    try:
        credentials = ServiceAccountCredentials.from_service_account_info(info, scopes=list(scopes))  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, KeyError):
        credentials = None
    # raised out here: the exception's frames and text are about the private key
    if credentials is None:
        raise ConfigurationError(f"{field} lacks a field of a service account's key, or its private key is damaged")
    _check_universe(credentials, options, field)
    return credentials.with_always_use_jwt_access(True), info.get("project_id")


def _default(options: GcpCredentialOptions, scopes: Sequence[str]) -> tuple[Credentials, str | None]:
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        credentials, project = google.auth.default(scopes=list(scopes))
        if options.universe_domain != _DEFAULT_UNIVERSE:  # asking may take a request, so it is not done for everybody
            _check_universe(credentials, options, "the default credential")
    except GoogleAuthError as error:  # federated workloads ask the service for their project
        translated = classify_credential_error(error)
        assert translated is not None
        raise translated from error
    return credentials, project


def _impersonated(options: GcpCredentialOptions, source: Credentials, scopes: Sequence[str]) -> Credentials:
    from google.auth.impersonated_credentials import Credentials as ImpersonatedCredentials

    return ImpersonatedCredentials(  # type: ignore[no-untyped-call]
        source_credentials=source,
        target_principal=options.impersonate,
        target_scopes=list(scopes),
        delegates=list(options.impersonate_through) or None,
        lifetime=_IMPERSONATION,
    )


def _check_universe(credentials: Any, options: GcpCredentialOptions, field: str) -> None:
    if credentials.universe_domain != options.universe_domain:
        raise ConfigurationError(
            f"{field} is of the universe {credentials.universe_domain!r}, but universe_domain is "
            f"{options.universe_domain!r}: set universe_domain to the credential's"
        )
