"""Seeking to a time and to a snapshot, and how long messages are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.api_core.exceptions import AlreadyExists, InvalidArgument, NotFound

from emulators.pubsub import PubSubServer
from unit.pubsub_server.clients import Clients, bodies

_SNAPSHOT = "projects/clinic/snapshots/before"


@pytest.fixture
def kept(server: PubSubServer, topic: str) -> str:
    """A subscription that keeps acknowledged messages."""
    return server.add_subscription("projects/clinic/subscriptions/kept", topic, retain_acked=True, ordered=True)


def _now() -> datetime:
    return datetime.now(UTC)


def test_seeking_forward_acknowledges(server: PubSubServer, clients: Clients, topic: str, subscription: str) -> None:
    clients.publish(topic, b"1", b"2")
    clients.pull(subscription, 1)
    moment = _now()
    clients.publish(topic, b"3")
    clients.subscriber.seek(request={"subscription": subscription, "time": moment})
    assert server.backlog(subscription) == [b"3"]
    assert server.outstanding(subscription) == 0
    assert bodies(clients.pull(subscription)) == [b"3"]
    clients.subscriber.seek(request={"subscription": subscription, "time": _now() + timedelta(hours=1)})
    assert server.backlog(subscription) == []


def test_seeking_back_delivers_acknowledged_messages_again(
    server: PubSubServer, clients: Clients, topic: str, kept: str
) -> None:
    clients.publish(topic, b"1", key="k")
    moment = _now()
    for body in (b"2", b"3"):
        clients.publish(topic, body, key="k")
    received = clients.pull(kept)
    clients.ack(kept, received)
    assert server.backlog(kept) == []
    clients.subscriber.seek(request={"subscription": kept, "time": moment})
    again = clients.pull(kept)
    assert bodies(again) == [b"2", b"3"]
    clients.ack(kept, again)
    clients.subscriber.seek(request={"subscription": kept, "time": moment - timedelta(hours=1)})
    assert bodies(clients.pull(kept)) == [b"1", b"2", b"3"]


def test_without_retention_of_acknowledged_messages_they_are_gone(
    clients: Clients, topic: str, subscription: str
) -> None:
    clients.publish(topic, b"1")
    clients.ack(subscription, clients.pull(subscription))
    clients.subscriber.seek(request={"subscription": subscription, "time": _now() - timedelta(hours=1)})
    assert list(clients.pull(subscription)) == []


def test_a_snapshot_holds_what_was_open_and_all_that_came_after(
    server: PubSubServer, clients: Clients, topic: str, subscription: str
) -> None:
    clients.publish(topic, b"1", b"2")
    clients.ack(subscription, clients.pull(subscription, 1))
    made = clients.subscriber.create_snapshot(name=_SNAPSHOT, subscription=subscription)
    assert made.topic == topic
    clients.publish(topic, b"3")
    clients.ack(subscription, clients.pull(subscription))
    assert server.backlog(subscription) == []
    clients.subscriber.seek(request={"subscription": subscription, "snapshot": _SNAPSHOT})
    assert bodies(clients.pull(subscription)) == [b"2", b"3"]


def test_snapshots_are_listed_and_deleted(clients: Clients, topic: str, subscription: str) -> None:
    clients.subscriber.create_snapshot(name=_SNAPSHOT, subscription=subscription)
    with pytest.raises(AlreadyExists):
        clients.subscriber.create_snapshot(name=_SNAPSHOT, subscription=subscription)
    (listed,) = clients.subscriber.list_snapshots(project="projects/clinic")
    assert listed == clients.subscriber.get_snapshot(snapshot=_SNAPSHOT)
    clients.subscriber.delete_snapshot(snapshot=_SNAPSHOT)
    with pytest.raises(NotFound):
        clients.subscriber.seek(request={"subscription": subscription, "snapshot": _SNAPSHOT})
    clients.publish(topic, b"to nobody's snapshot")


def test_seeks_that_are_refused(server: PubSubServer, clients: Clients, topic: str, subscription: str) -> None:
    elsewhere = server.add_subscription(
        "projects/clinic/subscriptions/else", server.add_topic("projects/clinic/topics/else")
    )
    clients.subscriber.create_snapshot(name=_SNAPSHOT, subscription=elsewhere)
    with pytest.raises(InvalidArgument, match="another topic"):
        clients.subscriber.seek(request={"subscription": subscription, "snapshot": _SNAPSHOT})
    with pytest.raises(InvalidArgument):
        clients.subscriber.seek(request={"subscription": subscription})


def test_what_is_older_than_the_retention_is_not_delivered(server: PubSubServer, clients: Clients, topic: str) -> None:
    names = [
        server.add_subscription(f"projects/clinic/subscriptions/r{n}", topic, retention=0.2, ordered=n == 1)
        for n in range(2)
    ]
    for key in ("", "k"):
        clients.publish(topic, b"old", key=key)
    tick = server.add_topic("projects/clinic/topics/tick")
    timer = server.add_subscription("projects/clinic/subscriptions/tick", tick, ack_deadline=0.3)
    clients.publish(tick, b"x")
    clients.pull(timer)
    clients.pull(timer, wait=30)  # 0.3 s have passed
    for key in ("", "k"):
        clients.publish(topic, b"new", key=key)
    for name in names:
        assert bodies(clients.pull(name)) == [b"new", b"new"]
        assert server.backlog(name) == [b"new", b"new"]
