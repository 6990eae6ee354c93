"""No symbolic link leads out of a container, in either way of walking its directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clouddirect.errors import InvalidKeyError, NotFoundError
from clouddirect_local.store import LocalStore
from clouddirect_local.store_options import LocalStoreOptions

pytestmark = pytest.mark.skipif(os.name != "posix", reason="making links needs a privilege on Windows")


@pytest.fixture(params=[True, False], ids=["by descriptor", "by path"])
def store(request: pytest.FixtureRequest, tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
    monkeypatch.setattr("clouddirect_local.store.BY_DESCRIPTOR", request.param)
    store = LocalStore(LocalStoreOptions(path=tmp_path, container="c", create=True))
    store.put("inside", b"inside")
    return store


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "secret").write_bytes(b"secret")
    return path


@pytest.mark.parametrize("link", ["absolute", "relative", "inside"])
def test_a_linked_file_is_no_object(store: LocalStore, outside: Path, link: str) -> None:
    targets = {"absolute": outside / "secret", "relative": "../outside/secret", "inside": "inside"}
    path = outside.parent / "c" / "link"
    path.symlink_to(targets[link])
    for read in (store.get, store.stat, store.open):
        with pytest.raises(NotFoundError):
            read("link")
    assert not store.exists("link")
    assert [one.key for one in store.list()] == ["inside"]  # type: ignore[union-attr]
    store.delete("link")
    assert path.is_symlink()


def test_a_linked_directory_is_not_entered(store: LocalStore, outside: Path) -> None:
    (outside.parent / "c" / "link").symlink_to(outside, target_is_directory=True)
    with pytest.raises(NotFoundError):
        store.get("link/secret")
    assert not store.exists("link/secret")
    assert list(store.list("link/")) == []
    for if_absent in (False, True):
        with pytest.raises(InvalidKeyError, match="link"):
            store.put("link/new", b"written", if_absent=if_absent)
    store.delete("link/secret")
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


def test_putting_replaces_a_link_not_what_it_leads_to(store: LocalStore, outside: Path) -> None:
    (outside.parent / "c" / "link").symlink_to(outside / "secret")
    store.put("link", b"written")
    assert (outside / "secret").read_bytes() == b"secret"
    assert store.get("link") == b"written"


def test_a_dangling_link_is_not_followed_when_writing(store: LocalStore, outside: Path) -> None:
    (outside.parent / "c" / "link").symlink_to(outside / "new")
    store.put("link", b"written")
    assert os.listdir(outside) == ["secret"]


def test_a_link_counts_as_something_that_is_there(store: LocalStore, outside: Path) -> None:
    path = outside.parent / "c" / "link"
    path.symlink_to(outside / "new")
    with pytest.raises(FileExistsError):
        store.put("link", b"written", if_absent=True)
    assert path.is_symlink()


@pytest.mark.parametrize("own", ["tmp", "meta", ""])
def test_the_stores_own_directories_are_not_followed_either(tmp_path: Path, outside: Path, own: str) -> None:
    store = LocalStore(LocalStoreOptions(path=tmp_path, container="d", create=True))
    place = tmp_path / "d" / ".clouddirect" / own if own else tmp_path / "d" / ".clouddirect"
    place.parent.mkdir(parents=True)
    place.symlink_to(outside, target_is_directory=True)
    before = os.listdir(outside)
    with pytest.raises(OSError, match=r"directory|link"):
        store.put("key", b"content")
    assert os.listdir(outside) == before
    assert not (tmp_path / "d" / "key").exists()


def test_the_path_to_the_containers_may_be_a_link(tmp_path: Path, outside: Path) -> None:
    """It is the user's own (on macOS /tmp is one), not a key's."""
    (tmp_path / "root").symlink_to(outside, target_is_directory=True)
    store = LocalStore(LocalStoreOptions(path=tmp_path / "root", container="c", create=True))
    store.put("key", b"content")
    assert (outside / "c" / "key").read_bytes() == b"content"


@pytest.mark.parametrize("container", ["", ".", "..", "../up", "a/b", "a\\b", "nul\0"])
def test_a_container_is_one_directory(tmp_path: Path, container: str) -> None:
    with pytest.raises(ValueError, match="container"):
        LocalStoreOptions(path=tmp_path, container=container)
