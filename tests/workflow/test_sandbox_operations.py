"""Changes, cancellations and resent results, and the silences where they match nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.orders import ImageFile
from clouddirect.orders.models import Name, Order, OrderRequest, Patient, Site
from workflow.sandbox_messages import (
    GUID,
    LONG,
    OTHER_GUID,
    NewOrder,
    Rehearse,
    UnderWay,
    kinds,
    request,
    results,
    run,
    submission,
    with_site,
)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_an_order_that_is_not_graded_is_cancelled(turns: int, under_way: UnderWay, clock: ManualClock) -> None:
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
def test_a_cancellation_after_grading_is_ignored(turns: int, under_way: UnderWay, clock: ManualClock) -> None:
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
def test_what_matches_nothing_leads_to_nothing(message: OrderRequest, under_way: UnderWay, clock: ManualClock) -> None:
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
    under_way: UnderWay,
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
    for patient in ("MRN1", "MRN2"):
        client.submit(new_order(patient=patient))
    sandbox.step()
    receipts = [json.loads(message.body) for message in rehearsal.drain("events")]
    rehearsal.send("orders", request("CA"))
    sandbox.step()
    (cancelled,) = [json.loads(message.body) for message in rehearsal.drain("events")]
    assert cancelled["IrisOrderId"] == receipts[1]["IrisOrderId"]


# -- change -------------------------------------------------------------------------------------------------


def test_a_change_replaces_what_it_gives_and_not_what_cannot_change(under_way: UnderWay, clock: ManualClock) -> None:
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


def test_a_change_comes_again_with_its_order_after_a_crash(under_way: UnderWay, clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(2)
    rehearsal.send("orders", request("XO", site=Site(local_id="PC-2")))
    sandbox.step()
    sandbox.close()
    run(rehearsal.sandbox(), clock, 7)
    (result,) = results(rehearsal)
    assert result.site is not None
    assert result.site.local_id == "PC-2"


def test_a_change_after_grading_is_ignored(under_way: UnderWay, clock: ManualClock) -> None:
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
    rehearsal.send("orders", with_site(request("XO", camera={"images": entries})))
    sandbox.step()
    clock.advance(1.0)
    sandbox.step()
    (result,) = results(rehearsal)
    assert [image.local_id for image in result.images] == [entry.local_id for entry in entries]


# -- resend -------------------------------------------------------------------------------------------------


def test_a_result_is_sent_again_when_asked_for(under_way: UnderWay, clock: ManualClock) -> None:
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


# -- nothing of the patient in what is logged ---------------------------------------------------------------


def test_nothing_of_a_patient_is_logged_whatever_happens(
    rehearse: Rehearse,
    new_order: NewOrder,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from clouddirect.sandbox import stages

    caplog.set_level("DEBUG", "clouddirect")
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
