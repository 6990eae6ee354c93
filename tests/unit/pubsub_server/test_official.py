"""The same behaviours from this project's server and, where it is installed, from Google's own emulator."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.api_core.exceptions import AlreadyExists, InvalidArgument, NotFound

from emulators.pubsub import PubSubServer
from emulators.pubsub.official import official_command, official_emulator
from unit.pubsub_server.clients import Clients, Received, bodies

_NUMBERS = itertools.count()


@pytest.fixture(scope="module", params=["ours", "official"])
def either(request: pytest.FixtureRequest) -> Iterator[Clients]:
    """Clients of one server and then of the other."""
    if request.param == "ours":
        with PubSubServer() as server, Clients(server.endpoint) as clients:
            yield clients
    elif official_command() is None:
        pytest.skip("Google's Pub/Sub emulator is not installed")
    else:
        with official_emulator() as endpoint, Clients(endpoint) as clients:
            yield clients


@pytest.fixture
def make(either: Clients) -> Callable[..., tuple[str, str]]:
    """Make a topic and a subscription to it; return their names."""

    def made(**settings: Any) -> tuple[str, str]:
        number = next(_NUMBERS)
        topic = either.publisher.create_topic(name=f"projects/clinic/topics/t{number:03}").name
        name = f"projects/clinic/subscriptions/s{number:03}"
        either.subscribe(name, topic=topic, **settings)
        return topic, name

    return made


def _pull(clients: Clients, subscription: str) -> Sequence[Received]:
    """Pull until something comes: redelivery may take a moment."""
    for _ in range(200):
        received = clients.pull(subscription)
        if received:
            return received
        threading.Event().wait(0.05)
    return []


def test_messages_go_through_and_come_back_unless_acknowledged(either: Clients, make: Any) -> None:
    topic, name = make()
    ids = either.publish(topic, b"one", b"two", kind="order")
    received = _pull(either, name)
    assert [one.message.message_id for one in received] == ids
    assert [dict(one.message.attributes) for one in received] == [{"kind": "order"}] * 2
    assert [one.delivery_attempt for one in received] == [0, 0]
    either.ack(name, received[:1])
    either.lease(name, received[1:], 0)
    again = _pull(either, name)
    assert bodies(again) == [b"two"]
    either.ack(name, received[1:])  # of the first delivery: no error, no effect
    either.ack(name, again)
    assert list(either.pull(name)) == []


def test_expired_leases_bring_messages_back(either: Clients, make: Any) -> None:
    topic, name = make()
    either.publish(topic, b"one")
    either.lease(name, _pull(either, name), 1)
    assert bodies(_pull(either, name)) == [b"one"]


def test_what_is_refused(either: Clients, make: Any) -> None:
    topic, name = make()
    for call in (
        lambda: either.publish(topic),
        lambda: either.publish(topic, b""),
        lambda: either.publish(topic, *[b"x"] * 1001),
        lambda: either.publish("nonsense", b"x"),
        lambda: either.pull(name, 0),
        lambda: either.ack(name, []),
        lambda: either.subscriber.acknowledge(subscription=name, ack_ids=["bogus"]),
        lambda: either.subscriber.modify_ack_deadline(subscription=name, ack_ids=["bogus"], ack_deadline_seconds=9),
    ):
        with pytest.raises(InvalidArgument):
            call()
    with pytest.raises(NotFound):
        either.publish("projects/clinic/topics/missing", b"x")
    with pytest.raises(NotFound):
        either.pull("projects/clinic/subscriptions/missing")
    with pytest.raises(AlreadyExists):
        either.publisher.create_topic(name=topic)


def test_a_response_over_four_mebibytes(either: Clients, make: Any) -> None:
    topic, name = make()
    for _ in range(3):
        either.publish(topic, b"x" * 3_000_000)
    assert len(_pull(either, name)) == 3


def test_one_batch_of_a_key_at_a_time(either: Clients, make: Any) -> None:
    topic, name = make(enable_message_ordering=True)
    either.publish(topic, b"1", b"2", b"3", key="k")
    first = either.pull(name, 2)
    assert bodies(first) == [b"1", b"2"]
    assert list(either.pull(name)) == []
    either.ack(name, first)
    assert bodies(_pull(either, name)) == [b"3"]


def test_a_returned_batch_comes_again_in_order(either: Clients, make: Any) -> None:
    topic, name = make(enable_message_ordering=True)
    either.publish(topic, b"1", b"2", b"3", key="k")
    either.lease(name, _pull(either, name), 0)
    again = _pull(either, name)
    while len(again) < 3:
        either.ack(name, again)
        again = [*again, *_pull(either, name)]
    assert bodies(again) == [b"1", b"2", b"3"]


def test_the_emulator_prefers_what_is_new(either: Clients, make: Any, request: pytest.FixtureRequest) -> None:
    """The one where this project's server keeps the order and Google's emulator does not: some of a key were given
    back, and others have not been delivered yet."""
    topic, name = make(enable_message_ordering=True)
    either.publish(topic, b"1", b"2", b"3", b"4", key="k")
    either.lease(name, either.pull(name, 2), 0)
    came: list[bytes] = []
    while len(came) < 4:
        received = _pull(either, name)
        assert received, "a message did not come again"
        came += bodies(received)
        either.ack(name, received)
    official = request.node.callspec.params["either"] == "official"
    assert came == ([b"3", b"4", b"1", b"2"] if official else [b"1", b"2", b"3", b"4"])


def test_exactly_once_names_the_ids_that_failed(either: Clients, make: Any) -> None:
    topic, name = make(enable_exactly_once_delivery=True)
    either.publish(topic, b"late", b"kept")
    late, kept = _pull(either, name)
    either.lease(name, [late], 0)
    again = _pull(either, name)
    for call in (lambda: either.ack(name, [late, kept]), lambda: either.lease(name, [late], 30)):
        with pytest.raises(InvalidArgument) as raised:
            call()
        (information,) = raised.value.details
        assert (information.reason, information.domain) == ("EXACTLY_ONCE_ACKID_FAILURE", "pubsub.googleapis.com")
        assert dict(information.metadata) == {late.ack_id: "PERMANENT_FAILURE_INVALID_ACK_ID"}
    with pytest.raises(InvalidArgument) as raised:
        either.ack(name, [kept])  # the id that the first error did not name was acknowledged, and has no lease now
    assert dict(raised.value.details[0].metadata) == {kept.ack_id: "PERMANENT_FAILURE_INVALID_ACK_ID"}
    either.ack(name, again)


def test_exactly_once_with_ordering_wants_acknowledgements_in_order(either: Clients, make: Any) -> None:
    topic, name = make(enable_exactly_once_delivery=True, enable_message_ordering=True)
    either.publish(topic, b"1", b"2", key="k")
    one, two = _pull(either, name)
    with pytest.raises(InvalidArgument) as raised:
        either.ack(name, [two])
    assert dict(raised.value.details[0].metadata) == {two.ack_id: "TRANSIENT_FAILURE_UNORDERED_ACK_ID"}
    either.ack(name, [one])
    either.ack(name, [two])


def test_attempts_are_counted_with_a_dead_letter_policy(either: Clients, make: Any) -> None:
    dead, _ = make()
    topic, name = make(dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 5})
    either.publish(topic, b"x")
    for attempt in (1, 2, 3):
        (received,) = _pull(either, name)
        assert received.delivery_attempt == attempt
        either.lease(name, [received], 0)


def test_seeking_back_and_a_topic_that_is_gone(either: Clients, make: Any) -> None:
    topic, name = make(retain_acked_messages=True)
    either.publish(topic, b"one")
    either.ack(name, _pull(either, name))
    either.subscriber.seek(request={"subscription": name, "time": datetime.now(UTC) - timedelta(hours=1)})
    assert bodies(_pull(either, name)) == [b"one"]
    either.publisher.delete_topic(topic=topic)
    assert either.subscriber.get_subscription(subscription=name).topic == "_deleted-topic_"
