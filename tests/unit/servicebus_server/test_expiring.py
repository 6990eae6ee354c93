"""Time to live and schedules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import MessageNotFoundError

from emulators.servicebus import QueueSettings


def test_what_expires_is_dropped(start, clients):
    server = start("orders")
    clients.sender(server, "orders").send_messages(ServiceBusMessage("x", time_to_live=timedelta(seconds=1)))
    assert server.counts("orders").active == 1
    assert server.wait_for_counts("orders", active=0).dead == 0


def test_what_expires_is_dead_lettered_where_the_queue_says_so(start, clients, receive_one):
    server = start(QueueSettings("orders", dead_letter_expired=True, time_to_live=0.3))
    clients.sender(server, "orders").send_messages(ServiceBusMessage("x", time_to_live=timedelta(days=1)))
    server.wait_for_counts("orders", active=0, dead=1)
    dead = receive_one(clients.receiver(server, "orders/$DeadLetterQueue"))
    assert dead.dead_letter_reason == "TTLExpiredException"


def test_a_locked_message_expires_only_when_it_comes_back(start, clients, receive_one):
    server = start(QueueSettings("orders", time_to_live=0.5), "other")
    clients.sender(server, "orders").send_messages([ServiceBusMessage("kept"), ServiceBusMessage("gone")])
    receiver = clients.receiver(server, "orders")
    message = receive_one(receiver)
    server.wait_for_counts("orders", active=0, locked=1)
    receiver.abandon_message(message)
    server.wait_for_counts("orders", active=0, locked=0)


def test_a_deferred_message_expires(start, clients, receive_one):
    server = start(QueueSettings("orders", time_to_live=1.0, dead_letter_expired=True))
    clients.sender(server, "orders").send_messages(ServiceBusMessage("x"))
    receiver = clients.receiver(server, "orders")
    receiver.defer_message(receive_one(receiver))
    server.wait_for_counts("orders", deferred=0, dead=1)


def test_a_scheduled_message_comes_at_its_time(start, clients, receive_one):
    server = start("orders")
    due = datetime.now(UTC) + timedelta(seconds=1)
    clients.sender(server, "orders").send_messages(ServiceBusMessage("x", scheduled_enqueue_time_utc=due))
    assert server.counts("orders").scheduled == 1
    message = receive_one(clients.receiver(server, "orders"))
    assert datetime.now(UTC) >= due
    assert message.enqueued_time_utc >= due - timedelta(milliseconds=10)
    assert message.scheduled_enqueue_time_utc.timestamp() == pytest.approx(due.timestamp(), abs=0.01)


def test_schedule_and_cancel(start, clients):
    server = start("orders")
    sender = clients.sender(server, "orders")
    due = datetime.now(UTC) + timedelta(hours=1)
    numbers = sender.schedule_messages([ServiceBusMessage("a"), ServiceBusMessage("b")], due)
    assert len(set(numbers)) == 2
    assert server.counts("orders").scheduled == 2
    sender.cancel_scheduled_messages(numbers[0])
    assert server.counts("orders").scheduled == 1
    with pytest.raises(MessageNotFoundError):
        sender.cancel_scheduled_messages(numbers[0])


def test_peek_shows_what_is_there_in_every_state(start, clients, receive_one):
    server = start("orders")
    sender, receiver = clients.sender(server, "orders"), clients.receiver(server, "orders")
    sender.send_messages([ServiceBusMessage(each) for each in ("deferred", "locked", "active")])
    receiver.defer_message(receive_one(receiver))
    receive_one(receiver)
    sender.schedule_messages(ServiceBusMessage("scheduled"), datetime.now(UTC) + timedelta(hours=1))
    peeked = receiver.peek_messages(10, sequence_number=1)  # the default is the last one received
    assert [str(message) for message in peeked] == ["deferred", "locked", "active", "scheduled"]
    assert [message.state.name for message in peeked] == ["DEFERRED", "ACTIVE", "ACTIVE", "SCHEDULED"]
    assert [str(m) for m in receiver.peek_messages(1, sequence_number=peeked[2].sequence_number)] == ["active"]
    assert receiver.peek_messages(5, sequence_number=100) == []
    counts = server.counts("orders")
    assert (counts.active, counts.locked, counts.deferred, counts.scheduled) == (1, 1, 1, 1)
