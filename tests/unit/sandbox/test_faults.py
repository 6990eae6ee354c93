"""What the sandbox's faults look like, and that they are drawn alike each time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from clouddirect.errors import InvalidMessageError
from clouddirect.orders.models import (
    EVENT_KINDS,
    OrderCancelled,
    OrderCreationReceipt,
    UnknownEvent,
    WireModel,
    read_event,
    read_result,
    to_wire,
)
from clouddirect.sandbox.faults import UNKNOWN_KINDS, chance, malformed_body, unknown_event

RECEIPT = OrderCreationReceipt(
    transaction_id="DB816B37-07EC-43D0-9848-70BEC36F4024",
    timestamp="2022-01-02T17:42:18.6936779+00:00",
    success=True,
    iris_order_id=1225564,
    order_local_id="ORD-1",
    patient_local_id="MRN-1",
)
LUCK = [number / 40 for number in range(40)]


def test_chances_are_even_and_the_same_on_every_machine() -> None:
    assert chance(7, "duplicates", "ORD-1") == 0.006784464708002896
    drawn = [chance(7, "duplicates", number) for number in range(4000)]
    assert all(0 <= one < 1 for one in drawn)
    assert [sum(one < limit for one in drawn) / 4000 for limit in (0.1, 0.5, 0.9)] == pytest.approx(
        [0.1, 0.5, 0.9], abs=0.03
    )


@pytest.mark.parametrize("other", [(8, "duplicates", "ORD-1"), (7, "delays", "ORD-1"), (7, "duplicates", "ORD-2")])
def test_seed_fault_and_order_each_make_a_difference(other: tuple[int, str, str]) -> None:
    assert chance(*other) != chance(7, "duplicates", "ORD-1")


def test_any_text_can_be_drawn_for() -> None:
    assert 0 <= chance(0, "delays", "\ud800", None) < 1


def test_an_event_of_an_unknown_kind_says_which_order_it_is_about() -> None:
    made = [unknown_event(RECEIPT, luck) for luck in LUCK]
    assert {one.result_object_type for one in made} == set(UNKNOWN_KINDS)
    assert not set(UNKNOWN_KINDS) & set(EVENT_KINDS)
    for one in made:
        again = read_event(to_wire(one))
        assert isinstance(again, UnknownEvent)
        assert (again.order_local_id, again.iris_order_id, again.patient_local_id) == ("ORD-1", 1225564, "MRN-1")
        assert set(again.unknown_fields) == {"Urgency", "Routing"}


def test_it_has_a_transaction_of_its_own_the_same_each_time() -> None:
    first, again = unknown_event(RECEIPT, 0.0), unknown_event(RECEIPT, 0.0)
    assert first.transaction_id == again.transaction_id != RECEIPT.transaction_id
    other = OrderCancelled(transaction_id="00000000-0000-4000-8000-000000000000")
    assert unknown_event(other, 0.0).transaction_id != first.transaction_id


@pytest.mark.parametrize("read", [read_event, read_result])
def test_nobody_can_read_what_is_malformed(read: Callable[[bytes], WireModel]) -> None:
    made = {malformed_body(to_wire(RECEIPT), luck) for luck in LUCK}
    assert len(made) == 4
    for body in made:
        with pytest.raises(InvalidMessageError):
            read(body)
