"""Topics: copies for subscriptions, rules, dead letters of subscriptions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import ServiceBusError

from emulators.servicebus import CorrelationFilter, SubscriptionSettings, TopicSettings, TrueFilter


@pytest.fixture
def server(start):
    subscriptions = [
        SubscriptionSettings("all", max_deliveries=1),
        SubscriptionSettings("by-subject", rules=[CorrelationFilter(label="urgent")]),
        SubscriptionSettings("by-property", rules=[CorrelationFilter(properties={"site": "PC1", "number": 5})]),
        SubscriptionSettings(
            "either", rules=[CorrelationFilter(label="urgent"), CorrelationFilter(correlation_id="c")]
        ),
        SubscriptionSettings("none", rules=[]),
        SubscriptionSettings("twice", rules=[TrueFilter(), TrueFilter()]),
    ]
    return start(topics=[TopicSettings("events", subscriptions, duplicates=60)])


@pytest.fixture
def send(server, clients):
    sender = clients.enter(clients.client(server, rights=["Send"]).get_topic_sender("events"))
    return sender.send_messages


@pytest.fixture
def subscription(server, clients):
    client = clients.client(server, rights=["Listen"])
    return lambda name, **options: clients.enter(client.get_subscription_receiver("events", name, **options))


def counts(server):
    names = ("all", "by-subject", "by-property", "either", "none", "twice")
    return {name: server.counts(f"events/Subscriptions/{name}").active for name in names}


def test_each_subscription_gets_what_a_rule_lets_pass_and_once(server, send):
    send(ServiceBusMessage("plain"))
    assert counts(server) == {"all": 1, "by-subject": 0, "by-property": 0, "either": 0, "none": 0, "twice": 1}
    send([ServiceBusMessage("u", subject="urgent", correlation_id="c"), ServiceBusMessage("c", correlation_id="c")])
    assert counts(server) == {"all": 3, "by-subject": 1, "by-property": 0, "either": 2, "none": 0, "twice": 3}
    send(ServiceBusMessage("p", application_properties={"site": "PC1", "number": 5, "more": True}))
    send(ServiceBusMessage("p", application_properties={"site": "PC1", "number": 6}))
    send(ServiceBusMessage("p", application_properties={"site": "PC1"}))
    assert counts(server)["by-property"] == 1


def test_copies_are_locked_and_settled_apart(server, send, subscription, receive_one):
    send(ServiceBusMessage("x", subject="urgent"))
    receiver, other = subscription("all"), subscription("by-subject")
    one, two = receive_one(receiver), receive_one(other)
    other.abandon_message(two)
    receiver.complete_message(one)
    assert (one.delivery_count, receive_one(other).delivery_count) == (0, 1)
    assert server.counts("events/subscriptions/all").active == 0


def test_a_subscription_has_dead_letters(server, send, subscription, receive_one):
    send(ServiceBusMessage("x"))
    receiver = subscription("all")
    receiver.abandon_message(receive_one(receiver))
    dead = receive_one(subscription("all", sub_queue="deadletter"))
    assert dead.dead_letter_reason == "MaxDeliveryCountExceeded"
    assert server.counts("events/Subscriptions/twice").dead == 0


def test_a_topic_looks_for_duplicates(server, send):
    for _ in range(3):
        send(ServiceBusMessage("x", message_id="same"))
    assert counts(server)["all"] == 1


def test_what_is_scheduled_is_cancelled_everywhere(server, clients):
    sender = clients.enter(clients.client(server, rights=["Send"]).get_topic_sender("events"))
    (number,) = sender.schedule_messages(ServiceBusMessage("x"), datetime.now(UTC) + timedelta(hours=1))
    assert server.counts("events/Subscriptions/all").scheduled == 1
    sender.cancel_scheduled_messages(number)
    assert server.counts("events/Subscriptions/all").scheduled == 0
    assert server.counts("events/Subscriptions/twice").scheduled == 0


def test_one_receives_from_subscriptions_only(server, clients):
    with pytest.raises(ServiceBusError, match="one of its subscriptions"):
        clients.receiver(server, "events")
