"""Settling: full requests, answers read, and what exactly-once delivery says of each message."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from google.pubsub_v1 import types
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from clouddirect.errors import CloudDirectError, LeaseLostError, UnavailableError
from clouddirect.messaging import Delivery, Message
from clouddirect_gcp.broker import GcpBroker
from clouddirect_gcp.broker_options import GcpBrokerOptions
from clouddirect_gcp.pubsub_channel import PubSubChannel
from clouddirect_gcp.pubsub_settle import acknowledge, modify_ack_deadlines
from emulators.pubsub import Drop, Status
from unit.gcp.pubsub_fixtures import PubSub

Code = grpc.StatusCode


def _received(broker: GcpBroker, queue: str, count: int, **options: Any) -> list[Delivery]:
    assert all(result.ok for result in broker.send_many(queue, [Message(body=b"x") for _ in range(count)]))
    got: list[Delivery] = []
    while len(got) < count:
        got += broker.receive(queue, count, wait=5, **options)
    return got


def test_acks_go_a_thousand_to_a_request(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(), pubsub.open()
    got = _received(broker, queue, 2500)
    before = pubsub.server.calls["Acknowledge"]
    assert all(result.ok for result in broker.ack_many(got))
    assert pubsub.server.calls["Acknowledge"] - before == 3
    assert pubsub.server.backlog(pubsub.subscription(queue)) == []


def test_requests_stay_under_the_limit_of_bytes() -> None:
    """Ids of the service are some 200 bytes long; however long they are, no request is over 512 KiB."""
    sizes: list[int] = []

    def take(request: bytes, context: grpc.ServicerContext) -> bytes:
        sizes.append(len(request))
        return b""

    with _subscriber(Acknowledge=take, ModifyAckDeadline=take) as channel:
        ids = [f"{number:04}" + "a" * 2000 for number in range(1000)]
        assert acknowledge(channel, "projects/p/subscriptions/s", ids, 10).outcomes() == [None] * 1000
        assert modify_ack_deadlines(channel, "projects/p/subscriptions/s", ids, 7, 10).outcomes() == [None] * 1000
    assert len(sizes) == 10
    assert max(sizes) <= 512 * 1024
    assert sum(sizes) > 2 * 1000 * 2004


def test_one_failed_request_leaves_the_others_their_outcomes() -> None:
    def refuse_some(request: bytes, context: grpc.ServicerContext) -> bytes:
        if types.AcknowledgeRequest.pb().FromString(request).ack_ids[0].startswith("0000"):
            context.abort(Code.UNAVAILABLE, "try again")
        return b""

    with _subscriber(Acknowledge=refuse_some) as channel:
        ids = [f"{number:04}" + "a" * 2000 for number in range(1000)]
        outcomes = acknowledge(channel, "projects/p/subscriptions/s", ids, 10).outcomes()
    failed = [place for place, outcome in enumerate(outcomes) if outcome is not None]
    assert failed == list(range(len(failed)))
    assert 0 < len(failed) < 1000
    assert all(isinstance(outcomes[place], UnavailableError) for place in failed)


def test_what_exactly_once_delivery_says_of_each_id() -> None:
    """Failed for good is a lost lease, and failed for now is tried again. What is not named has been settled; where
    the same can be asked for twice, it is."""
    words = {"lost": "PERMANENT_FAILURE_INVALID_ACK_ID", "busy": "TRANSIENT_FAILURE_UNORDERED_ACK_ID"}

    def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
        status = status_pb2.Status(code=Code.INVALID_ARGUMENT.value[0], message="Some ids were invalid")
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason="EXACTLY_ONCE_ACKID_FAILURE", metadata=words))
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError

    subscription, ids = "projects/p/subscriptions/s", ["fine", "lost", "busy"]
    with _subscriber(Acknowledge=refuse, ModifyAckDeadline=refuse) as channel:
        for settling, is_repeated in (
            (acknowledge(channel, subscription, ids, 10), False),
            (modify_ack_deadlines(channel, subscription, ids, 0, 10), False),
            (modify_ack_deadlines(channel, subscription, ids, 7, 10), True),
        ):
            fine, lost, busy = settling.outcomes()
            assert fine is None or fine.retryable
            assert (fine is not None) is is_repeated
            assert isinstance(lost, LeaseLostError)
            assert not lost.retryable
            assert isinstance(busy, UnavailableError)
            assert busy.retryable
            assert isinstance(lost.__cause__, grpc.RpcError)


def test_an_extension_among_late_ones_is_asked_for_again(pubsub: PubSub) -> None:
    """The second request names only the leases that still run, and is answered without an error."""
    queue = pubsub.queue(ack_deadline=60, exactly_once=True)
    broker = pubsub.open(exactly_once=True, runtime=pubsub.patient)
    got = _received(broker, queue, 3)
    pubsub.open()._nack(queue, [got[1]._raw], 0.0, 10)
    before = pubsub.server.calls["ModifyAckDeadline"]
    errors = broker.settlement._renew_locked(queue, got, 30.0, once=False)
    assert [type(error) for error in errors] == [type(None), LeaseLostError, type(None)]
    assert pubsub.server.calls["ModifyAckDeadline"] - before == 2


def test_a_late_ack_among_others(pubsub: PubSub) -> None:
    """The service names the one that came too late; the others of the request count."""
    queue, broker = pubsub.queue(ack_deadline=60, exactly_once=True), pubsub.open(exactly_once=True)
    other = pubsub.open(exactly_once=True)
    (late,) = _received(broker, queue, 1, lease=1)
    (current,) = other.receive(queue, wait=10)
    fine = _received(broker, queue, 3)
    results = broker.ack_many([fine[0], late, *fine[1:]])
    assert [type(result.error) for result in results] == [type(None), LeaseLostError, type(None), type(None)]
    assert late.lease_lost.is_set()
    current.ack()
    assert pubsub.server.backlog(pubsub.subscription(queue)) == []


def test_what_failed_for_a_passing_reason_is_acked_again(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(), pubsub.open(runtime=pubsub.patient)
    got = _received(broker, queue, 20)
    for fault in (Status(Code.UNAVAILABLE), Drop(applied=True), Status(Code.ABORTED)):
        pubsub.server.faults.add("Acknowledge", fault)
    assert all(result.ok for result in broker.ack_many(got))
    assert pubsub.server.backlog(pubsub.subscription(queue)) == []


def test_a_nack_delays_as_long_as_it_is_told(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(), pubsub.open()
    (delivery,) = _received(broker, queue, 1)
    given_back = time.monotonic()
    delivery.nack(1.5)
    (again,) = broker.receive(queue, wait=10)
    assert time.monotonic() - given_back >= 1.5
    again.nack()
    (third,) = broker.receive(queue, wait=5)
    third.ack()


def test_counts_come_with_a_dead_letter_policy_only(pubsub: PubSub) -> None:
    broker = pubsub.open(counted=True)
    plain, counted = pubsub.queue(), pubsub.queue(max_deliveries=5)
    for queue, expected in ((plain, [None, None]), (counted, [1, 2])):
        (first,) = _received(broker, queue, 1)
        first.nack()
        (second,) = broker.receive(queue, wait=5)
        assert [first.delivery_count, second.delivery_count] == expected
        second.ack()


def test_closing_releases_what_was_received(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(ack_deadline=600), pubsub.open(lease=600)
    _received(broker, queue, 1200)
    assert pubsub.server.outstanding(pubsub.subscription(queue)) == 1200
    broker.close()
    assert pubsub.server.outstanding(pubsub.subscription(queue)) == 0
    assert len(pubsub.server.backlog(pubsub.subscription(queue))) == 1200


def test_without_a_connection_every_delivery_has_an_outcome(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(), pubsub.open()
    got = _received(broker, queue, 3)
    pubsub.line.refuse()
    pubsub.line.cut()
    results = broker.ack_many(got)
    assert all(isinstance(result.error, CloudDirectError) and result.error.retryable for result in results)
    pubsub.line.accept()
    pubsub.until(lambda: all(result.ok for result in broker.ack_many(got)))


@contextmanager
def _subscriber(**methods: Any) -> Iterator[PubSubChannel]:
    """A channel to a server with these methods of the service; for answers that the test server does not give."""
    handlers = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    channel = PubSubChannel(GcpBrokerOptions(project="p", emulator_host=f"127.0.0.1:{port}"))
    try:
        yield channel
    finally:
        channel.close()
        server.stop(None).wait()
