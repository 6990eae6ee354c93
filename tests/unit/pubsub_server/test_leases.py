"""Leases: acknowledged, given back, expired, extended, and ids that are not good."""

from __future__ import annotations

import pytest
from google.api_core.exceptions import InvalidArgument, NotFound

from emulators.pubsub import PubSubServer
from unit.pubsub_server.clients import Clients, bodies


@pytest.fixture
def short(server: PubSubServer, topic: str) -> str:
    """A subscription whose leases end soon."""
    return server.add_subscription("projects/clinic/subscriptions/short", topic, ack_deadline=0.2)


def test_what_is_acknowledged_is_gone(server: PubSubServer, clients: Clients, topic: str, short: str) -> None:
    clients.publish(topic, b"one", b"two")
    one, _two = clients.pull(short)
    clients.ack(short, [one])
    assert bodies(clients.pull(short, wait=30)) == [b"two"]  # after its lease ended
    assert server.backlog(short) == [b"two"]


def test_what_is_leased_is_not_delivered_twice(
    server: PubSubServer, clients: Clients, topic: str, subscription: str
) -> None:
    clients.publish(topic, b"one")
    assert len(clients.pull(subscription)) == 1
    assert list(clients.pull(subscription)) == []
    assert server.outstanding(subscription) == 1


def test_what_is_given_back_comes_again_at_once(clients: Clients, topic: str, subscription: str) -> None:
    clients.publish(topic, b"one")
    first = clients.pull(subscription)
    clients.lease(subscription, first, 0)
    second = clients.pull(subscription)
    assert bodies(second) == [b"one"]
    assert second[0].ack_id != first[0].ack_id
    assert second[0].message.message_id == first[0].message.message_id


def test_an_expired_lease_brings_the_message_back(clients: Clients, topic: str, short: str) -> None:
    clients.publish(topic, b"one")
    clients.pull(short)
    assert bodies(clients.pull(short, wait=30)) == [b"one"]


def test_an_extended_lease_holds(server: PubSubServer, clients: Clients, topic: str, short: str) -> None:
    clients.publish(topic, b"kept", b"left")
    received = clients.pull(short)
    clients.lease(short, [one for one in received if one.message.data == b"kept"], 600)
    assert bodies(clients.pull(short, wait=30)) == [b"left"]
    assert server.outstanding(short) == 2


def test_a_lease_can_be_shortened(clients: Clients, topic: str, subscription: str) -> None:
    clients.publish(topic, b"one")
    clients.lease(subscription, clients.pull(subscription), 1)
    assert bodies(clients.pull(subscription, wait=8)) == [b"one"]  # the subscription's own lease is 10 s


def test_acknowledging_after_the_lease_is_no_error_and_has_no_effect(
    server: PubSubServer, clients: Clients, topic: str, short: str
) -> None:
    clients.publish(topic, b"one")
    late = clients.pull(short)
    again = clients.pull(short, wait=30)
    clients.ack(short, late)
    clients.lease(short, late, 30)
    assert server.backlog(short) == [b"one"]
    clients.ack(short, again)
    clients.ack(short, again)
    assert server.backlog(short) == []


def test_a_foreign_ack_id_refuses_the_whole_request(
    server: PubSubServer, clients: Clients, topic: str, subscription: str, short: str
) -> None:
    clients.publish(topic, b"one")
    (good,), (other,) = clients.pull(subscription), clients.pull(short)
    for bad in ("bogus", other.ack_id):
        request = {"subscription": subscription, "ack_ids": [good.ack_id, bad]}
        with pytest.raises(InvalidArgument, match="invalid ack ID"):
            clients.subscriber.acknowledge(request=request)
        for seconds in (0, 10):
            with pytest.raises(InvalidArgument, match="invalid ack ID"):
                clients.subscriber.modify_ack_deadline(request={**request, "ack_deadline_seconds": seconds})
    assert server.backlog(subscription) == [b"one"]
    assert server.outstanding(subscription) == 1


@pytest.mark.parametrize("seconds", [-1, 601])
def test_deadlines_out_of_range_are_refused(clients: Clients, topic: str, subscription: str, seconds: int) -> None:
    clients.publish(topic, b"one")
    with pytest.raises(InvalidArgument, match="0 to 600"):
        clients.lease(subscription, clients.pull(subscription), seconds)


def test_requests_without_ids_or_over_512_kibibytes_are_refused(
    clients: Clients, topic: str, subscription: str
) -> None:
    with pytest.raises(InvalidArgument):
        clients.ack(subscription, [])
    with pytest.raises(InvalidArgument):
        clients.lease(subscription, [], 10)
    ids = []
    for _ in range(4):
        clients.publish(topic, *[b"x"] * 1000)
        ids += [one.ack_id for one in clients.pull(subscription, 1000)]
    with pytest.raises(InvalidArgument, match="524288"):
        clients.subscriber.acknowledge(subscription=subscription, ack_ids=ids)
    clients.subscriber.acknowledge(subscription=subscription, ack_ids=ids[:2500])


def test_settling_on_a_missing_subscription_is_not_found(clients: Clients, topic: str, subscription: str) -> None:
    clients.publish(topic, b"x")
    received = clients.pull(subscription)
    clients.subscriber.delete_subscription(subscription=subscription)
    with pytest.raises(NotFound):
        clients.ack(subscription, received)
    with pytest.raises(NotFound):
        clients.lease(subscription, received, 10)


def test_many_leases_end_without_being_looked_for_one_by_one(
    server: PubSubServer, clients: Clients, topic: str, short: str
) -> None:
    for _ in range(10):
        clients.publish(topic, *[b"x"] * 1000)
    kept = [one for _ in range(5) for one in clients.pull(short, 1000)]
    for begin in range(0, len(kept), 1000):
        clients.lease(short, kept[begin : begin + 1000], 600)
    seen = len(kept)
    while seen < 10_000:
        seen += len(clients.pull(short, 1000, wait=30))
        assert server.outstanding(short) <= 10_000


def test_leases_end_though_much_else_is_acknowledged_meanwhile(
    server: PubSubServer, clients: Clients, topic: str, subscription: str
) -> None:
    clients.publish(topic, b"one", b"two")
    one, two = clients.pull(subscription)
    clients.lease(subscription, [one], 3)
    for _ in range(1_001):  # so often that the server forgets what it need not watch any more
        clients.ack(subscription, [two])
    assert bodies(clients.pull(subscription, wait=8)) == [b"one"]
