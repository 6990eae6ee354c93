"""Receiving: pulls, their leases, interruptions, large answers and lines that fail."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from clouddirect.errors import ClosedError, CloudDirectError, TimeoutError, UnavailableError
from clouddirect.messaging import Delivery, Message
from clouddirect.retry import Interrupt
from emulators.pubsub import Delay, Drop, Stall, Status
from unit.gcp.pubsub_fixtures import PubSub


def test_the_lease_is_asked_for_right_after_the_pull(pubsub: PubSub) -> None:
    """The option's length holds whatever the subscription's own deadline is, and so does the caller's."""
    queue, broker = pubsub.queue(ack_deadline=2), pubsub.open(lease=10)
    other = pubsub.open()
    for lease, expected in ((None, 10.0), (8.0, 8.0), (600.0, 600.0)):
        broker.send(queue, Message(body=b"x"))
        (delivery,) = broker.receive(queue, lease=lease)
        left = delivery.lease_expires_at.timestamp() - time.time()  # type: ignore[union-attr]
        assert expected - 3 < left <= expected
    assert other.receive(queue, wait=3) == []


def test_a_fraction_of_a_second_is_rounded_up(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(), pubsub.open()
    broker.send(queue, Message(body=b"x"))
    (delivery,) = broker.receive(queue, lease=1.2)
    left = delivery.lease_expires_at.timestamp() - time.time()  # type: ignore[union-attr]
    assert 1.2 < left <= 2.0
    delivery.extend(2.5)
    left = delivery.lease_expires_at.timestamp() - time.time()  # type: ignore[union-attr]
    assert 2.5 < left <= 3.0


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL])
def test_where_the_lease_cannot_be_had_the_messages_are_returned_with_what_they_have(
    pubsub: PubSub, code: grpc.StatusCode
) -> None:
    """A subscription's own deadline is ten seconds at least."""
    queue, broker = pubsub.queue(ack_deadline=10), pubsub.open()
    broker.send(queue, Message(body=b"x"))
    pubsub.server.faults.add("ModifyAckDeadline", Status(code))
    (delivery,) = broker.receive(queue)
    left = delivery.lease_expires_at.timestamp() - time.time()  # type: ignore[union-attr]
    assert 5 < left <= 10
    delivery.ack()
    assert pubsub.server.backlog(pubsub.subscription(queue)) == []


def test_a_lease_lost_between_pull_and_leasing_is_not_returned(pubsub: PubSub) -> None:
    """With exactly-once delivery the service tells that somebody else has the message."""
    queue, broker = pubsub.queue(ack_deadline=1, exactly_once=True), pubsub.open(exactly_once=True)
    broker.send(queue, Message(body=b"x"))
    pubsub.server.faults.add("ModifyAckDeadline", Delay(1.5))
    assert broker.receive(queue, wait=1) == []
    (delivery,) = broker.receive(queue, wait=10)
    delivery.ack()


def test_an_answer_of_more_than_four_mebibytes(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(), pubsub.open()
    sent = [Message(body=bytes([number]) * 1_500_000) for number in range(6)]
    assert all(result.ok for result in broker.send_many(queue, sent))
    got: list[Delivery] = []
    while len(got) < 6:
        got += broker.receive(queue, 6, wait=5)
    assert sorted(delivery.message.body for delivery in got) == [message.body for message in sent]
    assert all(result.ok for result in broker.ack_many(got))


def test_empty_whether_the_service_waits_or_not(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(), pubsub.open()
    assert broker.receive(queue) == []
    pubsub.server.faults.add("Pull", Status(grpc.StatusCode.DEADLINE_EXCEEDED))
    assert broker.receive(queue) == []


def test_an_interrupt_ends_a_pull_and_costs_no_message(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(), pubsub.open()
    interrupt, got = Interrupt(), list[object]()
    begun = pubsub.server.calls["Pull"]
    receiver = threading.Thread(target=lambda: got.extend(broker._receive(queue, 10, 30.0, None, interrupt)))
    receiver.start()
    pubsub.until(lambda: pubsub.server.calls["Pull"] > begun)
    interrupt.set()
    receiver.join(15)  # of the thirty seconds that the pull would last
    assert not receiver.is_alive()
    assert got == []
    assert broker._receive(queue, 10, 30.0, None, interrupt) == []  # it stays thrown: nothing is asked for
    broker.send(queue, Message(body=b"x"))
    (delivery,) = broker.receive(queue, wait=10)  # the abandoned pull has taken nothing
    delivery.ack()


def test_an_interrupted_pull_that_is_being_answered_is_waited_for(pubsub: PubSub) -> None:
    """What has been taken is returned, for core to release; given up, it would be gone until its deadline."""
    queue, broker = pubsub.queue(ack_deadline=600), pubsub.open()
    broker.send(queue, Message(body=b"x"))
    pubsub.server.faults.add("Pull", Delay(0.1))
    interrupt, got = Interrupt(), list[object]()
    begun = pubsub.server.calls["Pull"]
    receiver = threading.Thread(target=lambda: got.extend(broker._receive(queue, 10, 30.0, None, interrupt)))
    receiver.start()
    pubsub.until(lambda: pubsub.server.calls["Pull"] > begun)
    interrupt.set()
    receiver.join(10)
    assert len(got) == 1


def test_what_an_abandoned_pull_has_taken_comes_again_after_the_deadline(pubsub: PubSub) -> None:
    """The answer is lost, the message is not: the subscription's own deadline gives it back."""
    queue, broker = pubsub.queue(ack_deadline=2), pubsub.open()
    broker.send(queue, Message(body=b"x"))
    pubsub.server.faults.add("Pull", Drop(applied=True))
    with pytest.raises(CloudDirectError):
        broker.receive(queue)
    began = time.monotonic()
    assert broker.receive(queue, wait=1) == []
    (delivery,) = broker.receive(queue, wait=10)
    assert 0.5 < time.monotonic() - began < 9
    delivery.ack()


def test_closing_ends_a_receive_in_another_thread(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(), pubsub.open()
    ended: list[object] = []
    begun = pubsub.server.calls["Pull"]
    receiver = threading.Thread(target=lambda: ended.append(broker.receive(queue, wait=60)))
    receiver.start()
    pubsub.until(lambda: pubsub.server.calls["Pull"] > begun)
    broker.close(timeout=10)
    receiver.join(10)
    assert ended == [[]]


def test_a_cut_line_is_connected_again(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(), pubsub.open(runtime=pubsub.patient)
    for turn in range(3):
        pubsub.line.cut()
        broker.send(queue, Message(body=str(turn).encode()))
        pubsub.line.cut()
        (delivery,) = broker.receive(queue, wait=10)
        assert delivery.message.body == str(turn).encode()
        pubsub.line.cut()
        delivery.ack()
    assert pubsub.server.backlog(pubsub.subscription(queue)) == []


def test_a_line_that_is_down_for_a_while(pubsub: PubSub) -> None:
    """A consumer goes on by itself when the line is back, and so do calls that are made meanwhile."""
    # what goes down with the line comes again after the subscription's own deadline
    queue, broker = pubsub.queue(ack_deadline=2), pubsub.open(runtime=pubsub.patient)
    handled, came = [], threading.Event()

    def handle(delivery: Delivery) -> None:
        handled.append(delivery.message.body)
        came.set()

    consumer = broker.consume(queue, handle)
    broker.send(queue, Message(body=b"before"))
    assert came.wait(20)
    pubsub.line.refuse()
    pubsub.line.cut()
    came.clear()
    pubsub.server.publish(pubsub.topic(queue), b"meanwhile")
    with pytest.raises(CloudDirectError):
        pubsub.open().send(queue, Message(body=b"lost"))
    pubsub.line.accept()
    assert came.wait(30)
    assert consumer.stop(20)
    assert set(handled) >= {b"before", b"meanwhile"}


def test_a_stalled_line_ends_at_the_calls_timeout(pubsub: PubSub) -> None:
    queue = pubsub.queue()
    broker = pubsub.open(runtime={"call_timeout": 0.5})
    broker.send(queue, Message(body=b"x"))
    (delivery,) = broker.receive(queue)
    pubsub.line.stall()
    with pytest.raises(TimeoutError):
        broker.send(queue, Message(body=b"y"))
    with pytest.raises(TimeoutError):
        delivery.ack()
    pubsub.line.resume()
    delivery.ack()


def test_a_line_that_never_answers_holds_each_call_once(pubsub: PubSub) -> None:
    """Calls that wait for the first connection do not wait for each other."""
    queue, broker = pubsub.queue(), pubsub.open(connect_timeout=3)
    pubsub.line.stall()
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        errors = [pool.submit(broker.send, queue, Message(body=b"x")).exception for _ in range(8)]
        assert {type(error()) for error in errors} == {UnavailableError}
    assert time.monotonic() - began < 15  # one after another they would take 24 s


def test_closing_ends_the_wait_for_a_connection(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(), pubsub.open(connect_timeout=60)
    pubsub.line.stall()
    before = pubsub.line.connections
    with ThreadPoolExecutor(1) as pool:
        receiving = pool.submit(broker.receive, queue, wait=60)
        pubsub.until(lambda: pubsub.line.connections > before)
        broker.close(timeout=0.1)
        assert isinstance(receiving.exception(timeout=20), ClosedError)


def test_a_stall_of_the_service_is_an_empty_queue_to_the_receiver(pubsub: PubSub) -> None:
    """A pull's deadline is how Pub/Sub says that nothing came, so it cannot be told from silence."""
    queue, broker = pubsub.queue(), pubsub.open()
    broker.send(queue, Message(body=b"x"))
    pubsub.server.faults.add("Pull", Stall())
    assert broker.receive(queue) == []
    pubsub.server.faults.release()
