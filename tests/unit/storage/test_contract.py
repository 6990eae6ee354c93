"""The conformance suite passes over primitives of the three shapes that the clouds' services have."""

from __future__ import annotations

import functools
import hashlib
import hmac
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from clouddirect.clock import ManualClock
from clouddirect.conformance.storage import StorageConformance
from clouddirect.conformance.storage_harness import Fault
from clouddirect.conformance.storage_lines import DamagingLine, Line, behind
from clouddirect.storage import FileStore, PresignedUrl, PutRequest

SECRET = "a secret that signs"


class MemoryStorage(StorageConformance):
    complete = True
    shape_name: str
    without = {  # noqa: RUF012 - pytest makes one object a case
        "opening_program": "it holds its content in memory, in this process",
        "secrets": "it needs no credential",
    }

    @pytest.fixture(autouse=True)
    def _service(self, new_service: Any, open_memory: Any) -> None:
        self.service = new_service(self.shape_name)
        self.open_memory = open_memory
        self.seen: list[str] = []

    def make_store(self, **runtime: Any) -> FileStore:
        return self.open_memory(self.service, **runtime)

    def write_only_store(self, **runtime: Any) -> FileStore:
        return Line().attach(self.open_memory(self.service, "write", **runtime), self.seen)

    def read_only_store(self, **runtime: Any) -> FileStore:
        return Line().attach(self.open_memory(self.service, "read", **runtime), self.seen)

    def store_with_missing_container(self) -> FileStore:
        self.service.exists = False
        return self.open_memory(self.service)

    def corrupt_stored(self, key: str) -> FileStore:
        self.service.damages = True
        return self.make_store(**self.small_parts())

    def corrupting_upload_store(self) -> FileStore:
        return DamagingLine().attach(self.make_store(**self.small_parts()))

    def faulty_store(self, fault: Fault, **runtime: Any) -> FileStore:
        return behind(fault, self.make_store, **runtime)

    def requests_seen(self) -> list[str]:
        seen, self.seen[:] = self.seen[:], []
        return seen


class TestBlocks(MemoryStorage):
    shape_name = "blocks"


class TestResumable(MemoryStorage):
    shape_name = "resumable"


class TestParts(MemoryStorage):
    """This one signs URLs, too, and serves them."""

    shape_name = "parts"

    @pytest.fixture(autouse=True)
    def _signing(self, _service: None) -> Iterator[None]:
        self.clock = ManualClock()
        with ExitStack() as self.serving:
            yield

    @functools.cached_property
    def host(self) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.serving.callback(server.server_close)
        self.serving.callback(thread.join)
        self.serving.callback(server.shutdown)
        return f"http://127.0.0.1:{server.server_port}"

    def make_store(self, **runtime: Any) -> FileStore:
        store = super().make_store(**runtime)
        can = replace(store.capabilities, presign=frozenset({"GET", "PUT"}), max_presign_seconds=3600.0)
        store._capabilities = lambda: can
        store._presign = self.sign
        return store

    def sign(self, key: str, method: Any, expires: float) -> PresignedUrl:
        ends = self.clock.now() + timedelta(seconds=expires)
        signature = self.signature(key, method, ends.isoformat())
        url = f"{self.host}/{key}?ends={ends.isoformat().replace('+', '%2B')}&signature={signature}"
        return PresignedUrl(url=url, method=method, headers={"x-kind": "block"}, expires_at=ends)

    def signature(self, *what: str) -> str:
        return hmac.new(SECRET.encode(), "\n".join(what).encode(), hashlib.sha256).hexdigest()

    def let_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)


def _handler(case: TestParts) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

        def answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            url = urlsplit(self.path)
            key, query = url.path[1:], dict(parse_qsl(url.query))
            right = case.signature(key, self.command, query["ends"]) == query["signature"]
            if not right or case.clock.now().isoformat() > query["ends"] or self.headers["x-kind"] != "block":
                return self.answer(403)
            if self.command == "GET":
                return self.answer(200, case.service.objects[key][0])
            with case.open_memory(case.service) as store:
                store.put(PutRequest(key=key).key, body)
            return self.answer(200)

        do_GET = do_PUT = serve  # noqa: N815 - the base class's names

    return Handler
