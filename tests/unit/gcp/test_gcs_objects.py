"""How the Cloud Storage store reads and writes checksums, metadata, resources and headers; and its options."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from requests.structures import CaseInsensitiveDict

from clouddirect.errors import TooLargeError
from clouddirect_gcp.gcs_objects import (
    Crc32c,
    encode_metadata,
    file_of_headers,
    file_of_resource,
    hash_header,
    to_base64,
)
from clouddirect_gcp.store_options import GcpStoreOptions


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (b"", "00000000"),
        (bytes(32), "8a9136aa"),  # these four are from RFC 3720, appendix B.4
        (b"\xff" * 32, "62a8ab43"),
        (bytes(range(32)), "46dd794e"),
        (bytes(range(31, -1, -1)), "113fdb5c"),
    ],
)
def test_crc32c(data: bytes, digest: str) -> None:
    """The published values, from every kind of buffer, at once and in pieces."""
    for kind in (bytes, bytearray, memoryview):
        hasher = Crc32c()
        hasher.update(kind(data))
        assert hasher.digest().hex() == digest
    hasher = Crc32c()
    for place in range(0, len(data), 5):
        hasher.update(memoryview(data)[place : place + 5])
    assert hasher.digest().hex() == digest


def test_crc32c_of_much() -> None:
    """What is larger than one slice is the same as in one piece."""
    data = bytes(range(256)) * 10_000
    whole, parts = Crc32c(), Crc32c()
    whole.update(data)
    parts.update(data[:1_500_000])
    parts.update(data[1_500_000:])
    assert whole.digest() == parts.digest()


def test_base64_is_big_endian() -> None:
    """The service's notation, as documented for the content ``hello``."""
    hasher = Crc32c()
    hasher.update(b"hello")
    assert to_base64(hasher.digest().hex()) == "mnG7TA=="
    assert hash_header("9a71bb4c") == "crc32c=mnG7TA=="


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=200))
def test_metadata_survives_headers(value: str) -> None:
    """Every permitted value comes back from headers and resources exactly, and is plain ASCII on the way."""
    (encoded,) = encode_metadata({"name": value}).values()
    assert encoded.isascii()
    assert encoded.isprintable()
    assert encoded == encoded.strip()
    headers = CaseInsensitiveDict({"X-Goog-Meta-Name": encoded})
    assert file_of_headers("key", 0, headers).metadata == {"name": value}
    assert file_of_resource({"name": "key", "size": "0", "metadata": {"name": encoded}}).metadata == {"name": value}


@pytest.mark.parametrize("value", ["=?utf-8?b?", "=?utf-8?b?!!!?=", "=?utf-8?b?/w==?=", "=?utf-8?q?=41?="])
def test_metadata_of_others_is_left_alone(value: str) -> None:
    """What looks encoded, and is not, stays as it is."""
    resource = {"name": "key", "size": "0", "metadata": {"name": value}}
    assert file_of_resource(resource).metadata == {"name": value}


def test_metadata_too_large_once_encoded() -> None:
    """The service's own limit counts what is sent."""
    encode_metadata({f"n{number}": "x" for number in range(1000)})
    with pytest.raises(TooLargeError, match="once encoded"):
        encode_metadata({f"n{number}": "é" for number in range(1000)})


def test_resource() -> None:
    """Generations are text, sizes are text, times are in UTC."""
    file = file_of_resource(
        {
            "name": "a/b", "size": "5", "generation": "1795507230468950", "crc32c": "mnG7TA==",
            "timeCreated": "2026-11-24T08:00:30.468Z", "contentType": "image/jpeg",
        }
    )  # fmt: skip
    assert (file.key, file.size, file.version, file.digest) == ("a/b", 5, "1795507230468950", "9a71bb4c")
    assert (file.digest_algorithm, file.content_type, file.verified) == ("crc32c", "image/jpeg", None)
    assert file.modified_at is not None
    assert file.modified_at.isoformat() == "2026-11-24T08:00:30.468000+00:00"


@pytest.mark.parametrize(
    ("header", "digest"),
    [
        ("crc32c=mnG7TA==,md5=XUFAKrxLKna5cZ2REBfFkg==", "9a71bb4c"),
        ("md5=XUFAKrxLKna5cZ2REBfFkg==, crc32c=mnG7TA==", "9a71bb4c"),
        ("md5=XUFAKrxLKna5cZ2REBfFkg==", None),
        ("", None),
    ],
)
def test_headers(header: str, digest: str | None) -> None:
    """The digest is found among others."""
    headers = CaseInsensitiveDict(
        {"X-Goog-Hash": header, "Last-Modified": "Tue, 24 Nov 2026 08:04:17 GMT", "x-goog-generation": "17"}
    )
    file = file_of_headers("key", 9, headers)
    assert (file.size, file.digest, file.digest_algorithm) == (9, digest, "crc32c" if digest else None)
    assert file.version == "17"
    assert file.modified_at is not None
    assert file.modified_at.isoformat() == "2026-11-24T08:04:17+00:00"


@pytest.mark.parametrize(
    "wrong",
    [
        {"container": "Upper"}, {"container": "a"}, {"container": "gs://images"}, {"container": "images/"},
        {"endpoint": "storage.googleapis.com"}, {"endpoint": "https://x/?a=b"}, {"kms_key": "my-key"},
        {"signing_account": "nobody"}, {"iam_endpoint": "ftp://x"}, {"bucket": "images"},
    ],
)  # fmt: skip
def test_options_that_cannot_be(wrong: dict[str, str]) -> None:
    """What is no bucket, URL, key or account is refused when the settings are read."""
    with pytest.raises(ValidationError):
        GcpStoreOptions.model_validate({"container": "images", **wrong})


def test_options_show_no_secret() -> None:
    """Neither token nor key is in the repr."""
    for secret in ({"access_token": "s3cr3t"}, {"service_account_key": "s3cr3t"}):
        assert "s3cr3t" not in repr(GcpStoreOptions.model_validate({"container": "images", **secret}))
