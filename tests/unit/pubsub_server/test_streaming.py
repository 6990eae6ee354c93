"""Streaming pull: the SDK's subscriber, and single requests of the protocol."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any, Self

import pytest
from google.api_core.exceptions import GoogleAPICallError, InvalidArgument, NotFound
from google.cloud.pubsub_v1 import SubscriberClient
from google.cloud.pubsub_v1.subscriber.message import Message
from google.cloud.pubsub_v1.types import FlowControl
from google.pubsub_v1 import types

from emulators.pubsub import PubSubServer
from unit.pubsub_server.clients import Clients, bodies


class _Stream:
    """A streaming pull of which every request is the test's own."""

    def __init__(self, clients: Clients, **first: Any) -> None:
        self._requests: queue.Queue[Any] = queue.Queue()
        self._requests.put(first)
        self._call = clients.subscriber.streaming_pull(requests=self._each(), retry=None, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.put(None)
        self._call.cancel()

    def send(self, **request: Any) -> None:
        self._requests.put(request)

    def receive(self) -> Any:
        return next(iter(self._call))

    def end(self) -> None:
        self._requests.put(None)

    def _each(self) -> Iterator[Any]:
        while (request := self._requests.get()) is not None:
            yield types.StreamingPullRequest(request)


def test_the_sdks_subscriber_receives_and_acknowledges(
    server: PubSubServer, clients: Clients, topic: str, subscription: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.endpoint)
    sent = {b"%d" % n for n in range(500)}
    clients.publish(topic, *sent)
    seen: set[bytes] = set()
    done = threading.Event()

    def handle(message: Message) -> None:
        seen.add(message.data)
        message.ack()
        if seen == sent:
            done.set()

    with SubscriberClient() as subscriber:
        future = subscriber.subscribe(subscription, handle, flow_control=FlowControl(max_messages=50))
        assert done.wait(60)
        future.cancel()
        future.result(60)
    assert server.backlog(subscription) == []
    assert server.calls["StreamingPull"] == 1


def test_settlements_go_over_the_stream(server: PubSubServer, clients: Clients, topic: str, subscription: str) -> None:
    clients.publish(topic, b"acked", b"returned")
    with _Stream(clients, subscription=subscription, stream_ack_deadline_seconds=10) as stream:
        received = stream.receive().received_messages
        by_body = {one.message.data: one.ack_id for one in received}
        stream.send(
            ack_ids=[by_body[b"acked"]], modify_deadline_ack_ids=[by_body[b"returned"]], modify_deadline_seconds=[0]
        )
        assert bodies(stream.receive().received_messages) == [b"returned"]
    assert server.backlog(subscription) == [b"returned"]


def test_exactly_once_subscriptions_confirm_over_the_stream(server: PubSubServer, clients: Clients, topic: str) -> None:
    name = server.add_subscription("projects/clinic/subscriptions/once", topic, exactly_once=True)
    clients.publish(topic, b"one")
    with _Stream(clients, subscription=name, stream_ack_deadline_seconds=10) as stream:
        response = stream.receive()
        assert response.subscription_properties.exactly_once_delivery_enabled
        (ack_id,) = (one.ack_id for one in response.received_messages)
        stream.send(modify_deadline_ack_ids=[ack_id], modify_deadline_seconds=[60])
        assert list(stream.receive().modify_ack_deadline_confirmation.ack_ids) == [ack_id]
        stream.send(ack_ids=[ack_id])
        assert list(stream.receive().acknowledge_confirmation.ack_ids) == [ack_id]
        stream.send(ack_ids=[ack_id])
        assert list(stream.receive().acknowledge_confirmation.invalid_ack_ids) == [ack_id]


@pytest.mark.parametrize("limit", [{"max_outstanding_messages": 2}, {"max_outstanding_bytes": 2_000}])
def test_flow_control_holds_back_until_something_is_settled(
    server: PubSubServer, clients: Clients, topic: str, subscription: str, limit: dict[str, int]
) -> None:
    for _ in range(5):
        clients.publish(topic, b"x" * 1_000)
    with _Stream(clients, subscription=subscription, stream_ack_deadline_seconds=10, **limit) as stream:
        out: list[str] = []
        while len(out) < 2:
            out += [one.ack_id for one in stream.receive().received_messages]
        assert server.outstanding(subscription) == 2
        stream.send(ack_ids=out[:1])
        assert len(stream.receive().received_messages) == 1
        assert server.outstanding(subscription) == 2


def test_the_lease_of_a_stream_is_its_own(server: PubSubServer, clients: Clients, topic: str) -> None:
    name = server.add_subscription("projects/clinic/subscriptions/short", topic, ack_deadline=0.1)
    clients.publish(topic, b"streamed", b"pulled")
    with _Stream(clients, subscription=name, stream_ack_deadline_seconds=10, max_outstanding_messages=1) as stream:
        assert bodies(stream.receive().received_messages) == [b"streamed"]
        for _ in range(3):
            assert bodies(clients.pull(name, wait=30)) == [b"pulled"]


def test_messages_of_a_broken_stream_come_again(server: PubSubServer, clients: Clients, topic: str) -> None:
    name = server.add_subscription("projects/clinic/subscriptions/any", topic)
    clients.publish(topic, b"one")
    with _Stream(clients, subscription=name, stream_ack_deadline_seconds=10) as stream:
        (received,) = stream.receive().received_messages
    assert server.outstanding(name) == 1  # the lease goes on
    clients.lease(name, [received], 1)
    assert bodies(clients.pull(name, wait=30)) == [b"one"]


def test_a_stream_that_the_subscriber_closes_ends_well(clients: Clients, subscription: str) -> None:
    with _Stream(clients, subscription=subscription, stream_ack_deadline_seconds=10) as stream:
        stream.end()
        with pytest.raises(StopIteration):
            stream.receive()


@pytest.mark.parametrize(
    "first",
    [
        {"stream_ack_deadline_seconds": 9},
        {"stream_ack_deadline_seconds": 601},
        {},
        {"stream_ack_deadline_seconds": 10, "modify_deadline_ack_ids": ["a"]},
        {"stream_ack_deadline_seconds": 10, "ack_ids": ["bogus"]},
    ],
)
def test_first_requests_that_are_refused(clients: Clients, subscription: str, first: dict[str, Any]) -> None:
    with _Stream(clients, subscription=subscription, **first) as stream, pytest.raises(InvalidArgument):
        stream.receive()


@pytest.mark.parametrize(
    "later",
    [
        {"subscription": "projects/clinic/subscriptions/orders"},
        {"client_id": "me"},
        {"max_outstanding_messages": 5},
        {"stream_ack_deadline_seconds": 5},
        {"ack_ids": ["bogus"]},
    ],
)
def test_later_requests_that_are_refused(clients: Clients, subscription: str, later: dict[str, Any]) -> None:
    with _Stream(clients, subscription=subscription, stream_ack_deadline_seconds=10) as stream:
        stream.send(**later)
        with pytest.raises(InvalidArgument):
            stream.receive()


def test_a_missing_or_deleted_subscription_ends_the_stream(
    server: PubSubServer, clients: Clients, subscription: str
) -> None:
    missing = "projects/clinic/subscriptions/missing"
    with (
        _Stream(clients, subscription=missing, stream_ack_deadline_seconds=10) as stream,
        pytest.raises(NotFound),
    ):
        stream.receive()
    with _Stream(clients, subscription=subscription, stream_ack_deadline_seconds=10) as stream:
        while server.calls["StreamingPull"] < 2:
            threading.Event().wait(0.005)
        clients.subscriber.delete_subscription(subscription=subscription)
        with pytest.raises(GoogleAPICallError) as raised:
            stream.receive()
    assert isinstance(raised.value, NotFound)
