"""Keys and file names: what a file system can hold, and where it takes two names for one."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clouddirect.errors import InvalidKeyError, NotFoundError
from clouddirect_local.store import LocalStore
from clouddirect_local.store_folders import Folder
from clouddirect_local.store_names import check_names
from clouddirect_local.store_options import LocalStoreOptions


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(LocalStoreOptions(path=tmp_path, container="c", create=True))


@pytest.mark.parametrize(
    "name",
    ["NUL", "nul.txt", "Con", "COM1.jpg", "lpt9", "com¹", "aux .x", "conout$", "trailing.", "trailing ", "a:b", "a\\b",
     "what?", "star*", "<", ">", "|", '"', "x" * 256],
)  # fmt: skip
def test_names_that_windows_does_not_hold(name: str) -> None:
    for key in (name, f"dir/{name}", f"{name}/file"):
        with pytest.raises(InvalidKeyError):
            check_names(key, windows=True)


@pytest.mark.parametrize(
    "name", ["null.txt", "console", "com0", "com10", ".hidden", "eye.jpg", "é" * 255, "a b", "lpt"]
)
def test_names_that_windows_holds(name: str) -> None:
    check_names(f"dir/{name}", windows=True)


def test_names_that_posix_does_not_hold() -> None:
    check_names("x" * 255 + "/" + "y" * 255, windows=False)
    for name in ("x" * 256, "é" * 128):
        with pytest.raises(InvalidKeyError, match="255"):
            check_names(f"dir/{name}", windows=False)


ODD = st.text(st.sampled_from("aA.~ -_%\\:*?\"<>|é\u0301É$'`#&\u200bß中👁/\n\0\ud800"), min_size=1, max_size=14)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(ODD, st.text(min_size=1, max_size=40)))
def test_any_key_is_stored_exactly_or_refused(store: LocalStore, tmp_path: Path, key: str) -> None:
    """And no file appears outside of the container."""
    data = key.encode("utf-8", "surrogatepass")
    try:
        store.put(key, data)
    except InvalidKeyError:
        assert list(store.list()) == []
    else:
        assert [one.key for one in store.list()] == [key]  # type: ignore[union-attr]
        assert store.get(key) == data
        store.delete(key)
    assert os.listdir(tmp_path) in ([], ["c"])
    assert set(os.listdir(tmp_path / "c") if (tmp_path / "c").exists() else []) <= {".clouddirect"}


class Folding(Folder):
    """A file system to which upper and lower case, and Unicode forms, are the same, as on Windows and macOS."""

    def _at(self, name: str) -> str:
        for one in os.listdir(self.path):
            if fold(one) == fold(name):
                name = one
        return super()._at(name)


def fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@pytest.fixture
def folding(store: LocalStore) -> LocalStore:
    store._folder_type = Folding
    store.put("Dir/Eye.jpg", b"content", content_type="image/jpeg")
    return store


@pytest.mark.parametrize("key", ["Dir/eye.jpg", "dir/Eye.jpg", "DIR/EYE.JPG"])
def test_one_name_never_reads_anothers_file(folding: LocalStore, key: str) -> None:
    for read in (folding.get, folding.stat, folding.open):
        with pytest.raises(NotFoundError):
            read(key)
    assert not folding.exists(key)
    folding.delete(key)
    assert folding.get("Dir/Eye.jpg") == b"content"


@pytest.mark.parametrize("if_absent", [False, True])
@pytest.mark.parametrize("key", ["Dir/eye.jpg", "dir/Eye.jpg", "dir/other.jpg"])
def test_one_name_never_writes_anothers_file(folding: LocalStore, key: str, if_absent: bool) -> None:
    with pytest.raises(InvalidKeyError, match="upper and lower case"):
        folding.put(key, b"other", if_absent=if_absent)
    assert [one.key for one in folding.list()] == ["Dir/Eye.jpg"]  # type: ignore[union-attr]
    assert folding.stat("Dir/Eye.jpg").content_type == "image/jpeg"


def test_one_name_is_itself_where_names_fold(folding: LocalStore) -> None:
    folding.put("Dir/Eye.jpg", b"again")
    folding.put("Dir/\u00e9", b"composed")
    assert folding.get("Dir/Eye.jpg") == b"again"
    with pytest.raises(InvalidKeyError):
        folding.put("Dir/e\u0301", b"decomposed")
    folding.delete("Dir/Eye.jpg")
    folding.put("Dir/eye.jpg", b"now free")
    assert folding.get("Dir/eye.jpg") == b"now free"


def test_a_system_that_tells_names_apart_is_recognised(store: LocalStore, tmp_path: Path) -> None:
    store.put("a", b"1")
    if (tmp_path / "c" / ".CLOUDDIRECT").exists():
        pytest.skip("this file system folds names")
    store.put("A", b"2")
    assert (store.get("a"), store.get("A")) == (b"1", b"2")
    assert store._folds is False
