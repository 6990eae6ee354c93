"""Receiving: long polls in tens, polls that are left behind lose nothing, damage is noticed, leases are honest."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from clouddirect.errors import IntegrityError, PermissionDeniedError, TimeoutError, UnavailableError
from clouddirect.messaging import ConsumerOptions, Delivery, Message
from clouddirect.retry import Interrupt, RetryPolicy
from emulators.http_line import Fault, Reply, Request, Stall
from unit.aws.sqs_fixtures import Sqs, action_of, actions, error_reply, once

NO_RETRY = {"retry": RetryPolicy(max_attempts=1)}


def eventually(predicate: Callable[[], object], timeout: float = 60.0) -> bool:
    """Wait until ``predicate`` holds."""
    ends, tick = time.monotonic() + timeout, threading.Event()
    while not predicate():
        if time.monotonic() > ends:
            return False
        tick.wait(0.02)
    return True


def fill(sqs: Sqs, queue: str, count: int) -> None:
    for start in range(0, count, 10):
        entries = [{"Id": str(place), "MessageBody": f"{place}"} for place in range(min(10, count - start))]
        sqs.native.send_message_batch(QueueUrl=queue, Entries=entries)


def test_a_full_queue_is_received_in_tens(sqs: Sqs) -> None:
    queue, broker = sqs.queue(), sqs.open()
    fill(sqs, queue, 40)
    assert [len(broker.receive(queue, 10)) for _ in range(4)] == [10] * 4
    assert actions(sqs.line) == ["ReceiveMessage"] * 4


@pytest.mark.parametrize(("concurrency", "pollers"), [(1, 1), (10, 1), (11, 2), (35, 4)])
def test_as_many_pollers_as_the_concurrency_needs(sqs: Sqs, concurrency: int, pollers: int) -> None:
    """On an empty queue every poller has one poll under way: no more, no fewer."""
    queue, broker = sqs.queue(), sqs.open(poll_seconds=2)
    consumer = broker.consume(queue, print, concurrency)
    assert eventually(lambda: len(sqs.line.seen) >= pollers)
    threading.Event().wait(0.5)  # for one too many to come
    assert actions(sqs.line) == ["ReceiveMessage"] * pollers
    assert consumer.stop(10)


def test_idle_polls_are_long(sqs: Sqs) -> None:
    """A receiver that waits asks once in ``poll_seconds``, and the service waits for it."""
    queue, broker = sqs.queue(), sqs.open(poll_seconds=3)
    assert broker.receive(queue, wait=3) == []
    assert len(sqs.line.seen) <= 2


def test_deletes_of_a_busy_consumer_are_full(sqs: Sqs) -> None:
    """With handlers that take their time, ten acks still share a call."""
    queue, broker = sqs.queue(), sqs.open()
    fill(sqs, queue, 200)
    tick, handled = threading.Event(), threading.Semaphore(0)

    def handle(delivery: Delivery) -> None:
        tick.wait(0.01)
        handled.release()

    consumer = broker.consume(queue, handle, 10)
    for _ in range(200):
        assert handled.acquire(timeout=30)
    assert consumer.stop(30)
    assert actions(sqs.line).count("DeleteMessageBatch") <= 30  # 20 is the least; one by one would be 200
    assert sqs.depth(queue) == 0


# -- polls that are left ------------------------------------------------------------------------------------


def test_stopping_does_not_wait_for_the_poll_and_loses_nothing(sqs: Sqs) -> None:
    """A message that comes to a poll nobody waits for any more is given back at once, not when its lease ends."""
    queue, broker = sqs.queue(), sqs.open(poll_seconds=20, lease=600)
    handled: list[str] = []
    consumer = broker.consume(queue, lambda delivery: handled.append(delivery.message.id))
    assert eventually(lambda: sqs.line.seen)
    began = time.monotonic()
    assert consumer.stop(60)
    assert time.monotonic() - began < 10  # of the twenty seconds that the poll would last
    fill(sqs, queue, 1)
    assert eventually(lambda: "ChangeMessageVisibilityBatch" in actions(sqs.line))
    (delivery,) = sqs.open().receive(queue, wait=20)
    assert delivery.delivery_count == 2
    assert handled == []


class CtrlC(Interrupt):
    """Interrupts as a person does."""

    def is_set(self) -> bool:
        raise KeyboardInterrupt


def test_ctrl_c_in_a_poll_loses_nothing(sqs: Sqs) -> None:
    """A program that goes on after it, or closes, does not keep what the poll brings from others."""
    queue, broker = sqs.queue(), sqs.open(poll_seconds=20, lease=600)
    with pytest.raises(KeyboardInterrupt):
        broker._receive(queue, 1, 20.0, None, CtrlC())
    fill(sqs, queue, 1)
    assert eventually(lambda: "ChangeMessageVisibilityBatch" in actions(sqs.line))
    (delivery,) = sqs.open().receive(queue, wait=20)
    assert delivery.delivery_count == 2


def test_closing_waits_for_what_a_poll_brings(sqs: Sqs) -> None:
    queue, broker = sqs.queue(), sqs.open(poll_seconds=2, lease=600)
    broker.consume(queue, print)
    assert eventually(lambda: sqs.line.seen)
    broker.close(timeout=20)
    # the poll has ended: what is sent now is taken by nobody
    fill(sqs, queue, 1)
    assert [one.delivery_count for one in sqs.open().receive(queue, wait=20)] == [1]


def test_closing_waits_no_longer_than_it_may(sqs: Sqs) -> None:
    queue, broker = sqs.queue(), sqs.open(poll_seconds=20)
    broker.consume(queue, print)
    assert eventually(lambda: sqs.line.seen)
    began = time.monotonic()
    broker.close(timeout=1)
    assert time.monotonic() - began < 12


def test_a_poll_after_a_full_answer_is_short(sqs: Sqs) -> None:
    """It is not left, as it is answered at once as a rule; so it must end within a second when the queue ran empty."""
    queue, broker = sqs.queue(), sqs.open(poll_seconds=20, lease=600)
    fill(sqs, queue, 10)
    handled = threading.Semaphore(0)
    consumer = broker.consume(queue, lambda delivery: handled.release())
    for _ in range(10):
        assert handled.acquire(timeout=20)
    began = time.monotonic()
    assert consumer.stop(60)
    assert time.monotonic() - began < 10  # of the twenty seconds that a long poll would last
    assert eventually(lambda: sqs.depth(queue) == 0)


def test_what_cannot_be_given_back_is_said(sqs: Sqs, caplog: pytest.LogCaptureFixture) -> None:
    queue, broker = sqs.queue(), sqs.open(poll_seconds=20)
    consumer = broker.consume(queue, print)
    assert eventually(lambda: sqs.line.seen)
    assert consumer.stop(60)
    sqs.line.rule = once("ChangeMessageVisibilityBatch", error_reply(403, "AccessDeniedException"))
    fill(sqs, queue, 1)
    assert eventually(lambda: "come again only when their lease ends" in caplog.text)


# -- damage, silence and other trouble ----------------------------------------------------------------------


def damaged(queue: str, sqs: Sqs, *bad: int) -> Callable[[Request], Fault | None]:
    """A rule: the first poll's answer is the server's own, with the bodies at these places changed."""
    taken = sqs.native.receive_message(
        QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageSystemAttributeNames=["All"]
    )
    for place in bad:
        taken["Messages"][place]["Body"] += "!"
    body = json.dumps({"Messages": taken["Messages"]}).encode()
    return once("ReceiveMessage", Reply(200, {"Content-Type": "application/x-amz-json-1.0"}, body))


def test_a_damaged_message_is_given_back_and_the_rest_delivered(sqs: Sqs) -> None:
    queue, broker = sqs.queue(VisibilityTimeout=600), sqs.open()
    fill(sqs, queue, 3)
    sqs.line.rule = damaged(queue, sqs, 1)
    got = broker.receive(queue, 10)
    assert sorted(one.message.body for one in got) == [b"0", b"2"]
    (again,) = broker.receive(queue, 10)
    assert (again.message.body, again.delivery_count) == (b"1", 2)


def test_nothing_but_damage_is_an_error_that_passes(sqs: Sqs) -> None:
    queue = sqs.queue(VisibilityTimeout=600)
    fill(sqs, queue, 1)
    sqs.line.rule = damaged(queue, sqs, 0)
    with pytest.raises(IntegrityError) as caught:
        sqs.open(runtime=NO_RETRY).receive(queue)
    assert caught.value.retryable
    assert [one.message.body for one in sqs.open().receive(queue)] == [b"0"]


def test_what_is_behind_damage_does_not_overtake(sqs: Sqs) -> None:
    """On a FIFO queue the rest of the group is given back too, in its order; other groups are delivered."""
    queue, broker = sqs.queue(fifo=True, VisibilityTimeout=600), sqs.open()
    for body, key in ((b"a1", "a"), (b"a2", "a"), (b"b1", "b"), (b"a3", "a")):
        broker.send(queue, Message(body=body, ordering_key=key))
    sqs.line.rule = damaged(queue, sqs, 1)
    first = broker.receive(queue, 10)
    assert [one.message.body for one in first] == [b"a1", b"b1"]
    assert all(result.ok for result in broker.ack_many(first))
    assert [one.message.body for one in broker.receive(queue, 10)] == [b"a2", b"a3"]


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/xhtml+xml", "text/plain", "image/png"])
def test_a_page_of_somebody_elses_is_no_empty_queue(sqs: Sqs, kind: str) -> None:
    """A network's login page comes with status 200; a consumer that took it for an answer would idle for ever."""
    queue, broker = sqs.queue(), sqs.open(runtime=NO_RETRY)
    name = queue.rsplit("/", 1)[-1]
    sqs.line.rule = lambda request: Reply(200, {"Content-Type": kind}, b"<h1>Log in</h1>")
    for place in (queue, name):
        with pytest.raises(UnavailableError, match="not SQS") as caught:
            broker.receive(place)
        assert caught.value.retryable
    assert broker.check(queue, "receive").status == "failed"


def test_damaged_attributes_are_noticed(sqs: Sqs) -> None:
    queue, broker = sqs.queue(VisibilityTimeout=600), sqs.open(runtime=NO_RETRY)
    broker.send(queue, Message(body=b"x", attributes={"kind": "event"}))
    taken = sqs.native.receive_message(QueueUrl=queue, MessageAttributeNames=["All"], WaitTimeSeconds=1)["Messages"]
    taken[0]["MessageAttributes"]["kind"]["StringValue"] = "evens"
    body = json.dumps({"Messages": taken}).encode()
    sqs.line.rule = once("ReceiveMessage", Reply(200, {"Content-Type": "application/x-amz-json-1.0"}, body))
    with pytest.raises(IntegrityError):
        broker.receive(queue)


def test_a_silent_poll_ends(sqs: Sqs) -> None:
    """A poll whose answer stalls is given up after its wait and the time that a call may take."""
    queue, broker = sqs.queue(), sqs.open(runtime={**NO_RETRY, "call_timeout": 1.0})
    sqs.line.rule = once("ReceiveMessage", Stall(0, of="response"))
    with pytest.raises(TimeoutError) as caught:
        broker.receive(queue)
    assert caught.value.retryable


def test_a_silent_poll_on_a_busy_queue_ends(sqs: Sqs) -> None:
    queue, broker = sqs.queue(), sqs.open(runtime={**NO_RETRY, "call_timeout": 1.0})
    fill(sqs, queue, 20)
    assert len(broker.receive(queue, 10)) == 10
    sqs.line.rule = once("ReceiveMessage", Stall(0, of="response"))
    with pytest.raises(TimeoutError) as caught:
        broker.receive(queue, 10)
    assert caught.value.retryable


def test_a_consumer_outlives_an_outage(sqs: Sqs) -> None:
    queue, broker = sqs.queue(), sqs.open(runtime=NO_RETRY)
    handled = threading.Event()
    consumer = broker.consume(queue, lambda delivery: handled.set())
    assert eventually(lambda: sqs.line.seen)
    sqs.line.rule = lambda request: error_reply(503, "ServiceUnavailable")
    assert eventually(lambda: any(request.status == 503 for request in sqs.line.seen))
    sqs.line.rule = None
    fill(sqs, queue, 1)
    assert handled.wait(60)
    assert consumer.stop(20)


def test_a_refusal_ends_a_consumer(sqs: Sqs) -> None:
    queue, broker = sqs.queue(), sqs.open()
    sqs.line.rule = lambda request: error_reply(403, "AccessDeniedException", "AccessDenied")
    with pytest.raises(PermissionDeniedError):
        broker.consume(queue, print).wait(20)


def test_a_cut_poll_is_unavailable(sqs: Sqs) -> None:
    queue, broker = sqs.queue(), sqs.open(runtime=NO_RETRY, poll_seconds=20)
    failed: list[Any] = []

    def receive() -> None:
        try:
            broker.receive(queue, wait=20)
        except UnavailableError as error:
            failed.append(error)

    receiver = threading.Thread(target=receive)
    receiver.start()
    assert eventually(lambda: sqs.line.bytes_up)  # the server has the request
    sqs.line.cut()
    receiver.join(15)
    assert [error.retryable for error in failed] == [True]


# -- leases -------------------------------------------------------------------------------------------------


def test_the_lease_goes_into_the_call(sqs: Sqs) -> None:
    """Whatever the queue's own visibility timeout is, leases are as long as asked for, or as the options say."""
    queue, broker = sqs.queue(VisibilityTimeout=1), sqs.open(lease=45)
    fill(sqs, queue, 2)
    first, second = (broker.receive(queue, lease=lease)[0] for lease in (None, 99.5))
    now = broker.runtime.clock.now()
    assert first.lease_expires_at is not None
    assert second.lease_expires_at is not None
    assert 35 < (first.lease_expires_at - now).total_seconds() <= 45
    assert 90 < (second.lease_expires_at - now).total_seconds() <= 100
    assert broker.receive(queue, wait=2) == []  # the queue's own second has passed


def test_an_answer_that_was_long_on_its_way_has_less_of_its_lease_left(sqs: Sqs) -> None:
    """A poll of a second that took two: one second of the lease has passed on the line."""
    queue, broker = sqs.queue(), sqs.open()
    fill(sqs, queue, 1)
    late = threading.Event()

    def hold(request: Request) -> None:
        if action_of(request) == "ReceiveMessage":
            late.wait(2)

    sqs.line.rule = hold
    (delivery,) = broker.receive(queue, lease=30)
    assert delivery.lease_expires_at is not None
    assert (delivery.lease_expires_at - broker.runtime.clock.now()).total_seconds() < 29.5


def test_leases_are_renewed_in_tens(sqs: Sqs) -> None:
    queue, broker = sqs.queue(), sqs.open()
    fill(sqs, queue, 10)
    go, begun = threading.Event(), threading.Semaphore(0)

    def handle(delivery: Delivery) -> None:
        begun.release()
        assert go.wait(60)

    consumer = broker.consume(queue, handle, 10, ConsumerOptions(lease=3.0))
    for _ in range(10):
        assert begun.acquire(timeout=20)
    assert eventually(lambda: actions(sqs.line).count("ChangeMessageVisibilityBatch") >= 2)
    assert sqs.native.receive_message(QueueUrl=queue, WaitTimeSeconds=2).get("Messages", []) == []
    go.set()
    assert eventually(lambda: sqs.depth(queue) == 0)
    assert consumer.stop(20)
