"""Messages over the wire: what other programs send is received whole, and they receive ours as ordinary ones."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus._pyamqp._encode import encode_payload
from azure.servicebus._pyamqp.message import Message as AmqpMessage
from azure.servicebus._pyamqp.utils import get_message_encoded_size
from azure.servicebus._transport._pyamqp_transport import PyamqpTransport
from azure.servicebus.amqp import AmqpAnnotatedMessage

from clouddirect.errors import InvalidMessageError, TooLargeError
from clouddirect.messaging import Message
from clouddirect_azure import bus_message
from emulators.servicebus import Limits, QueueSettings, ServiceBusServer
from unit.azure.bus_fixtures import BrokerMaker

Receive = Callable[[Any], Message]


@pytest.fixture
def client(bus: ServiceBusServer) -> Iterator[ServiceBusClient]:
    """The SDK as any other program uses it."""
    with ServiceBusClient.from_connection_string(bus.connection_string()) as client:
        yield client


@pytest.fixture
def receive(client: ServiceBusClient, bus_brokers: BrokerMaker) -> Receive:
    """Send by the SDK, receive by the broker, ack."""
    broker = bus_brokers()

    def go(message: Any) -> Message:
        with client.get_queue_sender("q") as sender:
            sender.send_messages(message)
        (delivery,) = broker.receive("q", wait=10)
        delivery.ack()
        assert isinstance(delivery.native, ServiceBusReceivedMessage)
        return delivery.message

    return go


@pytest.mark.parametrize(
    ("value", "body"),
    [
        (None, b""),
        ("text ä🙂", "text ä🙂".encode()),
        (b"\x00\xff", b"\x00\xff"),
        (7, b"7"),
        (-1.5, b"-1.5"),
        (True, b"true"),
        (uuid.UUID(int=5), str(uuid.UUID(int=5)).encode()),
        ({"LocalId": "a", "Count": 2, "Nested": {"List": [1, None, "ä"]}}, None),
        ([1, "two", {"three": 3.5}], None),
    ],
    ids=["null", "string", "binary", "int", "float", "bool", "uuid", "map", "list"],
)
def test_a_value_body_becomes_its_bytes_or_its_json(receive: Receive, value: Any, body: bytes | None) -> None:
    got = receive(AmqpAnnotatedMessage(value_body=value)).body
    if body is not None:
        assert got == body
    else:
        assert json.loads(got) == value


def test_a_sequence_body_becomes_a_json_list(receive: Receive) -> None:
    assert json.loads(receive(AmqpAnnotatedMessage(sequence_body=[[1, "a"], [{"b": None}]])).body) == [
        1,
        "a",
        {"b": None},
    ]


def test_a_data_body_of_several_sections_is_joined(receive: Receive) -> None:
    assert receive(AmqpAnnotatedMessage(data_body=[b"one ", b"two"])).body == b"one two"


def test_typed_attributes_become_text(receive: Receive) -> None:
    moment = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    message = ServiceBusMessage(
        b"x",
        application_properties={
            "text": "ä", "number": 3, "long": 2**30, "real": 0.5, "yes": True, "no": False, "nothing": None,
            "id": uuid.UUID(int=7), b"name": "bytes", "moment": moment,
        },
    )  # fmt: skip
    got = dict(receive(message).attributes)
    moment_text = got.pop("moment")
    assert moment_text == str(int(moment.timestamp() * 1000))  # the SDK tells timestamps as milliseconds
    assert got == {
        "text": "ä", "number": "3", "long": str(2**30), "real": "0.5", "yes": "true", "no": "false", "nothing": "null",
        "id": str(uuid.UUID(int=7)), "name": "bytes",
    }  # fmt: skip


def test_a_binary_attribute_that_is_no_text_becomes_base64() -> None:
    """The SDK sends none, but others do."""
    payload = encode_payload(bytearray(), AmqpMessage(data=[b"x"], application_properties={"bytes": b"\xff\xfe"}))
    got = bus_message.from_bus(ServiceBusReceivedMessage.from_bytes(bytes(payload)))
    assert got.attributes == {"bytes": "//4="}


def test_a_message_without_anything(receive: Receive) -> None:
    got = receive(AmqpAnnotatedMessage(data_body=b""))
    assert got.body == b""
    assert got.id
    assert (got.subject, got.correlation_id, got.content_type, got.ordering_key) == (None, None, None, None)
    assert got.attributes == {}


def test_a_message_of_ours_is_an_ordinary_one(client: ServiceBusClient, bus_brokers: BrokerMaker) -> None:
    message = Message(
        body=b'{"a": 1}', subject="order", correlation_id="L1", content_type="application/json",
        attributes={"kind": "order"}, time_to_live=2.5,
    )  # fmt: skip
    bus_brokers().send("q", message)
    with client.get_queue_receiver("q") as receiver:
        (got,) = receiver.receive_messages(1, max_wait_time=5)
        receiver.complete_message(got)
    assert b"".join(got.body) == message.body
    assert got.message_id == message.id
    assert (got.subject, got.correlation_id, got.content_type) == ("order", "L1", "application/json")
    assert got.application_properties == {b"kind": b"order"}
    assert got.raw_amqp_message.header.time_to_live == 2500


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "i" * 129},
        {"id": "ä" * 128},
        {"id": "🙂" * 100},
        {"ordering_key": "k" * 129},
        {"content_type": "text/ä🙂"},
        {"attributes": {"clouddirect": '{"v":1,"id":"forged"}'}},
        {"attributes": {"clouddirect": "x"}, "id": "i" * 300, "content_type": "ä", "ordering_key": "🙂" * 200},
    ],
)
def test_what_service_bus_cannot_hold_arrives_nevertheless(bus_brokers: BrokerMaker, fields: dict[str, Any]) -> None:
    broker, message = bus_brokers(), Message(body=b"x", **fields)
    queue = "ordered" if "ordering_key" in fields else "q"
    broker.send(queue, message)
    (delivery,) = broker.receive(queue, wait=10)
    assert delivery.message == message
    delivery.ack()


def test_a_long_id_is_the_same_one_for_duplicate_detection(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    bus.add_queue(QueueSettings("single", duplicates=300))
    broker = bus_brokers()
    for identity in ("i" * 300, "i" * 300, "i" * 301):
        broker.send("single", Message(body=b"x", id=identity))
    assert bus.counts("single").active == 2


def test_the_measure_of_a_message_is_never_too_small(bus: ServiceBusServer) -> None:
    """No message that is let through is larger on the wire than was reckoned."""
    odd = ["x" * 300, "ä" * 128, "🙂" * 60, '\x00\\"' * 40]
    for text in odd:
        message = Message(
            body=b"b" * 1000, id=text, correlation_id=text, content_type=text, subject=text, ordering_key=text,
            attributes={text: text, "clouddirect": text}, delay=5, time_to_live=5,
        )  # fmt: skip
        for sessions in (True, False):
            bus_made = bus_message.to_bus(message, sessions=sessions, now=datetime.now(UTC))
            annotated = bus_made._raw_amqp_message
            encoded = get_message_encoded_size(PyamqpTransport.to_outgoing_amqp_message(annotated))
            assert encoded + 8 <= bus_message.size_of(message)


def test_ids_are_as_long_as_service_bus_counts_them() -> None:
    """It counts UTF-16 code units, of which a character beyond the first plane has two."""
    for text, kept in (("🙂" * 64, True), ("🙂" * 65, False), ("ä" * 128, True)):
        made = bus_message.to_bus(Message(body=b"x", id=text, ordering_key=text), sessions=True, now=datetime.now(UTC))
        assert (made.message_id == text, made.session_id == text) == (kept, kept)


def test_attributes_beyond_the_limit_are_refused(bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers()
    for attributes in ({"a": "x" * 33_000}, {str(number): "x" * 10_000 for number in range(7)}):
        with pytest.raises(InvalidMessageError, match="attribute"):
            broker.send("q", Message(body=b"x", attributes=attributes))
    broker.send("q", Message(body=b"x", attributes={"a": "x" * 32_000}))


def test_batches_are_filled_to_what_the_link_takes(bus_brokers: BrokerMaker) -> None:
    """The first connection tells the limits; until then the options' are assumed, and a refusal is bisected."""
    limits = Limits(max_message_bytes=100_000, max_batch_bytes=20_000)
    with ServiceBusServer(["q"], limits=limits) as small:
        broker = bus_brokers(connection_string=small.connection_string())
        results = broker.send_many("q", [Message(body=bytes(1000)) for _ in range(100)])
        assert all(result.ok for result in results)
        assert broker.capabilities("q").max_message_bytes == 100_000
        assert broker.capabilities("q").max_send_bytes == 20_000 - bus_message.BATCH_OVERHEAD
        over, one, large = Message(body=bytes(150_000)), Message(body=b"x"), Message(body=bytes(90_000))
        results = broker.send_many("q", [one, over, large, *(Message(body=bytes(1000)) for _ in range(50))])
        assert [result.status for result in results] == ["sent", "failed"] + ["sent"] * 51
        assert isinstance(results[1].error, TooLargeError)
        assert small.counts("q").active == 152


def test_a_link_that_takes_less_than_was_assumed(bus_brokers: BrokerMaker) -> None:
    with ServiceBusServer(["q"], limits=Limits(max_message_bytes=5_000)) as small:
        broker = bus_brokers(connection_string=small.connection_string())
        results = broker.send_many("q", [Message(body=bytes(size)) for size in (100, 9_000, 100)])
        assert [result.status for result in results] == ["sent", "failed", "sent"]
        assert isinstance(results[1].error, TooLargeError)


def test_delay_and_time_to_live_go_to_service_bus(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    broker = bus_brokers()
    broker.send("q", Message(body=b"later", delay=3600))
    assert bus.counts("q").scheduled == 1
    native = bus_message.to_bus(Message(body=b"x", delay=60), sessions=False, now=datetime.now(UTC))
    at = native.scheduled_enqueue_time_utc
    assert at is not None
    assert abs(at - datetime.now(UTC) - timedelta(seconds=60)) < timedelta(seconds=5)
