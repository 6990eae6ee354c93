"""A server for each test, and the SDK's clients connected to it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

from emulators.pubsub import PubSubServer
from unit.pubsub_server.clients import Clients


@pytest.fixture(autouse=True)
def _pull_at_once() -> None:
    """Let tests use ``return_immediately``: it is deprecated, and served all the same."""
    warnings.filterwarnings("ignore", "The return_immediately flag", DeprecationWarning)


@pytest.fixture
def server() -> Iterator[PubSubServer]:
    """A server with nothing in it."""
    with PubSubServer() as running:
        yield running


@pytest.fixture
def clients(server: PubSubServer) -> Iterator[Clients]:
    """The SDK's clients, connected to the server."""
    with Clients(server.endpoint) as connected:
        yield connected


@pytest.fixture
def topic(server: PubSubServer) -> str:
    """A topic."""
    return server.add_topic("projects/clinic/topics/orders")


@pytest.fixture
def subscription(server: PubSubServer, topic: str) -> str:
    """A subscription without special settings to the topic."""
    return server.add_subscription("projects/clinic/subscriptions/orders", topic)
