"""Orders are accepted while the broker is away, survive a restart, and arrive in order when it is back."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import clouddirect
from clouddirect.clock import ManualClock
from clouddirect.errors import ConfigurationError, InvalidMessageError, TooLargeError
from clouddirect.orders import CloudDirect, ImageFile
from clouddirect.orders.flush_lock import FlushLock
from clouddirect.orders.journal import journal_path
from clouddirect.orders.models import EyeSideGrading, GradingSubmission, OrderRequest
from clouddirect.retry import RetryPolicy
from clouddirect.settings import Settings
from clouddirect_local.queue_admin import create_queue
from emulators.tcp_line import TcpLine

GUID = "63E3C9EF-66AC-4154-B0C2-494515EB99A7"


class Place:
    """A broker and a store on this machine that come and go, and a data directory that stays."""

    def __init__(self, directory: Path) -> None:
        self.far = directory / "far"
        self.data = directory / "data"

    def settings(self, **more: Any) -> Settings:
        queue = {"provider": "local", "path": str(self.far / "q.db"), "deduplication_window": 0}
        store = {"provider": "local", "path": str(self.far / "files"), "container": "images"}
        return Settings.of({
            "client_guid": GUID, "site": "PC1", "data_dir": self.data, "outbox": {"enabled": True, "wait": 20},
            "endpoints": {name: {**queue, "queue": name} for name in ("orders", "gradings")},
            "stores": {"images": store}, **more,
        })  # fmt: skip

    def comes(self) -> None:
        """The broker and the store can be reached from now on."""
        (self.far / "files" / "images").mkdir(parents=True)
        for name in ("orders", "gradings"):
            create_queue(self.far / "q.db", name, deduplication_window=0)

    def orders(self) -> list[dict[str, Any]]:
        """Take what has arrived."""
        with clouddirect.open_broker("local", path=self.far / "q.db") as broker:
            found = []
            while deliveries := broker.receive("orders", 100):
                found += [json.loads(one.message.body) for one in deliveries]
                broker.ack_many(deliveries)
            return found

    def stored(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.far / "files" / "images").glob("*.jpg")}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def order(new_order: Any, number: int) -> OrderRequest:
    made: OrderRequest = new_order(f"ORD-{number}")
    made.client_guid = None
    return made


@contextlib.contextmanager
def another_flush(place: Place) -> Iterator[None]:
    """Be at the outbox as another process would; the client's own flush ends a moment after its last receipt."""
    with contextlib.ExitStack() as stack:
        others = FlushLock(journal_path(place.data))
        for _ in range(600):
            if stack.enter_context(others.held()):
                break
            stack.close()
            threading.Event().wait(0.05)
        else:
            pytest.fail("the client's own flush does not end")
        yield


def test_what_is_accepted_after_another_flush_has_ended_is_sent_at_once(place: Place, new_order: Any) -> None:
    place.comes()
    clock = ManualClock()
    with CloudDirect(place.settings(), clock=clock) as client:
        client.submit(order(new_order, 1))
        with another_flush(place):
            clock.advance(120)  # by now the client has looked again, and found that somebody else is at it
            assert clock.wait_for_sleepers()
        submitted: list[Any] = []  # the clock stands still from here on
        sender = threading.Thread(target=lambda: submitted.append(client.submit(order(new_order, 2))), daemon=True)
        sender.start()
        sender.join(20)
        assert submitted
        assert submitted[0].receipt is not None


def test_closing_after_another_flush_has_ended_waits_for_nothing(place: Place, new_order: Any) -> None:
    place.comes()
    clock = ManualClock()
    client = CloudDirect(place.settings(), clock=clock)
    client.submit(order(new_order, 1))
    submitted: list[Any] = []
    sender = threading.Thread(target=lambda: submitted.append(client.submit(order(new_order, 2))), daemon=True)
    with another_flush(place):
        sender.start()
        assert clock.wait_for_sleepers(2)  # the sender waits for the client's flush, and that for the other one
        clock.advance(1)  # it looks again, in vain
        assert clock.wait_for_sleepers(2)
    closer = threading.Thread(target=client.close, daemon=True)  # the clock stands still from here on
    closer.start()
    closer.join(20)
    assert not closer.is_alive()
    sender.join(20)
    assert submitted[0].receipt is not None
    assert len(place.orders()) == 2


def test_with_the_broker_at_hand_an_order_is_confirmed_at_once(place: Place, new_order: Any) -> None:
    place.comes()
    with CloudDirect(place.settings()) as client:
        submission = client.submit(order(new_order, 1), [ImageFile(source=b"right", laterality="OD", suffix=".jpg")])
        assert submission.receipt is not None
        assert submission.receipt.message_id == submission.message_id
        assert client.outbox.count() == 0
    (arrived,) = place.orders()
    (entry,) = arrived["Camera"]["Images"]
    assert place.stored() == {entry["AzureBlobStorage"]["FileName"]: b"right"}


def test_what_was_accepted_while_it_was_away_arrives_after_a_restart(place: Place, new_order: Any) -> None:
    with CloudDirect(place.settings()) as client:
        first = client.submit(order(new_order, 1), [ImageFile(source=b"right", laterality="OD", suffix=".jpg")])
        second = client.change(order(new_order, 1))
        third = client.cancel("ORD-1")
        assert [one.receipt for one in (first, second, third)] == [None] * 3
        assert client.outbox.count() == 3
    place.comes()
    with CloudDirect(place.settings()) as client:
        assert [one.operation for one in client.outbox.waiting()] in (["NW", "XO", "CA"], [])
    arrived = place.orders()
    assert [one["OrderControlCode"] for one in arrived] == ["NW", "XO", "CA"]
    assert list(place.stored().values()) == [b"right"]
    assert place.data.joinpath("clouddirect.db").stat().st_size < 1 << 20


def test_a_flush_says_what_it_did(place: Place, new_order: Any) -> None:
    client = CloudDirect(place.settings(outbox={"enabled": True, "wait": 0}))
    client.submit(order(new_order, 1))
    client.close()
    client = CloudDirect(place.settings(outbox={}))  # the outbox is off: what is in it can be seen and sent
    assert list(client.flush_outbox().errors) == ["orders"]
    place.comes()
    report = client.flush_outbox()
    assert (report.sent, report.errors, client.outbox.count()) == (1, {}, 0)
    client.close()


def test_checks_come_before_the_outbox(place: Place, new_order: Any) -> None:
    with CloudDirect(place.settings()) as client:
        broken = order(new_order, 1)
        broken.patient = None
        with pytest.raises(InvalidMessageError, match="Patient"):
            client.submit(broken)
        with pytest.raises(ConfigurationError, match="shared_images"):
            next(client.shared_images())
        assert client.outbox.count() == 0
    with CloudDirect(place.settings(endpoints={})) as client, pytest.raises(ConfigurationError, match="orders"):
        client.submit(order(new_order, 1))


def test_an_order_that_the_broker_refuses_is_told_and_kept_on_hold(place: Place, new_order: Any) -> None:
    place.comes()
    with CloudDirect(place.settings()) as client:
        huge = order(new_order, 1)
        assert huge.order is not None
        huge.order.additional_info = "x" * (2 << 20)
        with pytest.raises(TooLargeError, match="number 1 in the outbox, on hold"):
            client.submit(huge)
        assert client.submit(order(new_order, 2)).receipt is not None
        assert [one.held for one in client.outbox.waiting()] == [True]


def test_gradings_wait_as_well(place: Place) -> None:
    grading = GradingSubmission(local_id="ORD-1", od=EyeSideGrading(gradable=False, ungradable_reasons=["Too dark"]))
    with CloudDirect(place.settings()) as client:
        assert client.submit_grading(grading).receipt is None
        assert [one.endpoint for one in client.outbox.waiting()] == ["gradings"]


def test_a_long_outage_with_many_orders(place: Place, new_order: Any, long_run: bool) -> None:
    """20 minutes without a broker, by the clock; all arrive afterwards, in order, and memory stays flat."""
    count = 5000 if long_run else 1000
    clock = ManualClock()
    settings = place.settings(outbox={"enabled": True, "wait": 0})
    client = CloudDirect(settings, clock=clock, retry=RetryPolicy(max_attempts=2))
    with client:
        template = order(new_order, 0)
        assert template.order is not None
        tracemalloc.start()
        sizes = []
        for number in range(count):
            template.order.local_id = f"ORD-{number}"
            assert client.submit(template).receipt is None
            if number % (count // 4) == count // 4 - 1:
                clock.advance(300)
                sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert max(sizes) - sizes[0] < 2 << 20
        assert client.outbox.count() == count
        place.comes()
        done = threading.Event()
        while client.outbox.count():
            clock.advance(60)
            done.wait(0.05)
    assert [one["Order"]["LocalId"] for one in place.orders()] == [f"ORD-{number}" for number in range(count)]


def test_closing_sends_what_was_accepted_though_nobody_waited_for_it(place: Place, new_order: Any) -> None:
    place.comes()
    for number in range(5):
        with CloudDirect(place.settings(outbox={"enabled": True, "wait": 0})) as client:
            client.submit(order(new_order, number))
        assert len(place.orders()) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_sends_what_it_accepts(place: Place, new_order: Any) -> None:
    place.comes()
    with CloudDirect(place.settings()) as client:
        assert client.submit(order(new_order, 1)).receipt is not None
        child = os.fork()
        if child == 0:
            os._exit(0 if client.submit(order(new_order, 2)).receipt is not None else 1)
        assert os.waitpid(child, 0)[1] == 0
    assert len(place.orders()) == 2


def test_an_endpoint_that_is_away_slows_no_other(place: Place, new_order: Any) -> None:
    place.comes()
    away = {"provider": "local", "path": str(place.far / "no" / "q.db"), "queue": "gradings"}
    settings = place.settings()
    endpoints = {"orders": {"provider": "local", "path": str(place.far / "q.db"), "queue": "orders"}, "gradings": away}
    grading = GradingSubmission(local_id="ORD-1", od=EyeSideGrading(gradable=False, ungradable_reasons=["Too dark"]))
    with CloudDirect(place.settings(endpoints=endpoints, outbox=settings.outbox.model_dump())) as client:
        assert client.submit_grading(grading).receipt is None
        for number in range(3):
            assert client.submit(order(new_order, number)).receipt is not None
        assert [one.endpoint for one in client.outbox.waiting()] == ["gradings"]


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[tuple[Settings, TcpLine, Any]]:
    """A client of a Service Bus behind a line."""
    from emulators.servicebus import ServiceBusServer

    with ServiceBusServer(["orders"]) as server, TcpLine(server.port) as line:
        string = server.connection_string("orders").replace(str(server.port), str(line.port))
        settings = Settings.of({
            "client_guid": GUID, "site": "PC1", "data_dir": tmp_path, "outbox": {"enabled": True, "wait": 20},
            "endpoints": {"orders": {"provider": "azure", "queue": "orders", "connection_string": string}},
        })  # fmt: skip
        yield settings, line, server


def test_a_line_that_breaks_and_comes_back(bus: tuple[Settings, TcpLine, Any], new_order: Any) -> None:
    settings, line, server = bus
    with CloudDirect(settings, retry=RetryPolicy(max_attempts=1)) as client:
        assert client.submit(order(new_order, 1)).receipt is not None
        line.refuse()
        line.cut()
        assert client.submit(order(new_order, 2)).receipt is None
        assert client.submit(order(new_order, 3)).receipt is None
        line.accept()
        server.wait_for_counts("orders", active=3, timeout=60)
        for _ in range(600):  # the client learns of the last one a moment after the server has it
            if client.outbox.count() == 0:
                break
            threading.Event().wait(0.05)
        assert client.outbox.count() == 0
