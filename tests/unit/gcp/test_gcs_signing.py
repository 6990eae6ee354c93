"""Signed URLs: by a private key, by the IAM credentials API, and not at all."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest
import requests

from clouddirect.errors import ConfigurationError, PermissionDeniedError, UnsupportedError
from clouddirect.retry import RetryPolicy
from clouddirect.storage import FileStore, StoreRuntime
from clouddirect_gcp.store import GcpStore
from clouddirect_gcp.store_options import GcpStoreOptions
from emulators.gcs import GcsServer
from emulators.iam_credentials import IamCredentials
from unit.gcp.gcs_fixtures import service_account_key

ACCOUNT = "signer@project.iam.gserviceaccount.com"


@pytest.fixture
def iam() -> Iterator[IamCredentials]:
    with IamCredentials(json.loads(service_account_key())) as iam:
        yield iam


def open_store(**options: object) -> FileStore:
    """A store that nobody has to serve: signing reaches no bucket."""
    given = {"container": "images", "endpoint": "http://storage.test:1", **options}
    return GcpStore(GcpStoreOptions.model_validate(given), StoreRuntime(retry=RetryPolicy(max_attempts=1)))


def parts(url: str) -> tuple[str, dict[str, str]]:
    """Address and query of a URL."""
    split = urlsplit(url)
    return f"{split.scheme}://{split.netloc}{split.path}", {k: v[0] for k, v in parse_qs(split.query).items()}


def test_by_private_key() -> None:
    """A service account's key signs here; nothing is sent."""
    began = datetime.now(UTC)
    with open_store(service_account_key=service_account_key()) as store:
        signed = store.presign("a/b ä.jpg", method="PUT", expires=90)
    address, query = parts(signed.url)
    assert address == "http://storage.test:1/images/a/b%20%C3%A4.jpg"
    assert query["X-Goog-Algorithm"] == "GOOG4-RSA-SHA256"
    assert query["X-Goog-Expires"] == "90"
    assert query["X-Goog-Credential"].startswith("clinic@project.iam.gserviceaccount.com/")
    assert len(bytes.fromhex(query["X-Goog-Signature"])) == 256
    assert timedelta(seconds=80) < signed.expires_at - began < timedelta(seconds=100)
    assert "X-Goog-Signature" not in repr(signed)


def test_by_iam_for_a_token(iam: IamCredentials) -> None:
    """A credential without a key has a named account sign, and calls with its own token."""
    with open_store(access_token="given", signing_account=ACCOUNT, iam_endpoint=iam.url) as store:
        signed = store.presign("key", expires=60)
    ((path, authorization, body),) = iam.asked
    assert path == f"/v1/projects/-/serviceAccounts/{ACCOUNT}:signBlob"
    assert authorization == "Bearer given"
    text = base64.b64decode(body["payload"])
    assert text.startswith(b"GOOG4-RSA-SHA256\n")
    _, query = parts(signed.url)
    assert query["X-Goog-Credential"].startswith(f"{ACCOUNT}/")
    assert query["X-Goog-Signature"] == iam.sign(text).hex()


def test_by_iam_for_an_impersonated_account(iam: IamCredentials) -> None:
    """The account that is acted as signs, asked by who acts as it, through the accounts in between."""
    through = "between@project.iam.gserviceaccount.com"
    given = {"access_token": "given", "impersonate": ACCOUNT, "impersonate_through": [through]}
    with open_store(**given, iam_endpoint=iam.url) as store:
        signed = store.presign("key")
    ((path, authorization, body),) = iam.asked
    assert path == f"/v1/projects/-/serviceAccounts/{ACCOUNT}:signBlob"
    assert authorization == "Bearer given"
    assert body["delegates"] == [f"projects/-/serviceAccounts/{through}"]
    assert parts(signed.url)[1]["X-Goog-Credential"].startswith(f"{ACCOUNT}/")


def test_one_connection_signs_all_and_is_closed(iam: IamCredentials) -> None:
    """What is opened to have an impersonated account sign is opened once, and goes with the store."""
    port = int(iam.url.rpartition(":")[2])

    def connections() -> int:
        every = psutil.Process().net_connections("tcp")
        return sum(bool(one.raddr) and one.raddr.port == port and one.status == "ESTABLISHED" for one in every)

    with open_store(access_token="given", impersonate=ACCOUNT, iam_endpoint=iam.url) as store:
        for _ in range(3):
            store.presign("key")
        assert connections() == 1
    assert connections() == 0


@pytest.mark.parametrize(("status", "kind"), [(403, PermissionDeniedError), (404, ConfigurationError)])
def test_iam_refuses(iam: IamCredentials, status: int, kind: type[Exception]) -> None:
    """Who may not sign, or names an account that is not there, is told."""
    iam.status = status
    with (
        open_store(access_token="given", signing_account=ACCOUNT, iam_endpoint=iam.url) as store,
        pytest.raises(kind) as raised,
    ):
        store.presign("key")
    assert type(raised.value) is kind


@pytest.mark.parametrize("given", [{"access_token": "given"}, {"anonymous": True}])
def test_nobody_can_sign(given: dict[str, object]) -> None:
    """A credential that surely cannot sign does not declare it."""
    with open_store(**given) as store:
        assert not store.capabilities.presign
        with pytest.raises(UnsupportedError) as raised:
            store.presign("key")
    assert raised.value.code == "presign"


def test_default_credentials_without_a_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whether Application Default Credentials have a key shows when one signs; the error names the option."""
    file = tmp_path_factory.mktemp("adc") / "user.json"
    user = {"type": "authorized_user", "client_id": "1", "client_secret": "2", "refresh_token": "3"}
    file.write_text(json.dumps(user), encoding="utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    with open_store() as store:
        assert store.capabilities.presign == {"GET", "PUT"}
        with pytest.raises(UnsupportedError, match="signing_account") as raised:
            store.presign("key")
    assert raised.value.code == "presign"


def test_no_longer_than_a_week() -> None:
    """Seven days are the longest that the service honours."""
    with open_store(service_account_key=service_account_key()) as store:
        store.presign("key", expires=604_800)
        with pytest.raises(ConfigurationError, match="604800"):
            store.presign("key", expires=604_801)


def test_key_signs_what_the_service_honours() -> None:
    """A URL signed by a private key reads, and writes, the one object, at a server that checks signatures."""
    with GcsServer({}) as server:
        server.add_bucket("images")
        key = json.dumps(server.service_account(ACCOUNT))
        with open_store(endpoint=server.url, service_account_key=key) as store:
            target, source = (store.presign("a/b ä+.jpg", method=method, expires=60) for method in ("PUT", "GET"))
        requests.put(target.url, b"by URL", timeout=10).raise_for_status()
        assert server.read("images", "a/b ä+.jpg") == b"by URL"
        assert requests.get(source.url, timeout=10).content == b"by URL"
        assert requests.get(target.url, timeout=10).status_code == 403
        assert requests.get(source.url.replace("b%20", "c%20"), timeout=10).status_code == 403
