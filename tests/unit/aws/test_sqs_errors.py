"""Every error of the service is what core makes of it: by its code, in both protocols' spelling, and by its status."""

from __future__ import annotations

from typing import Any

import pytest

from clouddirect.errors import (
    AuthenticationError,
    CloudDirectError,
    InvalidMessageError,
    LeaseLostError,
    NotFoundError,
    PermissionDeniedError,
    ThrottledError,
    TimeoutError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from clouddirect.messaging import Message
from clouddirect.retry import RetryPolicy
from clouddirect_aws.sqs_errors import CODES, RECEIPT_CODES, of_entry
from emulators.http_line import Reply
from unit.aws.sqs_fixtures import Sqs, actions, error_reply, once

PREFIX = "AWS.SimpleQueueService."
NO_RETRY = {"retry": RetryPolicy(max_attempts=1)}

#: status, shape, code of the query protocol (in a header, if at all); what comes of it, and whether it is retried.
ANSWERS = [
    (400, "QueueDoesNotExist", PREFIX + "NonExistentQueue", NotFoundError, False),
    (400, "QueueDoesNotExist", None, NotFoundError, False),
    (400, "QueueDeletedRecently", PREFIX + "QueueDeletedRecently", NotFoundError, False),
    (404, "InvalidAddress", "InvalidAddress", NotFoundError, False),
    (403, "AccessDeniedException", "AccessDenied", PermissionDeniedError, False),
    (403, "AccessDeniedException", None, PermissionDeniedError, False),
    (403, "SomethingNew", None, PermissionDeniedError, False),
    (400, "KmsAccessDenied", "KMS.AccessDeniedException", PermissionDeniedError, False),
    (403, "ExpiredToken", "ExpiredToken", AuthenticationError, False),
    (400, "ExpiredTokenException", None, AuthenticationError, False),
    (403, "InvalidSignatureException", "SignatureDoesNotMatch", AuthenticationError, False),
    (403, "InvalidClientTokenId", "InvalidClientTokenId", AuthenticationError, False),
    (403, "UnrecognizedClientException", None, AuthenticationError, False),
    (403, "RequestTimeTooSkewed", None, AuthenticationError, False),
    (400, "InvalidSecurity", "InvalidSecurity", AuthenticationError, False),
    (401, "SomethingNew", None, AuthenticationError, False),
    (403, "RequestThrottled", "RequestThrottled", ThrottledError, True),
    (400, "RequestThrottled", None, ThrottledError, True),
    (400, "KmsThrottled", "KMS.ThrottlingException", ThrottledError, True),
    (400, "ThrottlingException", None, ThrottledError, True),
    (403, "OverLimit", "OverLimit", ThrottledError, True),
    (429, "SomethingNew", None, ThrottledError, True),
    (500, "InternalFailure", None, UnavailableError, True),
    (503, "ServiceUnavailable", None, UnavailableError, True),
    (502, "SomethingNew", None, UnavailableError, True),
    (400, "KmsDisabled", "KMS.DisabledException", UnavailableError, False),
    (408, "RequestTimeout", None, TimeoutError, True),
    (400, "BatchRequestTooLong", PREFIX + "BatchRequestTooLong", TooLargeError, False),
    (413, "SomethingNew", None, TooLargeError, False),
    (400, "InvalidMessageContents", "InvalidMessageContents", InvalidMessageError, False),
    (400, "UnsupportedOperation", PREFIX + "UnsupportedOperation", UnsupportedError, False),
    (400, "SomethingNew", None, CloudDirectError, False),
]


@pytest.mark.parametrize(("status", "shape", "query_code", "kind", "retryable"), ANSWERS)
def test_an_answer(sqs: Sqs, status: int, shape: str, query_code: Any, kind: type, retryable: bool) -> None:
    queue, broker = sqs.queue(), sqs.open(runtime=NO_RETRY)
    sqs.line.rule = once("SendMessageBatch", error_reply(status, shape, query_code))
    with pytest.raises(CloudDirectError) as caught:
        broker.send(queue, Message(body=b"x"))
    assert type(caught.value) is kind
    assert caught.value.retryable is retryable
    assert caught.value.code in (shape, query_code)
    assert caught.value.resource == queue
    assert caught.value.maybe_sent is (status >= 500)


def test_a_gateways_page_is_a_passing_failure(sqs: Sqs) -> None:
    """What is no answer of SQS at all is judged by its status."""
    queue, broker = sqs.queue(), sqs.open()
    sqs.line.rule = once("SendMessageBatch", Reply(502, {"Content-Type": "text/html"}, b"<h1>Bad Gateway</h1>"))
    broker.send(queue, Message(body=b"x"))
    assert sqs.depth(queue) == 1


def test_throttling_is_retried_when_the_service_wants(sqs: Sqs) -> None:
    queue = sqs.queue()
    reply = error_reply(400, "RequestThrottled", "RequestThrottled", **{"Retry-After": "1"})
    sqs.line.rule = once("SendMessageBatch", reply)
    with pytest.raises(ThrottledError) as caught:
        sqs.open(runtime=NO_RETRY).send(queue, Message(body=b"x"))
    assert caught.value.retry_after == 1.0
    sqs.line.rule = once("SendMessageBatch", reply)
    sqs.open().send(queue, Message(body=b"x"))
    assert sqs.depth(queue) == 1


def test_the_sdk_does_not_retry(sqs: Sqs, monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt is one request, whatever the environment says; core alone retries."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    monkeypatch.setenv("AWS_RETRY_MODE", "adaptive")
    queue, broker = sqs.queue(), sqs.open(runtime=NO_RETRY)
    sqs.line.rule = lambda request: error_reply(503, "ServiceUnavailable")
    with pytest.raises(UnavailableError):
        broker.send(queue, Message(body=b"x"))
    assert actions(sqs.line) == ["SendMessageBatch"]


def test_a_refused_port_is_unavailable(sqs: Sqs) -> None:
    queue = sqs.queue()
    broker = sqs.open(runtime=NO_RETRY, endpoint_url="http://127.0.0.1:9")
    with pytest.raises(UnavailableError) as caught:
        broker.send(queue, Message(body=b"x"))
    assert caught.value.retryable
    assert not caught.value.maybe_sent


@pytest.mark.parametrize(
    ("code", "senders_fault", "kind", "retryable"),
    [
        ("InternalError", False, UnavailableError, True),
        ("SomethingNew", False, UnavailableError, True),
        ("SomethingNew", True, InvalidMessageError, False),
        ("InvalidMessageContents", True, InvalidMessageError, False),
        ("AccessDenied", True, PermissionDeniedError, False),
        ("RequestThrottled", True, ThrottledError, True),
        (PREFIX + "RequestThrottled", False, UnavailableError, True),
    ],
)
def test_an_entry_of_a_batch(code: str, senders_fault: bool, kind: type, retryable: bool) -> None:
    error = of_entry({"Id": "0", "Code": code, "SenderFault": senders_fault, "Message": "SECRET"}, CODES)
    assert type(error) is kind
    assert error.retryable is retryable
    assert "SECRET" not in str(error)


def test_an_entry_over_the_queues_own_limit_is_too_large() -> None:
    message = "One or more parameters are invalid. Reason: Message must be shorter than 2048 bytes."
    error = of_entry({"Id": "0", "Code": "InvalidParameterValue", "SenderFault": True, "Message": message}, CODES)
    assert isinstance(error, TooLargeError)


@pytest.mark.parametrize("code", ["ReceiptHandleIsInvalid", "InvalidParameterValue", PREFIX + "MessageNotInflight"])
def test_a_receipt_that_is_gone_is_a_lost_lease(code: str) -> None:
    assert isinstance(of_entry({"Id": "0", "Code": code, "SenderFault": True}, RECEIPT_CODES), LeaseLostError)
