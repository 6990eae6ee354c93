"""Settling: in tens, every outcome read, what failed repeated alone; visibility within the service's limits."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import LeaseLostError, UnavailableError
from clouddirect.messaging import DEAD_LETTER_REASON, Message
from unit.aws.sqs_fixtures import ARN, Sqs, actions, batch_reply, error_reply, once

LOST = {"Code": "ReceiptHandleIsInvalid", "SenderFault": True}
BROKEN = {"Code": "InternalError", "SenderFault": False}


def filled(sqs: Sqs, count: int, **attributes: Any) -> str:
    queue = sqs.queue(**attributes)
    for place in range(count):
        sqs.native.send_message(QueueUrl=queue, MessageBody=f"{place}")
    return queue


def taken(sqs: Sqs, broker: Any, queue: str, count: int) -> list[Any]:
    got: list[Any] = []
    while len(got) < count:
        got += broker.receive(queue, count - len(got), wait=5)
    sqs.line.seen.clear()
    return got


def test_acks_go_in_tens(sqs: Sqs) -> None:
    queue, broker = filled(sqs, 25), sqs.open()
    results = broker.ack_many(taken(sqs, broker, queue, 25))
    assert all(result.ok for result in results)
    assert actions(sqs.line) == ["DeleteMessageBatch"] * 3
    assert sqs.depth(queue) == 0


@pytest.mark.parametrize(("lease", "linger"), [(30, 1.0), (3, 0.3)])
def test_deletes_are_gathered_for_a_tenth_of_a_lease_at_most(sqs: Sqs, lease: int, linger: float) -> None:
    assert sqs.open(lease=lease).capabilities("orders").ack_linger == pytest.approx(linger)


def test_deletes_that_failed_are_repeated_alone(sqs: Sqs) -> None:
    """Of a batch taken in part, the lost lease is told, and only what failed for a passing reason is asked again."""
    queue, broker = filled(sqs, 4), sqs.open()
    deliveries = taken(sqs, broker, queue, 4)
    failed = [{"Id": "1", **BROKEN}, {"Id": "2", **LOST}]
    sqs.line.rule = once("DeleteMessageBatch", batch_reply([{"Id": "0"}, {"Id": "3"}], failed))
    results = broker.ack_many(deliveries)
    assert [type(result.error) for result in results] == [type(None), type(None), LeaseLostError, type(None)]
    assert actions(sqs.line) == ["DeleteMessageBatch"] * 2
    assert sqs.depth(queue) == 3  # the reply was made up: of the four only the second was really asked for again


def test_a_delete_of_which_nothing_is_said_is_repeated(sqs: Sqs) -> None:
    queue, broker = filled(sqs, 2), sqs.open()
    deliveries = taken(sqs, broker, queue, 2)
    sqs.line.rule = once("DeleteMessageBatch", batch_reply([], []))
    assert all(result.ok for result in broker.ack_many(deliveries))
    assert sqs.depth(queue) == 0


def test_a_delete_that_fails_for_long_can_be_repeated_by_the_caller(sqs: Sqs) -> None:
    queue, broker = filled(sqs, 1), sqs.open()
    (delivery,) = taken(sqs, broker, queue, 1)
    sqs.line.rule = lambda request: error_reply(503, "ServiceUnavailable")
    with pytest.raises(UnavailableError):
        delivery.ack()
    assert delivery.settled is None
    sqs.line.rule = None
    delivery.ack()
    assert sqs.depth(queue) == 0


def test_a_nack_is_a_change_of_visibility(sqs: Sqs) -> None:
    queue, broker = filled(sqs, 1), sqs.open(lease=600)
    (delivery,) = taken(sqs, broker, queue, 1)
    began = time.monotonic()
    delivery.nack(1.2)
    assert actions(sqs.line) == ["ChangeMessageVisibilityBatch"]
    (again,) = broker.receive(queue, wait=20)
    assert again.delivery_count == 2
    assert time.monotonic() - began >= 1.2  # a second and a half would have been two


def test_twelve_hours_count_from_receiving(sqs: Sqs) -> None:
    """SQS refuses a visibility that ends more than twelve hours after the message was received; we ask for less."""
    clock = ManualClock()
    queue, broker = filled(sqs, 1), sqs.open(runtime={"clock": clock}, lease=40_000)
    (raw,) = broker._intact(queue, sqs.native.receive_message(QueueUrl=queue, WaitTimeSeconds=1)["Messages"], 40_000,
                            clock.monotonic())  # fmt: skip
    assert broker._extend(queue, [raw], 43_200, 30) == [43_200.0]
    clock.advance(3600.5)
    assert broker._extend(queue, [raw], 43_200, 30) == [39_599.0]
    assert broker._extend(queue, [raw], 600.5, 30) == [601.0]
    clock.advance(50_000)
    assert broker._extend(queue, [raw], 600, 30) == [0.0]


def test_an_expired_receipt_is_a_lost_lease(sqs: Sqs) -> None:
    queue, broker = filled(sqs, 1), sqs.open()
    for action in ("ack", "nack", "extend"):
        (delivery,) = taken(sqs, broker, queue, 1)
        sqs.line.rule = lambda request: batch_reply([], [{"Id": "0", **LOST}])
        with pytest.raises(LeaseLostError):
            delivery.extend(10) if action == "extend" else getattr(delivery, action)()
        sqs.line.rule = None
        assert delivery.lease_lost.is_set()
        sqs.native.change_message_visibility(
            QueueUrl=queue, ReceiptHandle=delivery.native["ReceiptHandle"], VisibilityTimeout=0
        )


def test_closing_gives_back_in_tens(sqs: Sqs) -> None:
    queue, broker = filled(sqs, 20), sqs.open(lease=600)
    taken(sqs, broker, queue, 20)
    broker.close()
    assert actions(sqs.line) == ["ChangeMessageVisibilityBatch"] * 2
    got = taken(sqs, sqs.open(), queue, 20)
    assert {one.delivery_count for one in got} == {2}


def test_a_hurried_close_is_bounded(sqs: Sqs) -> None:
    """With little time left a call gets little time, whatever ``read_timeout`` says."""
    queue, broker = filled(sqs, 1), sqs.open(lease=600)
    (delivery,) = taken(sqs, broker, queue, 1)
    held = threading.Event()

    def stall(request: object) -> None:
        held.wait(30)

    sqs.line.rule = stall  # type: ignore[assignment]
    began = time.monotonic()
    broker.close(timeout=1)
    took = time.monotonic() - began
    held.set()
    assert took < 10
    assert delivery.settled is None or delivery.settled == "release"


def test_the_redrive_policy_dead_letters_and_the_copy_is_whole(sqs: Sqs) -> None:
    dead = sqs.queue()
    policy = {"deadLetterTargetArn": f"{ARN}:{dead.rsplit('/', 1)[-1]}", "maxReceiveCount": 1}
    queue, broker = sqs.queue(RedrivePolicy=json.dumps(policy)), sqs.open()
    message = Message(body=b"\xff", attributes={"kind": "event"}, correlation_id="c")
    broker.send(queue, message)
    broker.receive(queue)[0].nack()
    assert broker.receive(queue) == []
    (found,) = broker.receive(dead, wait=10)
    assert (found.message.id, found.message.body, found.message.correlation_id) == (message.id, b"\xff", "c")


@pytest.mark.parametrize("fifo", [False, True])
def test_an_explicit_dead_letter_goes_to_the_target_and_then_is_deleted(sqs: Sqs, fifo: bool) -> None:
    queue, target = sqs.queue(fifo=fifo), sqs.queue()
    broker = sqs.open(runtime={"dead_letter_send": {queue: target}})
    broker.send(queue, Message(body=b"x", attributes={f"a{place}": "v" for place in range(10)}))
    (delivery,) = taken(sqs, broker, queue, 1)
    delivery.dead_letter("unreadable", "not JSON")
    assert actions(sqs.line) == ["SendMessageBatch", "DeleteMessageBatch"]
    (copy,) = broker.receive(target)
    assert copy.message.attributes[DEAD_LETTER_REASON] == "unreadable"
    assert len(copy.message.attributes) == 13
