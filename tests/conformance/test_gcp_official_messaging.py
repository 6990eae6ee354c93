"""The Pub/Sub broker passes the messaging suite against Google's own emulator, where that is installed.

Runs when the environment variable CLOUDDIRECT_TEST_PUBSUB is ``official``. The emulator comes with the Google Cloud
CLI (``gcloud components install pubsub-emulator``, or the Debian package google-cloud-cli-pubsub-emulator) and needs
Java; its jar is looked for beside ``gcloud``, or given as CLOUDDIRECT_TEST_PUBSUB_JAR. It knows neither credentials nor
exactly-once delivery, and no lease under ten seconds.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest

from clouddirect.conformance import MessagingConformance
from clouddirect.messaging import BrokerRuntime, MessageBroker
from clouddirect_gcp.broker import GcpBroker
from clouddirect_gcp.broker_options import GcpBrokerOptions
from emulators.processes import Server, free_port
from emulators.tcp_line import TcpLine

__all__ = ["TestGcpOfficialMessaging"]

PROJECT = "clinic-test"
_JARS = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"


def _jar() -> Path | None:
    given = os.environ.get("CLOUDDIRECT_TEST_PUBSUB_JAR")
    if given:
        return Path(given)
    gcloud = shutil.which("gcloud")
    roots = [Path("/usr/lib/google-cloud-sdk"), *([Path(gcloud).resolve().parents[1]] if gcloud else [])]
    return next((jar for root in roots for jar in root.glob(_JARS)), None)


def _serves(port: int) -> bool:
    """Whether the emulator answers; it listens before it does."""
    from google.pubsub_v1 import types

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            "/google.pubsub.v1.Publisher/ListTopics",
            types.ListTopicsRequest.serialize,
            types.ListTopicsResponse.deserialize,
        )
        try:
            call(types.ListTopicsRequest(project=f"projects/{PROJECT}"), timeout=2)
        except grpc.RpcError:
            return False
        return True


@pytest.fixture(scope="module")
def line() -> Iterator[TcpLine]:
    if os.environ.get("CLOUDDIRECT_TEST_PUBSUB") != "official":
        pytest.skip("runs only with CLOUDDIRECT_TEST_PUBSUB=official")
    jar, java = _jar(), shutil.which("java")
    if jar is None or java is None:
        pytest.fail("CLOUDDIRECT_TEST_PUBSUB=official needs Java and Google's emulator: see this module's text")
    port = free_port()
    command = [java, "-jar", str(jar), "--host=127.0.0.1", f"--port={port}"]
    with Server(command, ready=lambda: _serves(port)), TcpLine(port) as running:
        yield running


class TestGcpOfficialMessaging(MessagingConformance):
    """Google's emulator: subscriptions with message ordering where asked for."""

    complete = True
    shortest_lease = 10.0
    slack = 1.5  # the emulator looks after its leases once a second
    without = {  # noqa: RUF012 - declared as a class variable by the suite
        "dead_letter_queue": "its policies dead-letter after five deliveries at the earliest, the case wants three",
        "send_only_broker": "the emulator knows no credentials",
        "receive_only_broker": "the emulator knows no credentials",
        "wrong_credential_broker": "the emulator knows no credentials",
    }
    _numbers = itertools.count(1)

    @pytest.fixture(autouse=True)
    def _service(self, line: TcpLine) -> Iterator[None]:
        self.line = line
        native: Any = self._open({}).native
        with native.publisher() as self.publisher, native.subscriber() as self.subscriber:
            yield

    def make_broker(self, **runtime: Any) -> MessageBroker:
        return self._open(runtime)

    def _open(self, runtime: dict[str, Any]) -> MessageBroker:
        options = GcpBrokerOptions(
            project=PROJECT,
            emulator_host=f"127.0.0.1:{self.line.port}",
            lease=int(self.long_lease),
            ordered=True,
        )
        return GcpBroker(options, BrokerRuntime(**runtime))

    def new_queue(
        self,
        *,
        lease: float | None = None,
        max_deliveries: int | None = None,
        ordered: bool = False,
        deduplicating: bool = False,
    ) -> str:
        name = f"queue-{next(self._numbers)}"
        settings: dict[str, Any] = {"ack_deadline_seconds": 10, "enable_message_ordering": ordered}
        self._make(name, settings)
        return name

    def _make(self, name: str, settings: dict[str, Any]) -> None:
        self.publisher.create_topic(name=self._topic(name))
        subscription = f"projects/{PROJECT}/subscriptions/{name}"
        self.subscriber.create_subscription({"name": subscription, "topic": self._topic(name), **settings})

    def _topic(self, name: str) -> str:
        return f"projects/{PROJECT}/topics/{name}"

    def missing_queue(self) -> str:
        return "no-such-queue"

    def foreign_send(self, queue: str, body: bytes, attributes: Mapping[str, str]) -> None:
        self.publisher.publish(self._topic(queue), body, **attributes).result(30)

    def cut_connections(self) -> None:
        self.line.cut()

    def secrets(self) -> list[str]:
        return []
