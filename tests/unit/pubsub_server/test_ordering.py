"""Ordering keys: one batch of a key at a time, and all that follows a returned message comes again."""

from __future__ import annotations

import pytest

from emulators.pubsub import PubSubServer
from unit.pubsub_server.clients import Clients, bodies


@pytest.fixture
def ordered(server: PubSubServer, topic: str) -> str:
    """A subscription that keeps order, with leases that end soon unless extended."""
    return server.add_subscription("projects/clinic/subscriptions/ordered", topic, ordered=True, ack_deadline=0.3)


def test_messages_of_a_key_come_in_order(clients: Clients, topic: str, ordered: str) -> None:
    sent = [b"%d" % n for n in range(20)]
    for one in sent:
        clients.publish(topic, one, key="k")
    received = clients.pull(ordered)
    assert bodies(received) == sent
    assert {one.message.ordering_key for one in received} == {"k"}


def test_a_key_waits_while_a_batch_of_it_is_out(clients: Clients, topic: str, ordered: str) -> None:
    clients.publish(topic, b"1", b"2", b"3", b"4", key="k")
    clients.publish(topic, b"other", key="o")
    clients.publish(topic, b"none")
    first = clients.pull(ordered, 2)
    assert bodies(first) == [b"1", b"2"]
    clients.lease(ordered, first, 600)
    rest = clients.pull(ordered)
    assert bodies(rest) == [b"other", b"none"]
    clients.lease(ordered, rest, 600)
    clients.ack(ordered, first[:1])
    assert list(clients.pull(ordered)) == []
    clients.ack(ordered, first[1:])
    assert bodies(clients.pull(ordered)) == [b"3", b"4"]


def test_what_follows_a_returned_message_comes_again_even_if_acknowledged(
    server: PubSubServer, clients: Clients, topic: str, ordered: str
) -> None:
    clients.publish(topic, b"1", b"2", b"3", b"4", key="k")
    one, two, three, four = clients.pull(ordered)
    clients.ack(ordered, [one, three])
    clients.lease(ordered, [two], 0)
    assert server.backlog(ordered) == [b"2", b"3", b"4"]
    clients.ack(ordered, [four])  # its lease ended with that of two
    again = clients.pull(ordered)
    assert bodies(again) == [b"2", b"3", b"4"]
    clients.ack(ordered, again[:1])
    clients.lease(ordered, again[1:2], 0)  # three is as open as if it had never been acknowledged
    assert bodies(clients.pull(ordered)) == [b"3", b"4"]


def test_a_message_returned_behind_one_that_is_out_waits_for_it(clients: Clients, topic: str, ordered: str) -> None:
    clients.publish(topic, b"1", b"2", b"3", key="k")
    received = clients.pull(ordered)
    clients.lease(ordered, received, 600)
    clients.lease(ordered, received[1:2], 0)
    assert list(clients.pull(ordered)) == []
    clients.ack(ordered, received[:1])
    assert bodies(clients.pull(ordered)) == [b"2", b"3"]


def test_an_expired_batch_comes_again_in_order(clients: Clients, topic: str, ordered: str) -> None:
    clients.publish(topic, b"1", b"2", b"3", key="k")
    clients.pull(ordered)
    assert bodies(clients.pull(ordered, wait=30)) == [b"1", b"2", b"3"]


def test_backoff_holds_the_whole_key_and_no_other(server: PubSubServer, clients: Clients, topic: str) -> None:
    name = server.add_subscription("projects/clinic/subscriptions/b", topic, ordered=True, backoff=(0.5, 0.5))
    clients.publish(topic, b"1", b"2", key="k")
    clients.lease(name, clients.pull(name), 0)
    clients.publish(topic, b"3", key="k")
    clients.publish(topic, b"other", key="o")
    assert bodies(clients.pull(name)) == [b"other"]
    assert bodies(clients.pull(name, wait=30)) == [b"1", b"2", b"3"]


def test_a_dead_message_leaves_its_key_in_order(server: PubSubServer, clients: Clients, topic: str) -> None:
    dead = server.add_topic("projects/clinic/topics/dead")
    name = server.add_subscription(
        "projects/clinic/subscriptions/d", topic, ordered=True, dead_letter_topic=dead, max_delivery_attempts=1
    )
    watch = server.add_subscription("projects/clinic/subscriptions/dead", dead)
    clients.publish(topic, b"1", b"2", b"3", key="k")
    received = clients.pull(name)
    clients.lease(name, received[1:2], 0)
    assert bodies(clients.pull(watch)) == [b"2"]
    assert list(clients.pull(name)) == []  # 1 is still out
    clients.ack(name, received[:1])
    assert bodies(clients.pull(name)) == [b"3"]


def test_without_ordering_on_the_subscription_keys_order_nothing(
    clients: Clients, topic: str, subscription: str
) -> None:
    clients.publish(topic, b"1", b"2", key="k")
    one = clients.pull(subscription, 1)
    assert bodies(one) + bodies(clients.pull(subscription, 1)) == [b"1", b"2"]
