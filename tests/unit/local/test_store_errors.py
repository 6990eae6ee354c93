"""What the file system's own errors become."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from clouddirect.errors import (
    ClosedError,
    CloudDirectError,
    ContainerNotFoundError,
    InvalidKeyError,
    PermissionDeniedError,
    TooLargeError,
    UnavailableError,
)
from clouddirect.storage import Part
from clouddirect_local.store import LocalStore
from clouddirect_local.store_options import LocalStoreOptions


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(LocalStoreOptions(path=tmp_path, container="c", create=True))


@pytest.mark.parametrize(
    ("number", "kind", "retryable"),
    [
        (errno.EACCES, PermissionDeniedError, False), (errno.EPERM, PermissionDeniedError, False),
        (errno.EROFS, PermissionDeniedError, False), (errno.ENAMETOOLONG, InvalidKeyError, False),
        (errno.EFBIG, TooLargeError, False), (errno.ENOSPC, UnavailableError, False),
        (errno.EMFILE, UnavailableError, True), (errno.ESTALE, UnavailableError, True),
        (errno.ENOENT, UnavailableError, True), (errno.EIO, UnavailableError, False),
    ],
)  # fmt: skip
def test_translation(store: LocalStore, number: int, kind: type[CloudDirectError], retryable: bool) -> None:
    translated = store._classify(OSError(number, os.strerror(number)))
    assert type(translated) is kind
    assert (translated.code, translated.retryable) == (errno.errorcode[number], retryable)


def test_an_open_file_on_windows_is_only_for_now(store: LocalStore) -> None:
    busy = PermissionError(errno.EACCES, "in use")
    busy.winerror = 32  # type: ignore[attr-defined]
    translated = store._classify(busy)
    assert isinstance(translated, UnavailableError)
    assert translated.retryable


def test_bugs_are_not_translated(store: LocalStore) -> None:
    assert store._classify(ValueError()) is None


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may do everything")
def test_permissions_of_the_directory(store: LocalStore, tmp_path: Path) -> None:
    store.put("key", b"content")
    (tmp_path / "c").chmod(0o500)
    try:
        with pytest.raises(PermissionDeniedError):
            store.put("other", b"content")
        assert store.check("write").status == "failed"
    finally:
        (tmp_path / "c").chmod(0o700)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_no_passing_trouble(store: LocalStore, tmp_path: Path) -> None:
    begin = store._begin_upload

    def full(*arguments):  # type: ignore[no-untyped-def]
        upload = begin(*arguments)
        os.close(upload._file)
        upload._file = os.open("/dev/full", os.O_RDWR)
        return upload

    store._begin_upload = full  # type: ignore[method-assign]
    with pytest.raises(UnavailableError, match="full") as failed:
        store.put("key", b"content")
    assert not failed.value.retryable
    assert os.listdir(tmp_path / "c" / ".clouddirect" / "tmp") == []


def test_a_container_that_vanishes(store: LocalStore, tmp_path: Path) -> None:
    kept = LocalStore(LocalStoreOptions(path=tmp_path, container="kept"))
    (tmp_path / "kept").mkdir()

    def vanish(count: int) -> None:
        os.rename(tmp_path / "kept", tmp_path / "gone")

    with pytest.raises(ContainerNotFoundError, match="kept"):
        kept.put("key", b"content", progress=vanish)
    with pytest.raises(ContainerNotFoundError):
        list(kept.list())
    (tmp_path / "kept").write_bytes(b"a file, not a directory")
    with pytest.raises(ContainerNotFoundError):
        kept.get("key")


def test_what_the_upload_holds_is_compared(store: LocalStore) -> None:
    """Parts that never arrived, or arrived twice, are found at the commit."""
    begin = store._begin_upload

    def losing(*arguments):  # type: ignore[no-untyped-def]
        upload = begin(*arguments)
        write = upload.write_part
        upload.write_part = lambda part, timeout: write(
            Part(part.index, part.offset, part.data[:-1], part.last), timeout
        )
        return upload

    store._begin_upload = losing  # type: ignore[method-assign]
    with pytest.raises(CloudDirectError, match="other bytes"):
        store.put("key", b"content")
    assert not store.exists("key")


def test_closing_is_final(store: LocalStore) -> None:
    store.close()
    with pytest.raises(ClosedError, match="local store has been closed"):
        store.get("key")
