"""The local store passes the storage conformance suite."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from clouddirect.conformance.storage import StorageConformance
from clouddirect.conformance.storage_harness import Fault
from clouddirect.conformance.storage_lines import DamagingLine, Line, behind
from clouddirect.storage import FileStore, StoreRuntime
from clouddirect_local.store import LocalStore
from clouddirect_local.store_options import LocalStoreOptions


class TestLocalStorage(StorageConformance):
    complete = True
    without = {"secrets": "a directory needs no credential"}  # noqa: RUF012 - pytest makes one object a case

    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.directory = tmp_path_factory.mktemp("store")
        self.seen: list[str] = []

    def options(self, **options: Any) -> LocalStoreOptions:
        return LocalStoreOptions(**{"path": self.directory, "container": "images", "create": True, **options})

    def make_store(self, **runtime: Any) -> FileStore:
        return LocalStore(self.options(), StoreRuntime(**runtime))

    def write_only_store(self, **runtime: Any) -> FileStore:
        return Line().attach(LocalStore(self.options(access="write"), StoreRuntime(**runtime)), self.seen)

    def read_only_store(self, **runtime: Any) -> FileStore:
        (self.directory / "images").mkdir(exist_ok=True)
        return Line().attach(LocalStore(self.options(access="read"), StoreRuntime(**runtime)), self.seen)

    def store_with_missing_container(self) -> FileStore:
        return LocalStore(self.options(container="missing", create=False))

    def corrupt_stored(self, key: str) -> FileStore:
        path = self.directory / "images" / key
        found, data = path.stat(), bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))  # as a failing disk would, unlike a program
        return self.make_store()

    def corrupting_upload_store(self) -> FileStore:
        return DamagingLine().attach(self.make_store(**self.small_parts()))

    def faulty_store(self, fault: Fault, **runtime: Any) -> FileStore:
        return behind(fault, self.make_store, **runtime)

    def requests_seen(self) -> list[str]:
        seen, self.seen[:] = self.seen[:], []
        return seen

    def opening_program(self) -> str:
        return (
            "from clouddirect_local.store import LocalStore\n"
            "from clouddirect_local.store_options import LocalStoreOptions\n"
            f"store = LocalStore(LocalStoreOptions(path={str(self.directory)!r}, container='images', create=True))"
        )


class TestLocalStorageByPath(TestLocalStorage):
    """The same where the system cannot work relative to open directories (Windows)."""

    @pytest.fixture(autouse=True)
    def _by_path(self, monkeypatch: pytest.MonkeyPatch, _directory: None) -> None:
        monkeypatch.setattr("clouddirect_local.store.BY_DESCRIPTOR", False)


def test_directory_is_a_path() -> None:
    """The native object of a local store is its directory."""
    with LocalStore(LocalStoreOptions(path=Path("here"), container="images")) as store:
        assert store.native == Path("here") / "images"
