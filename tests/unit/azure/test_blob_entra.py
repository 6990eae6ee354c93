"""Entra credentials: a program's own and those that Azure's chain finds, challenges, and URLs signed with them."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.core.credentials import AccessToken

from clouddirect.clock import ManualClock
from clouddirect.errors import AuthenticationError, PermissionDeniedError
from clouddirect.storage import PresignedUrl, StoreRuntime
from clouddirect_azure.store import AzureStore
from clouddirect_azure.store_options import AzureStoreOptions
from unit.azure.blob_fixtures import AT_ONCE, SecureBlobs
from unit.azure.bus_fixtures import Certificates


def entra_token(seconds: float = 3600) -> str:
    """A token as Entra would make it; Azurite checks all of it but the signature."""
    now = int(time.time())
    claims = {
        "aud": "https://storage.azure.com", "iss": "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/",
        "iat": now - 10, "nbf": now - 10, "exp": now + int(seconds), "oid": "23657296-5cd5-45b0-a809-d972a7f4dfe1",
        "tid": "dd0d0df1-06c3-436c-8034-4b9a153097ce",
    }  # fmt: skip
    pieces = (json.dumps(one).encode() for one in ({"alg": "RS256", "typ": "JWT"}, claims))
    return ".".join([*(base64.urlsafe_b64encode(one).decode().rstrip("=") for one in pieces), "c2ln"])


class Tokens:
    """Entra credentials of a program's own, which count how often they were asked."""

    def __init__(self, seconds: float = 3600) -> None:
        self.asked: list[str] = []
        self.claims: list[object] = []
        self._seconds = seconds

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return a token."""
        self.asked += scopes
        self.claims.append(options.get("claims"))
        threading.Event().wait(0.05)  # as over a network
        return AccessToken(entra_token(self._seconds), int(time.time() + self._seconds))


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[ThreadingHTTPServer]:
    """Run a small HTTP server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def identity_endpoint() -> Iterator[tuple[str, list[str]]]:
    """What App Service offers to a program with a managed identity: a URL that gives tokens."""
    asked: list[str] = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            answer = {"access_token": entra_token(), "expires_on": str(int(time.time()) + 3600), "token_type": "Bearer"}
            body = json.dumps({**answer, "resource": "https://storage.azure.com"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with serving(Endpoint) as server:
        yield f"http://127.0.0.1:{server.server_port}/token", asked


def entra_store(secure_blobs: SecureBlobs, credential: Tokens | None) -> AzureStore:
    server, authority = secure_blobs
    options = AzureStoreOptions(container="images", account_url=server.url(), ca_file=authority)
    return AzureStore(options, StoreRuntime(retry=AT_ONCE, part_size=65536), credential)


def test_entra_credentials_of_a_program(secure_blobs: SecureBlobs) -> None:
    """A program's own credentials do for everything, and are asked once, however many requests begin together."""
    tokens = Tokens()
    with entra_store(secure_blobs, tokens) as store:
        store.put("parts", bytes(200_000), if_absent=True)
        store.put("small", b"content")
        assert store.get("parts") == bytes(200_000)
        assert [one.key for one in store.list()] == ["parts", "small"]  # type: ignore[union-attr]
        assert store.check("read").status == "ok"
        store.delete("parts")
        store.delete("small")
    assert tokens.asked == ["https://storage.azure.com/.default"]


def test_challenge_sends_the_whole_part_again(bus_certificates: Certificates) -> None:
    """When the service wants a token with other claims, a new one is fetched and all bytes are sent once more."""
    bodies: list[tuple[bytes, str | None]] = []
    wanted = base64.urlsafe_b64encode(b'{"access_token": {"acrs": "c1"}}').decode().rstrip("=")

    class Service(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            bodies.append((self.rfile.read(int(self.headers["Content-Length"])), self.headers["Authorization"]))
            self.send_response(401 if len(bodies) == 1 else 201)
            self.send_header("Content-Length", "0")
            self.send_header("x-ms-request-id", "1")
            if len(bodies) == 1:
                self.send_header("WWW-Authenticate", f'Bearer error="insufficient_claims", claims="{wanted}"')
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    tokens = Tokens()
    with serving(Service) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(bus_certificates.chain, bus_certificates.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        options = AzureStoreOptions(
            container="images",
            account_url=f"https://127.0.0.1:{server.server_port}",
            ca_file=bus_certificates.authority,
        )
        with AzureStore(options, StoreRuntime(stall_timeout=5), tokens) as store:
            store.put("key", b"content")
    assert [body for body, _ in bodies] == [b"content", b"content"]
    assert tokens.claims == [None, '{"access_token": {"acrs": "c1"}}']


def test_default_azure_credential(secure_blobs: SecureBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an account's URL alone, the vendor's own chain finds the credential: here a managed identity's."""
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_TOKEN_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    with identity_endpoint() as (url, asked):
        monkeypatch.setenv("IDENTITY_ENDPOINT", url)
        monkeypatch.setenv("IDENTITY_HEADER", "header-of-the-sandbox")
        with entra_store(secure_blobs, None) as store:
            store.put("key", b"content")
            assert store.get("key") == b"content"
    assert len(asked) == 1
    assert "resource=https%3A%2F%2Fstorage.azure.com" in asked[0] or "resource=https://storage.azure.com" in asked[0]


def test_no_entra_credential_at_all(secure_blobs: SecureBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none is found, the error says how to get one, at once."""
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "IDENTITY_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    with entra_store(secure_blobs, None) as store, pytest.raises(AuthenticationError, match="az login") as refused:
        store.get("key")
    assert not refused.value.retryable


def test_token_that_is_not_accepted(secure_blobs: SecureBlobs) -> None:
    """An expired token is refused as such."""
    with entra_store(secure_blobs, Tokens(-3600)) as store, pytest.raises((AuthenticationError, PermissionDeniedError)):
        store.get("key")


def test_delegation_key_is_kept(secure_blobs: SecureBlobs) -> None:
    """One key signs for a day; a URL that is to last longer asks for another one."""
    clock = ManualClock(datetime.now(UTC))
    options = AzureStoreOptions(
        container="images", account_url=secure_blobs.server.url(), ca_file=secure_blobs.authority
    )
    with AzureStore(options, StoreRuntime(clock=clock), Tokens()) as store:
        starts = []
        for hours in (1, 23, 30, 47):
            clock.advance(60)
            query = parse_qs(urlsplit(store.presign("key", expires=hours * 3600).url).query)
            starts.append(query["skt"][0])
            assert query["se"][0] <= query["ske"][0]
    assert starts[0] == starts[1] != starts[2]
    assert len(set(starts)) == 3


def send(signed: PresignedUrl, trusted: ssl.SSLContext, content: bytes) -> bytes:
    """Do what a signed URL is for."""
    body = content if signed.method == "PUT" else None
    request = urllib.request.Request(signed.url, body, dict(signed.headers), method=signed.method)
    with urllib.request.urlopen(request, context=trusted, timeout=30) as response:
        return bytes(response.read())


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_urls_signed_with_entra_credentials(secure_blobs: SecureBlobs, method: Any) -> None:
    """A user delegation key, asked for once, signs URLs that do one thing to one blob."""
    trusted = ssl.create_default_context(cafile=str(secure_blobs.authority))
    with entra_store(secure_blobs, Tokens()) as store:
        store.put("signed", b"content")
        signed = [store.presign("signed", method=method, expires=60) for _ in range(2)][1]
        other = replace(signed, url=signed.url.replace("signed?", "other?"))
        body = send(signed, trusted, b"by URL")
        with pytest.raises(urllib.error.HTTPError) as refused:
            send(other, trusted, b"by URL")
        with refused.value:
            assert refused.value.code == 403
        assert store.get("signed") == (b"by URL" if method == "PUT" else b"content")
        assert body == (b"" if method == "PUT" else b"content")
        assert store.capabilities.max_presign_seconds == 7 * 86400 - 300
