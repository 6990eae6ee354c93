"""Names and metadata: what Azure would change is refused or encoded."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clouddirect.errors import InvalidKeyError, TooLargeError
from clouddirect_azure.blob_names import check_key, check_metadata, decode_metadata, encode_metadata
from unit.azure.blob_fixtures import Blobs

_TEXT = st.text().filter(lambda text: not any(unicodedata.category(one) in ("Cc", "Cs") for one in text))


@pytest.mark.parametrize(
    "key", ["ends.", "a./b", "a/b...", "back\\slash", "/".join("x" * 255), "no\uffffcharacter", "\ufffe", "\U0001ffff"]
)
def test_refused_keys(key: str) -> None:
    """Azure drops a dot at the end of a segment, takes a backslash for a slash, and has 254 segments."""
    with pytest.raises(InvalidKeyError):
        check_key(key)


@pytest.mark.parametrize("key", ["a.b", ".a", "..a", "/".join("x" * 254), " ", "%2e", "a/ .x", "\ufffd", "👁"])
def test_permitted_keys(key: str) -> None:
    """What only looks alike is permitted."""
    check_key(key)


@given(_TEXT)
@example("")
@example(" a")
@example("a ")
def test_metadata_comes_back(value: str) -> None:
    """Any text survives, as printable ASCII without blanks at its ends."""
    encoded = encode_metadata({"name": value})
    on_the_wire = encoded["name"]
    assert on_the_wire.isascii()
    assert on_the_wire.isprintable()
    assert on_the_wire
    assert on_the_wire == on_the_wire.strip()
    assert decode_metadata(encoded) == {"name": value}


@pytest.mark.parametrize("value", ["OD", "a b", "=?%41+", "=?utf-8?Q?x?=", "base64=="])
def test_plain_metadata_stays_readable(value: str) -> None:
    """What the wire can carry is not encoded, so that other programs read it."""
    assert encode_metadata({"name": value}) == {"name": value}


@pytest.mark.parametrize("value", ["=?utf-8?B?eA==?=", "=?UTF-8?b??="])
def test_what_looks_encoded_is_encoded(value: str) -> None:
    """Text that reads as encoded is encoded once more, and comes back."""
    encoded = encode_metadata({"name": value})
    assert encoded["name"] != value
    assert decode_metadata(encoded) == {"name": value}


def test_foreign_metadata_is_left_alone() -> None:
    """What only resembles our encoding, and cannot be decoded, is handed over as it is."""
    for value in ("=?utf-8?B?*?=", "=?utf-8?B?/w==?=", "=?utf-8?B?a?=", "=?latin-1?B?eA==?="):
        assert decode_metadata({"name": value}) == {"name": value}


def test_metadata_has_limits() -> None:
    """More than 8 KiB once encoded, or more pairs than a response can be read with, is refused."""
    check_metadata({f"n{number}": "ü" * 20 for number in range(50)})
    with pytest.raises(TooLargeError, match="pairs"):
        check_metadata({f"n{number}": "" for number in range(51)})
    with pytest.raises(TooLargeError, match="8,192"):
        check_metadata({f"n{number}": "ü" * 65 for number in range(45)})


def test_the_most_metadata_is_read_back(blobs: Blobs) -> None:
    """As many pairs as are permitted come back, names in the service's own order of signing included."""
    store = blobs.store()
    metadata = {f"a{number}": "é" for number in range(45)} | {"a_": "1", "a1_b": "2", "a_b": "3", "ab": "4", "a10b": ""}
    store.put("kept", b"content", metadata=metadata)
    assert dict(store.stat("kept").metadata) == metadata
    with pytest.raises(TooLargeError):
        store.put("kept", b"content", metadata={f"n{number}": "" for number in range(51)})


def test_others_read_what_we_store(blobs: Blobs) -> None:
    """The SDK sees our content type, plain metadata and MD5 as any program's; we see its."""
    store = blobs.store()
    stored = store.put("ours", b"content", content_type="image/jpeg; name=a", metadata={"eye": "OD", "name": "Grün"})
    found = blobs.sdk.get_blob_client("ours").get_blob_properties()
    assert found.content_settings.content_type == "image/jpeg; name=a"
    assert found.metadata == {"eye": "OD", "name": "=?utf-8?B?R3LDvG4=?="}
    assert bytes(found.content_settings.content_md5 or b"").hex() == stored.digest
    blobs.sdk.get_blob_client("theirs").upload_blob(b"theirs", metadata={"Eye": "OS"})
    theirs = store.stat("theirs")
    assert {name.lower(): value for name, value in theirs.metadata.items()} == {"eye": "OS"}
    assert theirs.content_type == "application/octet-stream"


@pytest.mark.parametrize(
    "key", ["a b/ c ", "%41%2F%20", "#frag?query&x=1", "Grün/眼底/👁.jpg", "(a)!*'~$@+,;:=[x]", "\u200b", "a/.b/..c"]
)
def test_odd_keys_are_the_same_for_the_sdk(blobs: Blobs, key: str) -> None:
    """Both sides mean the same blob by a key, with the account's key (the path is signed) and with a SAS."""
    blobs.store().put(key, b"by key")
    assert blobs.sdk.get_blob_client(key).download_blob().readall() == b"by key"
    blobs.store(permissions="wc").put(key, b"by SAS")
    assert blobs.store(permissions="rl").get(key) == b"by SAS"
    assert [one.name for one in blobs.sdk.list_blobs()] == [key]
    assert [one.key for one in blobs.store(permissions="rl").list(key[:2])] == [key]  # type: ignore[union-attr]
