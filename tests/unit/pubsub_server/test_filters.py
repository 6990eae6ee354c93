"""Filters of subscriptions."""

from __future__ import annotations

import pytest
from google.api_core.exceptions import InvalidArgument

from emulators.pubsub import PubSubServer
from unit.pubsub_server.clients import Clients, bodies

_SENT: dict[bytes, dict[str, str]] = {
    b"none": {"other": "1"},
    b"red": {"color": "red"},
    b"red-big": {"color": "red", "size": "big"},
    b"rose-big": {"color": "rose", "size": "big"},
    b"blue": {"color": "blue"},
}


@pytest.mark.parametrize(
    ("expression", "delivered"),
    [
        ("attributes:color", "red red-big rose-big blue"),
        ('attributes.color = "red"', "red red-big"),
        ('attributes."color"="red"', "red red-big"),
        ('attributes.color != "red"', "none rose-big blue"),
        ('hasPrefix(attributes.color, "r")', "red red-big rose-big"),
        ("NOT attributes:color", "none"),
        ("-attributes:size", "none red blue"),
        ('attributes:color AND NOT attributes.color = "red"', "rose-big blue"),
        ('attributes.color = "red" AND attributes:size', "red-big"),
        ('attributes.color = "blue" OR attributes:size OR attributes:other', "none red-big rose-big blue"),
        ('(attributes.color = "blue" OR attributes:size) AND NOT hasPrefix(attributes.color, "ro")', "red-big blue"),
        ('NOT (attributes.color = "red" OR attributes.color = "blue")', "none rose-big"),
    ],
)
def test_what_matches_is_delivered(
    server: PubSubServer, clients: Clients, topic: str, expression: str, delivered: str
) -> None:
    name = server.add_subscription("projects/clinic/subscriptions/some", topic, filter=expression)
    for body, attributes in _SENT.items():
        clients.publish(topic, body, **attributes)
    assert bodies(clients.pull(name)) == delivered.encode().split()
    assert server.backlog(name) == delivered.encode().split()  # the others count as acknowledged


def test_keys_and_values_may_hold_anything_in_quotes(server: PubSubServer, clients: Clients, topic: str) -> None:
    name = server.add_subscription(
        "projects/clinic/subscriptions/odd", topic, filter=r'attributes."a.b/c" = "say \"x\""'
    )
    clients.publish(topic, b"one", **{"a.b/c": 'say "x"'})
    assert bodies(clients.pull(name)) == [b"one"]


@pytest.mark.parametrize(
    "expression",
    [
        "color",
        "attributes",
        "attributes.color",
        "attributes.color = red",
        'attributes.color == "red"',
        'attributes.color = "red',
        "(attributes:color",
        "attributes:color)",
        'hasPrefix(attributes:color, "r")',
        "attributes:a AND attributes:b OR attributes:c",
        "attributes:a AND",
        "attributes:a attributes:b",
        "attributes:" + "a" * 256,
        "attributes:a & attributes:b",
    ],
)
def test_what_is_not_of_the_language_is_refused(clients: Clients, topic: str, expression: str) -> None:
    with pytest.raises(InvalidArgument, match=r"[Ff]ilter"):
        clients.subscribe("projects/clinic/subscriptions/bad", topic=topic, filter=expression)
