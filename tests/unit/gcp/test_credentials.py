"""Credentials: where they come from, how they are renewed, and what is said when they do not do."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from google.auth.transport.requests import Request
from pydantic import SecretStr, ValidationError

from clouddirect.errors import AuthenticationError, CloudDirectError, ConfigurationError, UnavailableError
from clouddirect.messaging import Message
from clouddirect_gcp.broker_options import GcpBrokerOptions
from clouddirect_gcp.credential_options import GcpCredentialOptions
from clouddirect_gcp.credentials import open_credentials
from clouddirect_gcp.pubsub_identity import Identity
from clouddirect_gcp.store_options import GcpStoreOptions
from emulators.http_line import HttpLine, Reply
from emulators.processes import free_port
from unit.gcp.pubsub_fixtures import PubSub

#: What the answer to an exchange of tokens holds besides the token.
EXCHANGED = {"issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer"}
SUBJECT_TOKEN = "eyJ.token-of-the-workload"


@pytest.fixture(scope="module")
def key() -> dict[str, str]:
    """A service account's key, as the console hands it out."""
    private = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "clinic",
        "private_key_id": "key-1",
        "private_key": private.decode(),
        "client_email": "sender@clinic.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }


@pytest.fixture(autouse=True)
def _no_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever this machine is logged in with is not found, and no metadata server is looked for."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.fixture
def issuer() -> Iterator[HttpLine]:
    """What issues tokens; each test says what it answers."""
    with HttpLine(free_port()) as line:
        yield line


def _fails(call: Callable[[], object]) -> CloudDirectError:
    with pytest.raises(CloudDirectError) as caught:
        call()
    return caught.value


def _claims(credentials: Any) -> Any:
    credentials.refresh(Request())
    return jwt.decode(credentials.token, verify=False)


# -- where they come from ----------------------------------------------------------------------------------------


def test_a_service_accounts_key_as_file_and_as_text(key: dict[str, str], tmp_path: Path) -> None:
    """The account signs its tokens itself: nobody has to be asked for one."""
    path = tmp_path / "key.json"
    path.write_text(json.dumps(key), encoding="utf-8")
    for options in (
        GcpCredentialOptions(service_account_file=path),
        GcpCredentialOptions(service_account_key=SecretStr(json.dumps(key))),
    ):
        credentials, project = open_credentials(options, ["https://www.googleapis.com/auth/pubsub"])
        claims = _claims(credentials)
        assert project == "clinic"
        assert claims["iss"] == claims["sub"] == key["client_email"]
        assert claims["scope"] == "https://www.googleapis.com/auth/pubsub"


def test_the_default_credentials(key: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(key), encoding="utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    credentials, project = open_credentials(GcpCredentialOptions())
    assert project == "clinic"
    assert credentials.service_account_email == key["client_email"]  # type: ignore[attr-defined]


def test_no_default_credentials(pubsub: PubSub) -> None:
    broker = pubsub.without_credential()
    for use in (lambda: broker.send("orders", Message(body=b"x")), lambda: broker.receive("orders")):
        error = _fails(use)
        assert isinstance(error, AuthenticationError)
        assert "gcloud auth application-default login" in str(error)
        assert not error.retryable


def test_a_token_that_somebody_else_obtained() -> None:
    credentials, project = open_credentials(GcpCredentialOptions(access_token=SecretStr("ya29.x")))
    assert (credentials.token, project) == ("ya29.x", None)


def test_nobody() -> None:
    credentials, project = open_credentials(GcpCredentialOptions(anonymous=True))
    assert (credentials.token, project) == (None, None)


def test_acting_as_somebody_else(key: dict[str, str]) -> None:
    options = GcpCredentialOptions(
        service_account_key=SecretStr(json.dumps(key)),
        impersonate="reader@other.iam.gserviceaccount.com",
        impersonate_through=("middle@other.iam.gserviceaccount.com",),
        quota_project="billed",
    )
    credentials: Any = open_credentials(options)[0]
    assert credentials.service_account_email == "reader@other.iam.gserviceaccount.com"
    assert credentials.quota_project_id == "billed"


def test_who_pays_goes_along() -> None:
    options = GcpBrokerOptions(access_token=SecretStr("ya29.x"), quota_project="billed")
    headers = dict(Identity(options, "pubsub.googleapis.com:443", plain=False).headers(10))
    assert headers["authorization"] == "Bearer ya29.x"
    assert headers["x-goog-user-project"] == "billed"


def test_no_credential_goes_over_a_plain_connection_unless_it_was_given_for_it(key: dict[str, str]) -> None:
    assert Identity(GcpBrokerOptions(), "127.0.0.1:1", plain=True).headers(10) == []
    given = Identity(GcpBrokerOptions(access_token=SecretStr("t")), "127.0.0.1:1", plain=True)
    assert dict(given.headers(10))["authorization"] == "Bearer t"
    # the environment leads to an emulator, and the options hold a key
    options = GcpBrokerOptions(service_account_key=SecretStr(json.dumps(key)))
    assert Identity(options, "127.0.0.1:1", plain=True).headers(10) == []


# -- what is said when they do not do ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"anonymous": True, "access_token": "x"},
        {"service_account_file": "x", "service_account_key": "x"},
        {"anonymous": True, "impersonate": "a@b"},
        {"impersonate_through": ["a@b"]},
        {"impersonate": "nobody"},
        {"universe_domain": "https://googleapis.com"},
    ],
)
def test_options_that_exclude_each_other(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GcpCredentialOptions.model_validate(options)


@pytest.mark.parametrize("text", ["", "ya29.x\n", " ya29.x", "ya29.x y", "ya29.ü", "Bearer ya29.x"])
def test_a_token_that_no_header_can_carry(text: str) -> None:
    with pytest.raises(ValidationError, match="must be the token alone"):
        GcpCredentialOptions.model_validate({"access_token": text})


@pytest.mark.parametrize(
    "options",
    [
        {"access_token": "ya29.secret", "anonymous": True},
        {"access_token": "ya29.secret\n"},
        {"access_token": ["ya29.secret"]},
        {"service_account_key": {"private_key": "ya29.secret"}},
        {"impersonate_through": ["a@b"], "access_token": "ya29.secret"},
    ],
)
def test_refused_options_show_no_secret(options: dict[str, Any]) -> None:
    for kind, more in ((GcpBrokerOptions, {}), (GcpStoreOptions, {"container": "images"})):
        with pytest.raises(ValidationError) as raised:
            kind.model_validate({**options, **more})
        assert "ya29" not in str(raised.value) + repr(raised.value)


@pytest.mark.parametrize("damage", ["text", "list", "user", "no key", "bad key", "no mail"])
def test_a_damaged_key_is_told_without_showing_it(key: dict[str, str], damage: str) -> None:
    secret = key["private_key"]
    text = {
        "text": secret,
        "list": json.dumps([secret]),
        "user": json.dumps({**key, "type": "authorized_user"}),
        "no key": json.dumps({name: value for name, value in key.items() if name != "private_key"}),
        "bad key": json.dumps({**key, "private_key": secret[:200]}),
        "no mail": json.dumps({name: value for name, value in key.items() if name != "client_email"}),
    }[damage]
    options = GcpCredentialOptions(service_account_key=SecretStr(text))
    error = _fails(lambda: open_credentials(options))
    assert isinstance(error, ConfigurationError)
    assert "service_account_key" in str(error)
    shown = "".join(traceback.format_exception(error)) + repr(options)
    assert secret[40:80] not in shown


def test_a_key_file_that_is_not_there() -> None:
    options = GcpCredentialOptions(service_account_file=Path("/no/such/key.json"))
    error = _fails(lambda: open_credentials(options))
    assert isinstance(error, ConfigurationError)
    assert "service_account_file '/no/such/key.json' cannot be read (FileNotFoundError)" in str(error)


def test_a_key_of_another_universe(key: dict[str, str]) -> None:
    other = SecretStr(json.dumps({**key, "universe_domain": "sovereign.example"}))
    error = _fails(lambda: open_credentials(GcpCredentialOptions(service_account_key=other)))
    assert isinstance(error, ConfigurationError)
    assert "universe_domain" in str(error)
    fitting = GcpCredentialOptions(service_account_key=other, universe_domain="sovereign.example")
    assert open_credentials(fitting)[0].universe_domain == "sovereign.example"


def test_a_default_credential_of_another_universe(
    key: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token of one cloud is not handed to another."""
    path = tmp_path / "default.json"
    path.write_text(json.dumps(key), encoding="utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    error = _fails(lambda: open_credentials(GcpCredentialOptions(universe_domain="sovereign.example")))
    assert isinstance(error, ConfigurationError)
    assert "universe_domain" in str(error)
    assert open_credentials(GcpCredentialOptions())[1] == "clinic"


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_token_that_cannot_be_renewed(
    pubsub: PubSub, issuer: HttpLine, workload: Callable[[str], None], status: int
) -> None:
    """It is an error of the credential, at once, where gRPC would have said that Pub/Sub is unavailable."""
    refusal = json.dumps({"error": "invalid_grant", "error_description": "The token has expired."}).encode()
    issuer.rule = lambda _: Reply(status, {"content-type": "application/json"}, refusal)
    workload(issuer.url)
    broker = pubsub.without_credential()
    for use in (lambda: broker.send("orders", Message(body=b"x")), lambda: broker.receive("orders")):
        error = _fails(use)
        assert type(error) is AuthenticationError
        assert not error.retryable
        assert not error.maybe_sent
        assert SUBJECT_TOKEN not in "".join(traceback.format_exception(error))


def test_an_issuer_that_cannot_be_reached(pubsub: PubSub, workload: Callable[[str], None]) -> None:
    workload(f"http://127.0.0.1:{free_port()}")
    error = _fails(lambda: pubsub.without_credential().send("orders", Message(body=b"x")))
    assert isinstance(error, UnavailableError)
    assert error.retryable


def test_a_token_is_renewed_once_for_all_and_used_until_it_expires(
    pubsub: PubSub, issuer: HttpLine, workload: Callable[[str], None]
) -> None:
    queue = pubsub.queue()
    answer = {"access_token": pubsub.token({pubsub.topic(queue): "publisher"}), "expires_in": 3600} | EXCHANGED
    issuer.rule = lambda _: Reply(200, {"content-type": "application/json"}, json.dumps(answer).encode())
    workload(issuer.url)
    broker = pubsub.without_credential()
    results = broker.send_many(queue, [Message(body=b"x") for _ in range(4000)])
    assert [result.error for result in results if not result.ok] == []
    broker.send(queue, Message(body=b"x"))
    assert len(issuer.seen) == 1


@pytest.fixture
def workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Be a workload of another cloud, whose token is exchanged for one of Google's at this address."""

    def log_in(issuer: str) -> None:
        source, path = tmp_path / "token-of-the-workload", tmp_path / "workload.json"
        source.write_text(SUBJECT_TOKEN, encoding="utf-8")
        info = {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/p",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{issuer}/v1/token",
            "credential_source": {"file": str(source)},
        }
        path.write_text(json.dumps(info), encoding="utf-8")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "clinic")  # it would be asked for in the world outside

    return log_in
