"""Publish: what comes back, who gets it, and what is refused as a whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.api_core.exceptions import InvalidArgument, NotFound

from emulators.pubsub import PubSubServer
from unit.pubsub_server.clients import Clients, bodies


def test_ids_are_unique_and_the_time_is_now(clients: Clients, topic: str, subscription: str) -> None:
    ids = clients.publish(topic, b"one", b"two") + clients.publish(topic, b"three")
    assert len(set(ids)) == 3
    received = clients.pull(subscription)
    assert [one.message.message_id for one in received] == ids
    assert all(datetime.now(UTC) - one.message.publish_time < timedelta(minutes=1) for one in received)


def test_every_subscription_gets_every_message(server: PubSubServer, clients: Clients, topic: str) -> None:
    names = [server.add_subscription(f"projects/clinic/subscriptions/copy{n}", topic) for n in range(3)]
    clients.publish(topic, b"for all", kind="order")
    for name in names:
        (received,) = clients.pull(name)
        assert (received.message.data, dict(received.message.attributes)) == (b"for all", {"kind": "order"})
        clients.ack(name, [received])
        assert server.backlog(name) == []


def test_a_message_may_consist_of_attributes(clients: Clients, topic: str, subscription: str) -> None:
    clients.publish(topic, b"", only="this")
    assert bodies(clients.pull(subscription)) == [b""]


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"ordering_key": "k"},
        {"data": b"x", "attributes": {"": "empty key"}},
        {"data": b"x", "attributes": {"k" * 257: "long key"}},
        {"data": b"x", "attributes": {"long": "v" * 1025}},
        {"data": b"x", "attributes": {"googclient": "reserved"}},
        {"data": b"x", "attributes": {f"k{n}": "v" for n in range(101)}},
        {"data": b"x", "ordering_key": "k" * 1025},
    ],
    ids=["empty", "only a key", "no attribute key", "long key", "long value", "reserved", "too many", "long order"],
)
def test_one_bad_message_refuses_the_whole_request(
    server: PubSubServer, clients: Clients, topic: str, subscription: str, bad: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument):
        clients.publisher.publish(topic=topic, messages=[{"data": b"good"}, bad])
    assert server.backlog(subscription) == []


def test_the_limits_themselves_are_allowed(clients: Clients, topic: str) -> None:
    attributes = {f"{n:03}" + "k" * 253: "v" * 1024 for n in range(100)}
    message = {"data": b"x", "attributes": attributes, "ordering_key": "k" * 1024}
    clients.publisher.publish(topic=topic, messages=[message])
    clients.publish(topic, *[b"x"] * 1000)
    clients.publish(topic, b"x" * 9_999_900)


def test_over_a_thousand_messages_or_ten_megabytes_are_refused(
    server: PubSubServer, clients: Clients, topic: str, subscription: str
) -> None:
    with pytest.raises(InvalidArgument, match="1001"):
        clients.publish(topic, *[b"x"] * 1001)
    with pytest.raises(InvalidArgument, match="10000000 bytes"):
        clients.publish(topic, b"x" * 5_000_000, b"x" * 5_000_000)
    with pytest.raises(InvalidArgument):
        clients.publish(topic)
    assert server.backlog(subscription) == []


def test_a_missing_topic_is_not_found(clients: Clients) -> None:
    with pytest.raises(NotFound, match="missing"):
        clients.publish("projects/clinic/topics/missing", b"x")
    with pytest.raises(InvalidArgument, match="nonsense"):
        clients.publish("nonsense", b"x")


def test_calls_are_counted(server: PubSubServer, clients: Clients, topic: str) -> None:
    clients.publish(topic, *[b"x"] * 50)
    clients.publish(topic, b"x")
    assert server.calls == {"Publish": 2}
