"""Exactly-once subscriptions: settlements that fail are told, in the form that the SDK reads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest
from google.api_core.exceptions import InvalidArgument
from google.cloud.pubsub_v1 import SubscriberClient
from google.cloud.pubsub_v1.subscriber.exceptions import AcknowledgeError, AcknowledgeStatus
from google.cloud.pubsub_v1.subscriber.message import Message
from google.rpc.error_details_pb2 import ErrorInfo

from emulators.pubsub import PubSubServer
from unit.pubsub_server.clients import Clients, bodies


@pytest.fixture
def once(server: PubSubServer, topic: str) -> str:
    """An exactly-once subscription whose leases end soon."""
    return server.add_subscription("projects/clinic/subscriptions/once", topic, exactly_once=True, ack_deadline=0.2)


def _failed(error: InvalidArgument) -> dict[str, str]:
    (information,) = error.details
    assert isinstance(information, ErrorInfo)
    assert information.domain == "pubsub.googleapis.com"
    return dict(information.metadata)


def test_a_late_acknowledgement_is_an_error_that_names_the_id(
    server: PubSubServer, clients: Clients, topic: str, once: str
) -> None:
    clients.publish(topic, b"late", b"kept")
    late, kept = clients.pull(once)
    clients.lease(once, [kept], 600)
    again = clients.pull(once, wait=30)
    assert bodies(again) == [b"late"]
    with pytest.raises(InvalidArgument) as raised:
        clients.ack(once, [late, kept])
    assert _failed(raised.value) == {late.ack_id: "PERMANENT_FAILURE_INVALID_ACK_ID"}
    assert server.backlog(once) == [b"late"]  # the good one was acknowledged
    clients.ack(once, again)
    assert server.backlog(once) == []


def test_a_late_change_of_the_deadline_is_one_too(clients: Clients, topic: str, once: str) -> None:
    clients.publish(topic, b"one")
    late = clients.pull(once)
    clients.pull(once, wait=30)
    for seconds in (0, 60):
        with pytest.raises(InvalidArgument) as raised:
            clients.lease(once, late, seconds)
        assert list(_failed(raised.value)) == [late[0].ack_id]


def test_a_foreign_id_is_told_too(server: PubSubServer, clients: Clients, topic: str, once: str) -> None:
    clients.publish(topic, b"one")
    (received,) = clients.pull(once)
    with pytest.raises(InvalidArgument) as raised:
        clients.subscriber.acknowledge(subscription=once, ack_ids=["bogus", received.ack_id], retry=None)
    assert _failed(raised.value) == {"bogus": "PERMANENT_FAILURE_INVALID_ACK_ID"}
    assert server.backlog(once) == []


def test_with_ordering_acknowledgements_come_in_order(server: PubSubServer, clients: Clients, topic: str) -> None:
    name = server.add_subscription("projects/clinic/subscriptions/both", topic, exactly_once=True, ordered=True)
    clients.publish(topic, b"1", b"2", b"3", key="k")
    one, two, three = clients.pull(name)
    with pytest.raises(InvalidArgument) as raised:
        clients.ack(name, [three])
    assert _failed(raised.value) == {three.ack_id: "TRANSIENT_FAILURE_UNORDERED_ACK_ID"}
    clients.ack(name, [two, one])  # within one request their order is the server's affair
    clients.ack(name, [three])
    assert server.backlog(name) == []


@pytest.fixture
def sdk_subscriber(server: PubSubServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[SubscriberClient]:
    """The SDK's high-level client, as programs use it with an emulator."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.endpoint)
    with SubscriberClient() as subscriber:
        yield subscriber


def test_the_sdk_tells_the_handler_that_the_acknowledgement_failed(
    server: PubSubServer, clients: Clients, topic: str, once: str, sdk_subscriber: SubscriberClient
) -> None:
    outcomes: queue.Queue[AcknowledgeStatus] = queue.Queue()

    def handle(message: Message) -> None:
        if not taken.is_set():
            taken.set()  # somebody gives the message back behind the SDK's back, so that the ack comes too late
            clients.lease(once, [message], 0)
        else:
            failed.wait(30)  # the SDK reports a good ack as failed if it goes out together with a bad one
        try:
            outcomes.put(message.ack_with_response().result(30))
        except AcknowledgeError as error:
            outcomes.put(error.error_code)
            failed.set()

    failed = threading.Event()
    taken = threading.Event()
    clients.publish(topic, b"one")
    future = sdk_subscriber.subscribe(once, handle)
    assert outcomes.get(timeout=60) is AcknowledgeStatus.INVALID_ACK_ID
    assert outcomes.get(timeout=60) is AcknowledgeStatus.SUCCESS
    future.cancel()
    future.result(60)
    assert server.backlog(once) == []
