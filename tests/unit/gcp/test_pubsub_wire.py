"""Messages on their way through Pub/Sub's message and its limits."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from google.pubsub_v1 import types
from hypothesis import given
from hypothesis import strategies as st

from clouddirect.errors import InvalidMessageError, TooLargeError
from clouddirect.messaging import Message
from clouddirect_gcp.pubsub_wire import MAX_REQUEST_BYTES, check, decode, encode_into, enqueued_at, measure
from unit.gcp.pubsub_fixtures import PubSub

TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)
LONG = st.text(st.characters(exclude_categories=("Cs",)), max_size=1500)
MESSAGES = st.builds(
    Message,
    body=st.binary(max_size=200),
    id=TEXT,
    correlation_id=st.none() | TEXT,
    content_type=st.none() | TEXT,
    subject=st.none() | TEXT,
    ordering_key=st.none() | TEXT,
    attributes=st.dictionaries(
        TEXT | st.sampled_from(["clouddirect", "clouddirect.2", "goog", "googx"]), LONG, max_size=6
    ),
)


def _request(*messages: Message) -> Any:
    request = types.PublishRequest.pb()()
    for message in messages:
        encode_into(request.messages, message)
    return request


def _encoded(message: Message) -> Any:
    return _request(message).messages[0]


@given(MESSAGES)
def test_a_message_arrives_as_it_was_sent_within_the_limits(message: Message) -> None:
    check(message)
    encoded = _encoded(message)
    assert decode(encoded) == message
    assert len(encoded.attributes) <= 100
    for name, value in encoded.attributes.items():
        assert 0 < len(name.encode()) <= 256
        assert not name.startswith("goog")
        assert len(value.encode()) <= 1024


@given(MESSAGES)
def test_no_message_is_measured_smaller_than_it_is(message: Message) -> None:
    assert measure(message) >= _request(message).ByteSize()


@pytest.mark.parametrize("field", ["id", "subject", "correlation_id", "content_type", "attributes"])
def test_texts_that_grow_on_the_wire_are_not_underrated(field: str) -> None:
    """In JSON a character can take twelve bytes, here of the largest text that passes for small."""
    text = "\U0001f642" * 600
    values: dict[str, Any] = {field: {"goog-x": text} if field == "attributes" else text}
    message = Message(body=b"", **values)
    assert measure(message) >= _request(message).ByteSize() > 7000


def test_large_messages_are_measured_exactly() -> None:
    for size in (10_000, 200_000, 3_000_000):
        message = Message(body=b"x" * size)
        assert measure(message) == _request(message).ByteSize()


def test_a_thousand_small_messages_always_fit_into_a_request() -> None:
    """What is not measured exactly may be as large as this without filling a request before its thousand is reached."""
    body = 0
    while measure(Message(body=b"x" * (body + 100))) <= MAX_REQUEST_BYTES // 1000:
        body += 100
    assert body > 5000
    assert measure(Message(body=b"x" * body)) * 1000 <= MAX_REQUEST_BYTES


def test_what_pubsub_lacks_goes_into_one_attribute() -> None:
    message = Message(body=b"x", id="7", correlation_id="c", content_type="t", subject="s", attributes={"own": "kept"})
    encoded = _encoded(message)
    assert dict(encoded.attributes).keys() == {"own", "clouddirect"}
    assert json.loads(encoded.attributes["clouddirect"]) == {
        "v": 1, "id": "7", "correlation_id": "c", "content_type": "t", "subject": "s",
    }  # fmt: skip


def test_it_goes_on_where_one_attribute_is_too_short() -> None:
    message = Message(body=b"x", subject="s" * 2500, attributes={"own": "kept"})
    encoded = _encoded(message)
    assert sorted(encoded.attributes) == ["clouddirect", "clouddirect.2", "clouddirect.3", "own"]
    assert decode(encoded) == message


def test_a_value_too_long_for_pubsub_is_carried(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(), pubsub.open()
    sent = {"long": "ä" * 3000, "n" * 257: "name", "goog-x": "reserved", "": "no"} | {"short": "s"}
    del sent[""]
    broker.send(queue, Message(body=b"x", attributes=sent))
    (delivery,) = broker.receive(queue)
    assert delivery.message.attributes == sent
    assert delivery.native.message.attributes["short"] == "s"  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [99, 100, 150, 1000])
def test_more_attributes_than_pubsub_takes_are_carried(pubsub: PubSub, count: int) -> None:
    queue, broker = pubsub.queue(), pubsub.open()
    sent = {f"name-{number}": str(number) for number in range(count)}
    broker.send(queue, Message(body=b"x", attributes=sent))
    (delivery,) = broker.receive(queue)
    assert delivery.message.attributes == sent
    assert len(delivery.native.message.attributes) == 100  # type: ignore[attr-defined]


def test_more_than_all_attributes_hold_is_refused_before_sending(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(), pubsub.open()
    before = pubsub.server.calls["Publish"]
    with pytest.raises(InvalidMessageError, match=r"Message\.attributes"):
        broker.send(queue, Message(body=b"x", attributes={"long": "x" * 110_000}))
    with pytest.raises(InvalidMessageError, match=r"Message\.attributes"):
        measure(Message(body=b"x", subject="x" * 110_000))
    assert pubsub.server.calls["Publish"] == before


def test_a_long_ordering_key_is_refused_before_sending(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(ordered=True), pubsub.open(ordered=True)
    broker.send(queue, Message(body=b"x", ordering_key="ä" * 512))
    with pytest.raises(InvalidMessageError, match="ordering_key"):
        broker.send(queue, Message(body=b"x", ordering_key="ä" * 513))


def test_the_largest_message_is_what_the_service_takes(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(), pubsub.open()
    room = MAX_REQUEST_BYTES - measure(Message(body=b"x" * 9_000_000)) + 9_000_000
    broker.send(queue, Message(body=b"x" * room))
    with pytest.raises(TooLargeError):
        broker.send(queue, Message(body=b"x" * (room + 1)))
    (delivery,) = broker.receive(queue)
    assert len(delivery.message.body) == room


@pytest.mark.parametrize(
    "value",
    ["", "not ours", "{", "[]", "1", "{}", '{"v":1}', '{"v":2,"id":"x"}', '{"v":1,"id":""}', '{"v":1,"id":7}',
     '{"v":1,"id":"x","subject":null}', '{"v":1,"id":"x","more":"y"}', '{"v":1,"id":"x","attributes":{"a":1}}',
     '{"v":1,"id":"x"} ', '{"v":1,"id":"x","attributes":[]}', '{"v":1,"id":"x","attributes":{"":"y"}}'],
)  # fmt: skip
def test_a_foreign_attribute_of_our_name_is_an_attribute(value: str) -> None:
    received = types.PubsubMessage.pb()(data=b"{}", message_id="42", attributes={"clouddirect": value, "own": "kept"})
    message = decode(received)
    assert message.id == "42"
    assert message.attributes == {"clouddirect": value, "own": "kept"}


def test_a_foreign_message_has_the_id_that_pubsub_gave_it() -> None:
    received = types.PubsubMessage.pb()(data=b"\xff\x00", message_id="42", ordering_key="k")
    assert decode(received) == Message(body=b"\xff\x00", id="42", ordering_key="k")


def test_when_it_was_stored_is_told_in_utc() -> None:
    received = types.PubsubMessage.pb()()
    assert enqueued_at(received) is None
    received.publish_time.FromDatetime(datetime(2026, 11, 3, 12, 0, 1, 250_000, tzinfo=UTC))
    assert enqueued_at(received) == datetime(2026, 11, 3, 12, 0, 1, 250_000, tzinfo=UTC)
