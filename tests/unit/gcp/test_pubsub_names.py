"""Queue names: short and full, topics and subscriptions."""

from __future__ import annotations

import pytest

from clouddirect.errors import ConfigurationError
from clouddirect.messaging import Message
from clouddirect_gcp.pubsub_names import Collection, resource_name
from unit.gcp.pubsub_fixtures import PubSub


@pytest.mark.parametrize(
    ("queue", "collection", "full"),
    [
        ("orders", "topics", "projects/p/topics/orders"),
        ("orders", "subscriptions", "projects/p/subscriptions/orders"),
        ("a.b-c_d~e+f%20", "topics", "projects/p/topics/a.b-c_d~e+f%20"),
        ("projects/other/topics/orders", "topics", "projects/other/topics/orders"),
        ("projects/example.com:p/subscriptions/s-1", "subscriptions", "projects/example.com:p/subscriptions/s-1"),
    ],
)
def test_names(queue: str, collection: Collection, full: str) -> None:
    assert resource_name(queue, collection, "p") == full


@pytest.mark.parametrize(
    "queue", ["", "ab", "1orders", "with space", "with/slash", "projects/p/orders", "projects//topics/x", "x" * 256]
)
def test_malformed_names_are_refused(queue: str) -> None:
    with pytest.raises(ConfigurationError, match="name of a topic"):
        resource_name(queue, "topics", "p")


def test_the_other_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="only a topic can be sent to"):
        resource_name("projects/p/subscriptions/s", "topics", "p")
    with pytest.raises(ConfigurationError, match="only a subscription can be received from"):
        resource_name("projects/p/topics/t", "subscriptions", "p")


def test_a_short_name_needs_a_project(pubsub: PubSub) -> None:
    broker = pubsub.open(project=None)  # an access token does not say whose it is
    with pytest.raises(ConfigurationError, match="option project"):
        broker.send("orders", Message(body=b"x"))
    queue = pubsub.queue()
    assert broker.send(pubsub.topic(queue), Message(body=b"full")).broker_id
    (delivery,) = broker.receive(pubsub.subscription(queue))
    assert delivery.message.body == b"full"
    delivery.ack()
    assert pubsub.server.backlog(pubsub.subscription(queue)) == []
