"""`AwsSession`: makes botocore clients from our options. Opening one does no I/O; making a client may look up a role.

SDK retries are off (core retries, with one policy for all providers), TCP keep-alive is on (clinic routers drop silent
connections), and every timeout is set on purpose. The SDK's loggers that would write whole requests and answers at
DEBUG, with what they hold of messages and credentials, are kept at INFO unless the program has set their level itself.
"""

from __future__ import annotations

import functools
import logging
import threading
from typing import TYPE_CHECKING, Any

import boto3
import botocore.loaders
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    Credentials,
    DeferredRefreshableCredentials,
)

from clouddirect.errors import AuthenticationError

if TYPE_CHECKING:
    from clouddirect_aws.session_options import SessionOptions

__all__ = ["AwsSession"]

#: Loggers of the SDK that write bodies, parameters or signed headers at DEBUG.
_TALKATIVE = ("botocore.auth", "botocore.endpoint", "botocore.hooks", "botocore.parsers", "botocore.regions")


class AwsSession:
    """Clients of one account; may be used from any thread. Clients themselves are thread-safe, making them is not."""

    def __init__(self, options: SessionOptions) -> None:
        """Keep the options; nothing is looked up before the first `client`."""
        self._options = options
        self._lock = threading.Lock()
        self._session: boto3.session.Session | None = None
        self._clients: list[Any] = []

    def client(self, service: str, *, region: str | None = None, endpoint_url: str | None = None, **config: Any) -> Any:
        """Make a client of ``service`` (``"sqs"``, ``"s3"``); the caller keeps it, `close` closes it.

        Args:
            service: boto3's name of the service.
            region: the region where the options name none; the options win.
            endpoint_url: the endpoint where the options name none; the options win.
            config: settings of `botocore.config.Config` beside or in place of the common ones.

        Raises:
            botocore.exceptions.BotoCoreError: the profile or the region is missing, or similar; see `session_errors`.
        """
        with self._lock:
            if self._session is None:
                _quieten()
                self._session = _boto3_session(_session_for(self._options))
            client: Any = self._session.client(  # type: ignore[call-overload]  # the service is not a literal here
                service,
                region_name=self._options.region or region,
                endpoint_url=self._options.endpoint_url or endpoint_url,
                verify=None if self._options.ca_bundle is None else str(self._options.ca_bundle),
                config=_config(self._options, config),
            )
            self._clients.append(client)
        return client

    def close(self) -> None:
        """Close the connections of all clients."""
        with self._lock:
            clients, self._clients = self._clients, []
        for client in clients:
            client.close()


def _quieten() -> None:
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)


def _config(options: SessionOptions, more: dict[str, Any]) -> Config:
    proxy = options.proxy.get_secret_value() if options.proxy is not None else None
    settings: dict[str, Any] = {
        "connect_timeout": options.connect_timeout,
        "read_timeout": options.read_timeout,
        "max_pool_connections": options.pool_size,
        # one attempt: "standard" with a maximum of 1 overrides AWS_MAX_ATTEMPTS and the profile's settings
        "retries": {"mode": "standard", "total_max_attempts": 1},
        "tcp_keepalive": True,
        "proxies": None if proxy is None else {"http": proxy, "https": proxy},
        "user_agent_extra": "clouddirect",
    }
    return Config(**{**settings, **more})


@functools.cache
def _loader(data_path: str | None) -> botocore.loaders.Loader:
    """One for all sessions: reading the services' descriptions is four fifths of what making a client costs."""
    return botocore.loaders.create_loader(data_path)


def _new_session(profile: str | None) -> botocore.session.Session:
    session = botocore.session.Session(profile=profile)
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    return session


def _boto3_session(session: botocore.session.Session) -> boto3.session.Session:
    made = boto3.session.Session(botocore_session=session)
    loader = session.get_component("data_loader")
    loader.search_paths[:] = dict.fromkeys(loader.search_paths)  # each session adds boto3's own
    return made


def _session_for(options: SessionOptions) -> botocore.session.Session:
    source = _new_session(options.profile)
    if options.access_key_id is not None and options.secret_access_key is not None:
        source.set_credentials(
            options.access_key_id.get_secret_value(),
            options.secret_access_key.get_secret_value(),
            None if options.session_token is None else options.session_token.get_secret_value(),
        )
    if options.role_arn is None:
        return source
    session = _new_session(options.profile)
    assumed = _AssumedRole(options, options.role_arn, source)
    session.register_component("credential_provider", CredentialResolver([assumed]))
    return session


class _AssumedRole(CredentialProvider):
    """Temporary credentials of ``role_arn``, fetched when first needed and again some minutes before they expire."""

    METHOD = "clouddirect-assume-role"
    CANONICAL_NAME = None

    def __init__(self, options: SessionOptions, role_arn: str, source: botocore.session.Session) -> None:
        super().__init__()
        self._options = options
        self._role_arn = role_arn
        self._source = source
        self._lock = threading.Lock()

    def load(self) -> Credentials:
        """Return credentials that fetch themselves; no I/O yet."""
        return DeferredRefreshableCredentials(refresh_using=self._fetch, method=self.METHOD)

    def _fetch(self) -> dict[str, Any]:
        options = self._options
        with self._lock:
            source = self._source.get_credentials()
            if source is None:
                raise AuthenticationError(
                    f"no AWS credential was found to assume the role {self._role_arn} with; give access_key_id and "
                    "secret_access_key, a profile, or one of boto3's own sources"
                )
            wishes: dict[str, Any] = {"RoleSessionName": options.role_session_name}
            if options.role_external_id is not None:
                wishes["ExternalId"] = options.role_external_id.get_secret_value()
            if options.role_duration is not None:
                wishes["DurationSeconds"] = options.role_duration
            fetcher = AssumeRoleCredentialFetcher(self._sts, source, self._role_arn, extra_args=wishes, cache={})
            found: dict[str, Any] = fetcher.fetch_credentials()
        return found

    def _sts(self, service: str, **keys: Any) -> Any:
        options = self._options
        return self._source.create_client(
            service,
            region_name=options.region,
            endpoint_url=options.sts_endpoint_url,
            verify=None if options.ca_bundle is None else str(options.ca_bundle),
            config=_config(options, {}),
            **keys,
        )
