"""Repeats are handled once, and the ledger follows what is sent and what comes."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import clouddirect
from clouddirect.errors import InvalidMessageError, UnavailableError
from clouddirect.messaging import Message
from clouddirect.orders import CloudDirect
from clouddirect.orders.models import Event
from clouddirect.settings import Settings

Send = Callable[..., None]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    queue = {"provider": "local", "path": str(tmp_path / "q.db"), "create": True, "deduplication_window": 0, "lease": 2}
    return Settings.of({
        "client_guid": "63E3C9EF-66AC-4154-B0C2-494515EB99A7", "site": "PC1", "data_dir": tmp_path / "data",
        "endpoints": {name: {**queue, "queue": name} for name in ("orders", "events", "results")},
        "tracking": {"enabled": True},
    })  # fmt: skip


@pytest.fixture
def send(tmp_path: Path, settings: Settings) -> Iterator[Send]:
    """Put an event into its queue; with the same ``number`` the same TransactionId."""
    with clouddirect.open_broker("local", path=tmp_path / "q.db", create=True, deduplication_window=0) as broker:

        def put(number: int, kind: str = "OrderGradedEvent", order: str = "ORD-1") -> None:
            body = {"TransactionId": str(uuid.UUID(int=number)), "ResultObjectType": kind, "OrderLocalId": order,
                    "Success": True}  # fmt: skip
            broker.send("events", Message(body=json.dumps(body).encode()))

        yield put


def take(client: CloudDirect, **options: Any) -> list[int]:
    """The numbers of the events that are handed over."""
    got = []
    for incoming in client.events(timeout=0, **options):
        with incoming as event:
            got.append(uuid.UUID(str(event.transaction_id)).int)
    return got


def test_a_repeat_is_acknowledged_and_handled_no_second_time(settings: Settings, send: Send) -> None:
    for number in (1, 2, 1, 2, 3):
        send(number)
    with CloudDirect(settings) as client:
        assert take(client, once=True) == [1, 2, 3]
    send(3)
    with CloudDirect(settings) as client:
        assert take(client, once=True) == []
        send(3)
        assert take(client) == [3]
        assert take(client) == []


@pytest.mark.parametrize("settle", ["exception", "nack", "dead_letter"])
def test_what_was_not_handled_is_no_repeat(settings: Settings, send: Send, settle: str) -> None:
    send(1)
    with CloudDirect(settings) as client:
        incoming = next(client.events(timeout=0, once=True))
        with pytest.raises(KeyError) if settle == "exception" else threading.Lock(), incoming:
            if settle == "exception":
                raise KeyError
            incoming.delivery.nack() if settle == "nack" else incoming.delivery.dead_letter("odd")
        if settle == "dead_letter":
            send(1)
        for again in client.events(timeout=30, once=True):
            with again as event:
                assert uuid.UUID(str(event.transaction_id)).int == 1
            break
        else:
            pytest.fail("it did not come again")


def test_run_handles_each_once(settings: Settings, send: Send) -> None:
    for number in (*range(20), *range(20)):
        send(number)
    handled: list[int] = []
    failed: set[int] = set()
    with CloudDirect(settings) as client:

        def handle(event: Event) -> None:
            number = uuid.UUID(str(event.transaction_id)).int
            if number % 5 == 0 and number not in failed:
                failed.add(number)
                raise KeyError
            handled.append(number)
            if len(handled) == 20:
                client.stop()

        client.run(on_event=handle, once=True)
    assert sorted(handled) == list(range(20))
    with CloudDirect(settings) as client:
        assert take(client, once=True) == []  # what was left when it stopped are repeats


@pytest.mark.parametrize("ends", ["done", "failed"])
def test_a_copy_waits_for_the_end_of_the_other_in_another_process(settings: Settings, send: Send, ends: str) -> None:
    send(1)
    send(1)
    handled: list[str] = []
    deliveries: list[int | None] = []
    with CloudDirect(settings) as one, CloudDirect(settings) as two:
        incoming = next(one.events(timeout=0, once=True))
        looked = threading.Event()
        begin = two.inbox.begin

        def watched(*arguments: Any, **options: Any) -> Any:
            found = begin(*arguments, **options)
            if found == "elsewhere":
                looked.set()
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(two.inbox, "begin", watched)

            def second() -> None:
                for again in two.events(timeout=0, once=True):
                    deliveries.append(again.delivery.delivery_count)
                    with again:
                        handled.append("two")

            thread = threading.Thread(target=second)
            thread.start()
            assert looked.wait(30)
            with pytest.raises(KeyError) if ends == "failed" else contextlib.nullcontext(), incoming:
                handled.append("one")
                if ends == "failed":
                    raise KeyError
            thread.join(60)
            assert not thread.is_alive()
        assert handled == (["one"] if ends == "done" else ["one", "two"])
        assert deliveries in ([], [1]), "waiting has cost no delivery"
        assert two.inbox.knows(str(uuid.UUID(int=1)))


def test_run_waits_for_the_end_of_the_other_in_another_process_and_can_be_stopped(
    settings: Settings, send: Send
) -> None:
    send(1)
    send(1)
    with CloudDirect(settings) as one, CloudDirect(settings) as two:
        incoming = next(one.events(timeout=0, once=True))
        looked = threading.Event()
        begin = two.inbox.begin

        def watched(*arguments: Any, **options: Any) -> Any:
            found = begin(*arguments, **options)
            looked.set()
            return found

        handled: list[Event] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(two.inbox, "begin", watched)
            thread = threading.Thread(target=lambda: two.run(on_event=handled.append, once=True))
            thread.start()
            assert looked.wait(30)
            two.stop()
            thread.join(20)  # less than what `run` gives handlers to end
            assert not thread.is_alive()
        assert handled == []
        with incoming:
            pass
    with CloudDirect(settings) as client:
        assert take(client, once=True) == []


def test_a_copy_in_the_same_iterator_waits_for_nobody(settings: Settings, send: Send) -> None:
    send(1)
    send(1)
    send(2)
    with CloudDirect(settings) as client:
        found = list(client.events(timeout=0, once=True))  # none of them is finished before all are there
        assert len(found) == 2


def test_a_note_that_cannot_be_made_is_no_handling(
    settings: Settings, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(1)

    def full(key: str) -> None:
        raise UnavailableError("the disk is full")

    with CloudDirect(settings) as client:
        incoming = next(client.events(timeout=0, once=True))
        with monkeypatch.context() as patch:
            patch.setattr(client.inbox, "finish", full)
            with pytest.raises(UnavailableError), incoming:
                pass
        assert incoming.delivery.settled == "nack"


def test_the_ledger_follows(settings: Settings, send: Send, new_order: Any) -> None:
    order = new_order("ORD-1")
    with CloudDirect(settings) as client:
        submission = client.submit(order)
        tracked = client.ledger.order("ORD-1")
        assert tracked is not None
        assert (tracked.stage, tracked.message_id) == ("submitted", submission.message_id)
        send(1, "OrderCreationReceipt")
        send(2, "OrderGradedEvent")
        take(client)
        assert [one.stage for one in client.ledger.orders()] == ["graded"]


def test_the_ledger_refuses_and_warns_of_what_would_be_ignored(settings: Settings, send: Send, new_order: Any) -> None:
    with CloudDirect(settings) as client:
        client.submit(new_order("ORD-1"))
        with pytest.raises(InvalidMessageError, match=r"Order\.EvaluationTypes: cannot be changed"):
            client.change(new_order("ORD-1", evaluation_types=["AMD"]))
        with pytest.raises(InvalidMessageError, match=r"Patient\.LocalId: cannot be changed"):
            client.change(new_order("ORD-1", patient="another"))
        assert client.change(new_order("ORD-1", urgent=True)).warnings == []
        assert "not graded" in client.resend_results("ORD-1").warnings[0].message
        assert "not known here" in client.cancel("ORD-7").warnings[0].message
        send(1)
        take(client)
        assert "is graded already" in client.cancel("ORD-1").warnings[0].message
        with pytest.raises(InvalidMessageError, match="is graded already"):
            client.cancel("ORD-1", strict=True)
        assert client.resend_results("ORD-1").warnings == []


def test_a_ledger_that_cannot_be_written_disturbs_nothing(
    settings: Settings, send: Send, new_order: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: Any) -> None:
        raise UnavailableError("the disk is full")

    with CloudDirect(settings) as client, caplog.at_level(logging.ERROR):
        for method in ("submitted", "event"):
            monkeypatch.setattr(client.ledger, method, full)
        assert client.submit(new_order("ORD-1")).receipt is not None
        send(1)
        assert take(client) == [1]
    assert len([record for record in caplog.records if "missing in the ledger" in record.message]) == 2
