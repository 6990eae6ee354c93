"""What S3's answers become: over a real wire, each status and code as the service sends them."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clouddirect.conformance.storage_harness import content
from clouddirect.errors import (
    AuthenticationError,
    ChangedError,
    CloudDirectError,
    ConfigurationError,
    ContainerNotFoundError,
    IntegrityError,
    NotFoundError,
    PermissionDeniedError,
    ThrottledError,
    TimeoutError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from clouddirect.retry import RetryPolicy
from clouddirect.storage import StoreRuntime
from clouddirect_aws.store import AwsStore
from emulators.http_line import Reply, Stall
from emulators.processes import free_port
from unit.aws.s3_fixtures import (
    BUCKET,
    MIB,
    ROOT,
    Rig,
    error_reply,
    is_commit,
    is_download,
    is_late_part,
    once,
    options,
)

ONE_ATTEMPT: dict[str, Any] = {"retry": RetryPolicy(max_attempts=1)}

#: status, code, class, retryable; of a PutObject
_WRITING: list[tuple[int, str, type[CloudDirectError], bool]] = [
    (403, "AccessDenied", PermissionDeniedError, False),
    (403, "InvalidAccessKeyId", AuthenticationError, False),
    (403, "SignatureDoesNotMatch", AuthenticationError, False),
    (403, "RequestTimeTooSkewed", AuthenticationError, False),
    (400, "ExpiredToken", AuthenticationError, False),
    (404, "NoSuchBucket", ContainerNotFoundError, False),
    (400, "BadDigest", IntegrityError, True),
    (400, "XAmzContentChecksumMismatch", IntegrityError, True),
    (400, "XAmzContentSHA256Mismatch", IntegrityError, True),
    (400, "RequestTimeout", TimeoutError, True),
    (400, "IncompleteBody", UnavailableError, True),
    (400, "EntityTooLarge", TooLargeError, False),
    (400, "MetadataTooLarge", TooLargeError, False),
    (400, "KMS.DisabledException", ConfigurationError, False),
    (400, "InvalidArgument", ConfigurationError, False),
    (409, "OperationAborted", UnavailableError, True),
    (429, "TooManyRequestsException", ThrottledError, True),
    (500, "InternalError", UnavailableError, True),
    (501, "NotImplemented", UnsupportedError, False),
    (503, "SlowDown", ThrottledError, True),
    (503, "ServiceUnavailable", UnavailableError, True),
    (418, "Unheard", CloudDirectError, False),
    (507, "Unheard", UnavailableError, True),
]


@pytest.mark.parametrize(("status", "code", "kind", "retryable"), _WRITING)
def test_writing(s3: Rig, status: int, code: str, kind: type[CloudDirectError], retryable: bool) -> None:
    """The class, whether to try again, and where it happened; by the code, else by the status."""
    s3.line.rule = lambda request: error_reply(status, code)
    with pytest.raises(CloudDirectError) as failed:
        s3.store(runtime=ONE_ATTEMPT).put("key", b"content")
    error = failed.value
    assert (type(error), error.retryable, error.code) == (kind, retryable, code)
    assert (error.provider, error.operation, error.resource) == ("aws", "put", "key")
    assert error.__cause__ is not None


_READING = [
    (403, "AccessDenied", PermissionDeniedError),
    (403, "InvalidAccessKeyId", AuthenticationError),
    (403, "SignatureDoesNotMatch", AuthenticationError),
    (400, "ExpiredToken", AuthenticationError),
    (404, "NoSuchKey", NotFoundError),
    (404, "NoSuchBucket", ContainerNotFoundError),
    (403, "InvalidObjectState", UnavailableError),
    (400, "InvalidRequest", UnsupportedError),
    (412, "PreconditionFailed", ChangedError),
]


@pytest.mark.parametrize(("status", "code", "kind"), _READING)
@pytest.mark.parametrize("ask", [AwsStore.get, AwsStore.stat], ids=["get", "stat"])
def test_reading(
    s3: Rig, status: int, code: str, kind: type[CloudDirectError], ask: Callable[[AwsStore, str], object]
) -> None:
    """A HEAD is answered without a body, so without a code; the error is the one that a GET would have told."""
    s3.line.rule = lambda request: error_reply(status, code)
    with pytest.raises(CloudDirectError) as failed:
        ask(s3.store(runtime=ONE_ATTEMPT), "key")
    assert type(failed.value) is kind
    assert not failed.value.retryable


def test_a_reader_who_may_not_list_is_never_told_missing(s3: Rig) -> None:
    """Without s3:ListBucket a missing key reads as forbidden; the error says what to allow."""
    policy = s3.server.users["reader"].policy
    assert policy is not None
    del policy["Statement"][1]
    store = s3.store(("reader", "reader-secret"))
    for ask in (store.exists, store.get, store.stat):
        with pytest.raises(PermissionDeniedError, match="s3:ListBucket"):
            ask("missing")
    s3.store().put("there", b"content")
    assert store.exists("there")


def test_the_policies_are_as_narrow_as_they_say(s3: Rig) -> None:
    """Each of the documentation's policies permits its side, and nothing of the others'."""
    s3.store().put("kept", b"content")
    writer, reader, remover = (s3.store((name, f"{name}-secret")) for name in ("writer", "reader", "remover"))
    writer.put("new", content(6 * MIB))
    assert reader.get("new") == content(6 * MIB)
    assert not reader.exists("missing")
    remover.delete("new")
    for action, refused in (
        ("GetObject", lambda: writer.get("kept")), ("DeleteObject", lambda: writer.delete("kept")),
        ("ListBucket", lambda: list(writer.list())), ("PutObject", lambda: reader.put("kept", b"other")),
        ("PutObject", lambda: reader.put("kept", content(6 * MIB))), ("DeleteObject", lambda: reader.delete("kept")),
        ("GetObject", lambda: remover.get("kept")), ("PutObject", lambda: remover.put("kept", b"other")),
        ("ListBucket", lambda: list(remover.list())),
    ):  # fmt: skip
        with pytest.raises(PermissionDeniedError, match=f"allow s3:{action}"):
            refused()


def test_throttling_is_waited_out(s3: Rig) -> None:
    """SlowDown is tried again, by core, after the time that the service names."""
    s3.line.rule = once(error_reply(503, "SlowDown", {"Retry-After": "1"}), lambda request: True)
    s3.store().put("slow", b"content")
    assert len(s3.line.seen) == 2
    s3.line.rule = lambda request: error_reply(503, "SlowDown", {"Retry-After": "7"})
    with pytest.raises(ThrottledError) as failed:
        s3.store(runtime=ONE_ATTEMPT).put("slow", b"content")
    assert failed.value.retry_after == 7.0


def test_the_sdk_does_not_retry(s3: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt of core is one request, whatever the SDK was told elsewhere."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    monkeypatch.setenv("AWS_RETRY_MODE", "standard")
    s3.line.rule = lambda request: error_reply(500, "InternalError")
    with pytest.raises(UnavailableError):
        s3.store(runtime=ONE_ATTEMPT).put("key", b"content")
    assert len(s3.line.seen) == 1


def test_another_region_is_found_or_named(s3: Rig) -> None:
    """The SDK repeats a request in the region that S3 names; where that does not help, the error names it."""
    moved = error_reply(301, "PermanentRedirect", {"x-amz-bucket-region": "eu-west-1"})
    s3.line.rule = once(moved, lambda request: True)
    s3.store().put("moved", content(2 * MIB))
    assert s3.objects["moved"].body == content(2 * MIB)
    assert "/eu-west-1/s3/" in s3.line.seen[-1].headers["authorization"]
    s3.line.rule = lambda request: moved
    with pytest.raises(ConfigurationError, match="eu-west-1; set region"):
        s3.store().put("moved", b"content")
    malformed = error_reply(400, "AuthorizationHeaderMalformed", Region="eu-north-1")
    s3.line.rule = lambda request: malformed
    with pytest.raises(ConfigurationError, match="eu-north-1"):
        s3.store().put("moved", b"content")


def test_no_answer_is_a_timeout(s3: Rig) -> None:
    """A service that takes a request and says nothing costs the stall timeout, then `TimeoutError`."""
    s3.store().put("silent", b"content")
    s3.line.rule = lambda request: Stall(0, of="response") if is_download(request) else Stall(7)
    runtime = {**ONE_ATTEMPT, "stall_timeout": 0.5}
    for call in (
        lambda store: store.get("silent"), lambda store: store.put("silent", b"content"),
        lambda store: store.put("silent", content(10 * MIB)),
    ):  # fmt: skip
        with pytest.raises(TimeoutError) as failed:
            call(s3.store(runtime=runtime, connect_timeout=0.5))
        assert failed.value.retryable


def test_nobody_there_is_unavailable() -> None:
    """A port on which nothing listens, and a name that does not resolve, are no missing object, and may pass."""
    for url in (f"http://127.0.0.1:{free_port()}", "http://no-such-host.invalid"):
        with AwsStore(options(url, ROOT), StoreRuntime(**ONE_ATTEMPT)) as store:
            with pytest.raises(UnavailableError) as failed:
                store.exists("key")
            assert failed.value.retryable
            assert store.check("read").status == "failed"


def test_a_page_of_somebody_elses_is_no_answer(s3: Rig, tmp_path: Path) -> None:
    """A network's login page comes with status 200 for whatever is asked; nothing was stored, read or deleted."""
    store = s3.store(runtime=ONE_ATTEMPT)
    store.put("there", b"content")
    page = Reply(200, {"Content-Type": "text/html"}, b"<h1>Log in</h1>")
    calls: list[Callable[[], object]] = [
        lambda: store.put("key", b"content"), lambda: store.put("key", content(6 * MIB)), lambda: store.get("there"),
        lambda: store.exists("missing"), lambda: list(store.list()), lambda: store.delete("there"),
        lambda: store.download("there", tmp_path / "there"),
    ]  # fmt: skip
    s3.line.rule = lambda request: page
    for call in calls:
        with pytest.raises(UnavailableError, match="not S3") as failed:
            call()
        assert failed.value.retryable
    assert {store.check("read").status, store.check("write").status} == {"failed"}
    for late in (is_late_part, lambda request: request.method == "POST" and is_commit(request)):
        s3.line.rule = lambda request, late=late: page if late(request) else None  # type: ignore[misc]
        with pytest.raises(UnavailableError, match="not S3"):
            store.put("key", content(12 * MIB))
    assert (set(s3.objects), s3.server.buckets[BUCKET].uploads) == ({"there"}, {})


@pytest.mark.parametrize(
    "answer",
    [
        Reply(200, {"ETag": '"x"'}, content(1000)),
        Reply(206, {"ETag": '"x"', "Content-Range": "bytes 0-9/1000"}, content(10)),
        Reply(206, {"ETag": '"x"', "Content-Range": "bytes 10-19/*"}, content(10)),
    ],
    ids=["whole", "another", "of-unknown-size"],
)
def test_a_server_that_ignores_ranges_is_not_believed(s3: Rig, answer: Reply) -> None:
    """Anything else in answer to a range than that range would be put together wrongly; it is refused."""
    s3.line.rule = lambda request: answer if is_download(request) else None
    with pytest.raises(IntegrityError, match="range"):
        s3.store().open("whole", 10, 10)


def test_no_secret_is_quoted(s3: Rig) -> None:
    """A signature that does not match is answered with the signed request, session token included; none of it shows."""
    secret, token = "the-wrong-secret", "a-session-token-that-is-secret"
    store = s3.store(("AKIAROOT", secret), session_token=token)
    for call in (lambda: store.get("key"), lambda: store.put("key", b"content"), lambda: store.stat("key")):
        with pytest.raises(AuthenticationError) as failed:
            call()
        shown = "".join(traceback.format_exception(failed.value)) + repr(failed.value) + repr(store)
        assert secret not in shown
        assert token not in shown
    quoted = error_reply(403, "SignatureDoesNotMatch", Message=f"it was x-amz-security-token:{token}")
    s3.line.rule = lambda request: quoted
    with pytest.raises(AuthenticationError) as failed:
        store.put("key", b"content")
    assert token not in "".join(traceback.format_exception(failed.value))
