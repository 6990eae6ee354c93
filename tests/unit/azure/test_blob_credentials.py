"""Credentials: the least that suffices, Entra tokens, signed URLs, and no secret in a log."""

from __future__ import annotations

import base64
import json
import logging
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from azure.core.credentials import AccessToken
from azure.storage.blob import ContainerClient

from clouddirect.errors import (
    AlreadyExistsError,
    AuthenticationError,
    PermissionDeniedError,
    UnsupportedError,
)
from clouddirect.storage import PresignedUrl, StoreRuntime
from clouddirect_azure.store import AzureStore
from clouddirect_azure.store_options import AzureStoreOptions
from emulators.azurite import Azurite, azurite
from emulators.http_line import HttpLine, Reply
from unit.azure.blob_fixtures import AT_ONCE, Blobs, container_sas, new_container


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
        self._seconds = seconds

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return a token."""
        self.asked += scopes
        return AccessToken(entra_token(self._seconds), int(time.time() + self._seconds))


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

    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/token", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Azurite, Path]]:
    """Azurite over TLS, where it takes Entra tokens, and the file with its certificate authority."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    files = {name: directory / f"{name}.pem" for name in ("authority", "chain", "key")}
    authority.cert_pem.write_to_path(str(files["authority"]))
    issued.private_key_pem.write_to_path(str(files["key"]))
    issued.cert_chain_pems[0].write_to_path(str(files["chain"]))
    with azurite((files["chain"], files["key"])) as server:
        connection_string = server.connection_string()
        with ContainerClient.from_connection_string(
            connection_string, "images", connection_verify=str(files["authority"])
        ) as client:
            client.create_container()
        yield server, files["authority"]


def entra_store(secure: tuple[Azurite, Path], credential: Tokens | None) -> AzureStore:
    server, authority = secure
    options = AzureStoreOptions(container="images", account_url=server.url(), ca_file=authority)
    return AzureStore(options, StoreRuntime(retry=AT_ONCE, part_size=65536), credential)


def test_entra_credentials_of_a_program(secure: tuple[Azurite, Path]) -> None:
    """A program's own credentials do for everything, and are asked for one token, for Azure Storage."""
    tokens = Tokens()
    with entra_store(secure, tokens) as store:
        store.put("small", b"content")
        store.put("parts", bytes(200_000), if_absent=True)
        assert store.get("parts") == bytes(200_000)
        assert [one.key for one in store.list()] == ["parts", "small"]  # type: ignore[union-attr]
        assert store.check("read").status == "ok"
        store.delete("parts")
        store.delete("small")
    assert tokens.asked == ["https://storage.azure.com/.default"]


def test_default_azure_credential(secure: tuple[Azurite, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """With an account's URL alone, the vendor's own chain finds the credential: here a managed identity's."""
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_TOKEN_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    with identity_endpoint() as (url, asked):
        monkeypatch.setenv("IDENTITY_ENDPOINT", url)
        monkeypatch.setenv("IDENTITY_HEADER", "header-of-the-sandbox")
        with entra_store(secure, None) as store:
            store.put("key", b"content")
            assert store.get("key") == b"content"
    assert len(asked) == 1
    assert "resource=https%3A%2F%2Fstorage.azure.com" in asked[0] or "resource=https://storage.azure.com" in asked[0]


def test_no_entra_credential_at_all(secure: tuple[Azurite, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none is found, the error says how to get one, at once."""
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "IDENTITY_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    with entra_store(secure, None) as store, pytest.raises(AuthenticationError, match="az login") as refused:
        store.get("key")
    assert not refused.value.retryable


def test_token_that_is_not_accepted(secure: tuple[Azurite, Path]) -> None:
    """An expired token is refused as such."""
    with entra_store(secure, Tokens(-3600)) as store, pytest.raises((AuthenticationError, PermissionDeniedError)):
        store.get("key")


def send(signed: PresignedUrl, trusted: ssl.SSLContext, content: bytes) -> bytes:
    """Do what a signed URL is for."""
    body = content if signed.method == "PUT" else None
    request = urllib.request.Request(signed.url, body, dict(signed.headers), method=signed.method)
    with urllib.request.urlopen(request, context=trusted, timeout=30) as response:
        return bytes(response.read())


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_urls_signed_with_entra_credentials(secure: tuple[Azurite, Path], method: Any) -> None:
    """A user delegation key, asked for once, signs URLs that do one thing to one blob."""
    trusted = ssl.create_default_context(cafile=str(secure[1]))
    with entra_store(secure, Tokens()) as store:
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


def test_create_alone_stores_new_images(blobs: Blobs) -> None:
    """A SAS with ``c`` stores what fits into one part, once; it cannot overwrite, nor store in parts."""
    store = blobs.store(permissions="c", part_size=65536)
    store.put("image", b"first", content_type="image/jpeg", metadata={"eye": "OD"})
    with pytest.raises(PermissionDeniedError):
        store.put("image", b"second")
    with pytest.raises((AlreadyExistsError, PermissionDeniedError)):
        store.put("image", b"second", if_absent=True)
    with pytest.raises(PermissionDeniedError):
        store.put("large", bytes(200_000))
    assert blobs.store().get("image") == b"first"
    assert store.check("write").status == "likely"


def test_small_image_is_one_request(blobs: Blobs) -> None:
    """What fits into one part is one PUT, for any permission, and nothing else."""
    line = blobs.line()
    blobs.store(line, "wc").put("image", bytes(7 << 20))
    (request,) = line.seen
    assert (request.method, request.size, request.status) == ("PUT", 7 << 20, 201)


def test_expired_sas_says_so(blobs: Blobs) -> None:
    """When the SAS has ended, the error says when that was."""
    ended = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    sas = container_sas(blobs.server, blobs.container, "rl", ended)
    body = b"<Error><Code>AuthenticationFailed</Code><Message>m</Message></Error>"
    with HttpLine(blobs.server.port, rule=lambda request: Reply(403, {}, body)) as line:
        store = blobs.open(account_url=blobs.server.url(line.port), sas_token=sas)
        with pytest.raises(AuthenticationError, match=f"{ended:%Y-%m-%d %H:%M} UTC"):
            store.get("key")
    direct = blobs.open(account_url=blobs.server.url(), sas_token=sas)
    with pytest.raises(PermissionError):
        direct.get("key")


def test_signing_needs_a_key(blobs: Blobs) -> None:
    """A SAS cannot sign another one."""
    store = blobs.store(permissions="rl")
    assert store.capabilities.presign == frozenset()
    with pytest.raises(UnsupportedError):
        store.presign("key")


def test_signed_urls_of_odd_keys(blobs: Blobs) -> None:
    """A URL is signed for the very key, whatever it holds."""
    store = blobs.store()
    for key in ("a b/ü.jpg", "50%/#1?", "plus+"):
        store.put(key, key.encode())
        with urllib.request.urlopen(store.presign(key).url, timeout=30) as response:
            assert response.read() == key.encode()


def test_check_tells_what_a_sas_permits(blobs: Blobs) -> None:
    """Reading without listing, writing, and neither are told apart, and nothing is written."""
    reader, writer = blobs.store(permissions="r"), blobs.store(permissions="w")
    assert (reader.check("read").status, reader.check("write").status) == ("ok", "failed")
    assert "not list" in reader.check("read").detail
    assert (writer.check("write").status, writer.check("read").status) == ("likely", "failed")
    assert "and list" in blobs.store(permissions="rl").check("read").detail
    assert isinstance(writer.check("read").error, PermissionDeniedError)
    assert list(blobs.sdk.list_blobs(include=["uncommittedblobs"])) == []


def test_no_signature_in_the_log(blobs: Blobs, caplog: pytest.LogCaptureFixture) -> None:
    """urllib3 logs every URL at DEBUG; the signature is taken out of it."""
    caplog.set_level(logging.DEBUG)
    blobs.store(permissions="wc").put("key", b"content")
    sas = container_sas(blobs.server, blobs.container, "wc")
    shown = "\n".join(record.getMessage() for record in caplog.records)
    assert "sig=REDACTED" in shown
    assert sas.rpartition("sig=")[2].partition("&")[0] not in shown


def test_netrc_does_not_replace_the_signature(blobs: Blobs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """requests would send a password from ~/.netrc in place of the signature."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    line = blobs.line()
    blobs.store(line).put("key", b"content")
    assert line.seen[0].headers["authorization"].startswith("SharedKey ")


def test_proxy_is_used(blobs: Blobs) -> None:
    """With the option ``proxy`` requests go to the proxy, whatever the environment says."""
    proxy = blobs.line(lambda request: Reply(407))
    store = blobs.open(
        account_url="http://acme.blob.example", account_key="a2V5", account_name="acme",
        proxy=f"http://user:password@127.0.0.1:{proxy.port}",
    )  # fmt: skip
    with pytest.raises(AuthenticationError, match="option proxy"):
        store.get("key")
    assert proxy.seen[0].target.startswith("http://acme.blob.example/")
    assert proxy.seen[0].headers["proxy-authorization"] == "Basic " + base64.b64encode(b"user:password").decode()


def test_native_is_the_sdk_client(blobs: Blobs) -> None:
    """``native`` is the SDK's own client with the same credential and connections."""
    for permissions in (None, "rl"):
        store = blobs.store(permissions=permissions)
        native = store.native
        assert isinstance(native, ContainerClient)
        assert list(native.list_blobs()) == []
    new_container(blobs.server, f"{blobs.container}-other")
