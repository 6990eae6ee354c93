"""Both sides of the order workflow on the local provider: a client and the sandbox, each with its own credentials."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from clouddirect.clock import Clock, ManualClock
from clouddirect.messaging import Message
from clouddirect.orders import CloudDirect, ImageFile
from clouddirect.orders.connections import Connections, Queue
from clouddirect.orders.models import (
    Event,
    Name,
    Order,
    OrderRequest,
    OrderResult,
    Patient,
    PersonGender,
    WireModel,
    to_wire,
)
from clouddirect.sandbox import Sandbox, demo_image
from clouddirect.settings import Settings

GUID = "63E3C9EF-66AC-4154-B0C2-494515EB99A7"


class Rehearsal:
    """Settings for both sides in one directory, and what tests do with them."""

    def __init__(self, directory: Path, clock: Clock | None, sandbox: dict[str, Any], local: dict[str, Any]) -> None:
        self.directory = directory
        self.clock = clock
        self._local = local
        self._closing: list[CloudDirect | Sandbox | Connections] = []
        container = sandbox.pop("container", "retina")
        (directory / "files" / "images").mkdir(parents=True)  # a reader may not make it
        self.settings = Settings.of(
            {
                "client_guid": GUID,
                "site": "PC1234",
                "data_dir": directory,
                "endpoints": {
                    "orders": self._queue("orders", "send"),
                    "events": self._queue("events", "receive"),
                    "results": self._queue("results", "receive"),
                },
                "stores": {"images": self._store("write", container)},
                "sandbox": {
                    "endpoints": {
                        "orders": self._queue("orders", "receive"),
                        "gradings": self._queue("gradings", "receive"),
                        "events": self._queue("events", "send"),
                        "results": self._queue("results", "send"),
                    },
                    "stores": {"images": self._store("read", container)},
                    **sandbox,
                },
            }
        )

    def _queue(self, name: str, access: str) -> dict[str, Any]:
        path = str(self.directory / "queues.db")
        return {"provider": "local", "queue": name, "path": path, "create": True, "access": access, **self._local}

    def _store(self, access: str, container: str) -> dict[str, Any]:
        # the wire name differs from the directory's, as a bucket's may
        path = str(self.directory / "files")
        return {
            "provider": "local", "container": "images", "wire_container": container, "path": path, "create": True,
            "access": access,
        }  # fmt: skip

    def sandbox(self, **options: Any) -> Sandbox:
        """A sandbox; closed at the end of the test."""
        made = Sandbox(self.settings, clock=self.clock, **options)
        self._closing.append(made)
        return made

    def client(self) -> CloudDirect:
        """A client; closed at the end of the test."""
        made = CloudDirect(self.settings, clock=self.clock)
        self._closing.append(made)
        return made

    def queue(self, name: str) -> Queue:
        """A queue with all rights, to send what no client would send and to look into dead letters."""
        everything = {"provider": "local", "path": str(self.directory / "queues.db"), "create": True}
        settings = Settings.of({"endpoints": {"orders": {**everything, "queue": name, **self._local}}})
        connections = Connections(settings.endpoints, settings.stores, clock=self.clock)
        self._closing.append(connections)
        return connections.queue("orders")

    def send(self, queue: str, message: WireModel | bytes) -> str:
        """Send a message as it is; returns its id."""
        target = self.queue(queue)
        body = message if isinstance(message, bytes) else to_wire(message)
        return target.broker.send(target.name, Message(body=body)).message_id

    def drain(self, queue: str) -> list[Message]:
        """Take everything off a queue."""
        target, taken = self.queue(queue), []
        while deliveries := target.broker.receive(target.name, 10):
            for delivery in deliveries:
                taken.append(delivery.message)
                delivery.ack()
        return taken

    def close(self) -> None:
        for one in reversed(self._closing):
            one.close()


class Inbox:
    """Collects what a client receives, in a thread, and lets a test wait for it."""

    def __init__(self, client: CloudDirect) -> None:
        self.events: list[Event] = []
        self.results: list[OrderResult] = []
        self._client = client
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=client.run, args=(self._event, self._result), kwargs={"concurrency": 1})
        self._thread.start()

    def kinds(self, local_id: str) -> list[str]:
        """The kinds of the events of an order, as they came."""
        with self._changed:
            return [str(event.result_object_type) for event in self._events_of(local_id)]

    def event(self, local_id: str, kind: str, timeout: float = 60.0) -> Event:
        """Wait for an event."""
        return self._wait(lambda: [e for e in self._events_of(local_id) if e.result_object_type == kind], timeout)

    def result(self, local_id: str, timeout: float = 60.0) -> OrderResult:
        """Wait for a result, and for the events before it, which come from another queue."""
        self.event(local_id, "OrderGradedEvent", timeout)
        return self._wait(lambda: [one for one in self.results if one.order_local_id == local_id], timeout)

    def close(self) -> None:
        self._client.stop()
        self._thread.join()

    def _events_of(self, local_id: str) -> list[Event]:
        return [event for event in self.events if getattr(event, "order_local_id", None) == local_id]

    def _wait(self, found: Callable[[], list[Any]], timeout: float) -> Any:
        with self._changed:
            assert self._changed.wait_for(lambda: bool(found()), timeout), "it did not come in time"
            return found()[0]

    def _event(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def _result(self, result: OrderResult) -> None:
        with self._changed:
            self.results.append(result)
            self._changed.notify_all()


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CLOUDDIRECT_") and not name.startswith("CLOUDDIRECT_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture
def rehearse(tmp_path: Path) -> Iterator[Callable[..., Rehearsal]]:
    """Make a rehearsal: ``rehearse(clock=…, local={…}, stage_delay=…)``."""
    made: list[Rehearsal] = []

    def make(clock: Clock | None = None, local: dict[str, Any] | None = None, **sandbox: Any) -> Rehearsal:
        directory = tmp_path / f"rehearsal-{len(made)}"
        directory.mkdir()
        made.append(Rehearsal(directory, clock, sandbox, local or {}))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def listen() -> Iterator[Callable[[CloudDirect], Inbox]]:
    """Collect what a client receives."""
    made: list[Inbox] = []

    def start(client: CloudDirect) -> Inbox:
        made.append(Inbox(client))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def new_order() -> Callable[..., OrderRequest]:
    """Make a new order that has nothing wrong with it."""

    def make(local_id: str = "ORD1", patient: str = "MRN1", **order: Any) -> OrderRequest:
        return OrderRequest(
            client_guid=GUID,
            order_control_code="NW",
            order=Order(**({"local_id": local_id, "evaluation_types": ["DR"]} | order)),
            patient=Patient(
                local_id=patient,
                name=Name(first="Jane", last="Roe"),
                dob=date(1961, 12, 1),
                genders=[PersonGender(context="BirthGender", gender="F")],
            ),
        )

    return make


@pytest.fixture
def clock() -> ManualClock:
    """Starts now, so that it can be compared with the times of files."""
    return ManualClock(datetime.now(UTC))


@pytest.fixture
def under_way(
    rehearse: Callable[..., Rehearsal],
    new_order: Callable[..., OrderRequest],
    clock: ManualClock,
    pictures: dict[str, bytes],
) -> Callable[..., tuple[Rehearsal, Sandbox]]:
    """A rehearsal with one order, ``turns`` stages on its way; ten seconds lie between two stages."""

    def start(turns: int, **options: Any) -> tuple[Rehearsal, Sandbox]:
        # leases that outlast the test: otherwise each jump of the clock would be a race with their renewal
        rehearsal = rehearse(clock, {"lease": 100_000.0}, **({"stage_delay": 10.0} | options))
        rehearsal.client().submit(
            new_order(), [ImageFile(source=pictures["OD"], laterality="OD", local_id="i-1", suffix=".jpg")]
        )
        sandbox = rehearsal.sandbox()
        for _ in range(turns):
            sandbox.step()
            clock.advance(10.0)
        return rehearsal, sandbox

    return start


@pytest.fixture(scope="session")
def pictures() -> dict[str, bytes]:
    """Drawn once: a good picture of each eye and a dark one."""
    return {"OD": demo_image(1, "OD"), "OS": demo_image(1, "OS"), "dark": demo_image(1, "OS", dark=True)}
