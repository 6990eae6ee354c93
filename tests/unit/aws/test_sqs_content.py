"""What is written into an SQS message is read from it again, and what is not ours is read whole."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clouddirect.messaging import Message
from clouddirect_aws.sqs_content import RESERVED, decode, encode, token
from clouddirect_aws.sqs_digests import attributes_md5, body_md5
from unit.aws.sqs_fixtures import Sqs

#: What SQS takes in a body and in an attribute's value (API reference of SendMessage).
ALLOWED = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def native(message: Message, **system: str) -> dict[str, Any]:
    """The message as ReceiveMessage would return it."""
    wire = encode(message)
    typed = {name: {"DataType": "String", "StringValue": value} for name, value in wire.attributes.items()}
    return {"MessageId": "theirs", "Body": wire.body, "MessageAttributes": typed, "Attributes": system}


def fields(message: Message) -> tuple[Any, ...]:
    return (message.id, message.body, message.correlation_id, message.content_type, message.subject,
            dict(message.attributes), message.ordering_key)  # fmt: skip


@given(
    body=st.binary() | TEXT.map(str.encode),
    texts=st.tuples(*[st.none() | TEXT.filter(bool)] * 3),
    attributes=st.dictionaries(NAMES, TEXT, max_size=14),
    key=st.none() | TEXT.filter(bool),
)
def test_what_goes_in_comes_out_and_sqs_takes_it(
    body: bytes, texts: tuple[Any, Any, Any], attributes: dict[str, str], key: str | None
) -> None:
    correlation, kind, subject = texts
    message = Message(body=body, correlation_id=correlation, content_type=kind, subject=subject,
                      attributes=attributes, ordering_key=key)  # fmt: skip
    wire = encode(message)
    assert len(wire.attributes) <= 10
    for text in (wire.body, *wire.attributes.values()):
        assert ALLOWED.fullmatch(text)
    group = token(key or message.id)
    assert re.fullmatch(r"[!-~]{1,128}", group)
    assert fields(decode(native(message, MessageGroupId=group), fifo=True)) == fields(message)
    size = len(wire.body.encode()) + sum(len(name) + 6 + len(value.encode()) for name, value in wire.attributes.items())
    assert wire.size == size


def test_a_key_that_is_the_id_is_not_taken_for_none() -> None:
    message = Message(body=b"x", id="same", ordering_key="same")
    assert decode(native(message, MessageGroupId="same"), fifo=True).ordering_key == "same"


def test_a_group_on_a_standard_queue_is_no_ordering_key() -> None:
    found = {"MessageId": "1", "Body": "x", "Attributes": {"MessageGroupId": "tenant"}}
    assert decode(found, fifo=False).ordering_key is None
    assert decode(found, fifo=True).ordering_key == "tenant"


def test_ids_outside_the_alphabet_are_hashed() -> None:
    assert token("a" * 128) == "a" * 128
    for odd in ("a" * 129, "with space", "ä", "\x7f", "a\n"):
        assert token(odd) == hashlib.sha256(odd.encode()).hexdigest()


@pytest.mark.parametrize("name", ["AWS.x", "amazon.y", "aws.z", ".x", "x.", "a..b", "x" * 257, RESERVED, "ä", "a b"])
def test_names_that_sqs_refuses_go_beside_it(name: str) -> None:
    wire = encode(Message(body=b"x", attributes={name: "value", "plain-name_1.2": "value"}))
    assert set(wire.attributes) == {RESERVED, "plain-name_1.2"}
    assert json.loads(wire.attributes[RESERVED])["attributes"] == {name: "value"}


def test_the_first_nine_are_attributes_and_the_rest_goes_beside_them() -> None:
    wire = encode(Message(body=b"x", attributes={f"a{number}": "v" for number in range(12)}))
    assert set(wire.attributes) == {RESERVED, *(f"a{number}" for number in range(9))}


@pytest.mark.parametrize(
    "reserved",
    ["not ours", "{}", '{"id":1}', '{"id":""}', '{"id":"x"', '{"id":"x","attributes":[]}', '{"id":"x","subject":7}',
     '{"id":"x","attributes":{"a":1}}', '{"id":"x","encoding":"rot13"}', '{"id":"x","encoding":"base64"}',
     '{"id":"x","encoding":"empty"}', '{"id":"x","attributes":' + "[" * 100_000],
)  # fmt: skip
def test_a_reserved_attribute_that_is_not_ours_is_an_attribute_like_others(reserved: str) -> None:
    found = {
        "MessageId": "theirs",
        "Body": "their body!",
        "MessageAttributes": {RESERVED: {"DataType": "String", "StringValue": reserved}},
    }
    message = decode(found, fifo=False)
    assert (message.id, message.body, message.attributes) == ("theirs", b"their body!", {RESERVED: reserved})


def test_typed_attributes_of_others_become_text(sqs: Sqs) -> None:
    queue, broker = sqs.queue(), sqs.open()
    sqs.native.send_message(
        QueueUrl=queue,
        MessageBody="{}",
        MessageAttributes={
            "number": {"DataType": "Number", "StringValue": "12.50"},
            "custom": {"DataType": "Number.int", "StringValue": "7"},
            "binary": {"DataType": "Binary.png", "BinaryValue": b"\x00\xff"},
            "text": {"DataType": "String", "StringValue": "ä"},
        },
    )
    (delivery,) = broker.receive(queue)
    assert delivery.message.attributes == {"number": "12.50", "custom": "7", "binary": "AP8=", "text": "ä"}
    native = delivery.native
    assert isinstance(native, dict)
    assert native["MessageAttributes"]["binary"]["BinaryValue"] == b"\x00\xff"
    assert native["MessageAttributes"]["number"]["DataType"] == "Number"
    delivery.ack()


def test_other_programs_see_an_ordinary_message(sqs: Sqs) -> None:
    queue, broker = sqs.queue(), sqs.open()
    broker.send(queue, Message(body='{"ä": 1}'.encode(), attributes={"kind": "event"}, correlation_id="c"))
    found = sqs.raw(queue)
    assert found["Body"] == '{"ä": 1}'
    assert found["MessageAttributes"]["kind"] == {"DataType": "String", "StringValue": "event"}
    assert json.loads(found["MessageAttributes"][RESERVED]["StringValue"])["correlation"] == "c"


def test_the_digests_are_those_of_the_service() -> None:
    """The example in the developer guide's method, computed by hand: lengths, types and values, sorted by name."""
    assert body_md5("This is a test message") == "fafb00f5732ab283681e124bf8747ed1"
    typed = {
        "b": {"DataType": "Binary", "BinaryValue": b"\x01"},
        "a": {"DataType": "String", "StringValue": "x"},
    }
    by_hand = b"\0\0\0\x01a\0\0\0\x06String\x01\0\0\0\x01x" + b"\0\0\0\x01b\0\0\0\x06Binary\x02\0\0\0\x01\x01"
    assert attributes_md5(typed) == hashlib.md5(by_hand, usedforsecurity=False).hexdigest()
