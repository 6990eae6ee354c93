"""Answers that are none of Cloud Storage's, such as a network's page for logging in: they confirm nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clouddirect.errors import NotFoundError, UnavailableError
from clouddirect.retry import RetryPolicy
from clouddirect.storage import FileStore, StoreRuntime
from clouddirect_gcp.store import GcpStore
from clouddirect_gcp.store_options import GcpStoreOptions
from emulators.http_line import HttpLine, Reply
from emulators.processes import free_port

PAGE = b"<!DOCTYPE html>\n<html><body>Please log in to the hotel's network</body></html>"
CALLS: dict[str, Callable[[FileStore, Path], object]] = {
    "put": lambda store, path: store.put("key", b"x"),
    "put in order": lambda store, path: store.put("key", path, if_absent=True),
    "put in parallel": lambda store, path: store.put("key", path),
    "get": lambda store, path: store.get("key"),
    "download": lambda store, path: store.download("key", path.with_name("copy")),
    "stat": lambda store, path: store.stat("key"),
    "exists": lambda store, path: store.exists("key"),
    "list": lambda store, path: list(store.list()),
    "delete": lambda store, path: store.delete("key"),
}


@pytest.fixture
def line() -> Iterator[HttpLine]:
    with HttpLine(free_port()) as line:
        yield line


@pytest.fixture
def store(line: HttpLine) -> Iterator[FileStore]:
    options = GcpStoreOptions(container="images", endpoint=line.url, anonymous=True)
    with GcpStore(options, StoreRuntime(retry=RetryPolicy(max_attempts=1))) as store:
        yield store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of two parts."""
    path = tmp_path / "large"
    path.write_bytes(bytes(11 << 20))
    return path


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("call", CALLS)
def test_a_page_is_no_answer(store: FileStore, line: HttpLine, path: Path, call: str, status: int) -> None:
    """Neither a confirmation, nor an object, nor an empty listing, nor word of a missing object."""
    line.rule = lambda request: Reply(status, {"Content-Type": "text/html"}, PAGE)
    with pytest.raises(UnavailableError) as raised:
        CALLS[call](store, path)
    assert raised.value.retryable
    assert "hotel" not in str(raised.value)
    assert not path.with_name("copy").exists()


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"name": "key"}', b'"text"', b""])
def test_json_of_somebody_else(store: FileStore, line: HttpLine, body: bytes) -> None:
    """An object's description has a name and a size."""
    line.rule = lambda request: Reply(200, {"Content-Type": "application/json"}, body)
    for call in (lambda: store.put("key", b"x"), lambda: store.stat("key")):
        with pytest.raises(UnavailableError, match="none of Cloud Storage's"):
            call()


def test_a_part_without_its_tag(store: FileStore, line: HttpLine, path: Path) -> None:
    """A part counts once the service has named it."""
    begun = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
    line.rule = lambda request: Reply(200, {}, begun if request.method == "POST" else b"")
    with pytest.raises(UnavailableError, match="ETag"):
        store.put("key", path)


def test_words_for_a_missing_object_are_understood(store: FileStore, line: HttpLine) -> None:
    """The service tells it in JSON, in XML or in plain text."""
    words = json.dumps({"error": {"code": 404, "message": "No such object: images/key"}}).encode()
    for body in (words, b"<Error><Code>NoSuchKey</Code><Message>words</Message></Error>", b"Not Found"):
        line.rule = lambda request, body=body: Reply(404, {}, body)
        assert not store.exists("key")
        with pytest.raises(NotFoundError):
            store.get("key")
