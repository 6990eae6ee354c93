"""The Pub/Sub broker passes the messaging suite against Google's own emulator, where that is installed.

Runs when the environment variable CLOUDDIRECT_TEST_PUBSUB is ``official``; `emulators.pubsub.official` says where the
emulator is looked for. It knows no credentials, no lease under ten seconds, and an order of its own for what was given
back.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from clouddirect.conformance import MessagingConformance
from clouddirect.messaging import BrokerRuntime, MessageBroker
from clouddirect_gcp.broker import GcpBroker
from clouddirect_gcp.broker_options import GcpBrokerOptions
from emulators.pubsub.official import official_command, official_emulator
from emulators.tcp_line import TcpLine

__all__ = ["TestGcpOfficialMessaging"]

PROJECT = "clinic-test"


@pytest.fixture(scope="module")
def line() -> Iterator[TcpLine]:
    if os.environ.get("CLOUDDIRECT_TEST_PUBSUB") != "official":
        pytest.skip("runs only with CLOUDDIRECT_TEST_PUBSUB=official")
    if official_command() is None:
        pytest.fail(
            "CLOUDDIRECT_TEST_PUBSUB=official needs Google's emulator and Java: see emulators/pubsub/official.py"
        )
    with official_emulator() as endpoint, TcpLine(int(endpoint.rpartition(":")[2])) as running:
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

    @pytest.mark.skip(
        reason="given back, a message comes behind those of its key that were not delivered yet: see "
        "test_the_emulator_prefers_what_is_new in tests/unit/pubsub_server/test_official.py"
    )
    def test_nothing_overtakes_a_message_that_failed(self) -> None:  # type: ignore[override]
        """The emulator itself lets messages overtake."""

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
