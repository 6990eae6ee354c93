"""What the tests of the Azure store share: servers, containers, signatures and stores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas

from emulators.azurite import ACCOUNT, Azurite

__all__ = ["container_sas", "new_container"]

_ENDS = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


def new_container(server: Azurite, name: str) -> None:
    """Make a container, with the SDK and the account's key."""
    with ContainerClient.from_connection_string(server.connection_string(), name) as client:
        client.create_container()


@cache
def container_sas(server: Azurite, container: str, permissions: str) -> str:
    """Return a SAS for a container; the same one for the same permissions."""
    allowed = ContainerSasPermissions(
        read="r" in permissions, write="w" in permissions, create="c" in permissions, list="l" in permissions
    )
    return generate_container_sas(ACCOUNT, container, account_key=server.key, permission=allowed, expiry=_ENDS)
