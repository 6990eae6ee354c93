"""How the sandbox takes orders through their stages, on a clock that the test moves."""

from __future__ import annotations

import re
from typing import Any

from clouddirect.clock import ManualClock
from clouddirect.orders.models import read_result, to_wire_dict
from workflow.sandbox_messages import LONG, NewOrder, Rehearse, events, image_file


def test_one_stage_after_another(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG, stage_delay=10.0)
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    sandbox = rehearsal.sandbox()
    seen = []
    for _ in range(6):
        assert sandbox.step() > 0
        assert sandbox.step() == 0
        seen.append(events(rehearsal))
        clock.advance(9.0)
        assert sandbox.step() == 0
        clock.advance(1.0)
    assert [[event["ResultObjectType"] for event in batch] for batch in seen] == [
        ["OrderCreationReceipt"], ["ImageReceipt"], ["ReadyForGradingEvent"], ["GradingReceipt"], ["OrderGradedEvent"],
        [],
    ]  # fmt: skip
    times = [batch[0]["Timestamp"] for batch in seen[:5]]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}\+00:00", one) for one in times)
    assert times == sorted(set(times))
    (result,) = rehearsal.drain("results")
    assert result.correlation_id == "ORD1"
    assert result.content_type == "application/json"
    assert read_result(result.body).result_code == "F"
    assert rehearsal.drain("orders") == []


def test_orders_do_not_wait_for_each_other(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG)
    client = rehearsal.client()
    client.submit(new_order("waits"))
    client.submit(new_order("goes"), [image_file(pictures["OD"])])
    rehearsal.sandbox().step()
    assert [message.correlation_id for message in rehearsal.drain("results")] == ["goes"]


def test_the_order_stays_in_its_queue_until_everything_is_sent(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG, stage_delay=10.0)
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    first = rehearsal.sandbox()
    for _ in range(3):
        first.step()
        clock.advance(10.0)
    first.close()
    before = events(rehearsal)
    assert [event["ResultObjectType"] for event in before] == [
        "OrderCreationReceipt", "ImageReceipt", "ReadyForGradingEvent",
    ]  # fmt: skip

    second = rehearsal.sandbox()
    for _ in range(6):
        second.step()
        clock.advance(10.0)
    again = events(rehearsal)
    assert [event["TransactionId"] for event in again[:3]] == [event["TransactionId"] for event in before]
    assert [event["IrisOrderId"] for event in again[:3]] == [event["IrisOrderId"] for event in before]
    assert again[1]["IrisImageId"] == before[1]["IrisImageId"]
    assert len({event["TransactionId"] for event in again}) == 5
    assert len(rehearsal.drain("results")) == 1
    assert rehearsal.drain("orders") == []


def test_a_lease_that_ran_out_unnoticed_costs_nothing(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, {"lease": 30.0}, stage_delay=100.0)
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    sandbox = rehearsal.sandbox()
    for _ in range(7):
        sandbox.step()
        clock.advance(100.0)  # the machine slept through three leases
    assert len({event["TransactionId"] for event in events(rehearsal)}) == 5
    assert {read_result(message.body).order_local_id for message in rehearsal.drain("results")} == {"ORD1"}


def test_the_same_seed_grades_alike_and_another_does_not(
    rehearse: Rehearse, new_order: NewOrder, pictures: dict[str, bytes]
) -> None:
    def gradings(seed: int) -> list[Any]:
        rehearsal = rehearse(ManualClock(), LONG, seed=seed)
        client, sandbox = rehearsal.client(), rehearsal.sandbox()
        for number in range(8):
            client.submit(new_order(f"ORD{number}", evaluation_types=["DR_AMD"]), [image_file(pictures["OD"])])
        sandbox.step()
        results = [read_result(message.body) for message in rehearsal.drain("results")]
        return [to_wire_dict(one)["Gradings"]["OD"] for one in results]

    first = gradings(5)
    assert len(first) == 8
    assert gradings(5) == first
    assert gradings(6) != first
