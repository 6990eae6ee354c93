"""Every status of gRPC, for every call of the broker, as the error it means."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from clouddirect import errors
from clouddirect.errors import CloudDirectError
from clouddirect.messaging import BrokerRuntime, Message
from clouddirect_gcp.broker import GcpBroker
from clouddirect_gcp.broker_options import GcpBrokerOptions
from emulators.pubsub import Drop, Stall, Status
from unit.gcp.pubsub_fixtures import ONCE, PubSub

Code = grpc.StatusCode
#: status, error, retryable, maybe sent
TABLE = [
    (Code.ABORTED, errors.UnavailableError, True, True),
    (Code.CANCELLED, errors.UnavailableError, True, True),
    (Code.DATA_LOSS, errors.UnavailableError, True, True),
    (Code.DEADLINE_EXCEEDED, errors.TimeoutError, True, True),
    (Code.FAILED_PRECONDITION, errors.PreconditionFailedError, False, False),
    (Code.INTERNAL, errors.UnavailableError, True, True),
    (Code.INVALID_ARGUMENT, errors.ConfigurationError, False, False),
    (Code.NOT_FOUND, errors.NotFoundError, False, False),
    (Code.OUT_OF_RANGE, CloudDirectError, False, False),
    (Code.PERMISSION_DENIED, errors.PermissionDeniedError, False, False),
    (Code.RESOURCE_EXHAUSTED, errors.ThrottledError, True, False),
    (Code.UNAUTHENTICATED, errors.AuthenticationError, False, False),
    (Code.UNAVAILABLE, errors.UnavailableError, True, True),
    (Code.UNIMPLEMENTED, errors.UnsupportedError, False, False),
    (Code.UNKNOWN, errors.UnavailableError, True, True),
]


def _fails(call: Callable[[], object]) -> CloudDirectError:
    with pytest.raises(CloudDirectError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(("code", "kind", "retryable", "maybe_sent"), TABLE, ids=[row[0].name for row in TABLE])
def test_sending(
    pubsub: PubSub, code: grpc.StatusCode, kind: type[CloudDirectError], retryable: bool, maybe_sent: bool
) -> None:
    queue, broker = pubsub.queue(), pubsub.open()
    pubsub.server.faults.add("Publish", Status(code))
    error = _fails(lambda: broker.send(queue, Message(body=b"x")))
    # a request refused as malformed is about its message
    assert type(error) is (errors.InvalidMessageError if code is Code.INVALID_ARGUMENT else kind)
    assert (error.retryable, error.maybe_sent, error.code) == (retryable, maybe_sent, code.name)
    assert (error.provider, error.operation, error.resource) == ("gcp", "send", queue)
    assert isinstance(error.__cause__, grpc.RpcError)


@pytest.mark.parametrize(("code", "kind", "retryable", "maybe_sent"), TABLE, ids=[row[0].name for row in TABLE])
def test_receiving(
    pubsub: PubSub, code: grpc.StatusCode, kind: type[CloudDirectError], retryable: bool, maybe_sent: bool
) -> None:
    queue, broker = pubsub.queue(), pubsub.open()
    pubsub.server.faults.add("Pull", Status(code))
    if code is Code.DEADLINE_EXCEEDED:
        assert broker.receive(queue) == []
        return
    error = _fails(lambda: broker.receive(queue))
    assert type(error) is kind
    assert (error.retryable, error.maybe_sent, error.code) == (retryable, False, code.name)
    assert (error.operation, error.resource) == ("receive", queue)


@pytest.mark.parametrize(("code", "kind", "retryable", "maybe_sent"), TABLE, ids=[row[0].name for row in TABLE])
def test_settling(
    pubsub: PubSub, code: grpc.StatusCode, kind: type[CloudDirectError], retryable: bool, maybe_sent: bool
) -> None:
    queue, broker = pubsub.queue(), pubsub.open()
    broker.send(queue, Message(body=b"x"))
    (delivery,) = broker.receive(queue)
    for rpc, settle in (("Acknowledge", delivery.ack), ("ModifyAckDeadline", delivery.nack)):
        pubsub.server.faults.add(rpc, Status(code))
        error = _fails(settle)
        assert type(error) is kind
        assert (error.retryable, error.code) == (retryable, code.name)
        assert isinstance(error.__cause__, grpc.RpcError)
    delivery.ack()
    assert pubsub.server.backlog(pubsub.subscription(queue)) == []


def test_texts_name_the_resource_and_the_remedy(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(), pubsub.open()
    pubsub.server.faults.add("Publish", Status(Code.PERMISSION_DENIED))
    assert "roles/pubsub.publisher there" in str(_fails(lambda: broker.send(queue, Message(body=b"x"))))
    pubsub.server.faults.add("Pull", Status(Code.PERMISSION_DENIED))
    text = str(_fails(lambda: broker.receive(queue)))
    assert pubsub.subscription(queue) in text
    assert "roles/pubsub.subscriber" in text
    assert f"topic '{pubsub.topic('missing')}' does not exist" in str(
        _fails(lambda: broker.send("missing", Message(body=b"x")))
    )
    assert f"subscription '{pubsub.subscription('missing')}' does not exist" in str(
        _fails(lambda: broker.receive("missing"))
    )


def test_a_lost_answer_is_a_message_that_may_have_been_sent(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(), pubsub.open()
    pubsub.server.faults.add("Publish", Drop(applied=True))
    error = _fails(lambda: broker.send(queue, Message(body=b"x")))
    assert isinstance(error, errors.UnavailableError)
    assert error.maybe_sent
    assert pubsub.server.backlog(pubsub.subscription(queue)) == [b"x"]


def test_no_answer_is_a_timeout(pubsub: PubSub) -> None:
    queue, broker = pubsub.queue(), pubsub.open(runtime={"call_timeout": 0.5})
    pubsub.server.faults.add("Publish", Stall())
    error = _fails(lambda: broker.send(queue, Message(body=b"x")))
    assert isinstance(error, errors.TimeoutError)
    assert error.maybe_sent


def test_where_nobody_listens(pubsub: PubSub) -> None:
    """The first connection fails at once, with its reason as the cause."""
    with pubsub.line_to_nowhere() as port:
        broker = pubsub.open(endpoint=f"localhost:{port}")
        error = _fails(lambda: broker.send("orders", Message(body=b"x")))
    assert isinstance(error, errors.UnavailableError)
    assert isinstance(error.__cause__, grpc.RpcError)


def test_a_server_that_says_nothing(pubsub: PubSub) -> None:
    """A first connection that never comes about is told as that, and not as an empty queue."""
    pubsub.line.stall()
    broker = pubsub.open(connect_timeout=0.5)
    for use in (lambda: broker.send("orders", Message(body=b"x")), lambda: broker.receive("orders")):
        error = _fails(use)
        assert isinstance(error, errors.UnavailableError)
        assert not error.maybe_sent
        assert f"localhost:{pubsub.line.port}" in str(error)


def test_a_certificate_of_somebody_else(pubsub: PubSub) -> None:
    """That no repeating mends, and nothing has been sent."""
    broker = pubsub.open(ca_file=None)
    for use in (lambda: broker.send("orders", Message(body=b"x")), lambda: broker.receive("orders")):
        error = _fails(use)
        assert type(error) is errors.ConfigurationError
        assert "ca_file" in str(error)
        assert (error.retryable, error.maybe_sent) == (False, False)


def test_a_ca_file_without_certificates(pubsub: PubSub, tmp_path: Path) -> None:
    path = tmp_path / "root.der"
    path.write_bytes(b"\x30\x82\x01\x0a")
    error = _fails(lambda: pubsub.open(ca_file=path).send("orders", Message(body=b"x")))
    assert isinstance(error, errors.ConfigurationError)
    assert "PEM" in str(error)


def test_a_ca_file_that_cannot_be_read(pubsub: PubSub) -> None:
    broker = pubsub.open(ca_file="/no/such/file.pem")
    error = _fails(lambda: broker.send("orders", Message(body=b"x")))
    assert isinstance(error, errors.ConfigurationError)
    assert "ca_file '/no/such/file.pem'" in str(error)


def test_the_service_says_how_long_to_wait() -> None:
    def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
        status = status_pb2.Status(code=Code.RESOURCE_EXHAUSTED.value[0], message="Quota exceeded")
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=7, nanos=500_000_000)))
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError

    handler = grpc.method_handlers_generic_handler(
        "google.pubsub.v1.Publisher", {"Publish": grpc.unary_unary_rpc_method_handler(refuse)}
    )
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    options = GcpBrokerOptions(project="p", emulator_host=f"127.0.0.1:{port}")
    try:
        with GcpBroker(options, BrokerRuntime(retry=ONCE)) as broker:
            error = _fails(lambda: broker.send("orders", Message(body=b"x")))
    finally:
        server.stop(None).wait()
    assert isinstance(error, errors.ThrottledError)
    assert error.retry_after == 7.5


def test_no_token_shows_in_a_traceback(pubsub: PubSub) -> None:
    secret = "ya29.not-accepted-by-anybody"
    broker = pubsub.open(secret)
    private = "MARLOWE"
    message = Message(body=private.encode(), subject=private)
    error = _fails(lambda: broker.send("orders", message))
    assert isinstance(error, errors.AuthenticationError)
    shown = "".join(traceback.format_exception(error)) + repr(vars(error)) + repr(broker) + repr(vars(broker))
    assert secret not in shown
    assert private not in shown.replace('private = "MARLOWE"', "")
