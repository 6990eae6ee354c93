"""Faults on demand, broken connections, and the command that runs the server by itself."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import (
    DeadlineExceeded,
    GoogleAPICallError,
    InternalServerError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServiceUnavailable,
)
from google.api_core.retry import Retry
from google.cloud.pubsub_v1 import SubscriberClient
from google.cloud.pubsub_v1.subscriber.message import Message
from google.pubsub_v1 import types

from emulators.processes import Server, accepts, free_port
from emulators.pubsub import CutStream, Delay, Drop, PubSubServer, Stall, Status
from unit.pubsub_server.clients import Clients, bodies

_TESTS = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, ServiceUnavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ResourceExhausted),
        (grpc.StatusCode.INTERNAL, InternalServerError),
        (grpc.StatusCode.PERMISSION_DENIED, PermissionDenied),
        (grpc.StatusCode.NOT_FOUND, NotFound),
    ],
)
def test_a_status_in_place_of_the_work(
    server: PubSubServer,
    clients: Clients,
    topic: str,
    subscription: str,
    code: grpc.StatusCode,
    error: type[GoogleAPICallError],
) -> None:
    server.faults.add("Publish", Status(code), times=2)
    for _ in range(2):
        with pytest.raises(error):
            clients.publish(topic, b"x")
    assert server.backlog(subscription) == []
    clients.publish(topic, b"x")
    assert server.backlog(subscription) == [b"x"]
    assert server.calls["Publish"] == 3


def test_the_sdk_retries_what_is_unavailable(server: PubSubServer, clients: Clients, topic: str) -> None:
    server.faults.add("Publish", Status(grpc.StatusCode.UNAVAILABLE), times=2)
    clients.publisher.publish(topic=topic, messages=[{"data": b"x"}], retry=Retry(initial=0.01, maximum=0.05))
    assert server.faults.pending("Publish") == 0


def test_a_fault_for_some_requests_only(server: PubSubServer, clients: Clients, topic: str) -> None:
    def bad(request: Any) -> bool:
        return any(one.data == b"bad" for one in request.messages)

    server.faults.add("Publish", Status(grpc.StatusCode.INTERNAL), when=bad)
    clients.publish(topic, b"good")
    with pytest.raises(InternalServerError):
        clients.publish(topic, b"good", b"bad")
    clients.publish(topic, b"bad")


@pytest.mark.parametrize("applied", [False, True])
def test_a_dropped_call_is_unavailable_and_done_or_not(
    server: PubSubServer, clients: Clients, topic: str, subscription: str, applied: bool
) -> None:
    server.faults.add("Publish", Drop(applied))
    with pytest.raises(ServiceUnavailable):
        clients.publish(topic, b"x")
    assert server.backlog(subscription) == ([b"x"] if applied else [])


def test_an_acknowledgement_whose_answer_is_lost(
    server: PubSubServer, clients: Clients, topic: str, subscription: str
) -> None:
    clients.publish(topic, b"x")
    received = clients.pull(subscription)
    server.faults.add("Acknowledge", Drop(applied=True))
    with pytest.raises(ServiceUnavailable):
        clients.ack(subscription, received)
    assert server.backlog(subscription) == []


def test_a_stalled_call_runs_into_its_deadline_or_goes_on(
    server: PubSubServer, clients: Clients, topic: str, subscription: str
) -> None:
    server.faults.add("Publish", Stall(), times=2)
    with pytest.raises(DeadlineExceeded):
        clients.publisher.publish(topic=topic, messages=[{"data": b"x"}], retry=None, timeout=0.2)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(clients.publish, topic, b"y")
        while server.faults.pending("Publish"):
            threading.Event().wait(0.005)
        server.faults.release()
        assert waiting.result(30)
    assert server.backlog(subscription) == [b"y"]


def test_a_delayed_call_is_served(server: PubSubServer, clients: Clients, topic: str, subscription: str) -> None:
    server.faults.add("Pull", Delay(0.3))
    clients.publish(topic, b"x")
    with pytest.raises(DeadlineExceeded):
        clients.pull(subscription, wait=0.1)
    assert bodies(clients.pull(subscription)) == [b"x"]


def test_forgotten_faults_do_not_happen(server: PubSubServer, clients: Clients, topic: str) -> None:
    server.faults.add("Publish", Status(grpc.StatusCode.INTERNAL))
    server.faults.clear()
    clients.publish(topic, b"x")


def test_a_stream_is_cut_in_the_middle(server: PubSubServer, clients: Clients, topic: str, subscription: str) -> None:
    clients.publish(topic, *[b"x"] * 20)
    server.faults.add("StreamingPull", CutStream(after=7))

    def requests() -> Iterator[types.StreamingPullRequest]:
        yield types.StreamingPullRequest(subscription=subscription, stream_ack_deadline_seconds=10)
        ended.wait(30)

    ended = threading.Event()
    got = 0
    with pytest.raises(ServiceUnavailable):  # noqa: PT012 - the loop is what fails
        for response in clients.subscriber.streaming_pull(requests=requests(), retry=None):
            got += len(response.received_messages)
    ended.set()
    assert got == 7
    assert server.outstanding(subscription) == 7


def test_the_sdk_opens_a_cut_stream_again(
    server: PubSubServer, clients: Clients, topic: str, subscription: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.endpoint)
    server.faults.add("StreamingPull", CutStream(after=3))
    sent = {b"%d" % n for n in range(10)}
    for one in sent:
        clients.publish(topic, one)
    seen: set[bytes] = set()
    done = threading.Event()

    def handle(message: Message) -> None:
        message.ack()
        seen.add(message.data)
        if seen == sent:
            done.set()

    with SubscriberClient() as subscriber:
        future = subscriber.subscribe(subscription, handle)
        assert done.wait(60)
        future.cancel()
        future.result(60)
    assert server.calls["StreamingPull"] == 2


def test_cut_connections_leave_everything_kept_and_the_port_the_same(
    server: PubSubServer, clients: Clients, topic: str, subscription: str
) -> None:
    clients.publish(topic, b"kept")
    received = clients.pull(subscription)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(clients.pull, subscription, wait=30)
        while server.calls["Pull"] < 2:
            threading.Event().wait(0.005)
        port = server.port
        server.cut_connections()
        with pytest.raises(GoogleAPICallError) as raised:
            waiting.result(30)
    assert isinstance(raised.value, ServiceUnavailable)
    assert server.port == port
    with Clients(server.endpoint) as again:
        assert server.outstanding(subscription) == 1
        again.ack(subscription, received)
    assert server.backlog(subscription) == []


def test_it_runs_by_itself() -> None:
    port = free_port()
    topic, subscription = "projects/clinic/topics/orders", "projects/clinic/subscriptions/orders"
    options = ["--port", str(port), "--topic", topic, "--subscription", f"{subscription}={topic}", "--ordered"]
    command = [sys.executable, "-m", "emulators.pubsub", *options]
    with (
        Server(command, ready=lambda: accepts(port), environment={"PYTHONPATH": str(_TESTS)}) as process,
        Clients(f"127.0.0.1:{port}") as clients,
    ):
        clients.publish(topic, b"x")
        assert bodies(clients.pull(subscription, wait=30)) == [b"x"]
        assert clients.subscriber.get_subscription(subscription=subscription).enable_message_ordering
        assert f"PUBSUB_EMULATOR_HOST=127.0.0.1:{port}" in process.output()
