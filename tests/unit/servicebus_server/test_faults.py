"""Faults: what each does to a client, at each point of the protocol."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import (
    OperationTimeoutError,
    ServiceBusAuthenticationError,
    ServiceBusConnectionError,
    ServiceBusError,
    ServiceBusQuotaExceededError,
    ServiceBusServerBusyError,
)

from emulators.servicebus import (
    Close,
    Condition,
    Delay,
    Detach,
    Drop,
    Point,
    QueueSettings,
    Refuse,
    Stall,
    idle_link,
    quota_exceeded,
    server_busy,
)
from emulators.servicebus.faults import parse_fault


@pytest.fixture
def server(start):
    return start(QueueSettings("orders", lock=30), "other")


def send(sender, body="x", **options):
    sender.send_messages(ServiceBusMessage(body), **options)


# ---- at a transfer


@pytest.mark.parametrize(("after", "stored"), [(False, 0), (True, 1)])
@pytest.mark.parametrize("action", [Drop, Detach, Close])
def test_a_transfer_fails_before_or_after_it_is_stored(action, after, stored, server, clients):
    sender = clients.sender(server, "orders")
    fault = server.faults.add(Point.TRANSFER, action(after=after))
    with pytest.raises(ServiceBusError):
        send(sender)
    assert fault.struck == 1
    assert server.counts("orders").active == stored
    send(sender)  # the SDK opens the link anew
    assert server.counts("orders").active == stored + 1


@pytest.mark.parametrize(("after", "stored"), [(False, 0), (True, 1)])
def test_a_stalled_transfer_is_never_answered(after, stored, server, clients):
    sender = clients.sender(server, "orders")
    server.faults.add(Point.TRANSFER, Stall(after=after))
    for _ in range(2):  # nor is what comes after it, which is not even taken
        with pytest.raises(OperationTimeoutError):
            send(sender, timeout=1)
    assert server.counts("orders").active == stored


def test_a_fault_strikes_the_operations_it_is_to(server, clients):
    orders, other = clients.sender(server, "orders"), clients.sender(server, "other")
    fault = server.faults.add(Point.TRANSFER, server_busy(), entity="Orders", skip=2, times=2)
    send(other)
    results = []
    for _ in range(6):
        try:
            send(orders)
            results.append("sent")
        except ServiceBusServerBusyError:
            results.append("busy")
    assert results == ["sent", "sent", "busy", "busy", "sent", "sent"]
    assert (server.counts("orders").active, server.counts("other").active) == (4, 1)
    assert fault.wait(0, times=2)
    assert not fault.wait(0, times=3)


def test_quota(server, clients):
    sender = clients.sender(server, "orders")
    server.faults.add(Point.TRANSFER, quota_exceeded(), times=None)
    for _ in range(3):
        with pytest.raises(ServiceBusQuotaExceededError):
            send(sender)
    server.faults.clear()
    send(sender)


def test_a_delayed_answer_comes(server, clients):
    sender = clients.sender(server, "orders")
    server.faults.add(Point.TRANSFER, Delay(0.5))
    send(sender)
    assert server.counts("orders").active == 1
    server.faults.add(Point.TRANSFER, Delay(30))
    with pytest.raises(OperationTimeoutError):
        send(sender, timeout=0.5)


# ---- at connect, at the token, at attach


@pytest.mark.parametrize("point", [Point.CONNECT, Point.TOKEN, Point.ATTACH])
@pytest.mark.parametrize("action", [Drop(), Close()])
def test_opening_fails(point, action, server, clients):
    fault = server.faults.add(point, action)
    with pytest.raises(ServiceBusError):
        clients.sender(server, "orders")
    assert fault.struck == 1
    send(clients.sender(server, "orders"))


@pytest.mark.parametrize("action", [Stall(), Delay(60)])
@pytest.mark.parametrize("point", [Point.CONNECT, Point.TOKEN, Point.ATTACH])
def test_opening_stalls_until_the_connection_ends(point, action, server, clients):
    """Nothing of the SDK's ends it earlier: neither ``retry_timeout`` nor ``auth_timeout``."""
    fault = server.faults.add(point, action)
    client = clients.client(server, rights=["Send"])
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(client.get_queue_sender("orders").__enter__)
        assert fault.wait()
        with pytest.raises(TimeoutError):
            opening.result(1)
        assert server.cut_connections() == 1
        with pytest.raises(ServiceBusError):
            opening.result(30)


@pytest.mark.parametrize("point", [Point.CONNECT, Point.TOKEN, Point.ATTACH])
def test_opening_takes_longer(point, server, clients):
    server.faults.add(point, Delay(0.7))
    send(clients.sender(server, "orders"))
    assert server.counts("orders").active == 1


def test_a_token_is_refused(server, clients):
    server.faults.add(Point.TOKEN, Refuse(Condition.UNAUTHORIZED, "ExpiredToken: by a fault"))
    with pytest.raises(ServiceBusAuthenticationError) as caught:
        clients.sender(server, "orders")
    assert "ExpiredToken: by a fault" in str(caught.value.inner_exception)


def test_an_attach_is_refused(server, clients):
    server.faults.add(Point.ATTACH, server_busy(), entity="orders")
    clients.sender(server, "other")
    with pytest.raises(ServiceBusServerBusyError):
        clients.receiver(server, "orders")
    clients.receiver(server, "orders")


# ---- at a delivery, at its settlement, at the management node


@pytest.mark.parametrize("after", [False, True])
def test_the_connection_drops_at_a_delivery(after, server, clients, receive_one):
    send(clients.sender(server, "orders"))
    fault = server.faults.add(Point.DELIVERY, Drop(after=after))
    receiver = clients.receiver(server, "orders")
    received, failed = [], False
    while not failed:  # after: the message comes, and the end of the connection shows at a later call
        try:
            received += receiver.receive_messages(1, max_wait_time=10)
        except ServiceBusConnectionError:
            failed = True
    assert len(received) == after
    assert fault.struck == 1
    server.wait_for_counts("orders", active=1, locked=0)
    assert receive_one(clients.receiver(server, "orders")).delivery_count == 0


@pytest.mark.parametrize("action", [Drop, Detach])
def test_a_settlement_is_lost(action, server, clients, receive_one):
    """The SDK settles again through the management node; the lock was released, so that fails."""
    send(clients.sender(server, "orders"))
    receiver = clients.receiver(server, "orders")
    message = receive_one(receiver)
    server.faults.add(Point.DISPOSITION, action())
    with pytest.raises(ServiceBusError):
        receiver.complete_message(message)
    server.wait_for_counts("orders", active=1, locked=0)


def test_a_settlement_is_done_and_its_answer_lost(server, clients, receive_one):
    send(clients.sender(server, "orders"))
    receiver = clients.receiver(server, "orders")
    message = receive_one(receiver)
    server.faults.add(Point.DISPOSITION, Drop(after=True))
    with pytest.raises(ServiceBusError):
        receiver.complete_message(message)
    assert server.counts("orders") == server.counts("other")


def test_a_settlement_is_refused(server, clients, receive_one):
    send(clients.sender(server, "orders"))
    receiver = clients.receiver(server, "orders")
    message = receive_one(receiver)
    server.faults.add(Point.DISPOSITION, Refuse(Condition.INTERNAL_ERROR, "by a fault"))
    with pytest.raises(ServiceBusError, match="by a fault"):
        receiver.complete_message(message)
    counts = server.counts("orders")
    assert counts.locked + counts.active == 1  # the SDK may close the link after such an error


def test_renewing_meets_a_busy_server(server, clients, receive_one):
    send(clients.sender(server, "orders"))
    receiver = clients.receiver(server, "orders")
    message = receive_one(receiver)
    server.faults.add(Point.MANAGEMENT, server_busy(), entity="orders")
    with pytest.raises(ServiceBusServerBusyError):
        receiver.renew_message_lock(message)
    receiver.renew_message_lock(message)


# ---- at once


def test_links_are_detached_at_once(server, clients):
    sender = clients.sender(server, "orders")
    clients.sender(server, "other")
    assert server.detach_links("orders", idle_link().condition, idle_link().text) == 1
    with pytest.raises(ServiceBusConnectionError):  # the SDK does not tell why a link is gone that was detached before
        send(sender)
    send(sender)


def test_connections_are_closed_at_once(server, clients):
    sender = clients.sender(server, "orders")
    server.close_connections(text="The service restarts.")
    with pytest.raises(ServiceBusError):
        send(sender)
    send(sender)
    assert server.counts("orders").active == 1


# ---- faults as text


@pytest.mark.parametrize(
    ("text", "point", "action", "entity"),
    [
        ("transfer:drop", Point.TRANSFER, Drop(), None),
        ("transfer:drop:skip=1,after,entity=Orders", Point.TRANSFER, Drop(after=True), "orders"),
        ("attach:stall:times=all", Point.ATTACH, Stall(), None),
        ("disposition:delay:seconds=0.5", Point.DISPOSITION, Delay(0.5), None),
        ("transfer:busy:times=3", Point.TRANSFER, server_busy(), None),
        ("connect:close:condition=amqp:internal-error", Point.CONNECT, Close("amqp:internal-error"), None),
    ],
)
def test_faults_as_text(text, point, action, entity):
    fault = parse_fault(text)
    assert (fault.point, fault.action, fault.entity) == (point, action, entity)


@pytest.mark.parametrize("text", ["", "transfer", "nowhere:drop", "transfer:explode", "transfer:drop:often", "a:b:c=d"])
def test_what_is_no_fault(text):
    with pytest.raises(ValueError):
        parse_fault(text)


def test_a_delivery_cannot_be_refused(server):
    with pytest.raises(ValueError, match="cannot be refused"):
        server.faults.add(Point.DELIVERY, server_busy())
