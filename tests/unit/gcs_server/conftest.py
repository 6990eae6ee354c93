"""A server with a bucket for each test, and the SDK's client connected to it."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator

import google.auth.credentials
import google.oauth2.credentials
import pytest
from google.cloud import storage

from emulators.gcs import GcsServer

#: Makes a client for a server, anonymous or with a bearer token.
Connect = Callable[..., storage.Client]


@pytest.fixture(autouse=True)
def _sockets_of_failed_downloads() -> Iterator[None]:
    """Let the SDK leave sockets to the garbage collector: it does not read the answer of a download that failed."""
    warnings.filterwarnings("ignore", category=ResourceWarning)
    yield
    gc.collect()


@pytest.fixture
def server() -> Iterator[GcsServer]:
    """A server with one bucket, ``clinic``, where everybody may do everything."""
    with GcsServer() as running:
        running.add_bucket("clinic")
        yield running


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Make clients that are closed after the test."""
    clients: list[storage.Client] = []

    def connect_to(server: GcsServer, token: str | None = None) -> storage.Client:
        credentials = (
            google.auth.credentials.AnonymousCredentials()
            if token is None
            else google.oauth2.credentials.Credentials(token)
        )
        client = storage.Client("test", credentials, client_options={"api_endpoint": server.url})
        clients.append(client)
        return client

    yield connect_to
    for client in clients:
        client.close()


@pytest.fixture
def bucket(server: GcsServer, connect: Connect) -> storage.Bucket:
    """The bucket ``clinic``, as an anonymous client of the SDK has it."""
    return connect(server).bucket("clinic")
