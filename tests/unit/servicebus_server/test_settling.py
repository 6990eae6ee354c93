"""What receivers see: locks, settlement of each kind, redelivery, dead letters."""

from __future__ import annotations

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusReceiveMode, ServiceBusSubQueue
from azure.servicebus.exceptions import MessageLockLostError, MessageNotFoundError

from emulators.servicebus import AmqpError, Limits, QueueCounts, QueueSettings

EMPTY = QueueCounts(active=0, locked=0, deferred=0, scheduled=0, dead=0)


@pytest.fixture
def queue(start, clients):
    """A server whose queue ``orders`` locks for a minute and delivers three times; a sender and a receiver."""
    server = start(QueueSettings("orders", max_deliveries=3))
    return server, clients.sender(server, "orders"), clients.receiver(server, "orders")


def test_complete_removes(queue, receive_one):
    server, sender, receiver = queue
    sender.send_messages(ServiceBusMessage("x"))
    message = receive_one(receiver)
    assert server.counts("orders").locked == 1
    receiver.complete_message(message)
    assert server.counts("orders") == EMPTY


def test_abandon_gives_back_and_counts(queue, receive_one):
    server, sender, receiver = queue
    sender.send_messages(ServiceBusMessage("x"))
    tokens = set()
    for count in range(3):
        message = receive_one(receiver)
        tokens.add(message.lock_token)
        assert message.delivery_count == count
        receiver.abandon_message(message)
    assert len(tokens) == 3
    assert server.counts("orders").dead == 1


def test_what_is_abandoned_keeps_its_place(queue, receive_one):
    _, sender, receiver = queue
    sender.send_messages([ServiceBusMessage(each) for each in "abc"])
    receiver.abandon_message(receive_one(receiver))
    assert [str(receive_one(receiver)) for _ in range(3)] == ["a", "b", "c"]


def test_delivered_too_often_is_dead_lettered_with_the_reason(queue, clients, receive_one):
    server, sender, receiver = queue
    sender.send_messages(ServiceBusMessage("x", application_properties={"kept": 1}))
    for _ in range(3):
        receiver.abandon_message(receive_one(receiver))
    dead = receive_one(clients.receiver(server, "orders", sub_queue=ServiceBusSubQueue.DEAD_LETTER))
    assert dead.dead_letter_reason == "MaxDeliveryCountExceeded"
    assert "3 delivery attempts" in dead.dead_letter_error_description
    assert dead.application_properties[b"kept"] == 1


def test_dead_letter_with_reason_and_description(queue, clients, receive_one):
    server, sender, receiver = queue
    sender.send_messages(ServiceBusMessage("x"))
    receiver.dead_letter_message(receive_one(receiver), "unreadable", "no ClientGuid")
    assert server.counts("orders") == QueueCounts(active=0, locked=0, deferred=0, scheduled=0, dead=1)
    graves = clients.receiver(server, "orders/$DeadLetterQueue")
    dead = receive_one(graves)
    assert (str(dead), dead.dead_letter_reason, dead.dead_letter_error_description) == (
        "x",
        "unreadable",
        "no ClientGuid",
    )
    graves.complete_message(dead)
    assert server.counts("orders") == EMPTY


def test_dead_letters_stay_whatever_happens_to_them(queue, clients, receive_one):
    server, sender, receiver = queue
    sender.send_messages(ServiceBusMessage("x"))
    receiver.dead_letter_message(receive_one(receiver))
    graves = clients.receiver(server, "orders/$DeadLetterQueue")
    for count in range(1, 6):
        dead = receive_one(graves)
        assert dead.delivery_count == count
        graves.abandon_message(dead)
    graves.dead_letter_message(receive_one(graves), "again")
    assert server.counts("orders").dead == 1


def test_defer_sets_aside_until_it_is_asked_for_by_number(queue, receive_one):
    server, sender, receiver = queue
    sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    deferred = receive_one(receiver)
    receiver.defer_message(deferred)
    receiver.complete_message(receive_one(receiver))
    assert server.counts("orders").deferred == 1
    (again,) = receiver.receive_deferred_messages(deferred.sequence_number)
    assert (str(again), again.delivery_count) == ("a", 1)
    receiver.abandon_message(again)
    assert server.counts("orders").deferred == 1  # it stays deferred
    (again,) = receiver.receive_deferred_messages([deferred.sequence_number])
    receiver.complete_message(again)
    assert server.counts("orders") == EMPTY
    with pytest.raises(MessageNotFoundError):
        receiver.receive_deferred_messages([deferred.sequence_number])


def test_receive_and_delete_needs_no_settlement(queue, clients, receive_all):
    server, sender, _ = queue
    sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    receiver = clients.receiver(server, "orders", receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
    assert [str(message) for message in receive_all(receiver, 2)] == ["a", "b"]
    assert server.counts("orders") == EMPTY


def test_a_lock_that_ends_gives_back_and_counts(start, clients, receive_one):
    server = start(QueueSettings("orders", lock=0.5))
    clients.sender(server, "orders").send_messages(ServiceBusMessage("x"))
    receiver = clients.receiver(server, "orders")
    first = receive_one(receiver)
    second = receive_one(receiver)
    assert (first.delivery_count, second.delivery_count) == (0, 1)
    with pytest.raises(MessageLockLostError):
        receiver.complete_message(first)
    receiver.complete_message(second)
    assert server.counts("orders") == EMPTY


def test_locks_that_end_too_often_dead_letter(start, clients, receive_one):
    server = start(QueueSettings("orders", lock=0.2, max_deliveries=2))
    clients.sender(server, "orders").send_messages(ServiceBusMessage("x"))
    receiver = clients.receiver(server, "orders")
    receive_one(receiver)
    receive_one(receiver)
    server.wait_for_counts("orders", dead=1, locked=0, active=0)


def test_renewing_keeps_the_lock(start, clients, receive_one):
    server = start(QueueSettings("orders", lock=1))
    clients.sender(server, "orders").send_messages(ServiceBusMessage("x"))
    receiver = clients.receiver(server, "orders")
    message = receive_one(receiver)
    until = first = message.locked_until_utc
    while (until - first).total_seconds() < 1.5:
        until = receiver.renew_message_lock(message)
    receiver.complete_message(message)  # later than the first lock's end
    assert server.counts("orders") == EMPTY


def test_a_lost_lock_cannot_be_renewed(start, clients, receive_one):
    server = start(QueueSettings("orders", lock=0.5))
    clients.sender(server, "orders").send_messages(ServiceBusMessage("x"))
    receiver = clients.receiver(server, "orders")
    message = receive_one(receiver)
    server.wait_for_counts("orders", active=1)
    message._expiry = None  # else the SDK looks at its own clock and does not ask
    with pytest.raises(MessageLockLostError):
        receiver.renew_message_lock(message)


def test_what_a_closing_receiver_had_buffered_comes_back_uncounted(queue, clients, receive_one):
    server, sender, _ = queue
    sender.send_messages([ServiceBusMessage(each) for each in "abc"])
    with clients.client(server, rights=["Listen"]).get_queue_receiver("orders", prefetch_count=10) as greedy:
        receive_one(greedy)
        server.wait_for_counts("orders", locked=3)
    server.wait_for_counts("orders", active=3)
    assert receive_one(clients.receiver(server, "orders")).delivery_count == 0


def test_a_cut_connection_releases_uncounted(queue, clients, receive_one):
    server, sender, receiver = queue
    sender.send_messages(ServiceBusMessage("x"))
    receive_one(receiver)
    assert server.cut_connections() == 2
    server.wait_for_counts("orders", active=1)
    assert receive_one(clients.receiver(server, "orders")).delivery_count == 0


def test_a_namespace_can_keep_locks_beyond_the_link(start, clients, receive_one):
    """Then the message can still be settled, through the management node: the SDK does so by itself."""
    server = start(QueueSettings("orders", lock=30), limits=Limits(release_on_close=False))
    clients.sender(server, "orders").send_messages(ServiceBusMessage("x"))
    receiver = clients.receiver(server, "orders")
    message = receive_one(receiver)
    server.detach_links("orders")
    assert server.counts("orders").locked == 1
    receiver.complete_message(message)
    assert server.counts("orders") == EMPTY


def test_receivers_share_a_queue(queue, clients, receive_all):
    server, sender, receiver = queue
    other = clients.receiver(server, "orders")
    sender.send_messages([ServiceBusMessage(str(number)) for number in range(4)])
    got = [*receive_all(receiver, 2), *receive_all(other, 2)]
    assert sorted(str(message) for message in got) == ["0", "1", "2", "3"]


def test_a_receiver_gets_no_more_than_it_asks_for(queue, receive_one):
    server, sender, receiver = queue
    sender.send_messages([ServiceBusMessage(str(number)) for number in range(6)])
    for received in range(1, 5):
        receiver.complete_message(receive_one(receiver))
        assert server.counts("orders") == QueueCounts(6 - received, 0, 0, 0, 0)


def test_a_waiting_receiver_gets_a_message_as_it_comes(queue):
    _, sender, receiver = queue
    assert receiver.receive_messages(1, max_wait_time=0.3) == []
    sender.send_messages(ServiceBusMessage("late"))
    (message,) = receiver.receive_messages(1, max_wait_time=10)
    assert str(message) == "late"


def test_counts_of_what_is_not_there(queue):
    with pytest.raises(AmqpError, match="could not be found"):
        queue[0].counts("nowhere")
