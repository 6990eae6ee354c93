"""Topics and subscriptions: made, changed, listed, detached, deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.api_core.exceptions import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound

from emulators.pubsub import PubSubServer
from unit.pubsub_server.clients import Clients, bodies

_NAME = "projects/clinic/subscriptions/orders"


def test_topics_are_made_changed_and_deleted(clients: Clients) -> None:
    name = "projects/clinic/topics/orders"
    made = clients.publisher.create_topic(request={"name": name, "labels": {"a": "1"}})
    assert clients.publisher.get_topic(topic=name) == made
    with pytest.raises(AlreadyExists):
        clients.publisher.create_topic(name=name)
    update = {"topic": {"name": name, "labels": {"b": "2"}}, "update_mask": {"paths": ["labels"]}}
    assert dict(clients.publisher.update_topic(request=update).labels) == {"b": "2"}
    clients.publisher.delete_topic(topic=name)
    with pytest.raises(NotFound):
        clients.publisher.get_topic(topic=name)


def test_a_subscription_outlives_its_topic(server: PubSubServer, clients: Clients, topic: str) -> None:
    server.add_subscription(_NAME, topic)
    clients.publish(topic, b"still here")
    clients.publisher.delete_topic(topic=topic)
    assert clients.subscriber.get_subscription(subscription=_NAME).topic == "_deleted-topic_"
    assert bodies(clients.pull(_NAME)) == [b"still here"]


def test_subscriptions_are_made_with_defaults(clients: Clients, topic: str) -> None:
    made = clients.subscribe(_NAME, topic=topic)
    assert made.ack_deadline_seconds == 10
    assert clients.subscriber.get_subscription(subscription=_NAME) == made
    with pytest.raises(AlreadyExists):
        clients.subscribe(_NAME, topic=topic)
    with pytest.raises(NotFound):
        clients.subscribe("projects/clinic/subscriptions/other", topic="projects/clinic/topics/missing")


def test_changes_take_effect(clients: Clients, topic: str) -> None:
    dead = clients.publisher.create_topic(name="projects/clinic/topics/dead").name
    clients.subscribe(_NAME, topic=topic)
    changed = {
        "name": _NAME,
        "ack_deadline_seconds": 99,
        "dead_letter_policy": {"dead_letter_topic": dead, "max_delivery_attempts": 7},
    }
    mask = {"paths": ["dead_letter_policy"]}
    answer = clients.subscriber.update_subscription(request={"subscription": changed, "update_mask": mask})
    assert (answer.ack_deadline_seconds, answer.dead_letter_policy.max_delivery_attempts) == (10, 7)
    clients.publish(topic, b"x")
    assert clients.pull(_NAME)[0].delivery_attempt == 1


@pytest.mark.parametrize("path", ["topic", "filter", "enable_message_ordering", "name", "nonsense", ""])
def test_what_cannot_be_changed(server: PubSubServer, clients: Clients, topic: str, path: str) -> None:
    server.add_subscription(_NAME, topic)
    request = {"subscription": {"name": _NAME}, "update_mask": {"paths": [path] if path else []}}
    with pytest.raises(InvalidArgument, match="update_mask"):
        clients.subscriber.update_subscription(request=request)


@pytest.mark.parametrize(
    "settings",
    [
        {"ack_deadline_seconds": 9},
        {"ack_deadline_seconds": 601},
        {"message_retention_duration": timedelta(minutes=9)},
        {"message_retention_duration": timedelta(days=32)},
        {"retry_policy": {"maximum_backoff": timedelta(seconds=601)}},
        {"dead_letter_policy": {"max_delivery_attempts": 5}},
    ],
)
def test_settings_out_of_range_are_refused(clients: Clients, topic: str, settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        clients.subscribe(_NAME, topic=topic, **settings)


def test_a_changed_deadline_is_the_next_pulls_lease(server: PubSubServer, clients: Clients, topic: str) -> None:
    server.add_subscription(_NAME, topic, ack_deadline=600)
    request = {
        "subscription": {"name": _NAME, "ack_deadline_seconds": 10},
        "update_mask": {"paths": ["ack_deadline_seconds"]},
    }
    clients.subscriber.update_subscription(request=request)
    clients.publish(topic, b"x")
    assert bodies(clients.pull(_NAME)) == [b"x"]
    (left,) = server.leases(_NAME)
    assert 0 < left <= 10


def test_an_update_is_checked_like_a_creation(server: PubSubServer, clients: Clients, topic: str) -> None:
    server.add_subscription(_NAME, topic)
    request = {
        "subscription": {"name": _NAME, "ack_deadline_seconds": 5},
        "update_mask": {"paths": ["ack_deadline_seconds"]},
    }
    with pytest.raises(InvalidArgument):
        clients.subscriber.update_subscription(request=request)
    assert clients.subscriber.get_subscription(subscription=_NAME).ack_deadline_seconds == 10


@pytest.mark.parametrize(
    "name",
    ["orders", "projects/clinic/topics/x", "projects/clinic/topics/1abc", "projects/clinic/topics/googorders"],
)
def test_names_that_are_refused(clients: Clients, name: str) -> None:
    with pytest.raises(InvalidArgument, match="name"):
        clients.publisher.create_topic(name=name)


def test_lists_come_in_pages_and_of_one_project(server: PubSubServer, clients: Clients) -> None:
    topics = [server.add_topic(f"projects/clinic/topics/t{n:03}") for n in range(25)]
    other = server.add_topic("projects/other/topics/t")
    names = [server.add_subscription(f"projects/clinic/subscriptions/s{n:03}", topics[0]) for n in range(25)]
    foreign = server.add_subscription("projects/other/subscriptions/s", topics[0])
    page = {"page_size": 10}
    found = clients.publisher.list_topics(request={"project": "projects/clinic", **page})
    assert [one.name for one in found] == topics
    assert other not in topics
    of_project = clients.subscriber.list_subscriptions(request={"project": "projects/clinic", **page})
    assert [one.name for one in of_project] == names
    of_topic = clients.publisher.list_topic_subscriptions(request={"topic": topics[0], **page})
    assert list(of_topic) == [*names, foreign]
    assert server.calls == {"ListTopics": 3, "ListSubscriptions": 3, "ListTopicSubscriptions": 3}


def test_a_detached_subscription_fails_and_gets_nothing(server: PubSubServer, clients: Clients, topic: str) -> None:
    server.add_subscription(_NAME, topic)
    clients.publish(topic, b"dropped")
    clients.publisher.detach_subscription(request={"subscription": _NAME})
    assert clients.subscriber.get_subscription(subscription=_NAME).detached
    with pytest.raises(FailedPrecondition, match="detached"):
        clients.pull(_NAME)
    clients.publish(topic, b"to nobody")
    assert server.backlog(_NAME) == []
    assert list(clients.publisher.list_topic_subscriptions(topic=topic)) == []


def test_a_deleted_subscription_is_gone(server: PubSubServer, clients: Clients, topic: str) -> None:
    server.add_subscription(_NAME, topic)
    clients.publish(topic, b"x")
    clients.subscriber.delete_subscription(subscription=_NAME)
    with pytest.raises(NotFound):
        clients.pull(_NAME)
    server.add_subscription(_NAME, topic)
    assert list(clients.pull(_NAME)) == []
