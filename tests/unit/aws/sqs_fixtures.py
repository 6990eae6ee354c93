"""What the tests of the SQS broker share: a server, a line in front of it, queues, and answers as of the service."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from clouddirect.messaging import BrokerRuntime
from clouddirect.retry import RetryPolicy
from clouddirect_aws.broker import AwsBroker
from clouddirect_aws.broker_options import AwsBrokerOptions
from emulators.http_line import Fault, HttpLine, Reply, Request
from emulators.ministack import ACCOUNT, REGION, ROOT, AccessKey, Ministack, ministack

__all__ = [
    "ARN",
    "POLICIES",
    "Queue",
    "Sqs",
    "action_of",
    "actions",
    "batch_reply",
    "error_reply",
    "guarded",
    "once",
    "sqs",
    "sqs_guard",
    "sqs_server",
]

POLICIES = Path(__file__).resolve().parents[3] / "docs" / "policies"
ARN = f"arn:aws:sqs:{REGION}:{ACCOUNT}"

#: Retries soon, so that what is retried does not keep a test waiting.
SOON = RetryPolicy(max_attempts=4, base_delay=0.01, max_delay=0.01)

Queue = str  # its URL
_numbers = itertools.count(1)


class Sqs:
    """A server, a line in front of it, and brokers that use it through that line."""

    def __init__(self, server: Ministack, line: HttpLine) -> None:
        self.server = server
        self.line = line
        self.native = server.client("sqs")
        self._opened: list[AwsBroker] = []

    def queue(self, *, fifo: bool = False, name: str | None = None, **attributes: Any) -> Queue:
        """Make a queue and return its URL."""
        name = name or f"queue-{next(_numbers)}{'.fifo' if fifo else ''}"
        wanted = {key: str(value) for key, value in attributes.items()} | ({"FifoQueue": "true"} if fifo else {})
        url: str = self.native.create_queue(QueueName=name, Attributes=wanted)["QueueUrl"]
        return url

    def options(self, key: AccessKey = ROOT, **options: Any) -> AwsBrokerOptions:
        """Options for the line, with short polls."""
        known: dict[str, Any] = {
            "region": REGION,
            "endpoint_url": self.line.url,
            "access_key_id": key.id,
            "secret_access_key": key.secret,
            "session_token": key.token,
            "poll_seconds": 1,
        }
        return AwsBrokerOptions(**{**known, **options})

    def open(self, key: AccessKey = ROOT, *, runtime: Mapping[str, Any] | None = None, **options: Any) -> AwsBroker:
        """Open a broker; it is closed when the test ends."""
        broker = AwsBroker(self.options(key, **options), BrokerRuntime(**{"retry": SOON, **(runtime or {})}))
        self._opened.append(broker)
        return broker

    def depth(self, queue: Queue) -> int:
        """How many messages the queue has, on lease or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.native.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def raw(self, queue: Queue) -> dict[str, Any]:
        """Receive one message by the SDK alone, with everything it has."""
        asked = self.native.receive_message(
            QueueUrl=queue, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"], WaitTimeSeconds=2
        )
        (found,) = asked["Messages"]
        message: dict[str, Any] = found
        return message

    def close(self) -> None:
        """Close the brokers; a long poll that is still under way ends with the line."""
        for broker in self._opened:
            broker.close(timeout=0)


def action_of(request: Request) -> str:
    """The action that a request asks for, such as ``SendMessageBatch``."""
    return request.headers["x-amz-target"].rsplit(".", 1)[-1]


def actions(line: HttpLine) -> list[str]:
    """The actions of all requests so far."""
    return [action_of(request) for request in line.seen]


def once(action: str, *faults: Fault) -> Callable[[Request], Fault | None]:
    """A rule: the first requests of this action suffer these faults, one each."""
    left = list(faults)
    return lambda request: left.pop(0) if action_of(request) == action and left else None


def error_reply(status: int, shape: str, query_code: str | None = None, **headers: str) -> Reply:
    """A refusal as SQS words it: the shape's name, and the query protocol's code in a header."""
    told = {"Content-Type": "application/x-amz-json-1.0", **headers}
    if query_code is not None:
        told["x-amzn-query-error"] = f"{query_code};Sender"
    body = json.dumps({"__type": f"com.amazonaws.sqs#{shape}", "message": "no"})
    return Reply(status, told, body.encode())


def batch_reply(successful: list[dict[str, Any]], failed: list[dict[str, Any]]) -> Reply:
    """The answer to a batch."""
    body = json.dumps({"Successful": successful, "Failed": failed})
    return Reply(200, {"Content-Type": "application/x-amz-json-1.0"}, body.encode())


@pytest.fixture(scope="session")
def sqs_server() -> Iterator[Ministack]:
    """A server that lets everybody do everything."""
    with ministack() as server:
        yield server


@pytest.fixture(scope="session")
def sqs_guard() -> Iterator[Ministack]:
    """A server that checks signatures and enforces policies."""
    with ministack(auth=True) as server:
        yield server


@pytest.fixture
def sqs(sqs_server: Ministack) -> Iterator[Sqs]:
    """The open server behind a line."""
    yield from _behind_a_line(sqs_server)


@pytest.fixture
def guarded(sqs_guard: Ministack) -> Iterator[Sqs]:
    """The guarded server behind a line."""
    yield from _behind_a_line(sqs_guard)


def _behind_a_line(server: Ministack) -> Iterator[Sqs]:
    with HttpLine(server.port) as line:
        found = Sqs(server, line)
        yield found
        line.rule = None
        found.close()
