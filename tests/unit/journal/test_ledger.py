"""The ledger: each order's stage, whatever order the events come in, and what is overdue."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.orders import ledger as module
from clouddirect.orders.journal import Journal
from clouddirect.orders.ledger import Ledger, Patience, TrackedOrder
from clouddirect.orders.models import (
    AzureBlobStorage,
    Camera,
    Event,
    Image,
    ImageReceipt,
    Name,
    Order,
    OrderCancelled,
    OrderCreationReceipt,
    OrderGradedEvent,
    OrderRequest,
    OrderResult,
    Patient,
    ReadyForGradingEvent,
    ResultOrder,
    UnknownEvent,
)
from clouddirect.orders.models.events import GradingReceipt
from clouddirect.orders.outbox import Outbox

MINUTE = 60.0


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "clouddirect.db")
    yield made
    made.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def ledger(journal: Journal, clock: ManualClock) -> Ledger:
    return Ledger(journal, clock, Patience(receipt=15 * MINUTE, grading=600 * MINUTE, result=60 * MINUTE))


def request(code: str = "NW", local_id: str = "ORD-1", patient: str = "Canarysson", images: int = 0) -> OrderRequest:
    place = AzureBlobStorage(container="images", file_name="x")
    return OrderRequest(
        order_control_code=code,
        order=Order(local_id=local_id, evaluation_types=["DR", "AMD"]),
        patient=Patient(local_id=patient, name=Name(first="Canarysson", last="Canarysson"), dob=date(1961, 12, 1)),
        camera=Camera(images=[Image(azure_blob_storage=place)] * images),
    )


def event(kind: type[Event], **fields: Any) -> Event:
    return kind(**{"order_local_id": "ORD-1", "iris_order_id": 7, "success": True, **fields})


def the(ledger: Ledger) -> TrackedOrder:
    found = ledger.order("ORD-1")
    assert found is not None
    return found


def test_an_order_goes_through_its_stages(ledger: Ledger, clock: ManualClock) -> None:
    ledger.submitted(request(images=2), "m1")
    first = the(ledger)
    assert (first.stage, first.asked, first.message_id, first.images) == ("submitted", "NW", "m1", 2)
    assert (first.evaluations, first.submitted_at) == (("DR", "AMD"), clock.now())
    stages = []
    for kind in (OrderCreationReceipt, ReadyForGradingEvent, GradingReceipt, OrderGradedEvent):
        clock.advance(1)
        ledger.event(event(kind))
        stages.append(the(ledger).stage)
    assert stages == ["created", "ready", "grading", "graded"]
    assert the(ledger).stage_at == clock.now()
    ledger.result(OrderResult(order=ResultOrder(local_id="ORD-1")))
    assert (the(ledger).stage, the(ledger).iris_order_id) == ("result", 7)


def test_events_may_come_in_any_order_and_twice(journal: Journal) -> None:
    events = [
        event(OrderCreationReceipt), event(ImageReceipt, image_local_id="i1"),
        event(ImageReceipt, image_local_id="i2", success=False), event(ReadyForGradingEvent), event(OrderGradedEvent),
        UnknownEvent(order_local_id="ORD-1", result_object_type="Teleported"),
    ]  # fmt: skip
    shuffles = random.Random(1).sample(list(itertools.permutations(events)), 20)
    for shuffled in shuffles:
        ledger = Ledger(journal)
        ledger.submitted(request(images=2), "m1")
        for one in (*shuffled, *shuffled):
            ledger.event(one)
        found = the(ledger)
        assert (found.stage, found.images_taken, found.images_refused) == ("graded", 1, 1)


def test_a_refusal_is_kept_with_its_reason(ledger: Ledger) -> None:
    ledger.submitted(request(), "m1")
    ledger.event(event(OrderCreationReceipt, success=False, error_message="Canarysson unknown"))
    found = the(ledger)
    assert (found.stage, found.refusal, found.overdue) == ("refused", "Canarysson unknown", None)
    assert "Canarysson" not in repr(found)


def test_submitting_again_begins_anew(ledger: Ledger) -> None:
    ledger.submitted(request(images=1), "m1")
    ledger.event(event(ImageReceipt, image_local_id="i1"))
    ledger.event(event(OrderCancelled))
    ledger.submitted(request(), "m2")
    found = the(ledger)
    assert (found.stage, found.message_id, found.images_taken) == ("submitted", "m2", 0)


def test_orders_of_others_are_known_by_their_events(ledger: Ledger) -> None:
    ledger.event(event(ReadyForGradingEvent))
    found = the(ledger)
    assert (found.stage, found.submitted_at, found.asked, found.overdue) == ("ready", None, None, None)
    assert ledger.order("ORD-2") is None
    ledger.event(OrderGradedEvent(success=True))  # names no order


@pytest.mark.parametrize(
    ("events", "minutes", "told"),
    [
        ([], 15, None),
        ([], 16, "ClientGuid"),
        ([OrderCreationReceipt], 600, None),
        ([OrderCreationReceipt], 601, "images"),
        ([OrderCreationReceipt, ReadyForGradingEvent], 601, "not graded"),
        ([OrderGradedEvent], 60, None),
        ([OrderGradedEvent], 61, "no result"),
        ([OrderCancelled], 10_000, None),
    ],
)
def test_what_does_not_come_in_time_is_overdue(
    ledger: Ledger, clock: ManualClock, events: list[type[Event]], minutes: float, told: str | None
) -> None:
    ledger.submitted(request(), "m1")
    for kind in events:
        ledger.event(event(kind))
    clock.advance(minutes * MINUTE)
    overdue = the(ledger).overdue
    assert (told is None) == (overdue is None)
    assert told is None or told in str(overdue)
    assert [one.local_id for one in ledger.orders(overdue=True)] == (["ORD-1"] if told else [])


def test_a_cancellation_that_is_not_confirmed_is_overdue(ledger: Ledger, clock: ManualClock) -> None:
    ledger.submitted(request(), "m1")
    ledger.event(event(ReadyForGradingEvent))
    clock.advance(100 * MINUTE)
    ledger.submitted(request("CA"), "m2")
    assert (the(ledger).asked, the(ledger).overdue) == ("CA", None)
    clock.advance(16 * MINUTE)
    assert "no OrderCancelled" in str(the(ledger).overdue)
    ledger.event(event(OrderCancelled, success=False))  # to be ignored there
    assert (the(ledger).stage, the(ledger).overdue) == ("cancelled", None)


def test_a_clock_that_is_set_back_makes_nothing_overdue(ledger: Ledger, clock: ManualClock) -> None:
    ledger.submitted(request(), "m1")
    clock.set_back(3600)
    assert the(ledger).overdue is None
    clock.advance(3600 + 16 * MINUTE)
    assert the(ledger).overdue is not None


def test_it_knows_whether_it_is_the_same_patient_without_knowing_the_patient(ledger: Ledger, journal: Journal) -> None:
    ledger.submitted(request(), "m1")
    assert ledger.is_same_patient(request("XO")) is True
    assert ledger.is_same_patient(request("XO", patient="another")) is False
    assert ledger.is_same_patient(request("XO", local_id="ORD-9")) is None
    journal.close()
    for file in journal.path.parent.iterdir():
        assert b"Canarysson" not in file.read_bytes()


def test_half_a_surrogate_pair_is_stored(ledger: Ledger) -> None:
    broken = "O\ud800"
    ledger.submitted(request(local_id=broken, patient=broken), "m1")
    ledger.event(event(OrderCreationReceipt, order_local_id=broken, success=False, error_message=broken))
    ledger.event(event(ImageReceipt, order_local_id=broken, image_local_id=broken))
    ledger.result(OrderResult(order=ResultOrder(local_id=broken)))
    assert [(one.local_id, one.refusal) for one in ledger.orders()] == [("O?", "O?")]


def test_it_is_pruned_by_age(ledger: Ledger, clock: ManualClock) -> None:
    ledger.submitted(request(local_id="old"), "m1")
    ledger.submitted(request(local_id="asked"), "m2")
    clock.advance(3600)
    ledger.submitted(request("CA", local_id="asked"), "m3")
    ledger.submitted(request(local_id="new"), "m4")
    assert ledger.prune(timedelta(minutes=30)) == 1
    assert [one.local_id for one in ledger.orders()] == ["asked", "new"]


def test_a_receipt_that_is_faster_than_the_note_of_the_submission_stays(ledger: Ledger, clock: ManualClock) -> None:
    ledger.submitted(request(), "m1")
    ledger.event(event(OrderCancelled))
    clock.advance(1)
    began = clock.now()
    assert tracked_again(ledger, "m2", began).stage == "submitted"  # what was known before is of the old order
    clock.advance(1)
    ledger.event(event(OrderCreationReceipt))
    found = tracked_again(ledger, "m2", began)
    assert (found.stage, found.message_id, found.asked, found.overdue) == ("created", "m2", "NW", None)


def tracked_again(ledger: Ledger, message_id: str, began: datetime) -> TrackedOrder:
    ledger.submitted(request(), message_id, began)
    found = ledger.order("ORD-1")
    assert found is not None
    return found


def test_it_is_bounded(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PRUNE_EVERY", 10)
    for number in range(100):  # each in a process of its own
        ledger = Ledger(journal, capacity=25)
        ledger.submitted(request(local_id=f"ORD-{number}"), "m")
        ledger.event(event(ImageReceipt, order_local_id=f"ORD-{number}", image_local_id="image"))
    known = [one.local_id for one in Ledger(journal).orders()]
    assert 25 <= len(known) <= 35
    assert {"ORD-99", "ORD-75"} <= set(known)
    with journal.read() as connection:
        assert connection.execute("SELECT count(*) FROM order_images").fetchone() == (len(known),)


def test_what_is_in_the_outbox_is_told_apart_from_what_got_no_answer(
    ledger: Ledger, journal: Journal, clock: ManualClock
) -> None:
    outbox = Outbox(journal, clock, discarding=ledger.discarded)

    def accept(message_id: str, asked: OrderRequest) -> int:
        return outbox.accept(
            message_id, "orders", b"", local_id="ORD-1", operation="NW",
            noting=lambda connection: ledger.enter(connection, asked, message_id),
        )  # fmt: skip

    def told() -> str | None:
        found = ledger.order("ORD-1")
        return found.overdue if found else "unknown"

    place = accept("m1", request())
    assert told() is None
    clock.advance(16 * 60)
    assert told() == "still in the outbox: it could not be sent yet"
    with journal.write() as connection:
        connection.execute("UPDATE outbox SET held = 1")
    assert str(told()).startswith("on hold in the outbox")
    outbox.discard([place])
    assert told() == "unknown"
    ledger.submitted(request(), "m2")
    ledger.event(event(OrderCreationReceipt))
    outbox.discard([accept("m3", request("CA"))])
    clock.advance(16 * 60)
    assert told() is None, "the order stands, and nothing was asked of it"
    assert the(ledger).stage == "created"


def test_an_order_that_is_not_accepted_is_not_tracked(ledger: Ledger, journal: Journal) -> None:
    outbox = Outbox(journal)

    def noting(connection: sqlite3.Connection) -> None:
        ledger.enter(connection, request(), "m1")
        raise KeyError

    with pytest.raises(KeyError):
        outbox.accept("m1", "orders", b"", local_id="ORD-1", operation="NW", noting=noting)
    assert ledger.orders() == []
    assert outbox.count() == 0
