"""The sandbox misbehaves on demand, and a client that reads on loses nothing by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import ConfigurationError, UnavailableError
from clouddirect.orders.models import UnknownEvent, read_event
from clouddirect.sandbox import stages
from clouddirect.settings import FaultSettings, Settings
from workflow.sandbox_messages import (
    LONG,
    NewOrder,
    Rehearse,
    UnderWay,
    events,
    image_file,
    kinds,
    request,
    results,
    run,
    with_site,
)

STAGES = ["OrderCreationReceipt", "ImageReceipt", "ReadyForGradingEvent", "GradingReceipt", "OrderGradedEvent"]


def test_duplicates_have_one_transaction_and_two_ids(under_way: UnderWay) -> None:
    rehearsal, _ = under_way(6, faults={"duplicates": 1.0})
    for queue, count in (("events", 5), ("results", 1)):
        messages = rehearsal.drain(queue)
        assert len(messages) == len({message.id for message in messages}) == 2 * count
        assert len({json.loads(message.body)["TransactionId"] for message in messages}) == count
        assert [one.body for one in messages[::2]] == [one.body for one in messages[1::2]]


def test_what_is_late_comes_by_the_injected_clock_and_its_order_waits_for_it(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG, faults={"delays": 1.0, "longest_delay": 60.0})
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    sandbox = rehearsal.sandbox()
    sandbox.step()
    assert (kinds(rehearsal), results(rehearsal)) == ([], [])
    assert len(sandbox._orders) == 1  # it counts as open: no more orders are taken than fit into memory
    seen: list[str] = []
    for _ in range(61):
        assert len(seen) < 6
        clock.advance(1.0)
        sandbox.step()
        seen += kinds(rehearsal) + ["OrderResult"] * len(results(rehearsal))
        if len(seen) == 6:
            break
    assert sorted(seen) == sorted([*STAGES, "OrderResult"])
    assert seen != [*STAGES, "OrderResult"]
    sandbox.close()
    assert rehearsal.drain("orders") == []


def test_what_is_late_is_not_lost_when_the_sandbox_ends(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG, faults={"delays": 1.0, "longest_delay": 60.0})
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    sandbox = rehearsal.sandbox()
    run(sandbox, clock, 3)
    sandbox.close()
    first = events(rehearsal)
    assert 0 < len(first) < 5
    run(rehearsal.sandbox(), clock, 7)
    second = events(rehearsal)
    assert sorted(one["ResultObjectType"] for one in second) == sorted(STAGES)
    assert {one["TransactionId"] for one in first} < {one["TransactionId"] for one in second}
    assert len({one.transaction_id for one in results(rehearsal)}) == 1


def test_an_order_that_begins_again_sends_what_was_late_once(
    rehearse: Rehearse,
    new_order: NewOrder,
    clock: ManualClock,
    pictures: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise UnavailableError("down")

    rehearsal = rehearse(clock, LONG, faults={"delays": 1.0, "longest_delay": 60.0})
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    sandbox = rehearsal.sandbox()
    with monkeypatch.context() as patched:
        patched.setattr(stages, "make_result", fail)
        sandbox.step()
    clock.advance(6.0)
    run(sandbox, clock, 8)
    assert sorted(kinds(rehearsal)) == sorted(STAGES)


def test_a_request_to_resend_waits_for_its_late_result(under_way: UnderWay, clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(6)
    sandbox.faults = FaultSettings(delays=1.0)
    rehearsal.send("orders", request("ResendResult"))
    sandbox.step()
    sandbox.close()
    assert len(rehearsal.drain("orders")) == 1


def test_a_late_event_wakes_a_sandbox_that_waits(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG, faults={"delays": 1.0, "longest_delay": 10.0})
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    sandbox = rehearsal.sandbox()
    sandbox.start()
    for _ in range(100):
        clock.wait_for_sleepers()
        clock.advance(0.5)
        if results(rehearsal):
            break
    else:
        raise AssertionError("the result did not come")


def test_an_order_that_waits_for_its_last_messages_is_not_begun_again(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, {"lease": 30.0}, faults={"delays": 1.0, "longest_delay": 1000.0})
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    sandbox = rehearsal.sandbox()
    for _ in range(12):
        sandbox.step()
        clock.advance(100.0)  # the machine slept through three leases: the order is delivered again
    assert sorted(kinds(rehearsal)) == sorted(STAGES)
    assert len(results(rehearsal)) == 1
    sandbox.close()
    assert rehearsal.drain("orders") == []


def test_events_of_an_order_change_places(under_way: UnderWay, clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(6, faults={"reordering": 1.0})
    assert kinds(rehearsal) == [STAGES[1], STAGES[0], STAGES[3], STAGES[2]]
    assert len(results(rehearsal)) == 1
    run(sandbox, clock, 4)
    assert kinds(rehearsal) == [STAGES[4]]
    sandbox.close()
    assert rehearsal.drain("orders") == []


def test_an_order_that_waits_for_a_grading_does_not_keep_its_event(under_way: UnderWay) -> None:
    rehearsal, _ = under_way(8, auto_grade=False, faults={"reordering": 1.0, "longest_delay": 40.0})
    assert kinds(rehearsal) == ["ImageReceipt", "OrderCreationReceipt", "ReadyForGradingEvent"]


def test_strangers_stand_between_the_others(under_way: UnderWay) -> None:
    rehearsal, _ = under_way(6, faults={"unknown_kinds": 1.0})
    found = [read_event(message.body) for message in rehearsal.drain("events")]
    assert [str(one.result_object_type) for one in found[1::2]] == STAGES
    for stranger, other in zip(found[::2], found[1::2], strict=True):
        assert isinstance(stranger, UnknownEvent)
        assert stranger.unknown_fields["Routing"]
        assert (stranger.order_local_id, stranger.iris_order_id) == ("ORD1", other.iris_order_id)
    assert len({one.transaction_id for one in found}) == 10


def test_what_cannot_be_read_is_put_aside_by_the_client_and_nothing_else(under_way: UnderWay) -> None:
    rehearsal, _ = under_way(6, faults={"malformed": 1.0})
    client = rehearsal.client()
    seen: list[str] = []
    for incoming in client.events(timeout=0):
        with incoming as event:
            seen.append(str(event.result_object_type))
    for incoming in client.results(timeout=0):
        with incoming as result:
            seen.append(str(result.order_local_id))
    assert seen == [*STAGES, "ORD1"]
    assert len(rehearsal.drain("events/$dead")) == 5
    assert len(rehearsal.drain("results/$dead")) == 1


def test_a_cancelled_order_is_said_to_be_so_with_every_fault(under_way: UnderWay, clock: ManualClock) -> None:
    faults = dict.fromkeys(["duplicates", "delays", "unknown_kinds", "malformed"], 1.0)
    rehearsal, sandbox = under_way(2, faults=faults)
    rehearsal.send("orders", request("CA"))
    run(sandbox, clock, 12)
    told = [json.loads(one.body) for one in rehearsal.drain("events") if b'"OrderCancelled"' in one.body[-200:]]
    assert {one["OrderLocalId"] for one in told} == {"ORD1"}
    assert len({one["TransactionId"] for one in told}) == 1
    sandbox.close()
    assert rehearsal.drain("orders") == []


def rehearsed(rehearse: Rehearse, new_order: NewOrder, pictures: dict[str, bytes], seed: int) -> tuple[list[Any], Any]:
    """What leaves for ten orders with every fault, with the moment: without ids, which no two rehearsals share."""
    clock = ManualClock()
    faults = {"longest_delay": 60.0} | dict.fromkeys(
        ["duplicates", "delays", "reordering", "unknown_kinds", "malformed"], 0.3
    )
    rehearsal = rehearse(clock, LONG, seed=seed, stage_delay=5.0, faults=faults)
    client, sandbox = rehearsal.client(), rehearsal.sandbox()
    for number in range(10):
        client.submit(new_order(f"ORD{number}", f"MRN{number}"), [image_file(pictures["OD"])])
    seen: list[Any] = []
    for _ in range(40):
        sandbox.step()
        for queue in ("events", "results"):
            seen += [(clock.monotonic(), one.correlation_id, kind_of(one.body)) for one in rehearsal.drain(queue)]
        clock.advance(5.0)
    return seen, sandbox


def kind_of(body: bytes) -> str:
    try:
        found = json.loads(body)
        return str(found.get("ResultObjectType", "OrderResult"))
    except (ValueError, AttributeError):
        return "malformed"


def test_the_same_seed_makes_the_same_faults_and_another_does_not(
    rehearse: Rehearse, new_order: NewOrder, pictures: dict[str, bytes]
) -> None:
    first, sandbox = rehearsed(rehearse, new_order, pictures, 5)
    assert rehearsed(rehearse, new_order, pictures, 5)[0] == first
    assert rehearsed(rehearse, new_order, pictures, 6)[0] != first
    assert set(sandbox.faults_made) == {"duplicates", "delays", "reordering", "unknown_kinds", "malformed"}
    assert sum(kind == "malformed" for _, _, kind in first) == sandbox.faults_made["malformed"]
    for number in range(10):  # nothing is lost
        assert {kind for _, order, kind in first if order == f"ORD{number}"} >= {*STAGES, "OrderResult"}


def test_a_program_may_change_its_mind(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG, faults={"malformed": 1.0})
    client = rehearsal.client()
    sandbox = rehearsal.sandbox(faults=FaultSettings(duplicates=1.0))
    assert sandbox.faults_made == {}
    client.submit(new_order("one", "P-1"), [image_file(pictures["OD"])])
    sandbox.step()
    assert len(events(rehearsal)) == 10
    sandbox.faults = FaultSettings()
    client.submit(new_order("two", "P-2"), [image_file(pictures["OD"])])
    sandbox.step()
    assert kinds(rehearsal) == STAGES
    assert sandbox.faults == FaultSettings()
    assert sandbox.faults_made == {"duplicates": 6}


def test_the_caller_is_told_of_all_that_can_be_read(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG, faults=dict.fromkeys(["duplicates", "unknown_kinds", "malformed"], 1.0))
    told: list[str] = []
    sandbox = rehearsal.sandbox(on_sent=lambda message: told.append(str(message.result_object_type)))
    rehearsal.send("orders", with_site(new_order()))
    assert sandbox.step() == 1 + 4
    assert told[0].startswith("Sandbox")
    assert told[1:] == ["OrderCreationReceipt"] * 2
    assert len(rehearsal.drain("events")) == 4


@pytest.mark.parametrize("fault", ["duplicates", "delays", "reordering", "unknown_kinds", "malformed"])
def test_a_result_that_is_sent_again_meets_faults_too(fault: str, under_way: UnderWay, clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(6)
    results(rehearsal)
    sandbox.faults = FaultSettings(**{fault: 1.0})
    rehearsal.send("orders", request("ResendResult"))
    run(sandbox, clock, 4)
    codes = [
        json.loads(one.body)["ResultCode"] for one in rehearsal.drain("results") if kind_of(one.body) != "malformed"
    ]
    assert codes == (["R", "R"] if fault == "duplicates" else ["R"])
    sandbox.close()
    assert rehearsal.drain("orders") == []


def test_nothing_of_a_patient_is_logged(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "clouddirect")
    faults = dict.fromkeys(["duplicates", "delays", "reordering", "unknown_kinds", "malformed"], 1.0)
    rehearsal = rehearse(clock, LONG, faults=faults, sites=["PC1234"])
    sandbox = rehearsal.sandbox()
    for site in ("PC1234", "Canary77"):
        rehearsal.send("orders", with_site(new_order(patient="Canary77"), site))
    run(sandbox, clock, 5)
    assert "a fault on purpose" in caplog.text
    assert "ignored" in caplog.text
    assert "Canary77" not in caplog.text


@pytest.mark.parametrize(
    ("faults", "path"),
    [
        ({"duplicates": 1.5}, "sandbox.faults.duplicates"),
        ({"delays": -0.1}, "sandbox.faults.delays"),
        ({"longest_delay": 0}, "sandbox.faults.longest_delay"),
        ({"malformed": float("nan")}, "sandbox.faults.malformed"),
        ({"losses": 1}, "sandbox.faults.losses: there is no such setting"),
        ({"duplicate": 1}, "did you mean duplicates"),
    ],
)
def test_faults_that_do_not_exist_are_refused(faults: dict[str, float], path: str) -> None:
    with pytest.raises(ConfigurationError, match=path):
        Settings.of({"sandbox": {"faults": faults}})


def test_faults_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDDIRECT_SANDBOX__FAULTS__REORDERING", "0.25")
    assert Settings.of({}).sandbox.faults == FaultSettings(reordering=0.25)


def test_the_outcome_is_the_same_for_a_client_with_every_fault(
    rehearse: Rehearse, listen: Callable[..., Any], new_order: NewOrder, pictures: dict[str, bytes]
) -> None:
    faults = {"longest_delay": 0.5} | dict.fromkeys(
        ["duplicates", "delays", "reordering", "unknown_kinds", "malformed"], 0.4
    )
    rehearsal = rehearse(seed=2, image_wait=1.0, faults=faults)
    client = rehearsal.client()
    rehearsal.sandbox().start()
    inbox = listen(client)
    orders = [f"ORD{number}" for number in range(6)]
    for number, local_id in enumerate(orders):
        client.submit(new_order(local_id, f"MRN{number}"), [image_file(pictures["OD"])])
    for local_id in orders:
        assert inbox.result(local_id).gradings.od is not None
        for kind in STAGES:
            assert inbox.event(local_id, kind).success
