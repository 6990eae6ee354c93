"""Credentials: the least that suffices, signed URLs, proxies, and no secret in a log."""

from __future__ import annotations

import base64
import logging
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from clouddirect.errors import (
    AlreadyExistsError,
    AuthenticationError,
    PermissionDeniedError,
    UnsupportedError,
)
from emulators.http_line import HttpLine, Reply
from unit.azure.blob_fixtures import Blobs, container_sas


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


def test_signed_urls_do_one_thing(blobs: Blobs) -> None:
    """A URL for reading does not write, and one for writing does not read, nor delete."""
    store = blobs.store()
    store.put("key", b"content")
    reading, writing = store.presign("key"), store.presign("key", method="PUT")
    for url, methods in ((reading.url, ("PUT", "DELETE")), (writing.url, ("GET", "DELETE"))):
        for method in methods:
            body = b"by URL" if method == "PUT" else None
            request = urllib.request.Request(url, body, {"x-ms-blob-type": "BlockBlob"}, method=method)
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(request, timeout=30)
            with refused.value:
                assert refused.value.code == 403
    assert store.get("key") == b"content"


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
