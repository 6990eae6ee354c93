"""Full and read-only disks, locked files, a clock that is set back, and much at once: nothing lost, nothing silent."""

from __future__ import annotations

import json
import sqlite3
import threading
import tracemalloc
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import clouddirect
from clouddirect.clock import Clock, ManualClock
from clouddirect.errors import UnavailableError
from clouddirect.messaging import Message
from clouddirect.orders import CloudDirect
from clouddirect.orders import journal as journal_module
from clouddirect.orders.models import Event
from clouddirect.retry import RetryPolicy
from clouddirect.settings import Settings
from clouddirect_local import queue_file
from clouddirect_local.queue_admin import create_queue
from workflow import small_disk
from workflow.kill_workers import order
from workflow.small_disk import SCENARIOS


@pytest.mark.skipif(not small_disk.can_have_a_disk(), reason="needs a system that lets a process mount a disk")
@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_a_disk_that_is_full_or_read_only(scenario: str, tmp_path: Path) -> None:
    done = small_disk.run(scenario, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
    assert "Roe" not in done.stderr


class Place:
    """A broker on this machine that may be away, and a data directory."""

    def __init__(self, directory: Path, clock: Clock | None = None) -> None:
        self.queues = directory / "far" / "q.db"
        self.data = directory / "data"
        self.clock = clock
        self._open: list[CloudDirect] = []

    def comes(self) -> None:
        """The broker can be reached from now on."""
        for name in ("orders", "events"):
            create_queue(self.queues, name, deduplication_window=0)

    def client(self, **more: Any) -> CloudDirect:
        queue = {"provider": "local", "path": str(self.queues)}
        settings = Settings.of({
            "client_guid": "63E3C9EF-66AC-4154-B0C2-494515EB99A7", "site": "PC1", "data_dir": self.data,
            "endpoints": {name: {**queue, "queue": name} for name in ("orders", "events")}, **more,
        })  # fmt: skip
        self._open.append(CloudDirect(settings, clock=self.clock, retry=RetryPolicy(max_attempts=1)))
        return self._open[-1]

    def put(self, *numbers: int) -> None:
        """Send events of these numbers."""
        bodies = (
            {"TransactionId": str(uuid.UUID(int=number)), "ResultObjectType": "OrderGradedEvent", "Success": True,
             "OrderLocalId": f"ORD-{number}"}
            for number in numbers
        )  # fmt: skip
        with clouddirect.open_broker("local", path=self.queues) as broker:
            sent = broker.send_many("events", (Message(body=json.dumps(body).encode()) for body in bodies))
            assert len(sent) == len(numbers)

    def orders(self) -> list[str]:
        """Take what has arrived."""
        found: list[str] = []
        with clouddirect.open_broker("local", path=self.queues) as broker:
            while deliveries := broker.receive("orders", 1000):
                found += [json.loads(one.message.body)["Order"]["LocalId"] for one in deliveries]
                broker.ack_many(deliveries)
        return found

    def close(self) -> None:
        for one in self._open:
            one.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def locked(path: Path) -> sqlite3.Connection:
    """Another program keeps the file locked for as long as this connection is open."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


# -- locked files -------------------------------------------------------------------------------------------


def test_a_journal_that_is_locked_for_a_while_is_waited_for(place: Place) -> None:
    place.comes()
    client = place.client(outbox={"enabled": True, "wait": 20}, tracking={"enabled": True})
    assert client.submit(order("ORD-1")).receipt is not None
    other = locked(client._journal.path)
    done = threading.Event()
    thread = threading.Thread(target=lambda: (client.submit(order("ORD-2")), done.set()))
    thread.start()
    assert not done.wait(0.3)
    other.close()
    assert done.wait(30)
    thread.join()
    assert place.orders() == ["ORD-1", "ORD-2"]
    assert [one.local_id for one in client.ledger.orders()] == ["ORD-1", "ORD-2"]


def test_a_journal_that_stays_locked_is_told_and_nothing_is_lost(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_BUSY", 0.05)
    place.comes()
    place.put(1)
    client = place.client(outbox={"enabled": True, "wait": 20})
    assert client.submit(order("ORD-1")).receipt is not None
    other = locked(client._journal.path)
    with pytest.raises(UnavailableError, match="keeping it locked") as caught:
        client.submit(order("ORD-2"))
    assert caught.value.retryable
    with pytest.raises(UnavailableError, match="keeping it locked"):
        next(client.events(timeout=0, once=True))
    other.close()
    assert client.submit(order("ORD-2")).receipt is not None
    handled = []
    for incoming in client.events(timeout=60, once=True):
        with incoming as event:
            handled.append(event.order_local_id)
        break
    assert handled == ["ORD-1"]
    assert place.orders() == ["ORD-1", "ORD-2"]


def test_a_queue_file_that_stays_locked_is_an_outage(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_file, "_BUSY", 0.05)
    place.comes()
    place.put(1)
    other = locked(place.queues)
    with pytest.raises(UnavailableError, match="keeping it locked") as caught:
        place.client().submit(order("ORD-1"))
    assert caught.value.retryable
    waiting = place.client(outbox={"enabled": True, "wait": 0})
    assert waiting.submit(order("ORD-2")).receipt is None
    client, handled = place.client(), threading.Event()
    thread = threading.Thread(target=client.run, args=(lambda event: handled.set(),))
    thread.start()
    assert not handled.wait(0.3)
    other.close()
    assert handled.wait(60), "run sits it out"
    client.stop()
    thread.join()
    assert waiting.flush_outbox().errors == {}
    waiting.close()
    assert place.orders() == ["ORD-2"]


# -- a clock that is set back -------------------------------------------------------------------------------


def test_the_clock_is_set_back_while_orders_wait(tmp_path: Path, clock: ManualClock) -> None:
    place = Place(tmp_path, clock)
    with place.client(outbox={"enabled": True, "wait": 0}, tracking={"enabled": True}) as client:
        client.submit(order("ORD-1"))
        clock.set_back(3600)
        client.submit(order("ORD-2"))
        client.cancel("ORD-1")
        assert client.ledger.orders(overdue=True) == []
    place.comes()
    with place.client() as client:
        assert client.flush_outbox().errors == {}
    assert place.orders() == ["ORD-1", "ORD-2", "ORD-1"], "in the order of acceptance, whatever the clock said"


def test_the_clock_is_set_back_while_events_are_handled(tmp_path: Path, clock: ManualClock) -> None:
    place = Place(tmp_path, clock)
    place.comes()
    place.put(1, 2)
    client = place.client(tracking={"enabled": True, "result_within": 1e6})
    client.submit(order("ORD-9"))
    first = next(client.events(timeout=0, once=True))
    clock.set_back(3600)
    handled = []

    def take(**options: Any) -> None:
        for incoming in client.events(timeout=0, **options):
            with incoming as event:
                handled.append(event.order_local_id)

    take(once=True)
    assert handled == ["ORD-2"], "the first is still on lease: the lease does not run by the wall clock"
    with first as event:
        handled.append(event.order_local_id)
    assert handled == ["ORD-2", "ORD-1"]
    place.put(1, 2)
    take(once=True)
    assert len(handled) == 2, "what was handled before the clock was set back is known"
    assert client.inbox.prune(timedelta(hours=0.5)) == 0
    clock.advance(3600)
    assert client.ledger.orders(overdue=True) == [], "what only the clock says is no silence of IRIS"
    clock.advance(1000)
    assert [one.local_id for one in client.ledger.orders(overdue=True)] == ["ORD-9"], "late by the hour, but told"
    client.close()


# -- much at once -------------------------------------------------------------------------------------------


def test_ten_thousand_events_wait_at_the_start(place: Place, long_run: bool) -> None:
    """All are handled, each noted in the inbox, and memory stays flat; ``--long`` tracks them as well."""
    count = 10_000
    place.comes()
    place.put(*range(1, count + 1))
    handled: set[int] = set()
    sizes: list[int] = []
    client = place.client(tracking={"enabled": long_run})

    def handle(event: Event) -> None:
        handled.add(uuid.UUID(str(event.transaction_id)).int)
        if len(handled) % 1000 == 0:
            sizes.append(tracemalloc.get_traced_memory()[0])
        if len(handled) == count:
            client.stop()

    tracemalloc.start()
    try:
        client.run(on_event=handle, once=True)
        (_, peak) = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert handled == set(range(1, count + 1))
    assert sizes[-1] - sizes[0] < 4 << 20  # the set of numbers is some of it
    assert peak < 32 << 20
