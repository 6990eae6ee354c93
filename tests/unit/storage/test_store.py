"""The public side: what is checked, described, retried, told and closed."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from clouddirect.errors import (
    ClosedError,
    ConfigurationError,
    ContainerNotFoundError,
    InvalidKeyError,
    PermissionDeniedError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from clouddirect.retry import RetryPolicy
from clouddirect.storage import FileStore, PresignedUrl, StoredFile, StoreRuntime

AT_ONCE = RetryPolicy(max_attempts=3, base_delay=0, max_delay=0)


@pytest.fixture
def service(new_service: Any) -> Any:
    return new_service("parts")


@pytest.fixture
def store(service: Any, open_memory: Any) -> Any:
    with open_memory(service, retry=AT_ONCE) as opened:
        yield opened


@pytest.mark.parametrize("name", ["", "Eye", "1st", "_eye", "eye-side", "eye side", "é", "eye\n", 7])
def test_names_of_metadata(store: Any, service: Any, name: Any) -> None:
    with pytest.raises(ConfigurationError, match="metadata"):
        store.put("key", b"", metadata={name: "value"})
    assert service.calls == []


@pytest.mark.parametrize("value", ["a\nb", "\0", "\ud800", "\x7f", 7, None])
def test_values_of_metadata(store: Any, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="'eye'") as refused:
        store.put("key", b"", metadata={"eye": value})
    assert (refused.value.provider, refused.value.operation, refused.value.resource) == ("memory", "put", "key")


def test_metadata_is_counted_in_bytes(store: Any) -> None:
    store.put("key", b"", metadata={"eye": "é" * 1022})
    with pytest.raises(TooLargeError, match="2,049 bytes"):
        store.put("key", b"", metadata={"eye": "é" * 1023})


@pytest.mark.parametrize("value", ["", "image/jpeg\r\nX-Evil: 1", "bild/jpég", 7])
def test_content_types(store: Any, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="content_type"):
        store.put("key", b"", content_type=value)


def test_metadata_is_copied(store: Any, service: Any) -> None:
    given = {"eye": "OD"}
    store.put("key", b"", metadata=given)
    given["eye"] = "OS"
    assert store.stat("key").metadata == {"eye": "OD"}


def test_neither_metadata_nor_urls_show() -> None:
    file = StoredFile(key="key", size=1, metadata={"name": "Doe"})
    url = PresignedUrl(url="https://x/?sig=abc", method="GET", expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert "Doe" not in repr(file)
    assert "abc" not in repr(url)


def test_errors_say_where(store: Any, service: Any) -> None:
    with pytest.raises(InvalidKeyError) as bad:
        store.stat("a//b")
    assert (bad.value.provider, bad.value.operation) == ("memory", "stat")
    service.exists = False
    with pytest.raises(ContainerNotFoundError) as missing:
        list(store.list("x"))
    assert (missing.value.provider, missing.value.operation, missing.value.resource) == ("memory", "list", "bucket")
    assert pickle.loads(pickle.dumps(missing.value)).resource == "bucket"


def test_sdk_errors_are_translated_and_bugs_are_not(store: Any, service: Any) -> None:
    service.faults["stat"].extend(ConnectionResetError("peer") for _ in range(3))
    with pytest.raises(UnavailableError) as failed:
        store.stat("key")
    assert isinstance(failed.value.__cause__, ConnectionResetError)
    assert failed.value.operation == "stat"
    service.faults["stat"].append(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        store.stat("key")


@pytest.mark.parametrize("operation", ["stat", "exists", "delete", "list"])
def test_short_calls_are_retried(store: Any, service: Any, operation: str) -> None:
    store.put("key", b"content")
    primitive = {"exists": "stat"}.get(operation, operation)
    service.faults[primitive].extend(UnavailableError("reset") for _ in range(2))
    result = getattr(store, operation)("key")
    assert operation != "list" or [one.key for one in result] == ["key"]
    assert service.calls.count(primitive) == 3


def test_a_page_that_fails_is_asked_for_again(store: Any, service: Any) -> None:
    for number in range(7):
        store.put(f"key{number}", b"")
    service.page = 3
    service.faults["list"].extend([None, UnavailableError("reset"), None, UnavailableError("reset")])
    assert [one.key for one in store.list()] == [f"key{number}" for number in range(7)]


def test_pages_are_asked_for_as_they_are_needed(store: Any, service: Any) -> None:
    for number in range(7):
        store.put(f"key{number}", b"")
    service.page, found = 3, store.list()
    assert service.calls.count("list") == 0
    for _ in range(3):
        next(found)
    assert service.calls.count("list") == 1
    next(found)
    assert service.calls.count("list") == 2
    store.close()
    with pytest.raises(ClosedError):
        list(found)


def test_presigning_is_refused_where_it_is_not_declared(store: Any) -> None:
    with pytest.raises(UnsupportedError) as refused:
        store.presign("key")
    assert (refused.value.code, refused.value.operation, refused.value.resource) == ("presign", "presign", "key")


@pytest.mark.parametrize("expires", [0, -1, 3601])
def test_validity_of_signed_urls(store: Any, expires: float) -> None:
    can = store._capabilities()
    store._capabilities = lambda: type(can)(presign=frozenset({"GET"}), max_presign_seconds=3600.0)
    with pytest.raises(ConfigurationError, match="at most 3600 seconds"):
        store.presign("key", expires=expires)


def test_check_never_raises(store: Any, service: Any) -> None:
    assert store.check("read").status == "likely"
    service.faults["check"].append(PermissionDeniedError("403"))
    failed = store.check("write")
    assert (failed.status, failed.access) == ("failed", "write")
    assert isinstance(failed.error, PermissionDeniedError)
    assert failed.error.operation == "check"


def test_close_closes_once(service: Any, open_memory: Any) -> None:
    store = open_memory(service)
    with store:
        assert store.native is service
    store.close()
    assert store.closed == 1


@pytest.mark.parametrize(
    ("field", "value"), [("part_size", 0), ("concurrency", 0), ("stall_timeout", 0), ("stall_timeout", -1.0)]
)
def test_runtime_is_checked(field: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=field):
        StoreRuntime(**{field: value})


def test_defaults_of_the_runtime() -> None:
    runtime = StoreRuntime()
    assert (runtime.part_size, runtime.concurrency, runtime.stall_timeout) == (None, None, 60.0)


def test_a_provider_is_reminded_of_what_it_declared(service: Any, open_memory: Any) -> None:
    """What the base class offers for undeclared capabilities refuses by name."""
    with open_memory(service) as store:
        with pytest.raises(UnsupportedError, match="_put_whole"):
            FileStore._put_whole(store, None, None, None, 1.0)  # type: ignore[arg-type]
        with pytest.raises(UnsupportedError, match="presign"):
            FileStore._presign(store, "key", "GET", 1.0)
