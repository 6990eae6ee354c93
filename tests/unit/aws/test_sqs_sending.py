"""Sending: full batches, side by side, every outcome read; who is asked for what; order and deduplication on FIFO."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ParamValidationError

from clouddirect.errors import (
    ConfigurationError,
    IntegrityError,
    InvalidMessageError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from clouddirect.messaging import Message
from clouddirect.retry import RetryPolicy
from clouddirect_aws.sqs_content import encode
from clouddirect_aws.sqs_digests import body_md5
from clouddirect_aws.sqs_places import is_fifo, place_of_url
from emulators.http_line import Fault, LoseReply, Reply, Request
from unit.aws.sqs_fixtures import Sqs, action_of, actions, batch_reply, error_reply, once

KIB, MIB = 1 << 10, 1 << 20


def messages(count: int, size: int = 1, **fields: Any) -> list[Message]:
    return [Message(body=b"x" * size, **fields) for _ in range(count)]


def test_batches_are_filled_by_count(sqs: Sqs) -> None:
    queue, broker = sqs.queue(), sqs.open()
    assert all(result.ok for result in broker.send_many(queue, messages(25)))
    assert actions(sqs.line) == ["SendMessageBatch"] * 3
    assert sqs.depth(queue) == 25


def test_batches_are_filled_by_bytes(sqs: Sqs) -> None:
    """A batch holds a mebibyte in all: four messages of 250 KiB, then four, then two."""
    queue, broker = sqs.queue(), sqs.open(send_concurrency=1)
    assert all(result.ok for result in broker.send_many(queue, messages(10, 250 * KIB)))
    sizes = [request.size // (240 * KIB) for request in sqs.line.seen]
    assert sizes == [4, 4, 2]


def test_as_many_connections_are_kept_as_batches_are_sent(sqs: Sqs) -> None:
    """Else those beyond the pool would be opened and closed for each batch."""
    broker = sqs.open(send_concurrency=12, pool_size=3)
    for side, kept in (("send", 12), ("poll", 3)):
        client = broker._clients.get(side, place_of_url(sqs.queue(), None), 60.0)  # type: ignore[arg-type]
        assert client.meta.config.max_pool_connections == kept  # type: ignore[attr-defined]


def test_the_sdks_own_client_checks_what_it_is_given(sqs: Sqs) -> None:
    """Ours leaves that out, and says of a misspelt parameter no more than ``KeyError``."""
    queue, broker = sqs.queue(), sqs.open()
    broker.send(queue, Message(body=b"x"))
    native: Any = broker.native
    with pytest.raises(ParamValidationError, match="MessageBody"):
        native.send_message(QueueUrl=queue, Body="x")
    assert native.receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "x"
    assert broker.native is native


def test_batches_are_sent_side_by_side(sqs: Sqs) -> None:
    """All eight batches are on their way before the first is answered."""
    queue, broker = sqs.queue(), sqs.open()
    together = threading.Barrier(8)

    def meet(request: Request) -> Fault | None:
        together.wait(20)
        return None

    sqs.line.rule = meet
    assert all(result.ok for result in broker.send_many(queue, messages(80)))
    assert not together.broken


def test_entries_that_failed_are_sent_again_alone(sqs: Sqs) -> None:
    """Of a batch that the service took in part, the refused fail, the failed are sent again, the rest is not."""
    queue, broker = sqs.queue(), sqs.open()
    sent = messages(10)
    failed = [
        {"Id": "3", "Code": "InternalError", "SenderFault": False},
        {"Id": "5", "Code": "InvalidMessageContents", "SenderFault": True},
    ]
    taken = [{"Id": str(place), "MessageId": f"their-{place}"} for place in range(10) if place not in (3, 5)]
    sqs.line.rule = once("SendMessageBatch", batch_reply(taken, failed))
    results = broker.send_many(queue, sent)
    assert [result.message for result in results] == sent
    assert [place for place, result in enumerate(results) if not result.ok] == [5]
    assert isinstance(results[5].error, InvalidMessageError)
    assert results[0].receipt is not None
    assert results[0].receipt.broker_id == "their-0"
    assert actions(sqs.line) == ["SendMessageBatch"] * 2
    (again,) = broker.receive(queue, 10)  # nothing else reached the server
    assert again.message.id == sent[3].id


def test_an_entry_of_which_nothing_is_said_is_sent_again(sqs: Sqs) -> None:
    queue, broker = sqs.queue(), sqs.open()
    sqs.line.rule = once("SendMessageBatch", batch_reply([{"Id": "0"}], []))
    assert all(result.ok for result in broker.send_many(queue, messages(2)))
    assert sqs.depth(queue) == 1


@pytest.mark.parametrize("failed", [[], [{"Id": "0", "Code": "InternalError", "SenderFault": False}]])
def test_an_entry_that_is_not_confirmed_may_have_been_sent(sqs: Sqs, failed: list[dict[str, Any]]) -> None:
    queue = sqs.queue()
    sqs.line.rule = once("SendMessageBatch", batch_reply([], failed))
    with pytest.raises(UnavailableError) as caught:
        sqs.open(runtime={"retry": RetryPolicy(max_attempts=1)}).send(queue, Message(body=b"x"))
    assert caught.value.maybe_sent


@pytest.mark.parametrize("field", ["MD5OfMessageBody", "MD5OfMessageAttributes"])
def test_what_was_stored_damaged_is_told(sqs: Sqs, field: str) -> None:
    queue, broker = sqs.queue(), sqs.open()
    answer = {"Id": "0", "MessageId": "1", "MD5OfMessageBody": body_md5("x"), field: body_md5("y")}
    sqs.line.rule = once("SendMessageBatch", batch_reply([answer], []))
    with pytest.raises(IntegrityError) as caught:
        broker.send(queue, Message(body=b"x"))
    assert caught.value.maybe_sent
    assert actions(sqs.line) == ["SendMessageBatch"]


def test_a_lost_answer_may_have_been_sent(sqs: Sqs) -> None:
    queue = sqs.queue()
    sqs.line.rule = once("SendMessageBatch", LoseReply())
    with pytest.raises(UnavailableError) as caught:
        sqs.open(runtime={"retry": RetryPolicy(max_attempts=1)}).send(queue, Message(body=b"x"))
    assert caught.value.maybe_sent
    assert sqs.depth(queue) == 1


def test_a_lost_answer_leaves_one_message_on_fifo(sqs: Sqs) -> None:
    queue, broker = sqs.queue(fifo=True), sqs.open()
    sqs.line.rule = once("SendMessageBatch", LoseReply(), LoseReply())
    broker.send(queue, Message(body=b"x"))
    assert len(sqs.line.seen) == 3
    assert sqs.depth(queue) == 1


# -- limits -------------------------------------------------------------------------------------------------


def test_size_counts_body_and_attributes(sqs: Sqs) -> None:
    queue, broker = sqs.queue(), sqs.open()
    message = Message(body=b"", attributes={"näme": "välue", "kind": "event"})
    fixed = encode(message).size - len("(empty)") - len(',"encoding":"empty"')
    fits = Message(id=message.id, body=b"x" * (MIB - fixed), attributes=message.attributes)
    assert broker._size(queue, fits) == MIB
    broker.send(queue, fits)
    with pytest.raises(TooLargeError):
        broker.send(queue, Message(id=message.id, body=fits.body + b"x", attributes=message.attributes))
    assert len(sqs.line.seen) == 1


def test_a_queue_with_a_lower_limit(sqs: Sqs) -> None:
    """The service's refusal is told as such, and the option refuses it before sending."""
    queue = sqs.queue(MaximumMessageSize=2048)
    results = sqs.open().send_many(queue, [Message(body=b"x" * 3000), Message(body=b"x")])
    assert isinstance(results[0].error, TooLargeError)
    assert results[1].ok
    sqs.line.seen.clear()
    with pytest.raises(TooLargeError):
        sqs.open(max_message_bytes=2048).send(queue, Message(body=b"x" * 3000))
    assert sqs.line.seen == []


def test_delays_are_whole_seconds_rounded_up(sqs: Sqs) -> None:
    queue, broker = sqs.queue(DelaySeconds=300), sqs.open()
    broker.send(queue, Message(body=b"now", delay=0.0))
    (delivery,) = broker.receive(queue, 10)
    assert delivery.message.body == b"now"
    began = time.monotonic()
    broker.send(queue, Message(body=b"later", delay=0.2))
    assert [one.message.body for one in broker.receive(queue, 10, wait=20)] == [b"later"]
    assert time.monotonic() - began >= 0.2
    with pytest.raises(UnsupportedError, match="max_delay"):
        broker.send(queue, Message(body=b"x", delay=900.5))


def test_what_the_kind_of_queue_does_not_do_is_refused(sqs: Sqs) -> None:
    standard, fifo, broker = sqs.queue(), sqs.queue(fifo=True), sqs.open()
    with pytest.raises(UnsupportedError, match="ordering"):
        broker.send(standard, Message(body=b"x", ordering_key="k"))
    with pytest.raises(UnsupportedError, match="max_delay"):
        broker.send(fifo, Message(body=b"x", delay=1))
    assert sqs.line.seen == []


def test_groups_and_deduplication_ids(sqs: Sqs) -> None:
    queue, broker = sqs.queue(fifo=True), sqs.open()
    for message in (
        Message(body=b"x", id="one", ordering_key="key"),
        Message(body=b"x", id="two"),
        Message(body=b"x", id="id with spaces", ordering_key="Schlüssel"),
    ):
        broker.send(queue, message)
        found = sqs.raw(queue)["Attributes"]
        ours = (message.ordering_key or message.id, message.id)
        told = (found["MessageGroupId"], found["MessageDeduplicationId"])
        assert told == ours if ours[1] != "id with spaces" else all(len(text) == 64 for text in told)


# -- where queues are ---------------------------------------------------------------------------------------


def test_a_url_is_asked_for_nowhere_and_a_name_once(sqs: Sqs) -> None:
    queue, broker = sqs.queue(), sqs.open()
    for place in (queue, queue.rsplit("/", 1)[-1]):
        for _ in range(3):
            broker.send(place, Message(body=b"x"))
        broker.receive(place)
    assert actions(sqs.line).count("GetQueueUrl") == 1


def test_a_name_is_asked_for_again_when_its_queue_was_missing(sqs: Sqs) -> None:
    """A queue that was made anew may have another URL."""
    name, broker = sqs.queue().rsplit("/", 1)[-1], sqs.open()
    broker.send(name, Message(body=b"x"))
    sqs.line.rule = once("SendMessageBatch", error_reply(400, "QueueDoesNotExist"))
    assert not broker.send_many(name, [Message(body=b"x")])[0].ok
    broker.send(name, Message(body=b"x"))
    assert actions(sqs.line).count("GetQueueUrl") == 2


def test_the_region_and_the_endpoint_come_from_the_url(sqs: Sqs) -> None:
    """A URL that is not one of the service's own hosts says whom to ask; its region is in the signature."""
    own = place_of_url("https://sqs.eu-central-1.amazonaws.com/123456789012/orders", None)
    assert (own.region, own.endpoint) == ("eu-central-1", None)
    queue = sqs.queue().replace(str(sqs.server.port), str(sqs.line.port))
    sqs.open(endpoint_url=None).send(queue, Message(body=b"x"))
    assert [action_of(request) for request in sqs.line.seen] == ["SendMessageBatch"]


@pytest.mark.parametrize(
    ("host", "region", "endpoint"),
    [
        ("sqs.us-east-1.amazonaws.com", "us-east-1", False),
        ("sqs-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1", False),
        ("sqs.cn-north-1.amazonaws.com.cn", "cn-north-1", False),
        ("sqs.eu-west-1.api.aws", "eu-west-1", False),
        ("eu-west-1.queue.amazonaws.com", "eu-west-1", False),
        ("queue.amazonaws.com", "us-east-1", False),
        ("vpce-0a1b-c2d3.sqs.us-east-2.vpce.amazonaws.com", "us-east-2", True),
        ("localhost:4566", None, True),
    ],
)
def test_hosts(host: str, region: str | None, endpoint: bool) -> None:
    place = place_of_url(f"https://{host}/123456789012/orders", None)
    assert place.region == region
    assert place.endpoint == (f"https://{host}" if endpoint else None)


def test_urls_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="eu-west-1"):
        place_of_url("https://sqs.eu-west-1.amazonaws.com/123456789012/orders", "us-east-1")
    for path in ("/", "/123456789012/orders/", "/123456789012/orders?x=1"):
        with pytest.raises(ConfigurationError, match="account and name"):
            place_of_url(f"https://sqs.eu-west-1.amazonaws.com{path}", None)
    with pytest.raises(ConfigurationError, match="no password"):
        place_of_url("https://user:word@sqs.eu-west-1.amazonaws.com/123456789012/orders", None)
    assert is_fifo("https://sqs.eu-west-1.amazonaws.com/123456789012/orders.fifo")


@pytest.mark.parametrize(
    "queue",
    ["", "arn:aws:sqs:us-east-1:123456789012:orders", "sqs.us-east-1.amazonaws.com/123456789012/orders", "my orders",
     "a" * 81, "orders.fifo.fifo", "orders\n"],
)  # fmt: skip
def test_what_can_be_no_queues_name_is_refused(sqs: Sqs, queue: str) -> None:
    """SQS would say of an ARN that there is no such queue, or that a value of the message is wrong."""
    (result,) = sqs.open().send_many(queue, [Message(body=b"x")])
    assert isinstance(result.error, ConfigurationError)
    assert sqs.line.seen == []


def test_no_region_is_a_matter_of_configuration(sqs: Sqs, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(ConfigurationError, match="region"):
        sqs.open(region=None, endpoint_url=None).send("orders", Message(body=b"x"))


def test_an_answer_that_never_comes_is_waited_for_as_long_as_a_call_may_take(sqs: Sqs) -> None:
    """A call is bounded by ``call_timeout``, not by the SDK's own minute."""
    queue = sqs.queue()
    released = threading.Event()

    def stall(request: Request) -> Fault | None:
        released.wait(60)
        return Reply(503)

    broker = sqs.open(runtime={"retry": RetryPolicy(max_attempts=1), "call_timeout": 1.0})
    sqs.line.rule = stall
    failed: list[Any] = []

    def send() -> None:
        failed.extend(broker.send_many(queue, [Message(body=b"x")]))

    sender = threading.Thread(target=send)
    sender.start()
    sender.join(20)
    ended = not sender.is_alive()
    released.set()
    sender.join()
    assert ended
    assert failed[0].error.maybe_sent
