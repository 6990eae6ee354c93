"""What senders see: bodies kept as they were sent, batches, limits, duplicates, quotas, missing entities."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.amqp import AmqpAnnotatedMessage, AmqpMessageBodyType
from azure.servicebus.exceptions import (
    MessageSizeExceededError,
    MessagingEntityNotFoundError,
    ServiceBusError,
    ServiceBusQuotaExceededError,
)

from emulators.servicebus import Limits, QueueSettings


def test_a_message_arrives_with_body_properties_and_annotations(start, clients, receive_one):
    server = start("orders")
    sent = ServiceBusMessage(
        b"\x00body\xff",
        application_properties={
            "text": "ä",
            "number": 7,
            "real": 1.5,
            "yes": True,
            "bytes": b"\x01",
            "id": uuid.UUID(int=1),
        },
        message_id="m-1",
        correlation_id="c-1",
        content_type="application/octet-stream",
        subject="subject",
        reply_to="replies",
        to="orders",
    )
    before = datetime.now(UTC)
    clients.sender(server, "orders").send_messages(sent)
    got = receive_one(clients.receiver(server, "orders"))
    assert b"".join(got.body) == b"\x00body\xff"
    assert (got.message_id, got.correlation_id, got.content_type) == ("m-1", "c-1", "application/octet-stream")
    assert (got.subject, got.reply_to, got.to) == ("subject", "replies", "orders")
    assert got.application_properties == {
        b"text": "ä".encode(),
        b"number": 7,
        b"real": 1.5,
        b"yes": True,
        b"bytes": b"\x01",
        b"id": uuid.UUID(int=1),
    }
    assert got.delivery_count == 0
    assert got.sequence_number == 1
    assert got.enqueued_sequence_number == 1
    assert isinstance(got.lock_token, uuid.UUID)
    # to the millisecond, to which annotations are rounded down
    assert before.timestamp() - 0.001 <= got.enqueued_time_utc.timestamp() <= datetime.now(UTC).timestamp()
    assert 55 < (got.locked_until_utc - before).total_seconds() <= 65


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"value_body": {"Order": [1, None, "x"]}}, AmqpMessageBodyType.VALUE),
        ({"sequence_body": [[1, b"two"], [3]]}, AmqpMessageBodyType.SEQUENCE),
        ({"data_body": [b"one", b"two"]}, AmqpMessageBodyType.DATA),
    ],
)
def test_each_kind_of_body_is_kept(body, kind, start, clients, receive_one):
    server = start("orders")
    clients.sender(server, "orders").send_messages(AmqpAnnotatedMessage(**body))
    got = receive_one(clients.receiver(server, "orders"))
    assert got.body_type is kind
    (expected,) = body.values()
    if kind is AmqpMessageBodyType.VALUE:
        assert got.body == {b"Order": [1, None, b"x"]}
    else:
        assert list(got.body) == expected


def test_the_senders_own_annotations_and_header_are_kept(start, clients, receive_one):
    server = start("orders")
    message = AmqpAnnotatedMessage(
        data_body=b"x", annotations={"x-opt-mine": 5, "x-opt-text": "t"}, header={"priority": 7, "durable": True}
    )
    clients.sender(server, "orders").send_messages(message)
    got = receive_one(clients.receiver(server, "orders")).raw_amqp_message
    assert got.annotations[b"x-opt-mine"] == 5
    assert got.annotations[b"x-opt-text"] == b"t"
    assert got.header.priority == 7
    assert got.header.durable is True


def test_a_batch_becomes_its_messages_in_order(start, clients, receive_all):
    server = start("orders")
    sender = clients.sender(server, "orders")
    batch = sender.create_message_batch()
    for number in range(50):
        batch.add_message(ServiceBusMessage(str(number), message_id=f"id-{number}"))
    sender.send_messages(batch)
    sender.send_messages([ServiceBusMessage("alone")])
    got = receive_all(clients.receiver(server, "orders"), 51)
    assert [str(message) for message in got] == [*map(str, range(50)), "alone"]
    assert [message.message_id for message in got[:50]] == [f"id-{number}" for number in range(50)]
    assert [message.sequence_number for message in got] == list(range(1, 52))


def test_a_large_message_goes_through_in_many_frames(start, clients, receive_one):
    server = start("orders")
    body = bytes(range(256)) * 900  # 225 KiB, frames of 64
    clients.sender(server, "orders").send_messages(ServiceBusMessage(body))
    assert b"".join(receive_one(clients.receiver(server, "orders")).body) == body


def test_a_message_above_the_limit_is_refused(start, clients):
    server = start("orders", limits=Limits(max_message_bytes=10_000))
    sender = clients.sender(server, "orders")
    sender.send_messages(ServiceBusMessage(b"x" * 9_000))
    with pytest.raises(MessageSizeExceededError, match="exceeds the limit"):
        sender.send_messages(ServiceBusMessage(b"x" * 10_000))
    assert server.counts("orders").active == 1


@pytest.mark.parametrize("size", [1_000, 10_000])  # in one frame, in many
def test_a_batch_above_the_limit_is_refused_whole(size, start, clients):
    server = start("orders", limits=Limits(max_message_bytes=15 * size))
    with pytest.raises(MessageSizeExceededError):
        clients.sender(server, "orders").send_messages([ServiceBusMessage(b"x" * size) for _ in range(15)])
    assert server.counts("orders").active == 0


def test_a_namespace_may_take_larger_messages_than_batches(start, clients):
    server = start("orders", limits=Limits(max_message_bytes=100_000, max_batch_bytes=5_000))
    sender = clients.sender(server, "orders")
    assert sender.create_message_batch().max_size_in_bytes == 5_000
    sender.send_messages(ServiceBusMessage(b"x" * 90_000))
    assert server.counts("orders").active == 1


def test_a_repeated_message_id_is_accepted_and_dropped_within_the_window(start, clients):
    server = start(QueueSettings("orders", duplicates=60), "plain")
    sender = clients.sender(server, "orders")
    for _ in range(2):
        sender.send_messages(ServiceBusMessage("once", message_id="same"))
    sender.send_messages([ServiceBusMessage("a", message_id=name) for name in ("other", "other", "same")])
    assert server.counts("orders").active == 2
    plain = clients.sender(server, "plain")
    for _ in range(2):
        plain.send_messages(ServiceBusMessage("twice", message_id="same"))
    assert server.counts("plain").active == 2


def test_a_message_id_is_forgotten_after_the_window(start, clients):
    server = start(QueueSettings("orders", duplicates=0.2))
    sender = clients.sender(server, "orders")
    sent, ends = 0, time.monotonic() + 30
    while server.counts("orders").active < 2 and time.monotonic() < ends:
        sender.send_messages(ServiceBusMessage("x", message_id="same"))
        sent += 1
    assert server.counts("orders").active == 2
    assert sent > 2


def test_a_full_queue_refuses_a_batch_whole(start, clients):
    server = start(QueueSettings("orders", max_bytes=2_000))
    sender = clients.sender(server, "orders")
    sender.send_messages(ServiceBusMessage(b"x" * 1_000))
    with pytest.raises(ServiceBusQuotaExceededError, match="maximum entity size"):
        sender.send_messages([ServiceBusMessage(b"x" * 100), ServiceBusMessage(b"x" * 1_000)])
    assert server.counts("orders").active == 1
    sender.send_messages(ServiceBusMessage(b"x" * 100))


def test_room_comes_back_when_messages_go(start, clients, receive_one):
    server = start(QueueSettings("orders", max_bytes=2_000))
    sender, receiver = clients.sender(server, "orders"), clients.receiver(server, "orders")
    for _ in range(5):
        sender.send_messages(ServiceBusMessage(b"x" * 1_500))
        receiver.complete_message(receive_one(receiver))
    assert server.counts("orders").active == 0


@pytest.mark.parametrize("path", ["nowhere", "orders/Subscriptions/s"])
def test_an_entity_that_is_not_there_is_not_found(path, start, clients):
    server = start("orders")
    with pytest.raises(MessagingEntityNotFoundError, match="could not be found"):
        clients.sender(server, path)
    with pytest.raises(MessagingEntityNotFoundError, match="could not be found"):
        clients.receiver(server, path)


def test_a_queue_can_be_added_and_its_name_has_no_case(start, clients):
    server = start()
    server.add_queue("Late/Queue")
    clients.sender(server, "late/queue").send_messages(ServiceBusMessage("x"))
    assert server.counts("LATE/QUEUE").active == 1


def test_a_queue_with_sessions_takes_no_message_without_one(start, clients):
    """The batch in which it comes is refused whole."""
    server = start(QueueSettings("orders", sessions=True))
    with pytest.raises(ServiceBusError, match="SessionId was not set"):
        clients.sender(server, "orders").send_messages([ServiceBusMessage("a", session_id="1"), ServiceBusMessage("b")])
    assert server.counts("orders").active == 0
