"""What the answers of Cloud Storage mean, over a real wire: a line answers in the service's place."""

from __future__ import annotations

import json
import logging
import socket
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from clouddirect import errors
from clouddirect.errors import CloudDirectError
from clouddirect.retry import RetryPolicy
from clouddirect.storage import FileStore, StoreRuntime
from clouddirect_gcp.store import GcpStore
from clouddirect_gcp.store_options import GcpStoreOptions
from emulators.http_line import Cut, HttpLine, Reply, Request, Stall
from emulators.processes import free_port

ONCE = RetryPolicy(max_attempts=1)
SESSION = "AAANsUmBfQSecretSession"


def json_reply(status: int, reason: str = "", message: str = "in the service's words", **headers: str) -> Reply:
    """An answer as the JSON API gives it."""
    body = {"error": {"code": status, "message": message, "errors": [{"domain": "global", "reason": reason}]}}
    return Reply(status, {"Content-Type": "application/json", **headers}, json.dumps(body).encode())


def xml_reply(status: int, code: str) -> Reply:
    """An answer as the XML API gives it."""
    body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>words</Message></Error>"
    return Reply(status, {"Content-Type": "application/xml"}, body.encode())


@pytest.fixture
def line() -> Iterator[HttpLine]:
    """A line to nowhere; its rule answers."""
    with HttpLine(free_port()) as line:
        yield line


@pytest.fixture
def store(line: HttpLine) -> Iterator[FileStore]:
    with GcpStore(options(line), StoreRuntime(retry=ONCE, stall_timeout=1.0, part_size=256 << 10)) as store:
        yield store


def options(line: HttpLine, **given: object) -> GcpStoreOptions:
    """Options of a bucket behind the line."""
    return GcpStoreOptions.model_validate({"container": "images", "endpoint": line.url, "anonymous": True, **given})


def answering(line: HttpLine, reply: Reply) -> None:
    """Have the line answer everything so."""
    line.rule = lambda request: reply


STAT = [
    (json_reply(400, "invalid"), errors.ConfigurationError, False),
    (json_reply(401, "authError"), errors.AuthenticationError, False),
    (json_reply(403, "forbidden"), errors.PermissionDeniedError, False),
    (json_reply(403, "insufficientPermissions"), errors.PermissionDeniedError, False),
    (json_reply(403, "rateLimitExceeded"), errors.ThrottledError, True),
    (json_reply(403, "userRateLimitExceeded"), errors.ThrottledError, True),
    (json_reply(403, "quotaExceeded"), errors.ThrottledError, True),
    (json_reply(404, "notFound", "No such object: images/key"), errors.NotFoundError, False),
    (json_reply(404, "notFound", "The specified bucket does not exist."), errors.ContainerNotFoundError, False),
    (json_reply(408), errors.UnavailableError, True),
    (json_reply(409, "conflict"), errors.UnavailableError, True),
    (json_reply(412, "conditionNotMet"), errors.PreconditionFailedError, False),
    (json_reply(418), errors.CloudDirectError, False),
    (json_reply(429, "rateLimitExceeded"), errors.ThrottledError, True),
    (json_reply(500, "backendError"), errors.UnavailableError, True),
    (json_reply(502), errors.UnavailableError, True),
    (json_reply(503, "backendError"), errors.UnavailableError, True),
    (json_reply(504), errors.UnavailableError, True),
    (Reply(503, body=b"<html>a proxy's page</html>"), errors.UnavailableError, True),
    (Reply(404), errors.NotFoundError, False),
    (Reply(500, body=b"plain words"), errors.UnavailableError, True),
]


@pytest.mark.parametrize(("reply", "kind", "retryable"), STAT, ids=lambda value: None)
def test_json_answers(
    store: FileStore, line: HttpLine, reply: Reply, kind: type[CloudDirectError], retryable: bool
) -> None:
    """Status and reason decide the class; code and cause say what the service said."""
    answering(line, reply)
    with pytest.raises(CloudDirectError) as raised:
        store.stat("key")
    error = raised.value
    assert type(error) is kind
    assert error.retryable is retryable
    assert error.code is not None
    assert error.code.startswith(str(reply.status))
    assert error.__cause__ is not None
    assert error.__context__ is None, "the HTTP library's own exception holds the address"
    assert (error.provider, error.operation, error.resource) == ("gcp", "stat", "key")


READ = [
    (xml_reply(403, "AccessDenied"), errors.PermissionDeniedError),
    (xml_reply(404, "NoSuchKey"), errors.NotFoundError),
    (xml_reply(404, "NoSuchBucket"), errors.ContainerNotFoundError),
    (xml_reply(400, "InvalidBucketName"), errors.ConfigurationError),
    (xml_reply(401, "AuthenticationRequired"), errors.AuthenticationError),
    (xml_reply(503, "SlowDown"), errors.ThrottledError),
    (xml_reply(503, "ServiceUnavailable"), errors.UnavailableError),
]


@pytest.mark.parametrize(("reply", "kind"), READ, ids=lambda value: None)
def test_xml_answers(store: FileStore, line: HttpLine, reply: Reply, kind: type[CloudDirectError]) -> None:
    """The XML API's answers are read as the JSON API's are."""
    answering(line, reply)
    with pytest.raises(kind) as raised:
        store.get("key")
    assert type(raised.value) is kind
    assert raised.value.code in (f"{reply.status} {_code(reply)}",)


def _code(reply: Reply) -> str:
    return reply.body.split(b"<Code>")[1].split(b"</Code>")[0].decode()


WRITE = [
    (json_reply(400, "invalid", 'Provided CRC32C "AAAAAA==" doesn\'t match calculated CRC32C.'), errors.IntegrityError),
    (Reply(400, body=b'Provided CRC32C "AAAAAA==" doesn\'t match calculated CRC32C.'), errors.IntegrityError),
    (json_reply(412, "conditionNotMet"), errors.AlreadyExistsError),
    (json_reply(412, "conditionNotMet", "violates constraint 'constraints/gcp.x'"), errors.PreconditionFailedError),
    (json_reply(413, "uploadTooLarge"), errors.TooLargeError),
    (json_reply(404, "notFound"), errors.ContainerNotFoundError),
]


@pytest.mark.parametrize("size", [10, 600_000])
@pytest.mark.parametrize(("reply", "kind"), WRITE, ids=lambda value: None)
def test_answers_to_writes(
    store: FileStore, line: HttpLine, reply: Reply, kind: type[CloudDirectError], size: int
) -> None:
    """A wrong digest, a condition that does not hold and a policy are told apart."""
    answering(line, reply)
    with pytest.raises(kind) as raised:
        store.put("key", bytes(size), if_absent=True)
    assert type(raised.value) is kind


def test_waiting_is_told(store: FileStore, line: HttpLine) -> None:
    """How long the service asks to wait is in the error."""
    answering(line, json_reply(429, "rateLimitExceeded", **{"Retry-After": "17"}))
    with pytest.raises(errors.ThrottledError) as raised:
        store.stat("key")
    assert raised.value.retry_after == 17.0


def test_a_refusal_is_never_missing(store: FileStore, line: HttpLine) -> None:
    """A 403, which also stands for a missing key where the credential may not list, is no "missing"."""
    answering(line, json_reply(403, "forbidden", "does not have storage.objects.get access (or it may not exist)."))
    with pytest.raises(errors.PermissionDeniedError, match="may not be told"):
        store.exists("key")


def test_nobody_answers() -> None:
    """A refused connection is unavailable, with the system's error as the cause."""
    options = GcpStoreOptions(container="images", endpoint=f"http://127.0.0.1:{free_port()}", anonymous=True)
    with GcpStore(options, StoreRuntime(retry=ONCE)) as store, pytest.raises(errors.UnavailableError) as raised:
        store.stat("key")
    assert raised.value.retryable
    assert raised.value.__cause__ is not None


def test_nothing_moves() -> None:
    """An answer that never comes is a timeout after the stall timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = GcpStoreOptions(
            container="images", endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}", anonymous=True
        )
        runtime = StoreRuntime(retry=ONCE, stall_timeout=0.5)
        with GcpStore(options, runtime) as store, pytest.raises(errors.TimeoutError) as raised:
            store.stat("key")
    assert raised.value.retryable


@pytest.mark.parametrize("how", ["cut", "stalled", "refused", "dropped"])
def test_the_session_shows_nowhere(
    store: FileStore, line: HttpLine, how: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever knows a session's address can write; it is in no error, no traceback and no log."""
    caplog.set_level("DEBUG")
    caplog.set_level("DEBUG", "google")  # google-auth logs requests once somebody has set this one up
    monkeypatch.setattr(logging.getLogger("google"), "propagate", True)
    fault = {
        "cut": Cut(1000), "stalled": Stall(1000),
        "refused": json_reply(403, "forbidden", f"no, not with upload_id={SESSION}"),
        "dropped": json_reply(404, "notFound", f"no upload {SESSION}"),
    }[how]  # fmt: skip

    def rule(request: Request) -> Reply | Cut | Stall:
        if request.method == "POST":
            return Reply(200, {"Location": f"{line.url}/upload/storage/v1/b/images/o?upload_id={SESSION}"})
        return fault

    line.rule = rule
    with pytest.raises(CloudDirectError) as raised:
        store.put("key", bytes(600_000))
    shown = "".join(traceback.format_exception(raised.value)) + caplog.text
    shown += "".join(repr(vars(record)) for record in caplog.records)
    assert SESSION in [one.query.get("upload_id") for one in line.seen], "the session was used"
    assert SESSION not in shown
    assert "upload_id=…" in shown, "the log tells that there was one"


def test_an_unreachable_session_shows_nowhere(line: HttpLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it where nobody listens: the HTTP library tells the whole address of what it could not reach."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", line.url)  # unlike an endpoint, this leaves sessions where they are
    location = f"http://127.0.0.1:{free_port()}/upload/storage/v1/b/images/o?upload_id={SESSION}"
    line.rule = lambda request: Reply(200, {"Location": location})
    runtime = StoreRuntime(retry=ONCE, part_size=256 << 10)
    with GcpStore(GcpStoreOptions(container="images"), runtime) as store, pytest.raises(CloudDirectError) as raised:
        store.put("key", bytes(600_000))
    assert type(raised.value) is errors.UnavailableError
    assert raised.value.__cause__ is not None
    assert SESSION not in "".join(traceback.format_exception(raised.value))


def test_a_missing_key_file_is_wrong_use(tmp_path: Path, line: HttpLine) -> None:
    """A credential that cannot be opened is told on the first use, as what it is."""
    given = options(line, anonymous=False, service_account_file=tmp_path / "missing.json")
    with GcpStore(given, StoreRuntime(retry=ONCE)) as store, pytest.raises(errors.ConfigurationError):
        store.stat("key")
