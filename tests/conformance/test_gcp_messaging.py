"""The Pub/Sub broker passes the messaging suite: on plain subscriptions, and on those with everything switched on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest

from clouddirect.conformance import MessagingConformance
from clouddirect.messaging import BrokerRuntime, MessageBroker
from clouddirect_gcp.broker import GcpBroker
from unit.gcp.pubsub_fixtures import PubSub, pubsub_service

__all__ = ["TestGcpFullMessaging", "TestGcpMessaging"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PubSub]:
    with pubsub_service(tmp_path_factory.mktemp("pubsub")) as running:
        yield running


class TestGcpMessaging(MessagingConformance):
    """TLS, tokens with least privilege, and subscriptions as they are made by default."""

    complete = True
    shortest_lease = 2.0  # whole seconds; a busy machine may take one
    settings: ClassVar[Mapping[str, bool]] = {}

    @pytest.fixture(autouse=True)
    def _service(self, service: PubSub) -> None:
        self.service = service

    def make_broker(self, **runtime: Any) -> MessageBroker:
        return self._open(None, runtime)

    def send_only_broker(self, queue: str, **runtime: Any) -> MessageBroker:
        return self._open(self.service.token({self.service.topic(queue): "publisher"}), runtime)

    def receive_only_broker(self, queue: str, **runtime: Any) -> MessageBroker:
        return self._open(self.service.token({self.service.subscription(queue): "subscriber"}), runtime)

    def wrong_credential_broker(self, **runtime: Any) -> MessageBroker:
        return self._open("ya29.wrong-token", runtime)

    def _open(self, token: str | None, runtime: dict[str, Any]) -> MessageBroker:
        options = self.service.options(token, lease=int(self.long_lease), **self.settings)
        return GcpBroker(options, BrokerRuntime(**runtime))

    def new_queue(
        self,
        *,
        lease: float | None = None,
        max_deliveries: int | None = None,
        ordered: bool = False,
        deduplicating: bool = False,
    ) -> str:
        return self.service.queue(ack_deadline=lease or 30.0, max_deliveries=max_deliveries)

    def missing_queue(self) -> str:
        return "no-such-queue"

    def dead_letter_queue(self, queue: str) -> str:
        return f"{queue}.dead"

    def foreign_send(self, queue: str, body: bytes, attributes: Mapping[str, str]) -> None:
        self.service.server.publish(self.service.topic(queue), body, attributes)

    def cut_connections(self) -> None:
        self.service.line.cut()

    def secrets(self) -> list[str]:
        return [*self.service.secrets, "ya29.wrong-token"]


class TestGcpFullMessaging(TestGcpMessaging):
    """Exactly-once delivery, a dead-letter policy on every subscription, and message ordering where it is asked for."""

    settings: ClassVar[Mapping[str, bool]] = {"ordered": True, "exactly_once": True, "counted": True}

    def new_queue(
        self,
        *,
        lease: float | None = None,
        max_deliveries: int | None = None,
        ordered: bool = False,
        deduplicating: bool = False,
    ) -> str:
        return self.service.queue(
            ack_deadline=lease or 30.0, max_deliveries=max_deliveries or 100, ordered=ordered, exactly_once=True
        )
