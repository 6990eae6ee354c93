"""`BlobHttp`: signed requests to one container, over the Azure SDK's pipeline and transport.

The SDK's own blob client stands one floor too high: it reads a part into memory before it sends it (so that one
`sendall` has the timeout for all of it), a range before it hands out its first byte, and turns sixty headers into
objects for each block. This sends the same requests (https://learn.microsoft.com/rest/api/storageservices) through
the same transport and authentication, with parts and ranges as streams.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
import socket
import threading
import uuid
from collections.abc import Mapping
from email.utils import formatdate
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import requests
from azure.core.pipeline import Pipeline
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest, HttpResponse
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.util.retry import Retry

from clouddirect_azure.blob_account import Account
from clouddirect_azure.blob_errors import refusal
from clouddirect_azure.store_options import AzureStoreOptions

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

__all__ = ["API_VERSION", "BlobHttp"]

#: The first one whose listings tell every name; any account takes it.
API_VERSION = "2021-12-02"

#: What Entra tokens are asked for; the same in every Azure cloud.
TOKEN_SCOPE = "https://storage.azure.com/.default"  # noqa: S105 - the name of a scope

_SEND_SIZE = 128 << 10
_RECEIVE_SIZE = 256 << 10
#: The system may take this much before a byte has left. Unbounded, a slow line would still be sending megabytes when
#: the wait for the answer, and with it the stall timeout, begins.
_SEND_BUFFER = 256 << 10
#: Idle connections that are kept. More may be open at once.
_MIN_POOL = 16
_MAX_ERROR_BODY = 64 << 10

#: What the service answers when it has done what it was asked for.
_SUCCESS = {"DELETE": (202,), "GET": (200, 206), "HEAD": (200,), "PUT": (201,)}

_SIGNED_HEADERS = (
    "content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
    "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range",
)  # fmt: skip


class BlobHttp:
    """Sends requests about one container. Any thread may use it; connections are kept and shared."""

    def __init__(
        self, account: Account, options: AzureStoreOptions, concurrency: int, credential: TokenCredential | None
    ) -> None:
        """Connect to nothing yet. ``credential`` gives the tokens where the account has neither key nor SAS."""
        self._account = account
        self._container = options.container
        self._proxies: dict[str, str] | None = None
        if options.proxy is not None:
            proxy = options.proxy.get_secret_value()
            self._proxies = {"http": proxy, "https": proxy}
        self.credential = credential
        #: For the SDK's clients as well.
        self.transport = RequestsTransport(
            session=_session(max(_MIN_POOL, concurrency)),
            connection_verify=str(options.ca_file) if options.ca_file else options.verify_tls,
            connection_data_block_size=_RECEIVE_SIZE,
        )
        policies = [_Bearer(credential)] if credential is not None else []
        self._pipeline: Pipeline[HttpRequest, HttpResponse] = Pipeline(self.transport, policies)
        logging.getLogger("urllib3.connectionpool").addFilter(_hide_signatures)

    @property
    def host(self) -> str:
        """Where requests go, for messages."""
        return urlsplit(self._account.url).netloc

    def send(
        self,
        method: str,
        key: str | None,
        timeout: float,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | IO[bytes] | None = None,
        length: int = 0,
        stream: bool = False,
    ) -> HttpResponse:
        """Send one request about a blob, or about the container if ``key`` is None; return the answer.

        Args:
            method: the HTTP method.
            key: the blob's name.
            timeout: seconds without a byte.
            query: the query's pairs, without the SAS.
            headers: beside those that every request has.
            content: the body.
            length: its bytes.
            stream: leave the answer's body to be read; the caller closes it.

        Raises:
            CloudDirectError: the answer is not one of success.
            Exception: of the SDK, for `clouddirect_azure.blob_errors.failure` to translate.
        """
        request = self._request(method, key, query or {}, headers or {}, content, length)
        response = self._pipeline.run(
            request, stream=stream, connection_timeout=timeout, read_timeout=timeout, proxies=self._proxies
        ).http_response
        # a proxy's own page, sent as a success, must never pass for a confirmation or for somebody's image
        if response.status_code in _SUCCESS[method] and "x-ms-request-id" in response.headers:
            return response
        body = b""
        if method != "HEAD":
            body = _first_bytes(response) if stream else response.content
        raise refusal(response.status_code, response.headers, body, self._container)

    def close(self) -> None:
        """Close all connections."""
        self.transport.close()

    def _request(
        self,
        method: str,
        key: str | None,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        content: bytes | IO[bytes] | None,
        length: int,
    ) -> HttpRequest:
        account = self._account
        url = f"{account.url}/{self._container}" + ("" if key is None else "/" + quote(key, safe="/~"))
        pairs = [f"{name}={quote(value, safe='')}" for name, value in query.items()]
        sent = {
            "Accept-Encoding": "identity",  # bytes as they are stored
            "User-Agent": "clouddirect-azure",
            "x-ms-client-request-id": str(uuid.uuid4()),
            "x-ms-date": formatdate(usegmt=True),
            "x-ms-version": API_VERSION,
            **headers,
        }
        if method == "PUT":
            sent["Content-Length"] = str(length)
        if account.key is not None:
            sent["Authorization"] = _sign(account, method, urlsplit(url).path, query, sent)
        elif account.sas is not None:
            pairs.append(account.sas)
        return HttpRequest(method, url + ("?" + "&".join(pairs) if pairs else ""), headers=sent, content=content)


class _Bearer(BearerTokenCredentialPolicy[HttpRequest, HttpResponse]):
    """Adds Entra tokens: many requests at once ask for one, and a part that has to be sent again after a challenge is
    sent from its first byte."""

    def __init__(self, credential: TokenCredential) -> None:
        super().__init__(credential, TOKEN_SCOPE)
        self._lock = threading.Lock()

    def on_request(self, request: Any) -> None:
        with self._lock:
            super().on_request(request)

    def on_challenge(self, request: Any, response: Any) -> bool:
        again: bool = super().on_challenge(request, response)
        body = request.http_request.content
        if again and hasattr(body, "seek"):
            body.seek(0)
        return again


class _Adapter(HTTPAdapter):
    """Sends bodies in larger pieces than the default, through a bounded system buffer, and never retries."""

    def __init__(self, pool: int) -> None:
        super().__init__(pool_connections=4, pool_maxsize=pool, max_retries=Retry(total=False, redirect=False))

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **named: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **named, **_SOCKETS)

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:
        return super().proxy_manager_for(proxy, **named, **_SOCKETS)


_SOCKETS: dict[str, Any] = {
    "blocksize": _SEND_SIZE,
    "socket_options": [
        *HTTPConnection.default_socket_options,
        (socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ],
}


def _session(pool: int) -> requests.Session:
    session = requests.Session()
    session.auth = lambda request: request  # else ~/.netrc would replace the signature
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(pool))
    return session


def _sign(account: Account, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """Return the Authorization header for an account key.

    https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
    """
    lower = {name.lower(): value for name, value in headers.items()}
    if lower.get("content-length") == "0":
        del lower["content-length"]
    ours = sorted((pair for pair in lower.items() if pair[0].startswith("x-ms-")), key=lambda pair: _collated(pair[0]))
    lines = [
        method,
        *(lower.get(name, "") for name in _SIGNED_HEADERS),
        *(f"{name}:{value}" for name, value in ours),
        f"/{account.name}{path}",
        *(f"{name}:{value}" for name, value in sorted(query.items())),
    ]
    key = base64.b64decode(account.key or "")
    signature = base64.b64encode(hmac.digest(key, "\n".join(lines).encode(), hashlib.sha256)).decode()
    return f"SharedKey {account.name}:{signature}"


def _collated(name: str) -> str:
    """The service sorts headers as a dictionary does: hyphens do not count, and ``_`` comes before digits."""
    return name.replace("-", "").replace("_", "!")


def _first_bytes(response: HttpResponse) -> bytes:
    try:
        body = b""
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > _MAX_ERROR_BODY:
                break
        return body
    finally:
        response.close()


_SIGNATURE = re.compile(r"(?i)\bsig=[^&\s\"']+")


def _hide_signatures(record: logging.LogRecord) -> bool:
    """Take signatures out of what urllib3 logs of each request at DEBUG, for all who use it in this process."""
    if isinstance(record.args, tuple):
        record.args = tuple(_SIGNATURE.sub("sig=REDACTED", one) if isinstance(one, str) else one for one in record.args)
    return True
