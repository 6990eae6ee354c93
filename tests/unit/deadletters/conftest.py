"""A client of queues on this machine, and messages that become dead letters."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clouddirect import Message, MessageBroker, RetryPolicy, open_broker
from clouddirect.messaging import Quarantine
from clouddirect.orders import CloudDirect
from clouddirect.settings import Settings

ONCE = RetryPolicy(max_attempts=1)


def result(order: str = "ORD-1", transaction: str = "T1") -> bytes:
    """A result on the wire."""
    value = {"TransactionId": transaction, "ResultCode": "F", "Success": True, "Order": {"LocalId": order}}
    return json.dumps(value | {"Patient": {"LocalId": "MRN"}}).encode()


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("CLOUDDIRECT_")]:
        monkeypatch.delenv(name)


class Desk:
    """Makes clients, and does on the queues what others do."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "q.db"
        self.broker: MessageBroker = open_broker("local", path=self.path, create=True)
        self.quarantine = Quarantine(directory / "data" / "quarantine")
        self._clients: list[CloudDirect] = []

    def settings(self, **endpoints: dict[str, Any]) -> Settings:
        """Settings with orders, events and results on this machine, with all rights unless said otherwise."""
        common = {"provider": "local", "path": str(self.path), "create": True}
        named = {name: {**common, "queue": name} for name in ("orders", "events", "results")}
        for name, more in endpoints.items():
            named[name] = {**named[name], **more}
        return Settings.of({"endpoints": named, "data_dir": str(self.directory / "data")})

    def client(self, **endpoints: dict[str, Any]) -> CloudDirect:
        """A client; closed at the end of the test."""
        made = CloudDirect(self.settings(**endpoints), retry=ONCE)
        self._clients.append(made)
        return made

    def bury(self, queue: str, *bodies: bytes, **fields: Any) -> list[str]:
        """Make dead letters of these bodies; returns their ids."""
        for body in bodies:
            self.broker.send(queue, Message(body=body, **fields))
        ids = []
        while found := self.broker.receive(queue, 100):
            for delivery in found:
                delivery.dead_letter("unreadable", "no good")
                ids.append(delivery.message.id)
        return ids

    def take(self, queue: str) -> list[Message]:
        """Take what is in a queue."""
        found = self.broker.receive(queue, 100)
        self.broker.ack_many(found)
        return [one.message for one in found]

    def waiting(self, queue: str) -> int:
        """How many messages another receiver would be given at this moment."""
        found = self.broker.receive(queue, 100)
        with self.broker.inside:
            self.broker.settlement.release(queue, found)
        return len(found)

    def close(self) -> None:
        """Close all that was opened."""
        for client in self._clients:
            client.close()
        self.broker.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()
