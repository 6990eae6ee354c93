"""The SQS broker passes the messaging suite, for standard and for FIFO queues, with IAM enforced."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from clouddirect.conformance import MessagingConformance
from clouddirect.messaging import BrokerRuntime, MessageBroker
from clouddirect_aws.broker import AwsBroker
from clouddirect_aws.broker_options import AwsBrokerOptions
from emulators.ministack import ACCOUNT, REGION, ROOT, AccessKey, Ministack, ministack
from emulators.tcp_line import TcpLine

POLICIES = Path(__file__).resolve().parents[2] / "docs" / "policies"
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Ministack]:
    with ministack(auth=True) as running:
        yield running


@pytest.fixture(scope="module")
def line(server: Ministack) -> Iterator[TcpLine]:
    with TcpLine(server.port) as running:
        yield running


class _Queues(MessagingConformance):
    """Queues are named by URL, so that a least-privilege credential needs to look nothing up."""

    complete = True
    load_count = 3000  # ministack slows with deep queues
    slack = 1.0  # SQS counts whole seconds
    shortest_lease = 2.0  # whole seconds, and longer than the one that a poll takes at least
    quiet = 1.0
    fifo = False

    @pytest.fixture(autouse=True)
    def _server(self, server: Ministack, line: TcpLine, request: pytest.FixtureRequest) -> None:
        # a poll that is cut off may have taken messages, and then they are hidden until their lease ends
        self.lease = 2 if request.node.name == "test_cut_connections" else 60
        self.server = server
        self.line = line
        self.sqs = server.client("sqs")
        self.keys = [ROOT]

    def make_broker(self, **runtime: Any) -> MessageBroker:
        return self._open(ROOT, runtime)

    def send_only_broker(self, queue: str, **runtime: Any) -> MessageBroker:
        return self._open(self._key("aws-sqs-send.json", queue), runtime)

    def receive_only_broker(self, queue: str, **runtime: Any) -> MessageBroker:
        return self._open(self._key("aws-sqs-receive.json", queue), runtime)

    def wrong_credential_broker(self, **runtime: Any) -> MessageBroker:
        right = self.server.key_with((POLICIES / "aws-sqs-send.json").read_text(encoding="utf-8"))
        return self._open(right._replace(secret="not-the-secret-of-this-key"), runtime)

    def new_queue(
        self,
        *,
        lease: float | None = None,
        max_deliveries: int | None = None,
        ordered: bool = False,
        deduplicating: bool = False,
    ) -> str:
        fifo = self.fifo or ordered or deduplicating
        attributes = {"FifoQueue": "true"} if fifo else {}
        if max_deliveries is not None:
            dead = self._create(attributes)
            redrive = {"deadLetterTargetArn": self._arn(dead), "maxReceiveCount": max_deliveries}
            attributes["RedrivePolicy"] = json.dumps(redrive)
        return self._create({**attributes, "VisibilityTimeout": str(int(lease or 30))})

    def missing_queue(self) -> str:
        return f"{self.server.url}/{ACCOUNT}/no-such-queue{'.fifo' if self.fifo else ''}"

    def dead_letter_queue(self, queue: str) -> Any:
        asked = self.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["RedrivePolicy"])
        name = json.loads(asked["Attributes"]["RedrivePolicy"])["deadLetterTargetArn"].rsplit(":", 1)[-1]
        return self.sqs.get_queue_url(QueueName=name)["QueueUrl"]

    def foreign_send(self, queue: str, body: bytes, attributes: Mapping[str, str]) -> None:
        typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        fifo = {"MessageGroupId": "theirs", "MessageDeduplicationId": "1"} if queue.endswith(".fifo") else {}
        self.sqs.send_message(QueueUrl=queue, MessageBody=body.decode(), MessageAttributes=typed, **fifo)

    def cut_connections(self) -> None:
        self.line.cut()

    def secrets(self) -> list[str]:
        return [key.secret for key in self.keys] + ["not-the-secret-of-this-key"]

    def _open(self, key: AccessKey, runtime: dict[str, Any]) -> MessageBroker:
        options = AwsBrokerOptions(
            region=REGION,
            endpoint_url=f"http://127.0.0.1:{self.line.port}",
            access_key_id=key.id,  # type: ignore[arg-type]  # pydantic makes secrets of them
            secret_access_key=key.secret,  # type: ignore[arg-type]
            lease=self.lease,
            poll_seconds=1,
        )
        return AwsBroker(options, BrokerRuntime(**runtime))

    def _key(self, policy: str, queue: str) -> AccessKey:
        text = (POLICIES / policy).read_text(encoding="utf-8")
        (named,) = {statement["Resource"] for statement in json.loads(text)["Statement"]}
        key = self.server.key_with(text.replace(named, self._arn(queue)))
        self.keys.append(key)
        return key

    def _create(self, attributes: Mapping[str, str]) -> str:
        name = f"queue-{next(NUMBERS)}{'.fifo' if 'FifoQueue' in attributes else ''}"
        url: str = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url

    def _arn(self, queue: str) -> str:
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue.rsplit('/', 1)[-1]}"


class TestAwsStandardMessaging(_Queues):
    """Standard queues; FIFO ones in the cases on order and deduplication."""


class TestAwsFifoMessaging(_Queues):
    """FIFO queues everywhere: a message without an ordering key is a group of its own."""

    fifo = True
    load_count = 2000
