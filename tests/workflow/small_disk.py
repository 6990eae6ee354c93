"""What happens on a disk that is full, or that may not be written: told by a process that has one of its own.

A small file system in memory, mounted where only this process and its children see it: Linux's namespaces permit that
without rights. As a command, from tests/: ``unshare -rm python -m workflow.small_disk SCENARIO DIRECTORY``.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import clouddirect
from clouddirect.errors import CloudDirectError, PermissionDeniedError, UnavailableError
from clouddirect.messaging import Message
from clouddirect.orders import CloudDirect, ImageFile, append_results, save_message, save_report
from clouddirect.settings import Settings
from clouddirect_local.queue_admin import create_queue
from workflow.kill_workers import image_of, order

__all__ = ["SCENARIOS", "can_have_a_disk", "run"]

RESULT = json.dumps({
    "TransactionId": "ccb9f08d-29aa-446f-96f0-3018b20803e8", "ResultCode": "F", "Success": True,
    "Order": {"LocalId": "ORD-1"}, "Patient": {"LocalId": "MRN", "Name": {"First": "Jane", "Last": "Roe"}},
    "ResultsDocument": {"Type": "PDF", "Encoding": "Base64", "Content": "JVBERi0xLjQK" * 20_000},
}).encode()  # fmt: skip
EVENT = json.dumps({
    "TransactionId": "db816b37-07ec-43d0-9848-70bec36f4024", "ResultObjectType": "OrderGradedEvent", "Success": True,
    "OrderLocalId": "ORD-1",
}).encode()  # fmt: skip


class Disk:
    """A disk of 2 MiB."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._mount("-t", "tmpfs", "-o", "size=2m", "small", str(path))
        self._filler = path / "filler"

    def fill(self) -> None:
        """Leave no room at all."""
        with self._filler.open("ab", buffering=0) as file:
            for piece in (1 << 16, 1 << 12):
                try:
                    while True:
                        file.write(b"x" * piece)
                except OSError:
                    pass
        assert shutil.disk_usage(self.path).free == 0

    def make_room(self) -> None:
        """Leave the room that there was."""
        self._filler.unlink()

    def forbid_writing(self) -> None:
        """Mount it read-only."""
        self._mount("-o", "remount,ro", str(self.path))

    def _mount(self, *arguments: str) -> None:
        subprocess.run(["mount", *arguments], check=True)


class Place:
    """A broker on a disk with room, and a client that keeps its data on the small one."""

    def __init__(self, directory: Path) -> None:
        self.disk = Disk(directory / "small")
        self.data = self.disk.path / "data"
        self.queues = directory / "q.db"
        for name in ("orders", "events", "results"):
            create_queue(self.queues, name, deduplication_window=0)

    def values(self, **more: Any) -> dict[str, Any]:
        queue = {"provider": "local", "path": str(self.queues)}
        endpoints = {name: {**queue, "queue": name} for name in ("orders", "events", "results")}
        store = {"provider": "local", "path": str(self.queues.parent / "files"), "container": "images", "create": True}
        return {"client_guid": "63E3C9EF-66AC-4154-B0C2-494515EB99A7", "site": "PC1", "data_dir": str(self.data),
                "endpoints": endpoints, "stores": {"images": store}, **more}  # fmt: skip

    def client(self, **more: Any) -> CloudDirect:
        return CloudDirect(Settings.of(self.values(**more)))

    def send(self, queue: str, body: bytes) -> None:
        with clouddirect.open_broker("local", path=self.queues) as broker:
            broker.send(queue, Message(body=body))

    def take(self, queue: str) -> list[Any]:
        with clouddirect.open_broker("local", path=self.queues) as broker:
            found = broker.receive(queue, 100)
            broker.ack_many(found)
            return [json.loads(one.message.body) for one in found]

    def orders(self) -> list[str]:
        return [one["Order"]["LocalId"] for one in self.take("orders")]


def refused(kind: type[CloudDirectError], text: str, use: Callable[[], object]) -> None:
    """Expect an error that tells what to do, and names nobody."""
    with pytest.raises(kind) as caught:
        use()
    assert type(caught.value) is kind
    assert text in str(caught.value)
    assert "Roe" not in str(caught.value)


def _next(incoming: Any, handle: Callable[[Any], object]) -> None:
    """Handle the next message, which must come."""
    for one in incoming:
        with one as value:
            handle(value)
        return
    raise AssertionError("nothing came")


def full_outbox(place: Place) -> None:
    """What cannot be kept is not accepted, and not sent either; what was accepted is sent once there is room."""
    picture = ImageFile(source=image_of("ORD-2"), laterality="OD", suffix=".jpg")
    with place.client(outbox={"enabled": True, "wait": 20}) as client:
        assert client.submit(order("ORD-1")).receipt is not None
        place.disk.fill()
        refused(UnavailableError, "make room", lambda: client.submit(order("ORD-2"), [picture]))
        assert client.outbox.waiting() == []
        place.disk.make_room()
        assert client.submit(order("ORD-3"), [picture]).receipt is not None
    assert place.orders() == ["ORD-1", "ORD-3"]


def full_before_flushing(place: Place) -> None:
    """What could not be noted as sent is not sent: else every new attempt would double it."""
    away = {"orders": {"provider": "local", "path": str(place.queues.with_name("no.db")), "queue": "orders"}}
    with place.client(outbox={"enabled": True, "wait": 0}, endpoints=away) as client:
        client.submit(order("ORD-1"))
    place.disk.fill()
    for _ in range(3):
        with place.client() as client:
            refused(UnavailableError, "full", client.flush_outbox)
    place.disk.make_room()
    with place.client() as client:
        assert client.flush_outbox().sent == 1
        assert client.outbox.count() == 0
    assert place.orders() == ["ORD-1"]


def full_reports(place: Place) -> None:
    """A report that cannot be saved is not acknowledged, no half of it is visible; it is saved when there is room."""
    reports, table = place.disk.path / "reports", place.disk.path / "results.csv"
    place.send("results", RESULT)

    def save(result: Any) -> None:
        save_report(result, reports)
        save_message(result, RESULT, reports)
        append_results(table, [result])

    with place.client(data_dir=str(place.queues.parent / "data")) as client:
        place.disk.fill()
        refused(UnavailableError, "make room", lambda: _next(client.results(timeout=0), save))
        assert list(reports.glob("*.*")) == []
        place.disk.make_room()
        _next(client.results(timeout=30), save)
        assert sorted(path.name for path in reports.iterdir()) == ["ORD-1.json", "ORD-1.pdf"]
        assert (reports / "ORD-1.json").read_bytes() == RESULT
        assert place.take("results/$dead") == place.take("results") == []


def full_table(place: Place) -> None:
    """A row that does not fit leaves nothing of itself behind, so that it does not spoil the rows after it."""
    from clouddirect.orders.models import read_result

    table, result = place.disk.path / "results.csv", read_result(RESULT)
    append_results(table, [result])
    before = table.read_bytes()
    place.disk.fill()
    # the last page of the file has room for some of it
    refused(UnavailableError, "make room", lambda: append_results(table, [result] * 100))
    assert table.read_bytes() == before
    place.disk.make_room()
    append_results(table, [result])
    lines = table.read_bytes().splitlines()
    assert len(lines) == 3
    assert lines[1] == lines[2]


def full_inbox(place: Place) -> None:
    """What cannot be noted is not handled; it comes again, and is handled once."""
    place.send("events", EVENT)
    handled: list[Any] = []
    with place.client() as client:
        assert not client.inbox.knows("")
        place.disk.fill()
        refused(UnavailableError, "make room", lambda: _next(client.events(timeout=0, once=True), handled.append))
        assert handled == []
    place.disk.make_room()
    with place.client() as client:
        _next(client.events(timeout=60, once=True), handled.append)
        assert list(client.events(timeout=0, once=True)) == []
    assert len(handled) == 1


def full_ledger(place: Place) -> None:
    """Tracking gives way: what is sent and received is not held up by it."""
    with place.client(tracking={"enabled": True}) as client:
        client.submit(order("ORD-1"))
        place.disk.fill()
        assert client.submit(order("ORD-2")).receipt is not None
        assert client.cancel("ORD-1").receipt is not None
        place.send("events", EVENT)
        _next(client.events(timeout=0), lambda event: None)
        assert [one.stage for one in client.ledger.orders()] == ["submitted"]
    assert place.orders() == ["ORD-1", "ORD-2", "ORD-1"]


def read_only_data(place: Place) -> None:
    """What needs the data directory says so; what does not need it goes on."""
    with place.client(outbox={"enabled": True}, tracking={"enabled": True}) as client:
        assert client.submit(order("ORD-1")).receipt is not None
    place.send("events", EVENT)
    place.send("results", RESULT)
    place.disk.forbid_writing()
    with place.client(outbox={"enabled": True}) as client:
        refused(PermissionDeniedError, "write to its directory", lambda: client.submit(order("ORD-2")))
        refused(PermissionDeniedError, "write to its directory", lambda: next(client.events(timeout=0, once=True)))
        _next(client.events(timeout=60), lambda event: None)
        refused(UnavailableError, "choose another directory",
                lambda: _next(client.results(timeout=0), lambda result: save_report(result, place.data)))  # fmt: skip
        _next(client.results(timeout=30), lambda result: save_report(result, place.queues.parent / "reports"))
    with place.client(tracking={"enabled": True}) as client:
        assert client.submit(order("ORD-3")).receipt is not None
        assert client.cancel("ORD-3").receipt is not None
        assert client.change(order("ORD-3")).receipt is not None
    assert place.orders() == ["ORD-1", "ORD-3", "ORD-3", "ORD-3"]


def read_only_queues(place: Place) -> None:
    """A queue file that may not be written is a denied permission, told in one line; with an outbox orders wait."""
    place.queues, place.data = place.disk.path / "q.db", place.disk.path.parent / "data"
    for name in ("orders", "events"):
        create_queue(place.queues, name)
    place.disk.forbid_writing()
    with place.client() as client:
        refused(PermissionDeniedError, "write to its directory", lambda: client.submit(order("ORD-1")))
        refused(PermissionDeniedError, "write to its directory", lambda: next(client.events(timeout=0)))
    with place.client(outbox={"enabled": True, "wait": 0}) as client:
        assert client.submit(order("ORD-1")).receipt is None
    with place.client() as client:
        assert "write to its directory" in str(client.flush_outbox().errors["orders"])
        assert [one.held for one in client.outbox.waiting()] == [False]


SCENARIOS: dict[str, Callable[[Place], None]] = {
    function.__name__: function
    for function in (full_outbox, full_before_flushing, full_reports, full_table, full_inbox, full_ledger,
                     read_only_data, read_only_queues)
}  # fmt: skip


def can_have_a_disk() -> bool:
    """Whether this system lets a process mount a file system of its own."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    mount = ["mount", "-t", "tmpfs", "small", "/mnt"]
    return subprocess.run(["unshare", "-rm", "--", *mount], capture_output=True).returncode == 0


def run(scenario: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a scenario in a process that sees the disk."""
    command = ["unshare", "-rm", "--", sys.executable, "-m", "workflow.small_disk", scenario, str(directory)]
    return subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120)


if __name__ == "__main__":
    logging.basicConfig()
    SCENARIOS[sys.argv[1]](Place(Path(sys.argv[2])))
    print("done")
