"""What tests of the Service Bus broker use: a namespace of the test's own, plain and with TLS, and brokers on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from clouddirect.messaging import BrokerRuntime, MessageBroker
from clouddirect.retry import RetryPolicy
from clouddirect_azure.broker import AzureBroker
from clouddirect_azure.broker_options import AzureBrokerOptions
from emulators.servicebus import Limits, QueueSettings, ServiceBusServer, SubscriptionSettings, TopicSettings

__all__ = ["BrokerMaker", "Certificates", "bus", "bus_brokers", "bus_certificates", "make_certificates", "open_bus"]

#: Opens a broker with these options; ``runtime`` is for `BrokerRuntime`. All are closed when the test ends.
BrokerMaker = Callable[..., MessageBroker]


class Certificates(NamedTuple):
    """PEM files of an authority of the test's own, and of a server that it vouches for."""

    authority: Path
    chain: Path
    key: Path


def make_certificates(directory: Path, *names: str) -> Certificates:
    """Write certificates for a server of these names (default: this machine's own)."""
    authority = trustme.CA()
    server = authority.issue_cert(*(names or ("localhost", "127.0.0.1")))
    files = Certificates(directory / "authority.pem", directory / "chain.pem", directory / "key.pem")
    authority.cert_pem.write_to_path(str(files.authority))
    server.private_key_pem.write_to_path(str(files.key))
    for number, part in enumerate(server.cert_chain_pems):
        part.write_to_path(str(files.chain), append=number > 0)
    return files


@pytest.fixture(scope="session")
def bus_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates for 127.0.0.1 and localhost."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def open_bus(server: ServiceBusServer, runtime: dict[str, Any] | None = None, **options: Any) -> MessageBroker:
    """Open a broker on ``server``, with its first key unless ``options`` say otherwise."""
    if "fully_qualified_namespace" not in options:
        options.setdefault("connection_string", server.connection_string())
    return AzureBroker(AzureBrokerOptions(**options), BrokerRuntime(**(runtime or {})))


@pytest.fixture
def bus() -> Iterator[ServiceBusServer]:
    """A namespace with the queues ``q`` (locks of 30 s), ``brief`` (2 s) and ``ordered`` (sessions), and a topic
    ``t`` with the subscriptions ``one`` and ``two``.
    """
    queues = [
        QueueSettings("q", lock=30, max_deliveries=1000),
        QueueSettings("brief", lock=2, max_deliveries=1000),
        QueueSettings("ordered", lock=30, sessions=True, max_deliveries=1000),
    ]
    topic = TopicSettings("t", [SubscriptionSettings("one", lock=30), SubscriptionSettings("two", lock=30)])
    with ServiceBusServer(queues, topics=[topic], limits=Limits(link_idle=3600)) as server:
        yield server


@pytest.fixture
def bus_brokers(bus: ServiceBusServer, tmp_path: Path) -> Iterator[BrokerMaker]:
    """Opens brokers on ``bus``; with few and quick retries unless ``runtime`` says otherwise."""
    opened: list[MessageBroker] = []

    def make(runtime: dict[str, Any] | None = None, **options: Any) -> MessageBroker:
        quick = RetryPolicy(max_attempts=5, base_delay=0.05, max_delay=0.5, deadline=30)
        options.setdefault("sessions", ("ordered",))
        broker = open_bus(bus, {"retry": quick, "quarantine": tmp_path / "quarantine", **(runtime or {})}, **options)
        opened.append(broker)
        return broker

    yield make
    for broker in opened:
        broker.close(timeout=10)
