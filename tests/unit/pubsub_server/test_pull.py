"""Pull: at once or waiting, how much, and how large."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.api_core.exceptions import DeadlineExceeded, InvalidArgument, NotFound

from emulators.pubsub import PubSubServer
from unit.pubsub_server.clients import Clients, bodies


def test_an_empty_subscription_gives_nothing(clients: Clients, subscription: str) -> None:
    assert list(clients.pull(subscription)) == []


def test_a_waiting_pull_ends_with_the_callers_deadline(clients: Clients, subscription: str) -> None:
    with pytest.raises(DeadlineExceeded):
        clients.pull(subscription, wait=0.3)


def test_a_waiting_pull_is_answered_empty_once_the_server_has_waited() -> None:
    with PubSubServer(pull_wait=0.1) as server, Clients(server.endpoint) as clients:
        topic = server.add_topic("projects/clinic/topics/orders")
        name = server.add_subscription("projects/clinic/subscriptions/orders", topic)
        assert list(clients.pull(name, wait=30)) == []


def test_a_waiting_pull_gets_what_comes(server: PubSubServer, clients: Clients, topic: str, subscription: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(clients.pull, subscription, wait=30)
        while not server.calls["Pull"]:
            threading.Event().wait(0.005)
        clients.publish(topic, b"here")
        assert bodies(waiting.result(30)) == [b"here"]


def test_each_message_goes_to_one_of_several_pullers(clients: Clients, topic: str, subscription: str) -> None:
    clients.publish(topic, *[b"%d" % n for n in range(200)])
    with ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(lambda _: bodies(clients.pull(subscription, 50)), range(4)))
    assert sorted(int(body) for batch in batches for body in batch) == list(range(200))


def test_no_more_than_asked_for_and_never_over_a_thousand(clients: Clients, topic: str, subscription: str) -> None:
    for _ in range(2):
        clients.publish(topic, *[b"x"] * 1000)
    assert len(clients.pull(subscription, 7)) == 7
    assert len(clients.pull(subscription, 5000)) == 1000


def test_a_response_may_be_larger_than_four_mebibytes(clients: Clients, topic: str, subscription: str) -> None:
    for _ in range(3):
        clients.publish(topic, b"x" * 3_000_000)
    assert sum(map(len, bodies(clients.pull(subscription)))) == 9_000_000


def test_a_response_is_no_larger_than_ten_megabytes(clients: Clients, topic: str, subscription: str) -> None:
    for n in range(3):
        clients.publish(topic, b"%d" % n * 4_000_000)
    sizes = [[body[:1] for body in bodies(clients.pull(subscription))] for _ in range(3)]
    assert sizes == [[b"0", b"1"], [b"2"], []]


def test_what_cannot_be_asked_for(clients: Clients, subscription: str) -> None:
    with pytest.raises(InvalidArgument, match="max_messages"):
        clients.pull(subscription, 0)
    with pytest.raises(NotFound, match="missing"):
        clients.pull("projects/clinic/subscriptions/missing")


def test_deleting_the_subscription_ends_a_waiting_pull(
    server: PubSubServer, clients: Clients, subscription: str
) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(clients.pull, subscription, wait=30)
        while not server.calls["Pull"]:
            threading.Event().wait(0.005)
        clients.subscriber.delete_subscription(subscription=subscription)
        with pytest.raises(NotFound):
            waiting.result(30)
