from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone

from clouddirect.orders.models import OrderCreationReceipt, to_wire_dict
from clouddirect.sandbox.stamps import Stamps, wire_time


def test_a_repeat_gets_the_same_ids() -> None:
    first, again = Stamps(7, "m-1"), Stamps(7, "m-1")
    assert first.transaction("OrderGradedEvent") == again.transaction("OrderGradedEvent")
    assert first.order_id == again.order_id
    assert first.image_id("c", "k") == again.image_id("c", "k")


def test_seed_message_and_stage_each_make_another_transaction() -> None:
    ids = {
        Stamps(7, "m-1").transaction("OrderGradedEvent"),
        Stamps(8, "m-1").transaction("OrderGradedEvent"),
        Stamps(7, "m-2").transaction("OrderGradedEvent"),
        Stamps(7, "m-1").transaction("GradingReceipt"),
    }
    assert len(ids) == 4
    assert all(str(uuid.UUID(one)).upper() == one for one in ids)


def test_iris_ids_are_positive_32_bit_integers() -> None:
    for number in range(200):
        stamps = Stamps(number, f"m-{number}")
        for value in (stamps.order_id, stamps.image_id("c", "k"), stamps.patient_id("G", "p")):
            assert 1_000_000 <= value < 2**31


def test_a_patient_keeps_the_id_over_orders_and_spellings_of_the_guid() -> None:
    assert Stamps(1, "m-1").patient_id("ABC", "p") == Stamps(1, "m-2").patient_id("abc", "p")
    assert Stamps(1, "m-1").patient_id("abc", "p") != Stamps(1, "m-1").patient_id("abc", "q")


def test_times_have_seven_digits_and_an_offset() -> None:
    moment = datetime(2026, 1, 2, 5, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2)))
    event = OrderCreationReceipt(timestamp=wire_time(moment))
    assert to_wire_dict(event)["Timestamp"] == "2026-01-02T03:04:05.6789010+00:00"
    assert wire_time(moment) == moment.astimezone(UTC)
