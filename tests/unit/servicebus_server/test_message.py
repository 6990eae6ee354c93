"""Stored messages: what is kept of the sender's bytes, and what is written anew."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulators.servicebus.codec import DecodeError, Encoded, Symbol, UByte, UInt, decode
from emulators.servicebus.message import StoredMessage, unpack_batch
from emulators.servicebus.protocol import section

HEADER, DELIVERY, ANNOTATIONS, PROPERTIES, APPLICATION, DATA, FOOTER = 0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x78
DECIMAL = Encoded(b"\x74\x00\x00\x00\x01")


def sections(raw):
    """Return the value of each section by its code."""
    found, offset = {}, 0
    while offset < len(raw):
        value, offset = decode(raw, offset)
        found[int(value.descriptor)] = value.value
    return found


def test_header_and_annotations_are_written_anew_and_the_rest_is_kept():
    rest = [
        section(PROPERTIES, ["id", b"user"]),
        section(APPLICATION, {"decimal": DECIMAL}),
        section(DATA, b"body"),
        section(FOOTER, {}),
    ]
    message = StoredMessage(
        section(HEADER, [True, UByte(9), UInt(5000)])
        + section(DELIVERY, {Symbol("hop"): 1})
        + section(ANNOTATIONS, {Symbol("x-opt-mine"): DECIMAL, Symbol("x-opt-sequence-number"): 99})
        + b"".join(rest)
    )
    message.sequence, message.deliveries = 7, 2
    raw = message.encode()
    assert raw.endswith(b"".join(rest))
    written = sections(raw)
    assert written[HEADER] == [True, 9, 5000, None, 2]
    assert written[ANNOTATIONS][Symbol("x-opt-mine")] == DECIMAL
    assert written[ANNOTATIONS][Symbol("x-opt-sequence-number")] == 7
    assert DELIVERY not in written
    assert message.time_to_live == 5


def test_application_properties_are_added_before_the_body():
    message = StoredMessage(section(PROPERTIES, ["id"]) + section(DATA, b"body"))
    message.set_application_properties({"DeadLetterReason": "one"})
    message.set_application_properties({"DeadLetterReason": "two", "more": "x"})
    assert [code for code, _ in message.rest] == [PROPERTIES, APPLICATION, DATA]
    assert message.application_properties() == {"DeadLetterReason": "two", "more": "x"}


def test_a_copy_is_another_message():
    message = StoredMessage(section(DATA, b"body"))
    copy = message.copy()
    copy.set_application_properties({"a": "b"})
    copy.annotations[Symbol("x")] = Encoded(b"\x40")
    assert message.application_properties() == {}
    assert message.annotations == {}


@pytest.mark.parametrize("descriptor", [b"\x80" + struct.pack(">Q", DATA), b"\x53\x75"])
def test_a_descriptor_may_be_written_in_either_width(descriptor):
    assert StoredMessage(b"\x00" + descriptor + b"\xa0\x01x").rest[0][0] == DATA


@given(st.binary(max_size=100), st.sampled_from([b"", b"\x00\x53", b"\x00\x53\x70", b"\x00\x53\x73", b"\x00\x53\x75"]))
def test_any_bytes_are_a_message_or_refused(data, beginning):
    with contextlib.suppress(DecodeError):
        StoredMessage(beginning + data).encode()


def test_a_batch_is_its_data_sections():
    inner = [section(DATA, b"one"), section(DATA, b"two")]
    batch = section(PROPERTIES, ["the envelope's"]) + b"".join(section(DATA, each) for each in inner)
    assert [message.rest for message in unpack_batch(batch)] == [[(DATA, each)] for each in inner]
