"""What the tests of the Azure store share: a server, containers, signatures and stores."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas

from clouddirect.retry import RetryPolicy
from clouddirect.storage import StoreRuntime
from clouddirect_azure.store import AzureStore
from clouddirect_azure.store_options import AzureStoreOptions
from emulators.azurite import ACCOUNT, Azurite, azurite
from emulators.http_line import Fault, HttpLine, Request
from unit.azure.bus_fixtures import Certificates

__all__ = [
    "AT_ONCE",
    "Blobs",
    "SecureBlobs",
    "blob_server",
    "blobs",
    "container_sas",
    "new_container",
    "secure_blobs",
]

_COUNTER = itertools.count(1)
_ENDS = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)

#: Retries without waiting.
AT_ONCE = RetryPolicy(max_attempts=4, base_delay=0.0, max_delay=0.0)


def new_container(server: Azurite, name: str) -> None:
    """Make a container, with the SDK and the account's key."""
    with ContainerClient.from_connection_string(server.connection_string(), name) as client:
        client.create_container()


@cache
def container_sas(server: Azurite, container: str, permissions: str, ends: datetime = _ENDS) -> str:
    """Return a SAS for a container; the same one for the same permissions."""
    allowed = ContainerSasPermissions(
        read="r" in permissions, write="w" in permissions, create="c" in permissions, list="l" in permissions
    )
    return generate_container_sas(ACCOUNT, container, account_key=server.key, permission=allowed, expiry=ends)


@dataclass
class Blobs:
    """A container of the test's own; stores, lines and SDK clients are closed when the test ends."""

    server: Azurite
    container: str
    opened: ExitStack

    def line(self, rule: Callable[[Request], Fault | None] | None = None, **line: Any) -> HttpLine:
        """Open a line to the server."""
        return self.opened.enter_context(HttpLine(self.server.port, rule=rule, **line))

    def store(self, line: HttpLine | None = None, permissions: str | None = None, **runtime: Any) -> AzureStore:
        """Open a store with the account's key, or with a SAS, directly or over a line."""
        port = line.port if line else None
        credential: dict[str, Any] = {"account_key": self.server.key}
        if permissions is not None:
            credential = {"sas_token": container_sas(self.server, self.container, permissions)}
        return self.open(account_url=self.server.url(port), **credential, runtime=runtime)

    def open(self, *, runtime: dict[str, Any] | None = None, **options: Any) -> AzureStore:
        """Open a store with these options."""
        made = AzureStoreOptions(**{"container": self.container, **options})
        return self.opened.enter_context(AzureStore(made, StoreRuntime(**{"retry": AT_ONCE, **(runtime or {})})))

    @property
    def sdk(self) -> ContainerClient:
        """The SDK's client, as other programs use it."""
        client = ContainerClient.from_connection_string(
            self.server.connection_string(), self.container, max_block_size=65536, max_single_put_size=65536
        )
        return self.opened.enter_context(client)

    def put_without_md5(self, key: str, data: bytes, block: str = "AAAA") -> None:
        """Store a blob as most programs do: in blocks, with no digest of the whole."""
        blob = self.sdk.get_blob_client(key)
        blob.stage_block(block, data)
        blob.commit_block_list([block])


@pytest.fixture(scope="session")
def blob_server() -> Iterator[Azurite]:
    """One Azurite for all tests of a process."""
    with azurite() as running:
        yield running


@pytest.fixture
def blobs(blob_server: Azurite) -> Iterator[Blobs]:
    """A container of the test's own."""
    container = f"unit-{next(_COUNTER)}"
    new_container(blob_server, container)
    with ExitStack() as opened:
        yield Blobs(blob_server, container, opened)


class SecureBlobs(NamedTuple):
    """Azurite over TLS, where it takes Entra tokens, with the container ``images``; ``authority`` vouches for it."""

    server: Azurite
    authority: Path


@pytest.fixture(scope="session")
def secure_blobs(bus_certificates: Certificates) -> Iterator[SecureBlobs]:
    """One server over TLS for all tests of a process."""
    with azurite((bus_certificates.chain, bus_certificates.key)) as server:
        with ContainerClient.from_connection_string(
            server.connection_string(), "images", connection_verify=str(bus_certificates.authority)
        ) as client:
            client.create_container()
        yield SecureBlobs(server, bus_certificates.authority)
