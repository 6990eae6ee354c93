"""What the tests of the command line share: running commands, and messages that carry recognisable patient data."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from clouddirect import Message, open_broker
from clouddirect.cli import cli

#: Appears in every patient field of the messages below, so that a leak is found wherever it happens.
CANARY = "Canarysson"
GUID = "63e3c9ef-66ac-4154-b0c2-494515eb99a7"


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """What ``--json`` printed."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but a test's own: neither from the environment nor from the machine's user."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CLOUDDIRECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def run() -> Run:
    """Run a command in this process: ``run("inspect", path, stdin=b"…")``."""

    def invoke(*arguments: str | Path, stdin: bytes | None = None) -> Ran:
        done = CliRunner().invoke(cli, [str(argument) for argument in arguments], input=stdin)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return Ran(done.exit_code, done.stdout, done.stderr)

    return invoke


@pytest.fixture
def order() -> dict[str, Any]:
    """A new order that is in order, on the wire."""
    return {
        "Version": "2.3.1",
        "ClientGuid": GUID,
        "OrderControlCode": "NW",
        "Site": {"LocalId": "SITE1"},
        "Order": {"LocalId": "ORD-1", "EvaluationTypes": ["DR"]},
        "Patient": {
            "LocalId": f"{CANARY}-MRN",
            "Name": {"First": f"{CANARY} Jane", "Last": CANARY},
            "Dob": "12/1/1961",
            "Genders": [{"Context": "BirthGender", "Gender": "F"}],
        },
    }


@pytest.fixture
def event() -> dict[str, Any]:
    """An event on the wire."""
    return {
        "TransactionId": "db816b37-07ec-43d0-9848-70bec36f4024",
        "Timestamp": "2022-01-02T17:42:18.6936779+00:00",
        "IrisOrderId": 1225564,
        "OrderLocalId": "ORD-1",
        "PatientLocalId": f"{CANARY}-MRN",
        "Success": True,
        "ResultObjectType": "OrderCreationReceipt",
        "Version": "2.3.1",
    }


@pytest.fixture
def result() -> dict[str, Any]:
    """An order result on the wire, with a small report."""
    return {
        "Version": "2.3.1",
        "Timestamp": "2022-01-02T18:00:00+00:00",
        "TransactionId": "ccb9f08d-29aa-446f-96f0-3018b20803e8",
        "ResultCode": "F",
        "Success": True,
        "ResultsDocument": {"Type": "PDF", "Encoding": "Base64", "Content": "JVBERi0xLjQK"},
        "Order": {"LocalId": "ORD-1", "PatientOrderId": 7},
        "Patient": {"LocalId": f"{CANARY}-MRN", "Name": {"First": CANARY, "Last": CANARY}, "Dob": "12/1/1961"},
        "Gradings": {
            "OD": {"Gradable": True, "Findings": [{"Finding": "Diabetic Retinopathy", "Result": "Mild"}]},
            "OS": {"Gradable": False, "UngradableReasons": [f"{CANARY} moved"]},
        },
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], Path]:
    """Write a value as a JSON file; returns its path."""

    def save(name: str, value: Any) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(value), encoding="utf-8")
        return path

    return save


class FarSide:
    """The other end of the queues, and the files of the images, of settings made by ``clouddirect init``."""

    def __init__(self, directory: Path) -> None:
        self.files = directory / "files"
        self.broker = open_broker("local", path=directory / "queues.db", create=True)

    def send(self, queue: str, *values: Any) -> None:
        """Send values as JSON, or bytes as they are."""
        for value in values:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.broker.send(queue, Message(body=body))

    def take(self, queue: str, wait: float = 0.0) -> list[Any]:
        """Receive and acknowledge all that is there at once."""
        taken: list[Any] = []
        while deliveries := self.broker.receive(queue, 10, wait=wait):
            taken += [json.loads(one.message.body) for one in deliveries]
            self.broker.ack_many(deliveries)
        return taken

    def bodies(self, queue: str) -> list[bytes]:
        """Like `take`, for what may be no JSON."""
        deliveries = self.broker.receive(queue, 10)
        self.broker.ack_many(deliveries)
        return [one.message.body for one in deliveries]

    def images(self) -> list[bytes]:
        """The content of all that was uploaded."""
        folder = self.files / "images"
        return [path.read_bytes() for path in folder.rglob("*.jpg")] if folder.is_dir() else []


@pytest.fixture
def far(run: Run, tmp_path: Path) -> Iterator[FarSide]:
    """Settings for this machine in the working directory, and their other side."""
    assert run("init", "--provider", "local").code == 0
    settings = Path("clouddirect.toml")
    text = re.sub('client_guid = ".*"', f'client_guid = "{GUID}"', settings.read_text(encoding="utf-8"))
    settings.write_text(text, encoding="utf-8")
    side = FarSide(tmp_path / "clouddirect-data")
    yield side
    side.broker.close()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / f"{CANARY}.JPG"
    path.write_bytes(b"\xff\xd8" + b"x" * 5000)
    return path
