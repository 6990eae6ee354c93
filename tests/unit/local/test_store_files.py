"""What the local store puts into its directory, and what it makes of what others put there."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import ChangedError, IntegrityError, InvalidKeyError, NotFoundError, UnsupportedError
from clouddirect.storage import StoreRuntime
from clouddirect_local.store import LocalStore
from clouddirect_local.store_folders import Folder
from clouddirect_local.store_options import LocalStoreOptions

Open = Callable[..., LocalStore]
posix_only = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")


@pytest.fixture
def open_store(tmp_path: Path) -> Open:
    def opened(runtime: StoreRuntime | None = None, **options: Any) -> LocalStore:
        return LocalStore(LocalStoreOptions(**{"path": tmp_path, "container": "c", "create": True, **options}), runtime)

    return opened


@pytest.fixture
def store(open_store: Open) -> LocalStore:
    return open_store()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "c"


def sidecars(directory: Path) -> list[Path]:
    return sorted(directory.glob(".clouddirect/meta/*/*.json"))


def temporaries(directory: Path) -> list[str]:
    return os.listdir(directory / ".clouddirect" / "tmp")


def test_objects_are_plain_files(store: LocalStore, directory: Path) -> None:
    store.put("patients/eye.jpg", b"content")
    assert (directory / "patients" / "eye.jpg").read_bytes() == b"content"
    assert sorted(os.listdir(directory)) == [".clouddirect", "patients"]
    assert temporaries(directory) == []


@posix_only
def test_files_are_for_their_owner_alone(store: LocalStore, directory: Path, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"content")
    (tmp_path / "source").chmod(0o777)
    store.put("a/b/eye.jpg", tmp_path / "source")
    for path in (directory, *directory.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_directory_that_was_there_keeps_its_permissions(open_store: Open, directory: Path) -> None:
    directory.mkdir(mode=0o750)
    before = directory.stat().st_mode
    open_store(create=False).put("key", b"content")
    assert directory.stat().st_mode == before


def test_a_missing_container_is_made_only_when_asked_for(open_store: Open, directory: Path) -> None:
    assert open_store().check("write").status == "likely"
    assert not directory.exists(), "checking makes nothing"
    assert open_store().exists("key") is False
    assert directory.is_dir()


# -- foreign files ------------------------------------------------------------------------------------------


def test_a_file_that_was_dropped_in_is_an_object(store: LocalStore, directory: Path, tmp_path: Path) -> None:
    store.put("other", b"")
    (directory / "dropped").mkdir()
    (directory / "dropped" / "eye.jpg").write_bytes(b"dropped")
    found = store.stat("dropped/eye.jpg")
    assert (found.size, found.content_type, found.metadata, found.digest) == (7, None, {}, None)
    assert store.get("dropped/eye.jpg") == b"dropped"
    fetched = store.download("dropped/eye.jpg", tmp_path / "fetched")
    assert fetched.verified is None, "there is nothing to verify it with"
    assert [one.key for one in store.list("dropped/")] == ["dropped/eye.jpg"]  # type: ignore[union-attr]
    store.put("dropped/eye.jpg", b"ours", content_type="image/jpeg")
    assert store.stat("dropped/eye.jpg").content_type == "image/jpeg"
    store.delete("dropped/eye.jpg")
    assert not (directory / "dropped").exists()


def test_a_file_that_was_changed_by_hand_is_foreign(store: LocalStore, directory: Path) -> None:
    """What the sidecar says belongs to the content it was written for, and to no other."""
    store.put("eye.jpg", b"content", content_type="image/jpeg", metadata={"eye": "OD"})
    (directory / "eye.jpg").write_bytes(b"CONTENT")
    found = store.stat("eye.jpg")
    assert (found.content_type, found.metadata, found.digest) == (None, {}, None)
    assert store.get("eye.jpg") == b"CONTENT"


def test_a_file_that_took_anothers_place_is_foreign(store: LocalStore, directory: Path) -> None:
    store.put("one", b"first", content_type="image/png")
    store.put("two", b"other", content_type="image/jpeg")
    os.replace(directory / "two", directory / "one")
    assert store.stat("one").content_type is None
    assert store.get("one") == b"other"


def test_files_whose_names_are_no_keys_are_not_listed(store: LocalStore, directory: Path) -> None:
    store.put("key", b"")
    (directory / "line\nfeed").write_bytes(b"")
    if os.name == "posix":
        Path(os.fsdecode(os.fsencode(directory) + b"/not-utf8-\xff")).write_bytes(b"")
        os.mkfifo(directory / "pipe")
    assert [one.key for one in store.list()] == ["key"]  # type: ignore[union-attr]


@posix_only
def test_what_is_no_regular_file_is_no_object(store: LocalStore, directory: Path) -> None:
    directory.mkdir()
    os.mkfifo(directory / "pipe")
    for read in (store.get, store.stat, store.open):
        with pytest.raises(NotFoundError):
            read("pipe")
    assert not store.exists("pipe")
    store.delete("pipe")
    assert (directory / "pipe").exists()


# -- sidecars -----------------------------------------------------------------------------------------------


def test_there_is_one_sidecar_for_each_object(store: LocalStore, directory: Path) -> None:
    for number in range(5):
        store.put("same", b"x" * number, metadata={"number": str(number)})
    store.put("other", b"")
    assert len(sidecars(directory)) == 2
    store.delete("same")
    assert len(sidecars(directory)) == 1
    store.delete("other")
    assert sidecars(directory) == []


def test_a_sidecar_of_an_earlier_content_does_not_match(store: LocalStore, directory: Path) -> None:
    store.put("eye.jpg", b"old", content_type="image/png")
    (old,) = sidecars(directory)
    kept = old.read_bytes()
    store.put("eye.jpg", b"new")
    old.write_bytes(kept)
    assert store.stat("eye.jpg").content_type is None
    assert store.get("eye.jpg") == b"new"


def test_two_contents_stored_at_once_differ_in_version(store: LocalStore) -> None:
    versions = {store.put("eye.jpg", b"same size").version for _ in range(50)}
    assert len(versions) == 50


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"key": "eye.jpg"}', b"\xff", b"null"])
def test_a_damaged_sidecar_is_named(store: LocalStore, directory: Path, content: bytes) -> None:
    store.put("eye.jpg", b"content")
    (sidecar,) = sidecars(directory)
    sidecar.write_bytes(content)
    for read in (store.get, store.stat):
        with pytest.raises(IntegrityError, match="delete it") as damaged:
            read("eye.jpg")
        assert sidecar.name in str(damaged.value)
    sidecar.unlink()
    assert store.get("eye.jpg") == b"content"


def test_a_sidecar_holds_nothing_but_what_was_given(store: LocalStore, directory: Path) -> None:
    store.put("eye.jpg", b"content", content_type="image/jpeg", metadata={"eye": "OD"})
    (sidecar,) = sidecars(directory)
    assert json.loads(sidecar.read_bytes()) == {
        "key": "eye.jpg", "content_type": "image/jpeg", "metadata": {"eye": "OD"},
        "sha256": "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73",
    }  # fmt: skip


# -- reading what changes -----------------------------------------------------------------------------------


def test_a_file_that_is_written_to_while_it_is_read(store: LocalStore, directory: Path) -> None:
    """A foreign program does not replace files, it writes into them."""
    size = 5 << 20
    store.put("eye.jpg", b"a" * size)
    with store.open("eye.jpg") as stream:
        stream.read(1)
        with open(directory / "eye.jpg", "rb+") as file:
            file.seek(size - 1)
            file.write(b"b")
        with pytest.raises(ChangedError, match="written to"):
            stream.read()
    with store.open("eye.jpg") as stream:
        stream.read(1)
        os.truncate(directory / "eye.jpg", 3 << 20)
        with pytest.raises(ChangedError):
            stream.read()


# -- directories --------------------------------------------------------------------------------------------


def test_directories_go_with_their_last_file(store: LocalStore, directory: Path) -> None:
    store.put("a/b/c/1", b"")
    store.put("a/2", b"")
    store.delete("a/b/c/1")
    assert os.listdir(directory / "a") == ["2"]
    store.delete("a/2")
    assert os.listdir(directory) == [".clouddirect"]


def test_an_empty_directory_is_no_prefix(store: LocalStore, directory: Path) -> None:
    (directory / "empty" / "deeper").mkdir(parents=True)
    store.put("full/key", b"")
    assert [one.prefix for one in store.list(delimiter="/")] == ["full/"]  # type: ignore[union-attr]


def test_directories_that_others_made_stand_in_no_keys_way(store: LocalStore, directory: Path) -> None:
    """A process that was killed between making a directory and filling it leaves it empty."""
    (directory / "a").mkdir(parents=True)
    store.put("a", b"content")
    assert store.get("a") == b"content"
    (directory / "b").mkdir()
    store.put("b", b"content", if_absent=True)
    assert store.get("b") == b"content"


@pytest.mark.parametrize("if_absent", [False, True])
def test_a_key_cannot_be_a_directory_as_well(store: LocalStore, directory: Path, if_absent: bool) -> None:
    store.put("a/b", b"content")
    with pytest.raises(InvalidKeyError, match="directory"):
        store.put("a", b"other", if_absent=if_absent)
    with pytest.raises(InvalidKeyError, match="behind it"):
        store.put("a/b/c", b"other", if_absent=if_absent)
    assert [one.key for one in store.list()] == ["a/b"]  # type: ignore[union-attr]
    assert len(sidecars(directory)) == 1
    assert temporaries(directory) == []
    for missing in ("a", "a/b/c"):
        assert not store.exists(missing)
        store.delete(missing)


def test_the_stores_own_directory_is_reserved(store: LocalStore) -> None:
    for key in (".clouddirect", ".clouddirect/tmp/x", ".CloudDirect/meta"):
        with pytest.raises(InvalidKeyError, match="reserved"):
            store.put(key, b"")
    store.put("a/.clouddirect/b", b"")
    assert [one.key for one in store.list()] == ["a/.clouddirect/b"]  # type: ignore[union-attr]
    assert list(store.list(".clouddirect")) == []
    assert list(store.list(".clouddirect/")) == []


# -- what is left over --------------------------------------------------------------------------------------


def test_what_a_killed_process_left_goes_after_a_day(open_store: Open, directory: Path) -> None:
    clock = ManualClock(datetime.now(UTC))
    store = open_store(StoreRuntime(clock=clock))
    store.put("key", b"")
    left = directory / ".clouddirect" / "tmp" / "left"
    left.write_bytes(b"half of it")
    store.put("key", b"")
    clock.advance(25 * 3600)
    os.utime(left, (time.time() + 20 * 3600,) * 2)  # its upload wrote something five hours ago
    store.put("key", b"")
    assert temporaries(directory) == ["left"]
    clock.advance(20 * 3600)
    store.put("key", b"")
    assert temporaries(directory) == []


def test_an_upload_that_failed_leaves_nothing(store: LocalStore, directory: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        store.put("key", b"x" * 100, progress=lambda count: 1 // 0)
    assert temporaries(directory) == []
    assert sidecars(directory) == []
    assert os.listdir(directory) == [".clouddirect"]


class NoLinks(Folder):
    """A file system without hard links (exFAT, some network shares)."""

    def move_if_absent(self, name: str, target: Folder, new_name: str) -> None:
        raise PermissionError(1, "Operation not permitted")


def test_a_file_system_without_links_cannot_decide(store: LocalStore, directory: Path) -> None:
    store._folder_type = NoLinks
    with pytest.raises(UnsupportedError, match="hard links") as refused:
        store.put("key", b"content", if_absent=True)
    assert refused.value.code == "if_absent"
    assert not store.exists("key")
    store.put("key", b"content")
    assert store.get("key") == b"content"
    assert len(sidecars(directory)) == 1


class NoSync(Folder):
    """A disk that fails when it is to be flushed, once a file has its name."""

    def sync(self) -> None:
        if os.path.basename(self.path) == "c":
            raise OSError(5, "Input/output error")


def test_a_failure_after_the_file_has_its_name_says_so(store: LocalStore, directory: Path) -> None:
    store.put("first", b"")
    store._folder_type = NoSync
    with pytest.raises(OSError, match="Input/output") as failed:
        store.put("key", b"content", content_type="image/png")
    assert failed.value.maybe_own_write  # type: ignore[attr-defined]
    store._folder_type = Folder
    assert store.stat("key").content_type == "image/png", "what is visible has what belongs to it"
