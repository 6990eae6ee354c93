"""Sessions: which credential, which role, which line; and options that do not fit together."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import ValidationError

from clouddirect.errors import AuthenticationError, ConfigurationError, PermissionDeniedError, UnavailableError
from clouddirect.messaging import Message
from clouddirect.retry import RetryPolicy
from clouddirect_aws.session_options import SessionOptions
from emulators.http_line import HttpLine, Reply
from emulators.ministack import ACCOUNT, AccessKey
from unit.aws.sqs_fixtures import ARN, POLICIES, Sqs, actions

ROLE = f"arn:aws:iam::{ACCOUNT}:role/sender"
MAY_ASSUME = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]}
)
NO_RETRY = {"retry": RetryPolicy(max_attempts=1)}
NO_KEYS = {"access_key_id": None, "secret_access_key": None}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment without credentials; returns where the shared files are looked for."""
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_DEFAULT_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"access_key_id": "a"}, "belong together"),
        ({"secret_access_key": "s"}, "belong together"),
        ({"session_token": "t"}, "belongs to an access key"),
        ({"access_key_id": "a", "secret_access_key": "s", "profile": "p"}, "two credentials"),
        ({"access_key_id": "PASSWORD\n", "secret_access_key": "s"}, "access_key_id"),
        ({"access_key_id": "a", "secret_access_key": "PASSWORD \u00e9"}, "secret_access_key"),
        ({"access_key_id": "a", "secret_access_key": "s", "session_token": ""}, "session_token"),
        ({"role_external_id": "x"}, "need a role_arn"),
        ({"role_duration": 900}, "need a role_arn"),
        ({"sts_endpoint_url": "http://127.0.0.1:1"}, "need a role_arn"),
        ({"role_arn": "sender"}, "role_arn"),
        ({"endpoint_url": "127.0.0.1:4566"}, "endpoint_url"),
        ({"endpoint_url": "http://"}, "endpoint_url"),
        ({"endpoint_url": "http://a host"}, "endpoint_url"),
        ({"endpoint_url": "http://127.0.0.1:port"}, "endpoint_url"),
        ({"endpoint_url": "https://s3.example.org?bucket=x"}, "endpoint_url"),
        ({"endpoint_url": "https://user:PASSWORD@s3.example.org"}, "no password"),
        ({"role_arn": ROLE, "sts_endpoint_url": "sts"}, "sts_endpoint_url"),
        ({"proxy": "socks://user:PASSWORD@proxy:3128"}, "proxy"),
        ({"proxy": "http://"}, "proxy"),
        ({"read_timeout": 0}, "read_timeout"),
        ({"regoin": "us-east-1"}, "regoin"),
    ],
)
def test_options_that_do_not_fit_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        SessionOptions(**given)
    assert "PASSWORD" not in str(caught.value)


@pytest.mark.parametrize("proxy", ["proxy:3128", "user:word@proxy:3128", "http://proxy", "https://u:w@[::1]:3128/"])
def test_proxies_with_and_without_a_scheme_are_taken(proxy: str) -> None:
    given = SessionOptions(proxy=proxy).proxy  # type: ignore[arg-type]
    assert given is not None
    assert given.get_secret_value() == proxy


def test_secrets_do_not_show() -> None:
    options = SessionOptions(
        access_key_id="KEY", secret_access_key="SECRET", session_token="TOKEN", role_arn=ROLE,  # type: ignore[arg-type]
        role_external_id="EXTERNAL", proxy="http://user:PASSWORD@proxy:3128",  # type: ignore[arg-type]
    )  # fmt: skip
    for secret in ("KEY", "SECRET", "TOKEN", "EXTERNAL", "PASSWORD"):
        assert secret not in repr(options)
    assert set(options.secrets()) == {"KEY", "SECRET", "TOKEN", "EXTERNAL", "http://user:PASSWORD@proxy:3128"}


# -- where credentials come from ----------------------------------------------------------------------------


def send_key(guarded: Sqs, queue: str) -> AccessKey:
    return guarded.server.key_with(_send_policy(queue))


def _send_policy(queue: str) -> str:
    text = (POLICIES / "aws-sqs-send.json").read_text(encoding="utf-8")
    return text.replace(f"{ARN}:orders", f"{ARN}:{queue.rsplit('/', 1)[-1]}")


def test_the_environment(guarded: Sqs, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = guarded.queue()
    key = send_key(guarded, queue)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key.id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key.secret)
    guarded.open(**NO_KEYS).send(queue, Message(body=b"x"))


def test_a_profile(guarded: Sqs, bare: Path) -> None:
    queue = guarded.queue()
    key = send_key(guarded, queue)
    text = f"[clinic]\naws_access_key_id = {key.id}\naws_secret_access_key = {key.secret}\n"
    (bare / "credentials").write_text(text, encoding="utf-8")
    (bare / "config").write_text("[profile clinic]\nregion = us-east-1\n", encoding="utf-8")
    guarded.open(profile="clinic", region=None, **NO_KEYS).send(queue, Message(body=b"x"))
    with pytest.raises(ConfigurationError, match="profile"):
        guarded.open(profile="another", **NO_KEYS).send(queue, Message(body=b"x"))


def test_no_credential_at_all(guarded: Sqs, bare: Path) -> None:
    for more in ({}, {"role_arn": ROLE, "sts_endpoint_url": guarded.line.url}):
        with pytest.raises(AuthenticationError, match="no AWS credential") as caught:
            guarded.open(**NO_KEYS, **more).send(guarded.queue(), Message(body=b"x"))
        assert not caught.value.retryable


def test_what_describes_the_services_is_read_once_for_all(sqs: Sqs) -> None:
    """Reading it anew for each broker and store costs more than everything else about a client."""
    found = []
    for _ in range(3):
        broker = sqs.open()
        assert broker.native is not None
        session = broker._clients._session._session
        assert session is not None
        loader = session._session.get_component("data_loader")
        found.append((loader, len(loader.search_paths)))
    assert found == [found[0]] * 3


# -- roles --------------------------------------------------------------------------------------------------


@pytest.fixture
def sts(guarded: Sqs) -> Iterator[HttpLine]:
    """A line to the server's STS, apart from the one to SQS."""
    with HttpLine(guarded.server.port) as line:
        yield line


def test_a_role_is_assumed_once_for_all_clients(guarded: Sqs, sts: HttpLine) -> None:
    queue = guarded.queue()
    role = guarded.server.role_with(_send_policy(queue))
    broker = guarded.open(guarded.server.key_with(MAY_ASSUME), role_arn=role, sts_endpoint_url=sts.url)
    for _ in range(3):
        broker.send(queue, Message(body=b"x"))
    with pytest.raises(PermissionDeniedError):  # another client, for the other side
        broker.receive(queue)
    assert len(sts.seen) == 1
    assert set(actions(guarded.line)) == {"SendMessageBatch", "ReceiveMessage"}


def test_a_role_that_asks_for_an_external_id(guarded: Sqs, sts: HttpLine) -> None:
    queue = guarded.queue()
    condition = {"StringEquals": {"sts:ExternalId": "agreed"}}
    role = guarded.server.role_with(_send_policy(queue), condition=condition)
    key = guarded.server.key_with(MAY_ASSUME)
    known = {"role_arn": role, "sts_endpoint_url": sts.url, "role_duration": 900}
    guarded.open(key, role_external_id="agreed", **known).send(queue, Message(body=b"x"))
    with pytest.raises(PermissionDeniedError) as caught:
        guarded.open(key, role_external_id="another", **known).send(queue, Message(body=b"x"))
    assert not caught.value.retryable
    assert not caught.value.maybe_sent


def test_a_role_that_may_not_be_assumed_is_named_as_the_trouble(guarded: Sqs, sts: HttpLine) -> None:
    """Whatever call needed it first, looking up a queue's name included."""
    queue = guarded.queue()
    role = guarded.server.role_with(_send_policy(queue))
    nobody = guarded.server.key_with(_send_policy(queue))
    for place in (queue, queue.rsplit("/", 1)[-1]):
        with pytest.raises(PermissionDeniedError, match="may not assume the role"):
            guarded.open(nobody, role_arn=role, sts_endpoint_url=sts.url).send(place, Message(body=b"x"))


def test_a_role_that_could_not_be_assumed_leaves_no_doubt_about_the_message(guarded: Sqs, sts: HttpLine) -> None:
    sts.rule = lambda request: Reply(503)
    broker = guarded.open(runtime=NO_RETRY, role_arn=ROLE, sts_endpoint_url=sts.url)
    with pytest.raises(UnavailableError) as caught:
        broker.send(guarded.queue(), Message(body=b"x"))
    assert not caught.value.maybe_sent


def test_a_role_is_renewed_before_it_expires(guarded: Sqs, sts: HttpLine) -> None:
    """The SDK asks again fifteen minutes before the end: at every signature for a role that lasts no longer."""
    queue = guarded.queue()
    role = guarded.server.role_with(_send_policy(queue))
    known = {"role_arn": role, "sts_endpoint_url": sts.url, "role_duration": 900}
    broker = guarded.open(guarded.server.key_with(MAY_ASSUME), **known)
    broker.send(queue, Message(body=b"x"))
    before = len(sts.seen)
    broker.send(queue, Message(body=b"x"))
    assert len(sts.seen) > before


def test_an_unreachable_sts_is_a_passing_failure(guarded: Sqs) -> None:
    broker = guarded.open(runtime=NO_RETRY, role_arn=ROLE, sts_endpoint_url="http://127.0.0.1:9")
    with pytest.raises(UnavailableError) as caught:
        broker.send(guarded.queue(), Message(body=b"x"))
    assert caught.value.retryable


# -- the line -----------------------------------------------------------------------------------------------


class _Answer(BaseHTTPRequestHandler):
    """Confirms one message, whoever asks for what."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"Successful": [{"Id": "0", "MessageId": "1"}], "Failed": []}'
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust us ends the handshake: that is what is tested."""


@contextmanager
def tls_server(authority: trustme.CA) -> Iterator[str]:
    server = _Server(("127.0.0.1", 0), _Answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"https://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_certificate_authority_of_ones_own(sqs: Sqs, tmp_path: Path) -> None:
    authority, bundle = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    with tls_server(authority) as url:
        place = f"{url}/{ACCOUNT}/orders"
        sqs.open(endpoint_url=url, ca_bundle=bundle).send(place, Message(body=b"x"))
        with pytest.raises(UnavailableError, match="ca_bundle") as caught:
            sqs.open(endpoint_url=url).send(place, Message(body=b"x"))
        assert not caught.value.retryable


def test_a_proxy_is_used_and_its_failure_told_without_its_password(sqs: Sqs) -> None:
    queue = sqs.queue()
    broker = sqs.open(endpoint_url="http://sqs.invalid", proxy=f"http://127.0.0.1:{sqs.line.port}")
    broker.send(queue, Message(body=b"x"))
    assert sqs.line.seen[0].target.startswith("http://sqs.invalid/")
    lost = sqs.open(endpoint_url="http://sqs.invalid", proxy="http://user:PASSWORD@127.0.0.1:9", runtime=NO_RETRY)
    with pytest.raises(UnavailableError, match="proxy") as caught:
        lost.send(queue, Message(body=b"x"))
    assert "PASSWORD" not in str(caught.value) + str(caught.value.__cause__)
