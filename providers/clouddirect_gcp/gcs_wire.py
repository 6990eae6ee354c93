"""The wire to Cloud Storage: google-auth's session, with bodies that stall no longer than they may and no retries.

Requests are made with the SDK's `AuthorizedSession` rather than with `Blob`, whose uploads hand a whole chunk to one
call of the socket (so that the timeout counts for all of it) and whose downloads cannot be read piece by piece.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit, urlunsplit

import requests
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import storage  # type: ignore[import-untyped]
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection

from clouddirect.errors import ConfigurationError
from clouddirect_gcp.credentials import open_credentials
from clouddirect_gcp.gcs_errors import About, broken_line, read_refusal, refused
from clouddirect_gcp.store_options import GcpStoreOptions

__all__ = ["Body", "Wire"]

#: Bytes, or what opens a stream over them anew.
Body = bytes | Callable[[], BinaryIO]

# What one call of the socket is given to send. It is also what must pass within the stall timeout.
_PIECE = 64 << 10
# Connections kept for later; more are opened when more are needed at once.
_POOL = 32
_EMULATOR = "STORAGE_EMULATOR_HOST"  # the SDK's own variable


class Wire:
    """Sends requests, from any thread. Nothing is opened before the first one."""

    def __init__(self, options: GcpStoreOptions, concurrency: int) -> None:
        self._options = options
        self._pool = max(_POOL, concurrency)
        self._lock = threading.Lock()
        self._opened: tuple[storage.Client, AuthorizedSession] | None = None
        self._process = 0
        for name in ("urllib3.connectionpool", "google.auth.transport.requests"):
            logging.getLogger(name).addFilter(_hide_sessions)

    # -- what is opened on use ------------------------------------------------------------------------------

    @property
    def client(self) -> storage.Client:
        """The SDK's client, over the same connections."""
        return self._open()[0]

    @property
    def credentials(self) -> Credentials:
        """Who we are."""
        credentials: Credentials = self._open()[1].credentials
        return credentials

    @property
    def endpoint(self) -> str:
        """Base URL of the service, without a slash at its end."""
        return str(self.client.api_endpoint).rstrip("/")

    def objects(self, key: str | None = None) -> str:
        """URL of the JSON API for the bucket's objects, or for one of them."""
        path = f"{self.endpoint}/storage/v1/b/{self._options.container}/o"
        return path if key is None else f"{path}/{quote(key, safe='')}"

    def uploads(self) -> str:
        """URL of the JSON API that objects are sent to."""
        return f"{self.endpoint}/upload/storage/v1/b/{self._options.container}/o"

    def plain(self, key: str) -> str:
        """URL of an object in the XML API."""
        return f"{self.endpoint}/{self._options.container}/{quote(key, safe='/~')}"

    def session(self, location: str) -> str:
        """Where a session is reached: as the service says, but by the configured endpoint where there is one, for a
        proxy does not rewrite what the service says of itself."""
        if self._options.endpoint is None:
            return location
        base, told = urlsplit(self.endpoint), urlsplit(location)
        return urlunsplit((base.scheme, base.netloc, base.path + told.path, told.query, ""))

    # -- requests -------------------------------------------------------------------------------------------

    def send(
        self,
        method: str,
        url: str,
        *,
        about: About,
        timeout: float,
        query: Mapping[str, str | list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
        expected: tuple[int, ...] = (200,),
        if_absent: bool = False,
        stream: bool = False,
    ) -> requests.Response:
        """Send one request; return its answer, read to the end unless ``stream``.

        With ``if_absent`` it carries the condition that there is no such object. A token that the service does not
        accept any more is renewed once.

        Raises:
            CloudDirectError: by the table of `clouddirect_gcp.gcs_errors`, for an answer not ``expected`` and for a
                connection that failed. Its cause holds no address.
        """
        failure = None
        try:
            response = self._once(method, url, query, headers, body, timeout)
            if response.status_code == 401 and self._renewed():
                response.close()
                response = self._once(method, url, query, headers, body, timeout)
            if response.status_code in expected:
                if not stream:
                    response.content  # noqa: B018 - reads it, and gives the connection back
                return response
            failure = refused(read_refusal(response), about, if_absent)
        except requests.RequestException as error:
            failure = broken_line(error)
        # raised out here: the library's own exception holds the address, and shall not be shown as the context
        assert failure is not None
        raise failure

    def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            self._opened[1].close()  # type: ignore[no-untyped-call]

    def _once(
        self,
        method: str,
        url: str,
        query: Mapping[str, str | list[str]] | None,
        headers: Mapping[str, str] | None,
        body: Body,
        timeout: float,
    ) -> requests.Response:
        # the connection's timeout would count for sending, too, so both are the same
        response: requests.Response = self._open()[1].request(  # type: ignore[no-untyped-call]
            method, url, params=query, headers=dict(headers or {}), data=body if isinstance(body, bytes) else body(),
            timeout=timeout, stream=True, allow_redirects=False,
        )  # fmt: skip
        return response

    def _renewed(self) -> bool:
        credentials = self.credentials
        if isinstance(credentials, AnonymousCredentials):
            return False
        try:
            credentials.refresh(Request())  # type: ignore[no-untyped-call]
        except GoogleAuthError:
            return False  # such as a token that somebody else obtained; the service's own answer says more
        return True

    def _open(self) -> tuple[storage.Client, AuthorizedSession]:
        with self._lock:
            if self._opened is None or self._process != os.getpid():  # a child must not share its parent's sockets
                self._opened, self._process = self._connect(), os.getpid()
            return self._opened

    def _connect(self) -> tuple[storage.Client, AuthorizedSession]:
        options = self._options
        # our own handling of 401: the SDK's would send a stream again from where the first attempt left it
        session = AuthorizedSession(_credentials(options), refresh_status_codes=())  # type: ignore[no-untyped-call]
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(pool_connections=4, pool_maxsize=self._pool, max_retries=0))
        given: dict[str, str] = {}
        if options.endpoint is not None:
            given["api_endpoint"] = options.endpoint
        if options.universe_domain != "googleapis.com":
            given["universe_domain"] = options.universe_domain
        try:
            client = storage.Client(None, session.credentials, _http=session, client_options=given)
        except ValueError:
            raise ConfigurationError(
                f"the credential is of another universe than universe_domain {options.universe_domain!r}; set it to "
                "the credential's"
            ) from None
        return client, session


def _credentials(options: GcpStoreOptions) -> Credentials:
    given = (options.service_account_file, options.service_account_key, options.access_token, options.impersonate)
    if options.endpoint is None and os.environ.get(_EMULATOR) and not any(given):
        return AnonymousCredentials()  # type: ignore[no-untyped-call] # as the SDK does
    return open_credentials(options)[0]


class _Adapter(HTTPAdapter):
    """Connections that send small pieces and let little pile up unsent in the system's buffers.

    What has piled up is still on its way while the answer is being waited for, so that on a slow line megabytes of it
    would outlast the stall timeout.
    """

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **options, **_connection_options())

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, **options, **_connection_options())


def _connection_options() -> dict[str, Any]:
    options = list(HTTPConnection.default_socket_options)
    low_water = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # Linux, macOS
    if low_water is not None:
        options.append((socket.IPPROTO_TCP, low_water, 4 * _PIECE))
    return {"blocksize": _PIECE, "socket_options": options}


_SESSION = re.compile(r"\b(upload_?id=)[^&\s\"']+", re.IGNORECASE)


def _hide_sessions(record: logging.LogRecord) -> bool:
    """Take out of the HTTP library's debug log what would let its reader write into an upload that is under way."""
    if isinstance(record.args, tuple):
        record.args = tuple(_SESSION.sub(r"\1…", one) if isinstance(one, str) else one for one in record.args)
    told = getattr(record, "httpRequest", None)
    if isinstance(told, dict) and isinstance(told.get("url"), str):
        record.httpRequest = {**told, "url": _SESSION.sub(r"\1…", told["url"])}
    return True
