"""Answers are read as JSON: the same as botocore reads them, and by botocore where they are something else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clouddirect.errors import CloudDirectError, InvalidMessageError
from clouddirect.messaging import Message
from clouddirect.retry import RetryPolicy
from clouddirect_aws import sqs_answers
from emulators.http_line import Reply
from unit.aws.sqs_fixtures import Sqs, batch_reply, once

ATTRIBUTES = {
    "text": {"DataType": "String", "StringValue": "äöü"},
    "number": {"DataType": "Number.int", "StringValue": "1.50"},
    "binary": {"DataType": "Binary.png", "BinaryValue": b"\x00\xff\x80"},
}


def native_of(sqs: Sqs, queue: str) -> dict[str, Any]:
    """A message as boto3 returns it, which stays visible."""
    answer = sqs.native.receive_message(
        QueueUrl=queue, MessageAttributeNames=["All"], WaitTimeSeconds=1, VisibilityTimeout=0,
        MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp", "MessageGroupId"],
    )  # fmt: skip
    found: dict[str, Any] = answer["Messages"][0]
    return found


@pytest.mark.parametrize("fifo", [False, True])
def test_a_message_is_what_botocore_makes_of_it(sqs: Sqs, fifo: bool) -> None:
    queue = sqs.queue(fifo=True) if fifo else sqs.queue()
    entry: dict[str, Any] = {"MessageBody": "\U0001f441 body", "MessageAttributes": ATTRIBUTES}
    if fifo:
        entry |= {"MessageGroupId": "g", "MessageDeduplicationId": "d"}
    sqs.native.send_message(QueueUrl=queue, **entry)
    theirs, broker = native_of(sqs, queue), sqs.open()
    ours: Any = broker.receive(queue)[0].native
    for one in (theirs, ours):
        one.pop("ReceiptHandle")
        one["Attributes"].pop("ApproximateReceiveCount")
    assert ours == theirs
    assert ours["MessageAttributes"]["binary"]["BinaryValue"] == ATTRIBUTES["binary"]["BinaryValue"]


def test_without_the_event_botocore_reads(sqs: Sqs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqs_answers, "_OPERATIONS", ())
    queue, broker = sqs.queue(), sqs.open()
    sent = Message(body=b"\xff", attributes={"kind": "order"})
    broker.send(queue, sent)
    (delivery,) = broker.receive(queue)
    assert delivery.message == sent
    delivery.ack()
    assert sqs.depth(queue) == 0


def test_nulls_are_as_good_as_nothing(sqs: Sqs) -> None:
    queue, broker = sqs.queue(), sqs.open()
    attributes = {"a": {"DataType": "String", "StringValue": "v", "BinaryValue": None, "StringListValues": None}}
    message = {"MessageId": "m", "ReceiptHandle": "r", "Body": "x", "MD5OfBody": None, "MessageAttributes": attributes}
    headers = {"Content-Type": "application/x-amz-json-1.0"}
    body = json.dumps({"Messages": [{**message, "Attributes": None}], "Successful": None}).encode()
    sqs.line.rule = once("ReceiveMessage", Reply(200, headers, body))
    (delivery,) = broker.receive(queue)
    assert (delivery.message.id, delivery.message.body, delivery.delivery_count) == ("m", b"x", None)
    assert delivery.message.attributes == {"a": "v"}


NO_ANSWERS = (
    '{"Messages": [3]}', '{"Messages": [{"MessageAttributes": {"a": {"BinaryValue": "x"}}}]}',
    "[]", '{"Messages": ' + "[" * 100_000,
)  # fmt: skip


@pytest.mark.parametrize("answer", NO_ANSWERS, ids=("no message", "no base64", "no object", "no end"))
def test_what_is_no_answer_of_sqs_is_an_error(sqs: Sqs, answer: str) -> None:
    """It is left to botocore, and is not taken for an empty queue."""
    queue, broker = sqs.queue(), sqs.open(runtime={"retry": RetryPolicy(max_attempts=1)})
    sqs.line.rule = once("ReceiveMessage", Reply(200, {"Content-Type": "application/x-amz-json-1.0"}, answer.encode()))
    with pytest.raises(CloudDirectError):
        broker.receive(queue)


def test_failed_entries_are_read(sqs: Sqs) -> None:
    queue, broker = sqs.queue(), sqs.open()
    failed = [{"Id": "0", "Code": "InvalidMessageContents", "SenderFault": True, "Message": None}]
    sqs.line.rule = once("SendMessageBatch", batch_reply([], failed))
    with pytest.raises(InvalidMessageError):
        broker.send(queue, Message(body=b"x"))
