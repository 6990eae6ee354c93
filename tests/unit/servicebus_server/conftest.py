"""What the tests of the Service Bus server share: a server to start, and clients of the real SDK that do not retry."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
import trustme
from azure.servicebus import (
    ServiceBusClient,
    ServiceBusReceivedMessage,
    ServiceBusReceiver,
    ServiceBusSender,
    TransportType,
)

from emulators.servicebus import QueueSettings, ServiceBusServer


class StartServer(Protocol):
    def __call__(self, *queues: QueueSettings | str, **settings: Any) -> ServiceBusServer: ...


class Clients:
    """Opens senders and receivers on a server; all are closed at the end of the test."""

    def __init__(self) -> None:
        self._clients: list[ServiceBusClient] = []
        self._handlers: list[Any] = []

    def client(
        self,
        server: ServiceBusServer,
        *,
        rights: Iterable[str] | None = None,
        string: str | None = None,
        **options: Any,
    ) -> ServiceBusClient:
        """A client with a key of just these ``rights``, or with a connection ``string``."""
        string = string or server.connection_string(rights=rights)
        return self.keep(ServiceBusClient.from_connection_string(string, **{"retry_total": 0, **options}))

    def keep(self, client: ServiceBusClient) -> ServiceBusClient:
        """Close a client at the end of the test."""
        self._clients.append(client)
        return client

    def sender(self, server: ServiceBusServer, queue: str, **options: Any) -> ServiceBusSender:
        return self.enter(self.client(server, rights=["Send"]).get_queue_sender(queue, **options))

    def receiver(self, server: ServiceBusServer, queue: str, **options: Any) -> ServiceBusReceiver:
        return self.enter(self.client(server, rights=["Listen"]).get_queue_receiver(queue, **options))

    def enter(self, handler: Any) -> Any:
        """Open a sender or receiver, and close it at the end of the test."""
        self._handlers.append(handler)
        return handler.__enter__()

    def close(self) -> None:
        """Close all; each takes the SDK up to a second, so together."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda handler: handler.close(), self._handlers))
        for client in self._clients:
            client.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """azure-servicebus leaves sockets open where opening a link fails; that is no fault of these tests."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))


@pytest.fixture(autouse=True)
def collect_what_the_sdk_leaves() -> Iterator[None]:
    """Collect such sockets here, so that no other test sees the warning."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def start() -> Iterator[StartServer]:
    """Starts servers."""
    with ExitStack() as stack:
        yield lambda *queues, **settings: stack.enter_context(ServiceBusServer(queues, **settings))


@pytest.fixture
def clients() -> Iterator[Clients]:
    """Opens clients."""
    opened = Clients()
    yield opened
    opened.close()


@pytest.fixture
def receive_one() -> Callable[[ServiceBusReceiver], ServiceBusReceivedMessage]:
    """Receives a message that must come."""

    def receive(receiver: ServiceBusReceiver) -> ServiceBusReceivedMessage:
        (message,) = receiver.receive_messages(1, max_wait_time=10)
        return message

    return receive


@pytest.fixture
def receive_all() -> Callable[[ServiceBusReceiver, int], list[ServiceBusReceivedMessage]]:
    """Receives as many messages as are said, which must come."""

    def receive(receiver: ServiceBusReceiver, count: int) -> list[ServiceBusReceivedMessage]:
        received: list[ServiceBusReceivedMessage] = []
        while len(received) < count:
            more = receiver.receive_messages(count - len(received), max_wait_time=10)
            assert more, f"{len(received)} of {count} came"
            received += more
        return received

    return receive


@dataclass(frozen=True)
class Certificate:
    """A server's certificate: ``files`` for the server, ``options`` for a client that is to trust it."""

    files: tuple[Path, Path]
    options: dict[str, Any]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for 127.0.0.1 from an authority of our own."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    chain, key, trusted = directory / "chain.pem", directory / "key.pem", directory / "ca.pem"
    for number, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(str(chain), append=number > 0)
    issued.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(trusted))
    return Certificate((chain, key), {"connection_verify": str(trusted), "transport_type": TransportType.Amqp})
