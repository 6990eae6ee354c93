"""Metadata of S3 objects: what goes into headers, what comes out of them, and what others wrote."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clouddirect.errors import TooLargeError
from clouddirect_aws.s3_metadata import PART_SIZE, decode_metadata, encode_metadata, metadata_size
from unit.aws.s3_fixtures import BUCKET, MIB, Rig

TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=200)
#: Text that looks like what encoding makes of text.
ASCII = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
LOOKALIKE = st.builds("{}=?{}?{}?{}?={}".format, ASCII, ASCII, st.sampled_from("BbQqX"), ASCII, ASCII)


@given(st.one_of(TEXT, LOOKALIKE))
@example("=?UTF-8?B?RnLDvGg=?=")
@example("a =?UTF-8?Q?b?= c")
def test_every_value_comes_back(value: str) -> None:
    """What goes into a header is ASCII, without blanks that HTTP would lose, and comes back as it was."""
    encoded = encode_metadata({"name": value})
    assert encoded["name"].isascii()
    assert encoded["name"] == " ".join(encoded["name"].split())
    assert decode_metadata(encoded) == {"name": value}


@given(TEXT)
def test_any_header_can_be_read(value: str) -> None:
    """Whatever somebody else stored is returned, decoded or as it is, never an error."""
    assert decode_metadata({"Name": value}).keys() == {"name"}


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("plain text", "plain text"),
        ("=?UTF-8?Q?Fr=C3=BCh?=", "Früh"),
        ("=?UTF-8?B?RnLDvGg=?=", "Früh"),
        ("=?ISO-8859-1?Q?Fr=FCh?=", "Früh"),
        ("=?UTF-8?B?RnI=?= =?UTF-8?B?w7xo?=", "Früh"),
        ("=?no-such-charset?B?RnI=?=", "=?no-such-charset?B?RnI=?="),
        ("=?UTF-8?B?/w==?=", "=?UTF-8?B?/w==?="),
    ],
)
def test_others_encodings(stored: str, expected: str) -> None:
    """Both encodings of RFC 2047, in several words, too; what only looks like one stays as it is."""
    assert decode_metadata({"name": stored}) == {"name": expected}


def test_plain_values_stay_plain() -> None:
    """Other SDKs read ordinary values as they were given."""
    plain = {"eye": "OD", "note": "left eye, retake #2", "nothing": ""}
    assert encode_metadata(plain) == plain


def test_our_own_entry_is_not_shown(s3: Rig) -> None:
    """The size of parts, which makes a checksum of parts worth something, is kept beside the user's metadata only."""
    store = s3.store()
    store.put("parts", bytes(6 * MIB), metadata={"eye": "OD"})
    assert dict(store.stat("parts").metadata) == {"eye": "OD"}
    assert s3.objects["parts"].headers[f"x-amz-meta-{PART_SIZE}"] == str(5 * MIB)
    store.put("small", b"content", metadata={"eye": "OD"})
    assert f"x-amz-meta-{PART_SIZE}" not in s3.objects["small"].headers


def test_others_names_are_told_in_lower_case(s3: Rig) -> None:
    """Names are headers' names: upper and lower case are the same."""
    s3.raw().put_object(Bucket=BUCKET, Key="other", Body=b"content", Metadata={"Camera-Model": "X"})
    assert dict(s3.store().stat("other").metadata) == {"camera-model": "X"}


def test_what_grows_over_the_limit_is_refused_before_anything_is_sent(s3: Rig) -> None:
    """2 KB hold less of what must be encoded; that is told by size, not by the service after an upload."""
    s3.store().put("fits", b"", metadata={"a": "x" * 2000})
    seen = len(s3.line.seen)
    with pytest.raises(TooLargeError, match="as S3 keeps it"):
        s3.store().put("grows", b"", metadata={"a": "ü" * 900})
    assert len(s3.line.seen) == seen
    assert metadata_size({"ab": "cde"}) == 5
