"""The Azure store passes the storage conformance suite against Azurite, with credentials that may do no more than they
must, and with the faults on the real wire."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from clouddirect.conformance.storage import StorageConformance
from clouddirect.conformance.storage_harness import MIB, Fault
from clouddirect.storage import FileStore, StoreRuntime
from clouddirect_azure.store import AzureStore
from clouddirect_azure.store_options import AzureStoreOptions
from emulators.azurite import Azurite, azurite
from emulators.http_line import Cut, Damage, HttpLine, LoseReply, Reply, Request, Stall
from emulators.http_line import Fault as LineFault
from unit.azure.blob_fixtures import container_sas, new_container

_COUNTER = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Azurite]:
    """One Azurite for all cases."""
    with azurite() as running:
        yield running


class TestAzureStorage(StorageConformance):
    complete = True

    @pytest.fixture(autouse=True)
    def _container(self, server: Azurite) -> Iterator[None]:
        self.server = server
        self.container = f"case-{next(_COUNTER)}"
        new_container(server, self.container)
        with ExitStack() as self.lines:
            self.line = self.lines.enter_context(HttpLine(server.port))
            yield

    def open_with(self, line: HttpLine | None = None, permissions: str | None = None, **runtime: Any) -> FileStore:
        """Open the container directly or over a line, with the account's key or with a SAS."""
        port = line.port if line else None
        if permissions is None:
            connection_string = self.server.connection_string(port)
        else:
            sas = container_sas(self.server, self.container, permissions)
            connection_string = f"BlobEndpoint={self.server.url(port)};SharedAccessSignature={sas}"
        options = AzureStoreOptions(container=self.container, connection_string=connection_string)
        return AzureStore(options, StoreRuntime(**runtime))

    def make_store(self, **runtime: Any) -> FileStore:
        return self.open_with(**runtime)

    def write_only_store(self, **runtime: Any) -> FileStore:
        return self.open_with(self.line, "wc", **runtime)

    def read_only_store(self, **runtime: Any) -> FileStore:
        return self.open_with(self.line, "rl", **runtime)

    def store_with_missing_container(self) -> FileStore:
        connection_string = self.server.connection_string()
        return AzureStore(AzureStoreOptions(container="no-such-container", connection_string=connection_string))

    def corrupt_stored(self, key: str) -> FileStore:
        line = self.new_line(lambda request: Damage(500, of="response") if request.method == "GET" else None)
        return self.open_with(line)

    def corrupting_upload_store(self) -> FileStore:
        line = self.new_line(lambda request: Damage(5) if request.method == "PUT" else None)
        return self.open_with(line, **self.small_parts())

    def faulty_store(self, fault: Fault, **runtime: Any) -> FileStore:
        if fault == "slow":
            return self.open_with(self.new_line(None, shared_rate=MIB), **runtime)
        return self.open_with(self.new_line(_FAULTS[fault]()), **runtime)

    def requests_seen(self) -> list[str]:
        seen, self.line.seen[:] = self.line.seen[:], []
        return [_kind(request) for request in seen]

    def opening_program(self) -> str:
        return (
            "from clouddirect_azure.store import AzureStore\n"
            "from clouddirect_azure.store_options import AzureStoreOptions\n"
            f"store = AzureStore(AzureStoreOptions(container={self.container!r}, "
            f"connection_string={self.server.connection_string()!r}))"
        )

    def secrets(self) -> list[str]:
        signatures = [
            dict(pair.split("=", 1) for pair in container_sas(self.server, self.container, permissions).split("&"))
            for permissions in ("wc", "rl")
        ]
        return [self.server.key, *(signature["sig"] for signature in signatures)]

    def new_line(self, rule: Callable[[Request], LineFault | None] | None, **line: Any) -> HttpLine:
        """A line of its own for one store, open until the case ends."""
        return self.lines.enter_context(HttpLine(self.server.port, rule=rule, **line))


def _kind(request: Request) -> str:
    if request.method == "PUT" and "restype" not in request.query:
        return "write"
    if request.query.get("comp") == "list":
        return "list"
    return "read" if request.method in ("GET", "HEAD") and "restype" not in request.query else "other"


def _is_part(request: Request) -> bool:
    return request.method == "PUT" and request.query.get("comp") == "block"


def _is_visible_with(request: Request) -> bool:
    return request.method == "PUT" and request.query.get("comp") in (None, "blocklist")


class _Cut:
    """Cuts the second part in its middle, and the first download."""

    def __init__(self) -> None:
        self.parts = itertools.count(1)
        self.ranges = itertools.count(1)

    def __call__(self, request: Request) -> LineFault | None:
        if _is_part(request) and next(self.parts) == 2:
            return Cut(int(request.headers["content-length"]) // 2)
        if request.method == "GET" and next(self.ranges) == 1:
            return Cut(30_000, of="response")
        return None


class _Stall:
    """Lets one part and a few bytes of a download pass, and no more."""

    def __init__(self) -> None:
        self.parts = itertools.count(1)

    def __call__(self, request: Request) -> LineFault | None:
        if _is_part(request):
            return Stall(0) if next(self.parts) > 1 else None
        return Stall(10, of="response") if request.method == "GET" else Stall(0)


class _Refuse:
    """Fails everything after the first part."""

    def __init__(self) -> None:
        self.parts = itertools.count(1)

    def __call__(self, request: Request) -> LineFault | None:
        if _is_part(request) and next(self.parts) == 1:
            return None
        return Reply(500, {"x-ms-error-code": "InternalError"})


class _LoseReply:
    """Loses the answer to the first request that makes a blob visible."""

    def __init__(self) -> None:
        self.commits = itertools.count(1)

    def __call__(self, request: Request) -> LineFault | None:
        return LoseReply() if _is_visible_with(request) and next(self.commits) == 1 else None


_FAULTS: dict[str, Callable[[], Callable[[Request], LineFault | None]]] = {
    "cut": _Cut, "stall": _Stall, "refuse": _Refuse, "lost-reply": _LoseReply,
}  # fmt: skip
