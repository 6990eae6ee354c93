"""A Pub/Sub of the tests: the server with TLS and tokens, behind a line that can be cut, and brokers for it."""

from __future__ import annotations

import itertools
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from clouddirect.messaging import BrokerRuntime
from clouddirect.retry import RetryPolicy
from clouddirect_gcp.broker import GcpBroker
from clouddirect_gcp.broker_options import GcpBrokerOptions
from emulators.pubsub import PubSubServer
from emulators.tcp_line import TcpLine

__all__ = ["ONCE", "PROJECT", "PubSub", "pubsub", "pubsub_service"]

PROJECT = "clinic-test"
#: Tries nothing twice, so that a test sees each error.
ONCE = RetryPolicy(max_attempts=1)


class PubSub:
    """The service: topics and subscriptions of one project, tokens with rights on them, and brokers.

    A queue is a topic and a subscription of the same short name.

    Attributes:
        server: the test server.
        line: what the brokers connect through.
    """

    def __init__(self, server: PubSubServer, line: TcpLine, tokens: dict[str, dict[str, str]], ca_file: Path) -> None:
        self.server = server
        self.line = line
        self._tokens = tokens
        self._ca_file = ca_file
        self._numbers = itertools.count(1)
        self.all_rights = self.token({f"projects/{PROJECT}": "editor"})
        self.opened: list[GcpBroker] = []

    def topic(self, queue: str) -> str:
        """Full name of a queue's topic."""
        return f"projects/{PROJECT}/topics/{queue}"

    def subscription(self, queue: str) -> str:
        """Full name of a queue's subscription."""
        return f"projects/{PROJECT}/subscriptions/{queue}"

    def queue(self, *, max_deliveries: int | None = None, **settings: Any) -> str:
        """Make a queue; with ``max_deliveries`` also the one that its dead letters go to, called ``<queue>.dead``."""
        name = f"queue-{next(self._numbers)}"
        if max_deliveries is not None:
            dead = self.queue_called(f"{name}.dead")
            settings |= {"dead_letter_topic": self.topic(dead), "max_delivery_attempts": max_deliveries}
        return self.queue_called(name, **settings)

    def queue_called(self, name: str, **settings: Any) -> str:
        """Make a queue of this name."""
        self.server.add_topic(self.topic(name))
        self.server.add_subscription(self.subscription(name), self.topic(name), **settings)
        return name

    def token(self, rights: dict[str, str]) -> str:
        """Return a new token that holds the role on each resource."""
        token = f"ya29.{uuid.uuid4().hex}"
        self._tokens[token] = rights
        return token

    @property
    def secrets(self) -> list[str]:
        """Every token that was ever handed out."""
        return list(self._tokens)

    def options(self, token: str | None = None, **options: Any) -> GcpBrokerOptions:
        """Options that lead to the server."""
        where = {"project": PROJECT, "endpoint": f"localhost:{self.line.port}", "ca_file": self._ca_file}
        return GcpBrokerOptions.model_validate({**where, "access_token": token or self.all_rights, **options})

    def open(self, token: str | None = None, runtime: dict[str, Any] | None = None, **options: Any) -> GcpBroker:
        """Open a broker; unless told otherwise it tries nothing twice."""
        broker = GcpBroker(self.options(token, **options), BrokerRuntime(**{"retry": ONCE, **(runtime or {})}))
        self.opened.append(broker)
        return broker

    def without_credential(self) -> GcpBroker:
        """Open a broker that has to look for a credential by itself."""
        options = self.options().model_copy(update={"access_token": None})
        broker = GcpBroker(options, BrokerRuntime(retry=ONCE))
        self.opened.append(broker)
        return broker

    @contextmanager
    def line_to_nowhere(self) -> Iterator[int]:
        """A port on which nobody listens, kept from others meanwhile."""
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            yield held.getsockname()[1]

    @property
    def patient(self) -> dict[str, Any]:
        """Fields of a runtime that tries again soon and often."""
        return {"retry": RetryPolicy(max_attempts=20, base_delay=0.1, max_delay=1.0)}

    def until(self, predicate: Callable[[], object]) -> None:
        """Wait until something holds; fail when it has not within a minute."""
        ends, tick = time.monotonic() + 60, threading.Event()
        while not predicate():
            assert time.monotonic() < ends, "it did not come about"
            tick.wait(0.01)

    def reset(self) -> None:
        """Close the brokers of a test, and take back its faults."""
        self.server.faults.clear()
        self.line.resume()
        self.line.accept()
        while self.opened:
            self.opened.pop().close(timeout=5)


@contextmanager
def pubsub_service(directory: Path) -> Iterator[PubSub]:
    """Run the server and the line."""
    tokens: dict[str, dict[str, str]] = {}
    with PubSubServer(tokens, tls=True) as server, TcpLine(server.port) as line:
        ca_file = directory / "pubsub-root.pem"
        ca_file.write_bytes(server.root_certificates)
        yield PubSub(server, line, tokens, ca_file)


@pytest.fixture(scope="session")
def _pubsub_of_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PubSub]:
    with pubsub_service(tmp_path_factory.mktemp("pubsub")) as service:
        yield service


@pytest.fixture
def pubsub(_pubsub_of_session: PubSub) -> Iterator[PubSub]:
    """The service; what the test opened is closed behind it."""
    yield _pubsub_of_session
    _pubsub_of_session.reset()
