"""Cases about keys: which are stored exactly, which are refused, and what is said of objects by their keys."""

from __future__ import annotations

import pytest

from clouddirect.conformance.storage_harness import StorageHarness
from clouddirect.errors import ContainerNotFoundError, InvalidKeyError, PermissionDeniedError
from clouddirect.storage import FileStore

__all__ = ["KeyCases"]

_ODD = [
    "plain.jpg",
    "a/b/c/d/e/f/g.jpg",
    " leading and trailing ",
    "dots...",
    ".hidden",
    "..almost",
    "a/...",
    "percent%2Fencoded%20%41",
    "plus+and&amp;?query=1#fragment",
    "back\\slash",
    "quotes'\"`",
    "<angle>|*:",
    "Grün/眼底/👁.jpg",
    "e\u0301 decomposed",
    "\u00e9 composed",
    "UPPER.JPG",
    "upper.jpg",
    "tilde~",
    "$dollar@at",
    "x" * 255,
    "x" * 1024,
    "NUL",
    "con.txt",
    "\u200bzero width\u202e",
    "\ufeffbom",
    "\uffff",
]

_REFUSED = [
    "", "/", "/a", "a/", "a//b", "//", ".", "..", "./a", "a/.", "../a", "a/..", "a/../b", "a/./b", "../../etc/passwd",
    "nul\0", "tab\t", "line\n", "return\r", "escape\x1b", "delete\x7f", "c1\x85", "x" * 1025, "ü" * 513, "\ud800",
]  # fmt: skip


class KeyCases(StorageHarness):
    """Keys and the objects behind them."""

    @pytest.mark.parametrize("key", _ODD, ids=ascii)
    def test_odd_keys_are_kept_or_refused(self, store: FileStore, key: str) -> None:
        """An odd key is stored exactly as given, and nothing under another name, or refused by `InvalidKeyError`."""
        data = ascii(key).encode()
        try:
            store.put(key, data)
        except InvalidKeyError:
            assert not list(store.list())
            return
        assert [one.key for one in store.list()] == [key]  # type: ignore[union-attr]  # no delimiter, no prefixes
        assert store.get(key) == data
        assert store.stat(key).key == key
        store.delete(key)
        assert not list(store.list())

    def test_similar_keys_are_different_objects(self, store: FileStore) -> None:
        """Keys that differ in case or in Unicode form are different objects, or the second one is refused."""
        for first, second in (("case/A.jpg", "case/a.jpg"), ("form/\u00e9", "form/e\u0301"), ("Dir/x", "dir/x")):
            store.put(first, b"first")
            try:
                store.put(second, b"second")
            except InvalidKeyError:
                assert not store.exists(second)
            else:
                assert store.get(second) == b"second"
            assert store.get(first) == b"first"

    def test_a_key_may_continue_another(self, store: FileStore) -> None:
        """``a`` and ``a/b`` are two objects, or the second one is refused; the first is never lost."""
        for first, second in (("one", "one/more"), ("two/more", "two")):
            store.put(first, b"first")
            try:
                store.put(second, b"second")
            except InvalidKeyError:
                assert not store.exists(second)
            else:
                assert store.get(second) == b"second"
            assert store.get(first) == b"first"
            store.delete(second)
            assert store.get(first) == b"first"

    @pytest.mark.parametrize("key", _REFUSED, ids=ascii)
    def test_keys_that_are_no_keys_are_refused(self, store: FileStore, key: str) -> None:
        """Traversal, empty segments and control characters are `InvalidKeyError` (a ValueError) for every operation."""
        calls = (
            lambda: store.put(key, b"content"), lambda: store.get(key), lambda: store.open(key),
            lambda: store.download(key, "never-written"), lambda: store.stat(key), lambda: store.exists(key),
            lambda: store.delete(key), lambda: store.presign(key),
        )  # fmt: skip
        for call in calls:
            with pytest.raises(InvalidKeyError) as refused:
                call()
            assert isinstance(refused.value, ValueError)
            assert refused.value.provider == store.provider
        assert not list(store.list())

    def test_delete_is_idempotent(self, store: FileStore) -> None:
        """Deleting removes the one object; deleting what is not there, or no longer, is no error."""
        store.put("gone/one", b"1")
        store.put("gone/two", b"2")
        for _ in range(2):
            store.delete("gone/one")
            assert not store.exists("gone/one")
        store.delete("never/was")
        store.delete("gone/two/deeper")
        assert store.get("gone/two") == b"2"

    def test_exists(self, store: FileStore) -> None:
        """``exists`` is true for an object, false for a missing key, and false for what is only the beginning of
        keys."""
        store.put("here/it/is", b"content")
        assert store.exists("here/it/is")
        assert not store.exists("here/it/is not")
        assert not store.exists("here")
        assert not store.exists("here/it")

    def test_exists_is_never_guessed(self, store: FileStore) -> None:
        """A credential that is not told gets `PermissionDeniedError`, for a key that is there and for one that is
        not."""
        store.put("there", b"content")
        blind: FileStore = self.need("write_only_store")
        for key in ("there", "not there"):
            with pytest.raises(PermissionDeniedError):
                blind.exists(key)

    def test_missing_container(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        """Opening succeeds; every use is `ContainerNotFoundError`, at once, and nothing is created."""
        store: FileStore = self.need("store_with_missing_container")
        target = tmp_path_factory.mktemp("missing") / "target"
        calls = (
            lambda: store.put("key", b"content"), lambda: store.put("key", b"content", if_absent=True),
            lambda: store.get("key"), lambda: store.open("key"), lambda: store.download("key", target),
            lambda: store.stat("key"), lambda: store.exists("key"), lambda: list(store.list()),
            lambda: store.delete("key"),
        )  # fmt: skip
        for _ in range(2):
            for call in calls:
                with pytest.raises(ContainerNotFoundError) as missing:
                    call()
                assert not missing.value.retryable
        assert not target.exists()
        assert store.check("read").status == "failed"
