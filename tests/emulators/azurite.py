"""Azurite, the Azure Storage emulator from npm, as a server process that keeps everything in memory."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emulators.installing import node_command
from emulators.processes import Server, accepts, free_port

__all__ = ["ACCOUNT", "Azurite", "azurite", "azurite_command"]

_VERSION = "3.35.0"

#: The account that the server knows; its key is made anew by each process.
ACCOUNT = "devaccount"


@dataclass(frozen=True, slots=True)
class Azurite:
    """A running server.

    Attributes:
        port: where it listens on 127.0.0.1.
        scheme: ``http`` or ``https``.
        key: the account's key.
    """

    port: int
    scheme: str
    key: str

    def url(self, port: int | None = None) -> str:
        """The account's URL; ``port`` is that of a line to this server."""
        return f"{self.scheme}://127.0.0.1:{port or self.port}/{ACCOUNT}"

    def connection_string(self, port: int | None = None) -> str:
        """A connection string with the account's key."""
        return f"AccountName={ACCOUNT};AccountKey={self.key};BlobEndpoint={self.url(port)};"


def azurite_command() -> list[str | Path]:
    """The beginning of its command line; installs it if need be."""
    return node_command("azurite", _VERSION, "azurite-blob")


@contextmanager
def azurite(certificate: tuple[Path, Path] | None = None) -> Iterator[Azurite]:
    """Run a server; with ``certificate`` (paths of certificate and key) over TLS, where it takes Entra tokens too."""
    command = azurite_command()
    key = base64.b64encode(hashlib.sha512(os.urandom(32)).digest()).decode()
    server = Azurite(free_port(), "https" if certificate else "http", key)
    options: list[str | Path] = [
        "--blobHost", "127.0.0.1", "--blobPort", str(server.port), "--inMemoryPersistence", "--silent",
        "--disableTelemetry", "--skipApiVersionCheck",
    ]  # fmt: skip
    if certificate:
        options += ["--cert", certificate[0], "--key", certificate[1], "--oauth", "basic"]
    with Server(
        [*command, *options],
        ready=lambda: accepts(server.port),
        environment={"AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"},
    ):
        yield server
