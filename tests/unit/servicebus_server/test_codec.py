"""Types on the wire: what is encoded comes back, and the SDK's own codec agrees."""

from __future__ import annotations

import math
import uuid

import pytest
from azure.servicebus._pyamqp import _decode as sdk_decoder
from azure.servicebus._pyamqp import _encode as sdk_encoder
from hypothesis import given
from hypothesis import strategies as st

from emulators.servicebus.codec import (
    Array,
    Byte,
    Char,
    DecodeError,
    Described,
    Encoded,
    Float,
    Int,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
    decode,
    encode,
    skip,
    split_map,
)


def between(kind, low, high):
    return st.integers(low, high).map(kind)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
ASCII = st.text(st.characters(max_codepoint=127), max_size=300)
SIMPLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    between(Byte, -128, 127),
    between(Short, -(2**15), 2**15 - 1),
    between(Int, -(2**31), 2**31 - 1),
    between(UByte, 0, 255),
    between(UShort, 0, 2**16 - 1),
    between(UInt, 0, 2**32 - 1),
    between(ULong, 0, 2**64 - 1),
    between(Timestamp, -(2**63), 2**63 - 1),
    st.floats(width=32, allow_nan=False).map(Float),
    st.floats(allow_nan=False),
    st.uuids(),
    st.binary(max_size=300),
    TEXT,
    ASCII.map(Symbol),
    st.characters(exclude_categories=["Cs"]).map(Char),
)
KEYS = st.one_of(TEXT, ASCII.map(Symbol))
ARRAYS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=300).map(lambda items: Array(0x81, items)),
    st.lists(between(Timestamp, 0, 2**40)).map(lambda items: Array(0x83, items)),
    st.lists(st.uuids(), max_size=30).map(lambda items: Array(0x98, items)),
    st.lists(ASCII.map(Symbol)).map(lambda items: Array(0xB3, items)),
    st.lists(st.binary(max_size=9)).map(lambda items: Array(0xA0, items)),
)
VALUES = st.recursive(
    SIMPLE | ARRAYS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=300),
        st.dictionaries(KEYS, inner),
        st.builds(Described, st.integers(0, 2**64 - 1).map(ULong) | ASCII.map(Symbol), inner),
    ),
    max_leaves=20,
)


def same(one: object, other: object) -> bool:
    """Equal, and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Described):
        return same(one.descriptor, other.descriptor) and same(one.value, other.value)
    if isinstance(one, dict):
        return len(one) == len(other) and all(
            same(a, b) for pair in zip(one.items(), other.items(), strict=True) for a, b in zip(*pair, strict=True)
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return one == other


@given(VALUES)
def test_what_is_encoded_comes_back(value):
    data = encode(value)
    back, end = decode(b"??" + data + b"!", 2)
    assert end == len(data) + 2
    assert same(back, value)
    assert skip(b"??" + data + b"!", 2) == end


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_a_split_map_keeps_the_bytes_of_its_values(value):
    split = split_map(encode(value), 0)
    assert split == {key: encode(item) for key, item in value.items()}
    assert encode(split) == encode(value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_refused(data):
    try:
        _, end = decode(data)
    except DecodeError:
        return
    assert 0 < end <= len(data)


@given(VALUES, st.data())
def test_a_value_cut_short_is_refused(value, data):
    encoded = encode(value)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(DecodeError):
        decode(encoded[:cut])


@given(st.recursive(st.none() | st.booleans() | st.integers(0, 2**31 - 1) | TEXT | st.binary() | st.uuids(), st.lists))
def test_the_sdk_reads_what_is_encoded_and_the_other_way_round(value):
    def as_bytes(item):
        return (
            item.encode() if isinstance(item, str) else [as_bytes(x) for x in item] if isinstance(item, list) else item
        )

    data = encode(value)
    _, read = sdk_decoder._DECODE_BY_CONSTRUCTOR[data[0]](memoryview(data)[1:])
    assert read == as_bytes(value)
    written = bytearray()
    sdk_encoder.encode_value(written, value)
    back, end = decode(bytes(written))
    assert end == len(written)
    assert back == value


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\x56\x01", True),
        (b"\x43", UInt(0)),
        (b"\x44", ULong(0)),
        (b"\x45", []),
        (b"\x74\x00\x00\x00\x01", Encoded(b"\x74\x00\x00\x00\x01")),
        (b"\xe0\x02\x02\x41", Array(0x41, [True, True])),
        (b"\xe0\x06\x02\xc0\x01\x00\x01\x00", Encoded(b"\xe0\x06\x02\xc0\x01\x00\x01\x00")),
        (b"\x00\xa3\x01x\x40", Described(Symbol("x"), None)),
    ],
)
def test_encodings_that_this_server_does_not_write(data, value):
    assert decode(data) == (value, len(data))
    assert same(decode(data)[0], value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x99",  # no such constructor
        b"\x73\x00\x11\x00\x00",  # no such character
        b"\xa1\x01\xff",  # no UTF-8
        b"\xc1\x02\x01\x40",  # a map with a key and no value
        b"\xc1\x04\x02\x45\x40\x40",  # a list as a key, and a size that is wrong
        b"\xd0\xff\xff\xff\xff\xff\xff\xff\xff",  # four thousand million items
        b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x40",  # as many that need no bytes
        b"\x00" * 5000,  # descriptors of descriptors
        b"\xc0\x02\x01" * 50,
    ],
)
def test_what_is_malformed_is_refused(data):
    with pytest.raises(DecodeError):
        decode(data)


def test_what_has_no_encoding():
    with pytest.raises(TypeError, match="complex"):
        encode(1j)
    with pytest.raises(TypeError, match="array"):
        encode(Array(0x73, ["x"]))


def test_uuids_in_messages_and_in_tags():
    """An AMQP uuid is big-endian; a delivery tag is the lock token in little-endian fields, as .NET writes a Guid."""
    token = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
    assert encode(token) == b"\x98" + bytes.fromhex("00112233445566778899aabbccddeeff")
    assert token.bytes_le.hex() == "33221100554477668899aabbccddeeff"
