"""What the service and the line do, and which error says so."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from clouddirect.errors import (
    AlreadyExistsError,
    AuthenticationError,
    CloudDirectError,
    ConfigurationError,
    ContainerNotFoundError,
    IntegrityError,
    InvalidKeyError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    ThrottledError,
    TimeoutError,
    TooLargeError,
    UnavailableError,
)
from clouddirect.retry import RetryPolicy
from clouddirect_azure.store import AzureStore
from emulators.http_line import Cut, Reply
from emulators.processes import free_port
from unit.azure.blob_fixtures import Blobs, SecureBlobs

_ONCE = {"retry": RetryPolicy(max_attempts=1)}

_ANSWERS: list[tuple[int, str | None, type[CloudDirectError], bool]] = [
    (400, "InvalidAuthenticationInfo", AuthenticationError, False),
    (400, "InvalidResourceName", InvalidKeyError, False),
    (400, "Md5Mismatch", IntegrityError, True),
    (400, "MetadataTooLarge", TooLargeError, False),
    (400, "OutOfRangeInput", UnavailableError, False),
    (401, None, AuthenticationError, False),
    (401, "NoAuthenticationInformation", AuthenticationError, False),
    (403, None, PermissionDeniedError, False),
    (403, "AccountIsDisabled", PermissionDeniedError, False),
    (403, "AuthenticationFailed", AuthenticationError, False),
    (403, "AuthorizationFailure", PermissionDeniedError, False),
    (403, "AuthorizationPermissionMismatch", PermissionDeniedError, False),
    (403, "AuthorizationSourceIPMismatch", PermissionDeniedError, False),
    (403, "KeyBasedAuthenticationNotPermitted", PermissionDeniedError, False),
    (403, "SomethingNew", PermissionDeniedError, False),
    (403, "UnauthorizedBlobOverwrite", PermissionDeniedError, False),
    (404, None, NotFoundError, False),
    (404, "BlobNotFound", NotFoundError, False),
    (404, "ContainerNotFound", ContainerNotFoundError, False),
    (407, None, AuthenticationError, False),
    (408, None, TimeoutError, True),
    (409, "AccountBeingCreated", UnavailableError, True),
    (409, "BlobAlreadyExists", AlreadyExistsError, False),
    (409, "BlobArchived", PreconditionFailedError, False),
    (409, "BlobImmutableDueToPolicy", PermissionDeniedError, False),
    (409, "ContainerBeingDeleted", ContainerNotFoundError, False),
    (409, "InvalidBlobType", PreconditionFailedError, False),
    (409, "LeaseAlreadyPresent", PreconditionFailedError, False),
    (412, "LeaseIdMissing", PreconditionFailedError, False),
    (412, None, PreconditionFailedError, False),
    (413, "RequestBodyTooLarge", TooLargeError, False),
    (429, None, ThrottledError, True),
    (302, None, UnavailableError, False),
    (418, "Teapot", UnavailableError, False),
    (500, "InternalError", UnavailableError, True),
    (500, "OperationTimedOut", UnavailableError, True),
    (501, None, UnavailableError, False),
    (502, None, UnavailableError, True),
    (503, "ServerBusy", ThrottledError, True),
    (503, None, ThrottledError, True),
]


@pytest.mark.parametrize(
    ("status", "code", "kind", "retryable"), _ANSWERS, ids=lambda value: getattr(value, "__name__", value)
)
@pytest.mark.parametrize("place", ["header", "body"])
def test_answers(
    blobs: Blobs, status: int, code: str | None, kind: type[CloudDirectError], retryable: bool, place: str
) -> None:
    """Each answer is one kind of error, whether its code stands in a header or in the body."""
    body = f"\ufeff<?xml version='1.0' encoding='utf-8'?><Error><Code>{code}</Code><Message>m</Message></Error>"
    reply = Reply(
        status,
        {"x-ms-request-id": "id-of-request", **({"x-ms-error-code": code} if code and place == "header" else {})},
        body.encode() if code and place == "body" else b"",
    )
    store = blobs.store(blobs.line(lambda request: reply), **_ONCE)
    with pytest.raises(CloudDirectError) as failed:
        store.put("key", b"content")
    error = failed.value
    assert type(error) is kind
    assert (error.retryable, error.code) == (retryable, code or str(status))
    assert (error.provider, error.operation, error.resource) == ("azure", "put", "key")
    assert "id-of-request" in str(error)
    assert blobs.container in str(error)


def test_body_without_sense(blobs: Blobs) -> None:
    """A page that some proxy made is told by its status, and that it came from elsewhere."""
    store = blobs.store(blobs.line(lambda request: Reply(403, {}, b"<html>Blocked & logged</html>")), **_ONCE)
    with pytest.raises(PermissionDeniedError, match="not from Azure Storage"):
        store.get("key")


@pytest.mark.parametrize("status", [200, 201, 202, 206])
@pytest.mark.parametrize("ask", ["put", "parts", "get", "stat", "list", "delete"])
def test_a_success_of_somebody_else(blobs: Blobs, ask: str, status: int) -> None:
    """What a proxy sends as a success is neither a confirmation nor a blob nor an empty listing."""
    store = blobs.store(blobs.line(lambda request: Reply(status, {}, b"<html>Log in</html>")), part_size=10, **_ONCE)
    asked: dict[str, Callable[[], object]] = {
        "put": lambda: store.put("key", b"content"), "parts": lambda: store.put("key", bytes(100)),
        "get": lambda: store.get("key"), "stat": lambda: store.stat("key"), "list": lambda: list(store.list()),
        "delete": lambda: store.delete("key"),
    }  # fmt: skip
    with pytest.raises(UnavailableError, match="not from Azure Storage"):
        asked[ask]()


@pytest.mark.parametrize(("ask", "status"), [("put", 200), ("put", 202), ("stat", 206), ("delete", 200), ("list", 201)])
def test_a_success_of_another_kind(blobs: Blobs, ask: str, status: int) -> None:
    """Each request has the one status that means that it was done."""
    store = blobs.store(blobs.line(lambda request: Reply(status, {"x-ms-request-id": "1"})), **_ONCE)
    asked: dict[str, Callable[[], object]] = {
        "put": lambda: store.put("key", b"content"), "stat": lambda: store.stat("key"),
        "list": lambda: list(store.list()), "delete": lambda: store.delete("key"),
    }  # fmt: skip
    with pytest.raises(UnavailableError, match=f"status {status}"):
        asked[ask]()


def test_another_range_than_asked_for(blobs: Blobs) -> None:
    """The whole blob, or another range, is not taken for the range that was asked for."""
    for headers in ({}, {"content-range": "bytes 0-9/10"}, {"content-range": "bytes 50-59/60"}):
        reply = Reply(206, {"x-ms-request-id": "1", "ETag": '"1"', **headers}, b"0123456789")
        store = blobs.store(blobs.line(lambda request, reply=reply: reply), **_ONCE)  # type: ignore[misc]
        with pytest.raises(UnavailableError, match="range"):
            store.open("key", 5, 10)


def test_a_listing_that_is_none(blobs: Blobs) -> None:
    """An answer of the service that is no listing is not an empty one."""
    for body in (b"<html>Welcome</html>", b"<html><br></html>", b"\xff\xfe"):
        store = blobs.store(blobs.line(lambda request, body=body: Reply(200, {"x-ms-request-id": "1"}, body)), **_ONCE)  # type: ignore[misc]
        with pytest.raises(UnavailableError, match="no listing"):
            list(store.list())


def test_retry_after_is_heeded(blobs: Blobs) -> None:
    """How long the service wishes to be left alone is told to core."""
    store = blobs.store(blobs.line(lambda request: Reply(503, {"Retry-After": "17"})), **_ONCE)
    with pytest.raises(ThrottledError) as busy:
        store.stat("key")
    assert busy.value.retry_after == 17


@pytest.mark.parametrize("ask", [AzureStore.exists, AzureStore.stat, AzureStore.get], ids=lambda ask: ask.__name__)
def test_wrong_key_is_never_missing(blobs: Blobs, ask: Callable[[AzureStore, str], object]) -> None:
    """Azurite answers a wrong key with the code of a firewall; that is refused access, never a missing blob."""
    wrong = blobs.open(account_url=blobs.server.url(), account_key="d3Jvbmcga2V5")
    with pytest.raises(PermissionError) as refused:
        ask(wrong, "no-such-key")
    assert isinstance(refused.value, (AuthenticationError, PermissionDeniedError))
    assert isinstance(refused.value, AuthenticationError) is (ask is AzureStore.get), "a HEAD has no body to tell"


def test_a_firewall_is_no_wrong_key(blobs: Blobs) -> None:
    """The same code with Azure's own text means that the account lets nobody in from here."""
    body = b"<Error><Code>AuthorizationFailure</Code><Message>This request is not authorized.</Message></Error>"
    with pytest.raises(PermissionDeniedError, match="firewall"):
        blobs.store(blobs.line(lambda request: Reply(403, {}, body))).get("key")


def test_nobody_listens() -> None:
    """A refused connection is told with the host, and may pass."""
    with pytest.raises(UnavailableError, match="cannot be reached") as failed:
        _store_at(f"http://127.0.0.1:{free_port()}/acme").get("key")
    assert failed.value.retryable


def test_no_such_host() -> None:
    """So is a name that does not resolve."""
    with pytest.raises(UnavailableError, match=r"no-such-host\.invalid cannot be reached"):
        _store_at("http://no-such-host.invalid/acme").get("key")


def test_a_port_that_says_nothing() -> None:
    """A peer that accepts and is silent costs the stall timeout, not for ever."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = _store_at(f"http://127.0.0.1:{silent.getsockname()[1]}/acme", stall_timeout=0.3)
        with pytest.raises(TimeoutError, match="no byte moved"):
            store.stat("key")


def test_a_body_that_is_not_taken() -> None:
    """So does one that takes no byte of a body, once the system's buffers are full."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = _store_at(f"http://127.0.0.1:{silent.getsockname()[1]}/acme", stall_timeout=0.5)
        with pytest.raises(TimeoutError, match="no byte moved"):
            store.put("key", bytes(8 << 20))


def test_broken_connections(blobs: Blobs) -> None:
    """A connection that ends in the middle of a request or an answer may pass."""
    blobs.store().put("key", bytes(100_000))
    for of in ("request", "response"):
        store = blobs.store(blobs.line(lambda request, of=of: Cut(10, of=of)), **_ONCE)  # type: ignore[misc]
        with pytest.raises(UnavailableError) as failed:
            store.put("key", bytes(100_000)) if of == "request" else store.get("key")
        assert failed.value.retryable
        assert failed.value.maybe_own_write is (of == "request")


def test_untrusted_certificate(secure_blobs: SecureBlobs, tmp_path: Path) -> None:
    """An authority that is not known is refused at once, with the remedy; a named one is trusted."""
    server, authority = secure_blobs
    with pytest.raises(UnavailableError, match="ca_file") as refused:
        _store_at(server.url(), account_key=server.key).get("no such key")
    assert not refused.value.retryable
    for options in ({"ca_file": authority}, {"verify_tls": False}):
        with pytest.warns() if "verify_tls" in options else ExitStack(), pytest.raises(NotFoundError):
            _store_at(server.url(), account_key=server.key, **options).get("no such key")
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for file in (broken, tmp_path / "missing.pem"):
        with pytest.raises(ConfigurationError, match="ca_file"):
            _store_at(server.url(), account_key=server.key, ca_file=file).get("no such key")


def test_no_signature_in_any_traceback(blobs: Blobs) -> None:
    """Whatever goes wrong on the line, no text of the exceptions behind our error holds the SAS."""
    hidden = "".join(["SEC", "RET"])  # not as such in this file, whose lines are in the traceback
    sas = {"sas_token": f"sv=1&sig={hidden}"}
    with_password = f"http://user:{hidden}@127.0.0.1:{free_port()}"
    failures: list[Callable[[], object]] = [
        lambda: _store_at(f"http://127.0.0.1:{free_port()}/acme", **sas).get("k"),
        lambda: _store_at("http://no-such-host.invalid", **sas).put("k", b"1"),
        lambda: _store_at(blobs.line(lambda request: Cut(0)).url, **sas).put("k", b"1234"),
        lambda: _store_at(blobs.line(lambda request: Cut(0, of="response")).url, **sas).get("k"),
        lambda: _store_at(blobs.line(lambda request: Reply(500)).url, **sas).get("k"),
        lambda: _store_at("http://127.0.0.1:1/acme", proxy=with_password, **sas).get("k"),
        lambda: _store_at("https://127.0.0.1:1/acme", proxy=blobs.line(lambda request: Reply(407)).url, **sas).get("k"),
    ]
    for fail in failures:
        with pytest.raises(CloudDirectError) as failed:
            fail()
        assert hidden not in "".join(traceback.format_exception(failed.value))


def _store_at(url: str, stall_timeout: float = 10.0, **options: Any) -> AzureStore:
    from clouddirect.storage import StoreRuntime
    from clouddirect_azure.store_options import AzureStoreOptions

    if "sas_token" not in options and "account_key" not in options:
        options.update(account_key="a2V5", account_name="acme")
    made = AzureStoreOptions(container="images", account_url=url, **options)
    return AzureStore(made, StoreRuntime(stall_timeout=stall_timeout, **_ONCE))
