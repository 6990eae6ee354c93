"""The Service Bus broker passes the messaging suite, plain and over TLS, against the project's own test server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage, TransportType

from clouddirect.conformance import MessagingConformance
from clouddirect.messaging import MessageBroker
from emulators.servicebus import LISTEN, SEND, AccessKey, QueueSettings, ServiceBusServer
from unit.azure.bus_fixtures import Certificates, bus_certificates, open_bus

__all__ = ["bus_certificates"]

_NAMES = itertools.count(1)
_KEY = "a2V5LW9mLXRoZS1jb25mb3JtYW5jZS1zdWl0ZQ=="
_WRONG = "d3Jvbmcta2V5LW9mLXRoZS1zdWl0ZQ=="


@pytest.fixture(scope="module")
def plain_server() -> Iterator[ServiceBusServer]:
    """A namespace for all cases; each case has queues of its own."""
    with ServiceBusServer(keys=[AccessKey("all", _KEY)]) as server:
        yield server


@pytest.fixture(scope="module")
def tls_server(bus_certificates: Certificates) -> Iterator[ServiceBusServer]:
    """The same with TLS."""
    with ServiceBusServer(keys=[AccessKey("all", _KEY)], tls=(bus_certificates.chain, bus_certificates.key)) as server:
        yield server


class TestServiceBusMessaging(MessagingConformance):
    """Plain AMQP, as the emulators speak it; each side with a key of its own queue that may do nothing else."""

    complete = True
    short_delay = 1.0
    tls: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    def _use_server(self, request: pytest.FixtureRequest, bus_certificates: Certificates) -> None:
        self.server: ServiceBusServer = request.getfixturevalue("tls_server" if self.tls else "plain_server")
        self.certificates = bus_certificates
        self.strings = [self.server.connection_string()]

    def reached(self) -> dict[str, Any]:
        """How to reach the server; by TLS the SDK takes the port from a custom endpoint only."""
        if not self.tls:
            return {}
        return {"endpoint": self.server.endpoint.removeprefix("sb://"), "ca_file": self.certificates.authority}

    def make_broker(self, **runtime: Any) -> MessageBroker:
        return self._open(self.server.connection_string(), runtime)

    def send_only_broker(self, queue: str, **runtime: Any) -> MessageBroker:
        return self._open(self.server.connection_string(queue, rights=[SEND]), runtime)

    def receive_only_broker(self, queue: str, **runtime: Any) -> MessageBroker:
        return self._open(self.server.connection_string(queue, rights=[LISTEN]), runtime)

    def wrong_credential_broker(self, **runtime: Any) -> MessageBroker:
        return self._open(self.server.connection_string().replace(_KEY, _WRONG), runtime)

    def _open(self, connection_string: str, runtime: dict[str, Any]) -> MessageBroker:
        self.strings.append(connection_string)
        return open_bus(
            self.server,
            runtime,
            connection_string=connection_string,
            sessions=("ordered-*",),
            deduplication=("single-*",),
            **self.reached(),
        )

    def new_queue(
        self,
        *,
        lease: float | None = None,
        max_deliveries: int | None = None,
        ordered: bool = False,
        deduplicating: bool = False,
    ) -> str:
        kind = "ordered" if ordered else "single" if deduplicating else "queue"
        name = f"{kind}-{next(_NAMES)}"
        self.server.add_queue(QueueSettings(
            name, lock=lease or 30.0, max_deliveries=max_deliveries or 1000, sessions=ordered,
            duplicates=300.0 if deduplicating else 0.0,
        ))  # fmt: skip
        return name

    def missing_queue(self) -> str:
        return "no-such-queue"

    def dead_letter_queue(self, queue: str) -> str:
        return f"{queue}/$DeadLetterQueue"

    def foreign_send(self, queue: str, body: bytes, attributes: Mapping[str, str]) -> None:
        options = self.reached()
        more: dict[str, Any] = {}
        if options:
            more = {
                "custom_endpoint_address": self.server.endpoint,
                "connection_verify": str(options["ca_file"]),
                "transport_type": TransportType.Amqp,
            }
        with ServiceBusClient.from_connection_string(self.server.connection_string(), **more) as client, \
                client.get_queue_sender(queue) as sender:  # fmt: skip
            sender.send_messages(ServiceBusMessage(body, application_properties=dict(attributes)))

    def cut_connections(self) -> None:
        assert self.server.cut_connections()

    def secrets(self) -> list[str]:
        keys = [key.key for key in self.server.authority.keys.values()]
        return [*self.strings, *keys, _WRONG, "sig="]


class TestServiceBusMessagingOverTls(TestServiceBusMessaging):
    """As the service does it: TLS, with the certificate checked."""

    tls = True
