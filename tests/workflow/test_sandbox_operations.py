"""Changes, cancellations, resent results and submitted gradings, and the silences where they match nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.orders import ImageFile
from clouddirect.orders.models import (
    EyeSideGrading,
    Finding,
    GradingSubmission,
    Name,
    Order,
    OrderRequest,
    OrderResult,
    Patient,
    Site,
    read_result,
)

GUID = "63E3C9EF-66AC-4154-B0C2-494515EB99A7"
OTHER_GUID = "11111111-2222-4333-8444-555555555555"
LONG = {"lease": 100_000.0}

NewOrder = Callable[..., OrderRequest]
Rehearse = Callable[..., Any]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime.now(UTC))


def request(code: str, local_id: str = "ORD1", **fields: Any) -> OrderRequest:
    values = {"client_guid": GUID, "order_control_code": code, "order": Order(local_id=local_id)}
    return OrderRequest(**(values | fields))


def kinds(rehearsal: Any) -> list[str]:
    return [json.loads(message.body)["ResultObjectType"] for message in rehearsal.drain("events")]


def results(rehearsal: Any) -> list[OrderResult]:
    return [read_result(message.body) for message in rehearsal.drain("results")]


def run(sandbox: Any, clock: ManualClock, turns: int) -> None:
    for _ in range(turns):
        sandbox.step()
        clock.advance(10.0)


@pytest.fixture
def under_way(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> Callable[..., tuple[Any, Any]]:
    """A rehearsal with one order, ``turns`` stages on its way; ten seconds lie between two stages."""

    def start(turns: int, **options: Any) -> tuple[Any, Any]:
        rehearsal = rehearse(clock, LONG, stage_delay=10.0, **options)
        rehearsal.client().submit(
            new_order(), [ImageFile(source=pictures["OD"], laterality="OD", local_id="i-1", suffix=".jpg")]
        )
        sandbox = rehearsal.sandbox()
        run(sandbox, clock, turns)
        return rehearsal, sandbox

    return start


# -- cancel -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_an_order_that_is_not_graded_is_cancelled(
    turns: int, under_way: Callable[..., tuple[Any, Any]], clock: ManualClock
) -> None:
    rehearsal, sandbox = under_way(turns)
    before = kinds(rehearsal)
    rehearsal.send("orders", request("CA"))
    # cancelled in the turn in which its next stage would be due: the cancellation was there first
    run(sandbox, clock, 6)
    assert len(before) == turns
    assert kinds(rehearsal) == ["OrderCancelled"]
    assert results(rehearsal) == []
    assert rehearsal.drain("orders") == []


@pytest.mark.parametrize("turns", [4, 5])
def test_a_cancellation_after_grading_is_ignored(
    turns: int, under_way: Callable[..., tuple[Any, Any]], clock: ManualClock
) -> None:
    rehearsal, sandbox = under_way(turns)
    rehearsal.send("orders", request("CA"))
    run(sandbox, clock, 6)
    assert "OrderCancelled" not in kinds(rehearsal)
    assert len(results(rehearsal)) == 1
    assert rehearsal.drain("orders") == []


@pytest.mark.parametrize(
    "message",
    [
        request("CA", "another"),
        request("CA", client_guid=OTHER_GUID),
        request("XO", "another"),
        request("ResendResult", "another"),
        request("XR"),
        request("CloneOrder"),
    ],
    ids=["CA", "CA of others", "XO", "ResendResult", "XR", "CloneOrder"],
)
def test_what_matches_nothing_leads_to_nothing(
    message: OrderRequest, under_way: Callable[..., tuple[Any, Any]], clock: ManualClock
) -> None:
    rehearsal, sandbox = under_way(1)
    kinds(rehearsal)
    rehearsal.send("orders", message)
    sandbox.step()
    assert kinds(rehearsal) == ["ImageReceipt"]  # the order goes on
    run(sandbox, clock, 6)
    assert len(results(rehearsal)) == 1
    assert rehearsal.drain("orders") == []
    assert rehearsal.drain("orders/$dead") == []


def test_a_cancellation_needs_neither_site_nor_the_same_spelling_of_the_guid(
    under_way: Callable[..., tuple[Any, Any]],
) -> None:
    rehearsal, sandbox = under_way(1)
    rehearsal.send("orders", request("CA", client_guid=GUID.lower()))
    sandbox.step()
    assert kinds(rehearsal)[-1] == "OrderCancelled"


def test_the_newest_of_two_orders_with_one_id_is_cancelled(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG)
    client, sandbox = rehearsal.client(), rehearsal.sandbox()
    for _ in range(2):
        client.submit(new_order())
    sandbox.step()
    receipts = [json.loads(message.body) for message in rehearsal.drain("events")]
    rehearsal.send("orders", request("CA"))
    sandbox.step()
    (cancelled,) = [json.loads(message.body) for message in rehearsal.drain("events")]
    assert cancelled["IrisOrderId"] == receipts[1]["IrisOrderId"]


# -- change -------------------------------------------------------------------------------------------------


def test_a_change_replaces_what_it_gives_and_not_what_cannot_change(
    under_way: Callable[..., tuple[Any, Any]], clock: ManualClock
) -> None:
    rehearsal, sandbox = under_way(2)
    changed = request(
        "XO",
        site=Site(local_id="PC-2"),
        order=Order(local_id="ORD1", evaluation_types=["Glaucoma"], department_id="D-9"),
        patient=Patient(local_id="another", name=Name(first="Janet", last="Roe")),
    )
    rehearsal.send("orders", changed)
    run(sandbox, clock, 6)
    (result,) = results(rehearsal)
    assert result.site is not None
    assert result.order is not None
    assert result.patient is not None
    assert result.patient.name is not None
    assert result.site.local_id == "PC-2"
    assert result.order.department_id == "D-9"
    assert result.order.evaluation_types == ["DR"]
    assert result.patient.local_id == "MRN1"
    assert result.patient.name.first == "Janet"
    assert rehearsal.drain("orders") == []


def test_a_change_comes_again_with_its_order_after_a_crash(
    under_way: Callable[..., tuple[Any, Any]], clock: ManualClock
) -> None:
    rehearsal, sandbox = under_way(2)
    rehearsal.send("orders", request("XO", site=Site(local_id="PC-2")))
    sandbox.step()
    sandbox.close()
    run(rehearsal.sandbox(), clock, 7)
    (result,) = results(rehearsal)
    assert result.site is not None
    assert result.site.local_id == "PC-2"


def test_a_change_after_grading_is_ignored(under_way: Callable[..., tuple[Any, Any]], clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(4)
    rehearsal.send("orders", request("XO", site=Site(local_id="PC-2")))
    run(sandbox, clock, 4)
    (result,) = results(rehearsal)
    assert result.site is not None
    assert result.site.local_id == "PC1234"


def test_a_change_may_name_the_images_of_an_order_that_came_first(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG)
    client, sandbox = rehearsal.client(), rehearsal.sandbox()
    client.submit(new_order())
    sandbox.step()
    files = [ImageFile(source=pictures[eye], laterality=eye, suffix=".jpg") for eye in ("OD", "OS")]
    entries = [client.upload_image(file).entry() for file in files]
    rehearsal.send("orders", request("XO", camera={"images": entries}))
    sandbox.step()
    clock.advance(1.0)
    sandbox.step()
    (result,) = results(rehearsal)
    assert [image.local_id for image in result.images] == [entry.local_id for entry in entries]


# -- resend -------------------------------------------------------------------------------------------------


def test_a_result_is_sent_again_when_asked_for(under_way: Callable[..., tuple[Any, Any]], clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(6)
    (first,) = results(rehearsal)
    rehearsal.send("orders", request("ResendResult"))
    sandbox.step()
    (again,) = results(rehearsal)
    assert (first.result_code, again.result_code) == ("F", "R")
    assert again.transaction_id != first.transaction_id
    assert again.results_document == first.results_document
    assert again.gradings == first.gradings
    assert again.timestamp is not None
    assert first.timestamp is not None
    assert again.timestamp > first.timestamp
    rehearsal.send("orders", request("ResendResult"))
    sandbox.step()
    assert [one.result_code for one in results(rehearsal)] == ["R"]


# -- gradings from outside ----------------------------------------------------------------------------------


def submission(local_id: str = "ORD1", guid: str = GUID, **eyes: EyeSideGrading) -> GradingSubmission:
    found = EyeSideGrading(gradable=True, findings=[Finding(finding="Suspected Vein Occlusion")])
    return GradingSubmission(
        client_guid=guid, site=Site(local_id="PC1234"), local_id=local_id, **(eyes or {"od": found})
    )


def test_an_order_waits_for_its_grading(under_way: Callable[..., tuple[Any, Any]], clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(9, auto_grade=False)
    assert kinds(rehearsal) == ["OrderCreationReceipt", "ImageReceipt", "ReadyForGradingEvent"]
    rehearsal.send("gradings", submission())
    run(sandbox, clock, 4)
    assert kinds(rehearsal) == ["GradingReceipt", "OrderGradedEvent"]
    (result,) = results(rehearsal)
    assert result.gradings is not None
    assert result.gradings.od == EyeSideGrading(gradable=True, findings=[Finding(finding="Suspected Vein Occlusion")])
    assert result.gradings.os is None
    assert result.gradings.pathology is True
    assert rehearsal.drain("gradings") == []


def test_a_submitted_grading_comes_before_the_sandbox_s_own(
    under_way: Callable[..., tuple[Any, Any]], clock: ManualClock
) -> None:
    rehearsal, sandbox = under_way(2)
    ungradable = EyeSideGrading(gradable=False, ungradable_reasons=["Small Pupil"])
    rehearsal.send("gradings", submission(od=ungradable))
    run(sandbox, clock, 6)
    (result,) = results(rehearsal)
    assert result.gradings is not None
    assert result.gradings.od == ungradable


def test_a_grading_comes_again_with_its_order_after_a_crash(
    under_way: Callable[..., tuple[Any, Any]], clock: ManualClock
) -> None:
    rehearsal, sandbox = under_way(3, auto_grade=False)
    rehearsal.send("gradings", submission())
    sandbox.step()
    sandbox.close()
    again = rehearsal.sandbox()
    run(again, clock, 8)
    assert len(results(rehearsal)) == 1


@pytest.mark.parametrize(
    "message",
    [
        submission("another"),
        submission(guid=OTHER_GUID),
        submission(od=EyeSideGrading(gradable=False)),
        submission(od=EyeSideGrading(gradable=False, ungradable_reasons=["a", "b"])),
    ],
    ids=["another order", "of others", "no reason", "two reasons"],
)
def test_a_grading_that_fits_no_order_or_is_wrong_is_ignored(
    message: GradingSubmission, under_way: Callable[..., tuple[Any, Any]], clock: ManualClock
) -> None:
    rehearsal, sandbox = under_way(4, auto_grade=False)
    kinds(rehearsal)
    rehearsal.send("gradings", message)
    run(sandbox, clock, 3)
    assert kinds(rehearsal) == []
    assert rehearsal.drain("gradings") == []
    assert rehearsal.drain("gradings/$dead") == []


def test_a_grading_that_cannot_be_read_is_dead_lettered(under_way: Callable[..., tuple[Any, Any]]) -> None:
    rehearsal, sandbox = under_way(4, auto_grade=False)
    rehearsal.send("gradings", b"not json")
    sandbox.step()
    (dead,) = rehearsal.drain("gradings/$dead")
    assert dead.body == b"not json"


# -- nothing of the patient in what is logged ---------------------------------------------------------------


def test_nothing_of_a_patient_is_logged_whatever_happens(
    rehearse: Rehearse,
    new_order: NewOrder,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from clouddirect.sandbox import stages

    caplog.set_level("DEBUG")
    marker = "Canary77"
    rehearsal = rehearse(clock, LONG, image_wait=0.0)
    order = new_order(patient=marker)
    order.site = Site(local_id="PC1234")
    assert order.patient is not None
    order.patient.name = Name(first=marker, last=marker)
    order.patient.phone = order.patient.email = order.patient.additional_info = marker
    client, sandbox = rehearsal.client(), rehearsal.sandbox()
    client.submit(order, [ImageFile(source=b"no image", laterality="OD", suffix=".jpg")])
    sandbox.step()
    assert len(results(rehearsal)) == 1

    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError(marker)

    monkeypatch.setattr(stages, "make_result", fail)
    client.submit(order, [ImageFile(source=b"no image", laterality="OD", suffix=".jpg")])
    rehearsal.send("orders", json.dumps({"ClientGuid": GUID, "Patient": marker}).encode())
    order.client_guid = OTHER_GUID
    rehearsal.send("orders", order)
    rehearsal.send("gradings", submission("another"))
    sandbox.step()
    assert len(rehearsal.drain("orders/$dead")) == 2
    assert "dead-lettered" in caplog.text
    assert marker not in caplog.text
