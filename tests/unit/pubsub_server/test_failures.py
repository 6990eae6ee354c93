"""Messages that fail: backoff between deliveries, and forwarding to a dead-letter topic."""

from __future__ import annotations

import time

import pytest
from google.api_core.exceptions import InvalidArgument

from emulators.pubsub import PubSubServer
from unit.pubsub_server.clients import Clients, bodies

_NAME = "projects/clinic/subscriptions/failing"


def test_a_returned_message_waits_for_its_backoff(server: PubSubServer, clients: Clients, topic: str) -> None:
    server.add_subscription(_NAME, topic, backoff=(0.3, 0.6))
    clients.publish(topic, b"one")
    began = time.monotonic()
    clients.lease(_NAME, clients.pull(_NAME), 0)
    clients.publish(topic, b"two")
    assert bodies(clients.pull(_NAME)) == [b"two"]
    assert bodies(clients.pull(_NAME, wait=30)) == [b"one"]
    assert time.monotonic() - began >= 0.3


def test_backoff_doubles_up_to_its_maximum(server: PubSubServer, clients: Clients, topic: str) -> None:
    server.add_subscription(_NAME, topic, backoff=(0.05, 0.1))
    clients.publish(topic, b"one")
    received = clients.pull(_NAME)
    waits = []
    for _ in range(9):
        began = time.monotonic()
        clients.lease(_NAME, received, 0)
        received = clients.pull(_NAME, wait=6)  # without the maximum the last wait would be 12.8 s
        waits.append(time.monotonic() - began)
    assert waits[0] >= 0.05
    assert min(waits[1:]) >= 0.1


def test_delivery_attempts_are_told_only_with_a_dead_letter_policy(
    server: PubSubServer, clients: Clients, topic: str, subscription: str
) -> None:
    server.add_subscription(_NAME, topic, dead_letter_topic=server.add_topic("projects/clinic/topics/dead"))
    clients.publish(topic, b"one")
    for attempt in (1, 2, 3):
        for name, told in ((_NAME, attempt), (subscription, 0)):
            (received,) = clients.pull(name)
            assert received.delivery_attempt == told
            clients.lease(name, [received], 0)


@pytest.mark.parametrize("ends", ["returned", "expired"])
def test_what_fails_too_often_is_forwarded(server: PubSubServer, clients: Clients, topic: str, ends: str) -> None:
    dead = server.add_topic("projects/clinic/topics/dead")
    watch = server.add_subscription("projects/clinic/subscriptions/dead", dead)
    server.add_subscription(_NAME, topic, dead_letter_topic=dead, max_delivery_attempts=3, ack_deadline=0.1)
    clients.publish(topic, b"one", kind="order", key="k")
    for _ in range(3):
        (received,) = clients.pull(_NAME, wait=30)
        if ends == "returned":
            clients.lease(_NAME, [received], 0)
    # Nobody touches the source any more: the last lease ends by itself.
    (forwarded,) = clients.pull(watch, wait=30)
    assert forwarded.message.data == b"one"
    assert forwarded.message.ordering_key == "k"
    assert forwarded.message.message_id != received.message.message_id
    attributes = dict(forwarded.message.attributes)
    published = attributes.pop("CloudPubSubDeadLetterSourceTopicPublishTime")
    assert published.startswith(received.message.publish_time.strftime("%Y-%m-%dT%H:%M:%S"))
    assert attributes == {
        "kind": "order",
        "CloudPubSubDeadLetterSourceDeliveryCount": "3",
        "CloudPubSubDeadLetterSourceSubscription": "failing",
        "CloudPubSubDeadLetterSourceSubscriptionProject": "clinic",
    }
    assert server.backlog(_NAME) == []


def test_leases_end_one_after_the_other_though_nobody_calls(server: PubSubServer, clients: Clients, topic: str) -> None:
    dead = server.add_topic("projects/clinic/topics/dead")
    watch = server.add_subscription("projects/clinic/subscriptions/dead", dead)
    server.add_subscription(_NAME, topic, dead_letter_topic=dead, max_delivery_attempts=1)
    clients.publish(topic, b"soon", b"later")
    soon, later = clients.pull(_NAME)
    clients.lease(_NAME, [later], 2)
    clients.lease(_NAME, [soon], 1)
    assert bodies(clients.pull(watch, wait=8)) == [b"soon"]
    assert bodies(clients.pull(watch, wait=8)) == [b"later"]


def test_without_the_dead_letter_topic_delivery_goes_on(server: PubSubServer, clients: Clients, topic: str) -> None:
    server.add_subscription(_NAME, topic, dead_letter_topic="projects/clinic/topics/gone", max_delivery_attempts=1)
    clients.publish(topic, b"one")
    for _ in range(3):
        received = clients.pull(_NAME)
        assert bodies(received) == [b"one"]
        clients.lease(_NAME, received, 0)


@pytest.mark.parametrize("attempts", [4, 101])
def test_attempts_out_of_range_are_refused(server: PubSubServer, clients: Clients, topic: str, attempts: int) -> None:
    policy = {"dead_letter_topic": topic, "max_delivery_attempts": attempts}
    with pytest.raises(InvalidArgument, match="5 to 100"):
        clients.subscribe(_NAME, topic=topic, dead_letter_policy=policy)
