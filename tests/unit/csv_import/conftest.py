"""What the tests of the CSV import share: a client on this machine, and files whose patients are recognisable."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clouddirect import Message, open_broker
from clouddirect.orders import CloudDirect
from clouddirect.settings import Settings

GUID = "63e3c9ef-66ac-4154-b0c2-494515eb99a7"
#: Stands in every patient field, so that a leak is found wherever it happens.
CANARY = "Canarysson"
ROW = {
    "Version": "2.3.1",
    "ClientGuid": GUID,
    "OrderControlCode": "NW",
    "SiteLocalId": "SITE1",
    "OrderLocalId": "ORD-1",
    "EvaluationType": "DR",
    "PatientLocalId": f"{CANARY}-MRN",
    "PatientFirstName": f"{CANARY} Jane",
    "PatientLastName": CANARY,
    "PatientDob": "12/1/1961",
    "PatientBirthGender": "F",
}

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a directory of the test's own, without settings from the machine."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CLOUDDIRECT_")]:
        monkeypatch.delenv(name)


def order_row(number: int, **cells: str) -> dict[str, str]:
    """A row that has nothing wrong with it."""
    return ROW | {"OrderLocalId": f"ORD-{number}", "PatientLocalId": f"{CANARY}-{number}"} | cells


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write rows as a CSV file: ``write(row, row, …, name=…, delimiter=…, encoding=…)``; returns its path."""

    def save(*rows: dict[str, str], name: str = "orders.csv", delimiter: str = ",", encoding: str = "utf-8") -> Path:
        text = io.StringIO(newline="")
        headers = list(dict.fromkeys(header for row in rows for header in row))
        writer = csv.DictWriter(text, headers, restval="", delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
        path = tmp_path / name
        path.write_bytes(text.getvalue().encode(encoding))
        return path

    return save


class Place:
    """Settings for this machine, clients of them, and the far side of the queue."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._clients: list[CloudDirect] = []
        self.broker = open_broker("local", path=directory / "queues.db", create=True)

    def values(self, **local: Any) -> dict[str, Any]:
        """Settings as a file has them; ``local`` are options of the endpoint."""
        path = str(self.directory / "queues.db")
        orders = {"provider": "local", "queue": "orders", "path": path, "create": True, "access": "send", **local}
        return {
            "client_guid": GUID, "site": "SITE1", "data_dir": str(self.directory / "data"),
            "endpoints": {"orders": orders},
        }  # fmt: skip

    def client(self, values: dict[str, Any] | None = None) -> CloudDirect:
        """A client; closed at the end of the test."""
        made = CloudDirect(Settings.of(values or self.values()))
        self._clients.append(made)
        return made

    def take(self) -> list[Message]:
        """Take everything off the queue."""
        taken: list[Message] = []
        while deliveries := self.broker.receive("orders", 10):
            taken += [one.message for one in deliveries]
            self.broker.ack_many(deliveries)
        return taken

    def orders(self) -> list[Any]:
        """Take everything off the queue, as JSON."""
        return [json.loads(message.body) for message in self.take()]

    def close(self) -> None:
        for one in self._clients:
            one.close()
        self.broker.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Settings, clients and the far side."""
    made = Place(tmp_path)
    yield made
    made.close()
