"""Sessions: which receiver gets which, order, locks, state."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusMessage
from azure.servicebus.exceptions import (
    OperationTimeoutError,
    ServiceBusError,
    SessionCannotBeLockedError,
    SessionLockLostError,
)

from emulators.servicebus import QueueSettings


@pytest.fixture
def server(start):
    return start(QueueSettings("orders", sessions=True, lock=30))


@pytest.fixture
def send(server, clients):
    """Sends ``a1 a2 b1``: the first character is the session."""
    sender = clients.sender(server, "orders")
    return lambda texts: sender.send_messages([ServiceBusMessage(each, session_id=each[0]) for each in texts.split()])


def open_next(clients, server, **options):
    client = clients.client(server, rights=["Listen"])
    return client.get_queue_receiver("orders", session_id=NEXT_AVAILABLE_SESSION, **options)


def test_the_next_session_comes_whole_and_in_order(server, send, clients, receive_all):
    send("a1 b1 a2 b2 a3")
    first, second = (clients.enter(open_next(clients, server)) for _ in range(2))
    assert [str(message) for message in receive_all(first, 3)] == ["a1", "a2", "a3"]
    assert [str(message) for message in receive_all(second, 2)] == ["b1", "b2"]
    assert (first.session.session_id, second.session.session_id) == ("a", "b")
    assert 20 < (first.session.locked_until_utc - datetime.now(UTC)).total_seconds() < 31


def test_a_held_session_gets_what_comes_later(server, send, clients, receive_all):
    send("a1")
    receiver = clients.enter(open_next(clients, server))
    receive_all(receiver, 1)
    send("b1 a2")
    (message,) = receive_all(receiver, 1)
    assert str(message) == "a2"


def test_no_session_within_the_time_is_a_timeout(server, clients):
    with pytest.raises(OperationTimeoutError):
        clients.enter(open_next(clients, server, max_wait_time=1))


def test_one_who_waits_gets_the_session_that_comes(server, send, clients, receive_all):
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(open_next(clients, server, max_wait_time=20).__enter__)
        server.wait_for_links("orders", 2)  # it and the sender
        assert not opening.done()
        send("a1")
        receiver = clients.enter(opening.result(20))
    assert receiver.session.session_id == "a"
    assert [str(message) for message in receive_all(receiver, 1)] == ["a1"]


def test_many_compete_and_each_session_has_one_receiver(server, send, clients, receive_all):
    send(" ".join(f"{session}{number}" for number in range(3) for session in "abcd"))
    with ThreadPoolExecutor(4) as pool:
        receivers = list(pool.map(lambda _: clients.enter(open_next(clients, server)), range(4)))
    assert sorted(receiver.session.session_id for receiver in receivers) == list("abcd")
    for receiver in receivers:
        session = receiver.session.session_id
        assert [str(message) for message in receive_all(receiver, 3)] == [f"{session}{number}" for number in range(3)]


def test_a_session_by_name_need_not_exist_and_is_held_by_one(server, clients, send, receive_all):
    client = clients.client(server, rights=["Listen"])
    receiver = clients.enter(client.get_queue_receiver("orders", session_id="n"))
    with pytest.raises(SessionCannotBeLockedError):
        clients.enter(client.get_queue_receiver("orders", session_id="n"))
    send("n1")
    assert [str(message) for message in receive_all(receiver, 1)] == ["n1"]


def test_closing_frees_the_session_and_counts_nothing(server, send, clients, receive_all):
    send("a1 a2")
    with open_next(clients, server) as receiver:
        first, _ = receive_all(receiver, 2)
        receiver.complete_message(first)
    server.wait_for_counts("orders", active=1, locked=0)
    again = clients.enter(open_next(clients, server))
    (message,) = receive_all(again, 1)
    assert (str(message), message.delivery_count) == ("a2", 0)


def test_abandon_counts_and_keeps_the_order(server, send, clients, receive_all):
    send("a1 a2")
    receiver = clients.enter(open_next(clients, server))
    (message,) = receive_all(receiver, 1)
    receiver.abandon_message(message)
    assert [(str(m), m.delivery_count) for m in receive_all(receiver, 2)] == [("a1", 1), ("a2", 0)]


def test_a_session_lock_that_ends_detaches_and_counts(start, clients, receive_all):
    server = start(QueueSettings("orders", sessions=True, lock=1))
    clients.sender(server, "orders").send_messages(ServiceBusMessage("a1", session_id="a"))
    receiver = clients.enter(open_next(clients, server))
    (message,) = receive_all(receiver, 1)
    server.wait_for_counts("orders", active=1, locked=0)
    with pytest.raises(SessionLockLostError):
        receiver.complete_message(message)
    (again,) = receive_all(clients.enter(open_next(clients, server)), 1)
    assert again.delivery_count == 1


def test_renewing_keeps_the_session(start, clients, receive_all):
    server = start(QueueSettings("orders", sessions=True, lock=1))
    clients.sender(server, "orders").send_messages(ServiceBusMessage("a1", session_id="a"))
    receiver = clients.enter(open_next(clients, server))
    (message,) = receive_all(receiver, 1)
    first = receiver.session.locked_until_utc
    while receiver.session.renew_lock() < first + timedelta(seconds=1.5):
        pass
    receiver.complete_message(message)
    assert server.counts("orders").active == 0


def test_state_is_kept_beyond_the_receiver(server, send, clients):
    client = clients.client(server, rights=["Listen"])
    with client.get_queue_receiver("orders", session_id="a") as receiver:
        assert receiver.session.get_state() is None
        receiver.session.set_state(b"half way")
    with client.get_queue_receiver("orders", session_id="a") as receiver:
        assert receiver.session.get_state() == b"half way"
        receiver.session.set_state(None)
        assert receiver.session.get_state() is None


def test_peek_and_defer_within_a_session(server, send, clients, receive_all):
    send("a1 b1 a2")
    receiver = clients.enter(open_next(clients, server))
    assert [str(message) for message in receiver.peek_messages(5, sequence_number=1)] == ["a1", "a2"]
    (message,) = receive_all(receiver, 1)
    receiver.defer_message(message)
    (again,) = receiver.receive_deferred_messages(message.sequence_number)
    receiver.complete_message(again)
    assert server.counts("orders").active == 2


def test_a_session_receiver_needs_sessions_and_the_other_way_round(start, clients):
    server = start(QueueSettings("orders", sessions=True), "plain")
    with pytest.raises(ServiceBusError, match="requires sessions"):
        clients.receiver(server, "orders")
    with pytest.raises(ServiceBusError, match="does not require sessions"):
        clients.receiver(server, "plain", session_id="a")


def test_dead_letters_of_sessions_have_no_sessions(server, send, clients, receive_all):
    send("a1")
    receiver = clients.enter(open_next(clients, server))
    receiver.dead_letter_message(receive_all(receiver, 1)[0], "why")
    (dead,) = receive_all(clients.receiver(server, "orders/$DeadLetterQueue"), 1)
    assert (dead.session_id, dead.dead_letter_reason) == ("a", "why")
