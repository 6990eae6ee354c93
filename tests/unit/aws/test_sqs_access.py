"""The policies of the documentation, word for word; what `check` can tell; secrets and content that show nowhere."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from clouddirect.errors import AuthenticationError, CloudDirectError, NotFoundError, PermissionDeniedError
from clouddirect.messaging import Message
from emulators.ministack import ROOT
from unit.aws.sqs_fixtures import ARN, POLICIES, Sqs, actions, error_reply, once

PAGE = Path(__file__).resolve().parents[3] / "docs" / "aws-sqs.md"
#: The queues that the policies name.
SENDING, RECEIVING = "orders", "results"


def policy(name: str) -> str:
    return (POLICIES / name).read_text(encoding="utf-8")


@pytest.fixture
def orders(guarded: Sqs) -> Iterator[str]:
    yield from _named(guarded, SENDING)


@pytest.fixture
def results(guarded: Sqs) -> Iterator[str]:
    yield from _named(guarded, RECEIVING)


def _named(guarded: Sqs, name: str) -> Iterator[str]:
    queue = guarded.queue(name=name)
    yield queue
    guarded.native.delete_queue(QueueUrl=queue)


def test_the_page_quotes_the_policies_that_are_tested() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in ("aws-sqs-send.json", "aws-sqs-receive.json"):
        assert f"```json\n{policy(name).strip()}\n```" in page
        assert f"policies/{name}" in page


def test_the_sending_policy_sends_and_does_nothing_else(guarded: Sqs, orders: str, results: str) -> None:
    sender = guarded.open(guarded.server.key_with(policy("aws-sqs-send.json")))
    sender.send(orders, Message(body=b"x"))
    assert all(result.ok for result in sender.send_many(orders, [Message(body=b"x") for _ in range(12)]))
    assert set(actions(guarded.line)) == {"SendMessageBatch"}
    for action, forbidden in (
        ("Send", lambda: sender.send(results, Message(body=b"x"))), ("Receive", lambda: sender.receive(orders)),
    ):  # fmt: skip
        with pytest.raises(PermissionDeniedError, match=f"allow sqs:{action}Message in"):
            forbidden()
    statement = json.loads(policy("aws-sqs-send.json"))["Statement"][0]
    assert (statement["Action"], statement["Resource"]) == ("sqs:SendMessage", f"{ARN}:{SENDING}")


def test_the_receiving_policy_receives_and_settles_and_does_nothing_else(guarded: Sqs, orders: str,
                                                                         results: str) -> None:  # fmt: skip
    receiver = guarded.open(guarded.server.key_with(policy("aws-sqs-receive.json")))
    for _ in range(3):
        guarded.native.send_message(QueueUrl=results, MessageBody="{}")
    first, second, third = (receiver.receive(results)[0] for _ in range(3))
    first.ack()
    second.nack()
    third.extend(60)
    third.ack()
    for forbidden in (lambda: receiver.send(results, Message(body=b"x")), lambda: receiver.receive(orders)):
        with pytest.raises(PermissionDeniedError):
            forbidden()
    receiver.receive(results)[0].ack()
    assert guarded.depth(results) == 0


# -- check --------------------------------------------------------------------------------------------------


def test_a_policy_that_refuses_to_look_is_no_failure(guarded: Sqs, orders: str) -> None:
    sender = guarded.open(guarded.server.key_with(policy("aws-sqs-send.json")))
    found = sender.check(orders, "send")
    assert (found.status, found.error) == ("unverified", None)
    assert "could not be verified" in found.detail
    assert actions(guarded.line) == ["GetQueueAttributes"]


def test_what_the_attributes_tell(guarded: Sqs, results: str) -> None:
    receiver = guarded.open(guarded.server.key_with(policy("aws-sqs-receive.json")))
    found = receiver.check(results, "receive")
    assert found.status == "likely"
    assert "no redrive policy" in found.detail
    dead = guarded.queue(name="results-dead")
    redrive = json.dumps({"deadLetterTargetArn": f"{ARN}:results-dead", "maxReceiveCount": 5})
    guarded.native.set_queue_attributes(
        QueueUrl=results, Attributes={"RedrivePolicy": redrive, "MaximumMessageSize": "2048"}
    )
    assert "'results-dead' after 5 deliveries" in receiver.check(results, "receive").detail
    sending = receiver.check(results, "send")
    assert sending.status == "unverified"
    assert "max_message_bytes" in sending.detail
    guarded.native.delete_queue(QueueUrl=dead)
    assert set(actions(guarded.line)) == {"GetQueueAttributes"}


def test_what_check_finds_wrong(guarded: Sqs, results: str) -> None:
    missing = guarded.open().check(results + "-missing", "receive")
    assert missing.status == "failed"
    assert isinstance(missing.error, NotFoundError)
    key = guarded.server.key_with(policy("aws-sqs-receive.json"))
    wrong = guarded.open(key._replace(secret="wrong")).check(results, "receive")
    assert wrong.status == "failed"
    assert isinstance(wrong.error, AuthenticationError)


def test_a_name_needs_a_right_that_a_url_does_not(guarded: Sqs, orders: str) -> None:
    sender = guarded.open(guarded.server.key_with(policy("aws-sqs-send.json")))
    with pytest.raises(PermissionDeniedError, match="sqs:GetQueueUrl"):
        sender.send(SENDING, Message(body=b"x"))
    assert sender.check(SENDING, "send").status == "failed"


# -- credentials --------------------------------------------------------------------------------------------


def test_a_wrong_secret_and_an_unknown_key(guarded: Sqs, orders: str) -> None:
    key = guarded.server.key_with(policy("aws-sqs-send.json"))
    for wrong in (key._replace(secret="wrong"), key._replace(id="AKIAUNKNOWNUNKNOWN00"), key._replace(token="bogus")):
        with pytest.raises(AuthenticationError) as caught:
            guarded.open(wrong).send(orders, Message(body=b"x"))
        assert not caught.value.retryable
        assert not caught.value.maybe_sent


def test_a_service_that_quotes_a_signed_request_tells_no_secret(sqs: Sqs) -> None:
    """SQS answers a wrong signature with the request as it was signed, the session token included."""
    token, unknown = "SESSION-TOKEN-OF-THE-CREDENTIAL", "TOKEN-OF-A-ROLE-THAT-THE-SDK-ASSUMED"
    queue, broker = sqs.queue(), sqs.open(ROOT._replace(token=token))
    reply = error_reply(403, "InvalidSignatureException", "SignatureDoesNotMatch")
    told = "does not match. The Canonical String for this request should have been\n'x-amz-security-token:" + unknown
    body = reply.body.replace(b'"no"', json.dumps(f"{ROOT.secret} {token} {told}").encode())
    sqs.line.rule = once("SendMessageBatch", type(reply)(reply.status, reply.headers, body))
    with pytest.raises(AuthenticationError) as caught:
        broker.send(queue, Message(body=b"x"))
    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value.__cause__))
    for secret in (token, unknown, ROOT.secret):
        assert secret not in shown


def test_the_sdks_own_log_at_debug_holds_no_secret_and_no_content(sqs: Sqs, caplog: pytest.LogCaptureFixture) -> None:
    """A program that logs everything at DEBUG does not write patients' data by that alone."""
    private, token = "MARLOWE-1962-03-04", "SESSION-TOKEN-OF-THE-CREDENTIAL"
    queue, broker = sqs.queue(), sqs.open(ROOT._replace(token=token))
    with caplog.at_level(logging.DEBUG):
        broker.send(queue, Message(body=private.encode(), attributes={"name": private}, subject=private))
        (delivery,) = broker.receive(queue)
        delivery.ack()
        sqs.line.rule = lambda request: error_reply(403, "AccessDeniedException")
        with pytest.raises(CloudDirectError):
            broker.send(queue, Message(body=private.encode()))
    assert "botocore" in caplog.text or "urllib3" in caplog.text  # it does log
    for secret in (private, token, ROOT.secret):
        assert secret not in caplog.text
