"""Cases about listings: prefix, delimiter, order, paging, and what happens meanwhile."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest

from clouddirect.conformance.storage_harness import StorageHarness
from clouddirect.errors import InvalidKeyError, UnsupportedError
from clouddirect.storage import FileStore, StoredFile, StoredPrefix

__all__ = ["ListingCases"]

_KEYS = ["a", "a-b", "a.txt", "b/1", "b/2", "b/c/3", "b/c/d/4", "b-", "bz", "ä/5", "c/6"]


def _names(store: FileStore, prefix: str = "", delimiter: str | None = None) -> list[str]:
    return [
        one.key if isinstance(one, StoredFile) else f"[{one.prefix}]"
        for one in store.list(prefix, delimiter)  # type: ignore[arg-type]  # '/' or None
    ]


class ListingCases(StorageHarness):
    """Listings."""

    @pytest.fixture
    def filled(self, store: FileStore) -> FileStore:
        """A store with some keys in it."""
        for key in _KEYS:
            store.put(key, key.encode())
        return store

    def test_list_is_whole_and_in_order(self, filled: FileStore) -> None:
        """All keys come, in the order of their UTF-8 bytes, with their sizes; an empty container has none."""
        assert _names(filled) == sorted(_KEYS, key=str.encode)
        for one in filled.list():
            assert isinstance(one, StoredFile)
            assert one.size == len(one.key.encode())
        for key in _KEYS:
            filled.delete(key)
        assert _names(filled) == []

    def test_list_by_prefix(self, filled: FileStore) -> None:
        """A prefix may end anywhere; what merely contains it does not match."""
        assert _names(filled, "b") == ["b-", "b/1", "b/2", "b/c/3", "b/c/d/4", "bz"]
        assert _names(filled, "b/") == ["b/1", "b/2", "b/c/3", "b/c/d/4"]
        assert _names(filled, "b/c") == ["b/c/3", "b/c/d/4"]
        assert _names(filled, "b/c/3") == ["b/c/3"]
        assert _names(filled, "ä") == ["ä/5"]
        assert _names(filled, "1") == []
        assert _names(filled, "no/such/prefix/") == []
        assert _names(filled, "a/") == []

    def test_list_by_delimiter(self, filled: FileStore) -> None:
        """With a delimiter the keys behind the next ``/`` are represented once, in their place in the order."""
        assert _names(filled, "", "/") == ["a", "a-b", "a.txt", "b-", "[b/]", "bz", "[c/]", "[ä/]"]
        assert _names(filled, "b/", "/") == ["b/1", "b/2", "[b/c/]"]
        assert _names(filled, "b", "/") == ["b-", "[b/]", "bz"]
        assert _names(filled, "b/c/", "/") == ["b/c/3", "[b/c/d/]"]
        filled.delete("c/6")
        assert StoredPrefix("c/") not in list(filled.list(delimiter="/"))

    def test_other_delimiters_and_bad_prefixes_are_refused(self, store: FileStore) -> None:
        """The only delimiter is ``/``, and a prefix with which no key begins is refused when ``list`` is called."""
        with pytest.raises(UnsupportedError):
            store.list("", "-")  # type: ignore[arg-type]
        for prefix in ("/", "/a", "a//", "../", "a/./", "a\0", "x" * 1025):
            with pytest.raises(InvalidKeyError):
                store.list(prefix)

    def test_list_of_many_keys_comes_in_pages(self, store: FileStore) -> None:
        """1,100 keys all come, exactly once and in order, and the first ones without asking for all pages."""
        keys = [f"many/{number:04}" for number in range(1100)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.put(key, b""), keys))
        assert _names(store, "many/") == keys
        first = [one.key for one in itertools.islice(store.list("many/"), 3) if isinstance(one, StoredFile)]
        assert first == keys[:3]
        reader = self.read_only_store()
        if reader is not NotImplemented and self.requests_seen() is not NotImplemented:
            with reader:
                found = reader.list("many/")
                list(itertools.islice(found, 3))
                asked = self.requests_seen().count("list")
                assert len(list(found)) == len(keys) - 3
                assert self.requests_seen().count("list") > 0, f"all pages were asked for at once ({asked} requests)"
        assert _names(store, "many/0") == keys[:1000]

    def test_keys_changed_while_listing(self, store: FileStore) -> None:
        """What is there all the time comes exactly once, whatever is stored and deleted meanwhile."""
        stay = [f"live/{number:03}-stays" for number in range(0, 300, 2)]
        go = [f"live/{number:03}-goes" for number in range(1, 300, 2)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.put(key, b"1"), stay + go))
        seen = []
        for place, one in enumerate(store.list("live/")):
            assert isinstance(one, StoredFile)
            seen.append(one.key)
            if place < len(go):
                store.delete(go[-1 - place])
                store.put(f"live/{place:03}-new", b"1")
                store.put(stay[place % len(stay)], b"overwritten")
        assert [key for key in seen if key.endswith("stays")] == stay
        assert len(seen) == len(set(seen))
