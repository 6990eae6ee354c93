"""Where IRIS says nothing at all, the sandbox says nothing either; and of two orders for one exam, the first ends."""

from __future__ import annotations

from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.orders.models import GradingSubmission, Order, OrderRequest, Site
from workflow.sandbox_messages import (
    LONG,
    OTHER_GUID,
    NewOrder,
    Rehearse,
    UnderWay,
    events,
    image_file,
    kinds,
    named,
    request,
    results,
    run,
    submission,
    with_site,
)

# -- organisations and sites --------------------------------------------------------------------------------


def without_guid(order: OrderRequest) -> OrderRequest:
    order.client_guid = None
    return with_site(order)


def of_others(order: OrderRequest) -> OrderRequest:
    order.client_guid = OTHER_GUID
    return with_site(order)


def without_site(order: OrderRequest) -> OrderRequest:
    return order


def nameless_site(order: OrderRequest) -> OrderRequest:
    order.site = Site(name="Primary Care")
    return order


def unknown_site(order: OrderRequest) -> OrderRequest:
    return with_site(order, "PC-9")


def wrong_in_every_way(order: OrderRequest) -> OrderRequest:
    order.patient = order.order = None
    return of_others(order)


@pytest.mark.parametrize(
    "spoil", [without_guid, of_others, without_site, nameless_site, unknown_site, wrong_in_every_way]
)
def test_an_order_from_nobody_known_leads_to_nothing(
    spoil: Any, rehearse: Rehearse, new_order: NewOrder, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG, sites=["PC1234", "PC-2"])
    sandbox = rehearsal.sandbox()
    rehearsal.send("orders", spoil(new_order()))
    run(sandbox, clock, 3)
    assert events(rehearsal) == []
    sandbox.close()
    assert rehearsal.drain("orders") == []
    assert rehearsal.drain("orders/$dead") == []


@pytest.mark.parametrize(("sites", "site"), [([], "PC-9"), (["PC1234", "PC-9"], "PC-9")])
def test_an_order_of_a_known_site_is_taken(
    sites: list[str], site: str, rehearse: Rehearse, new_order: NewOrder, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG, sites=sites)
    rehearsal.send("orders", with_site(new_order(), site))
    rehearsal.sandbox().step()
    assert kinds(rehearsal) == ["OrderCreationReceipt"]


@pytest.mark.parametrize("site", [None, Site(local_id="PC-9")], ids=["no site", "unknown site"])
def test_a_change_from_nowhere_changes_nothing(site: Site | None, under_way: UnderWay, clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(2, sites=["PC1234"])
    rehearsal.send("orders", request("XO", site=site, order=Order(local_id="ORD1", department_id="D-9")))
    run(sandbox, clock, 6)
    (result,) = results(rehearsal)
    assert result.order is not None
    assert result.order.department_id is None
    sandbox.close()
    assert rehearsal.drain("orders") == []


@pytest.mark.parametrize(
    ("site", "then"), [(None, ["OrderCancelled"]), ("PC1234", ["OrderCancelled"]), ("PC-9", ["ImageReceipt"])]
)
def test_a_cancellation_needs_no_site_but_not_a_wrong_one(
    site: str | None, then: list[str], under_way: UnderWay
) -> None:
    rehearsal, sandbox = under_way(1, sites=["PC1234"])
    kinds(rehearsal)
    rehearsal.send("orders", request("CA", site=Site(local_id=site) if site else None))
    sandbox.step()
    assert kinds(rehearsal) == then


@pytest.mark.parametrize(
    ("grading", "graded"),
    [(submission(), True), (submission(site="PC-9"), False)],
    ids=["known", "unknown"],
)
def test_a_grading_from_an_unknown_site_is_ignored(
    grading: GradingSubmission, graded: bool, under_way: UnderWay, clock: ManualClock
) -> None:
    rehearsal, sandbox = under_way(4, auto_grade=False, sites=["PC1234"])
    kinds(rehearsal)
    rehearsal.send("gradings", grading)
    run(sandbox, clock, 4)
    assert bool(kinds(rehearsal)) is graded
    sandbox.close()
    assert rehearsal.drain("gradings") == []


# -- what comes too late ------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["CA", "XO", "ResendResult"])
def test_what_comes_for_a_cancelled_order_leads_to_nothing(code: str, under_way: UnderWay, clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(2)
    rehearsal.send("orders", request("CA"))
    sandbox.step()
    assert kinds(rehearsal)[-1] == "OrderCancelled"
    rehearsal.send("orders", with_site(request(code)))
    run(sandbox, clock, 6)
    assert kinds(rehearsal) == []
    assert results(rehearsal) == []
    sandbox.close()
    assert rehearsal.drain("orders") == []


def test_a_cancellation_right_after_the_result_is_ignored(under_way: UnderWay, clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(6)
    assert len(results(rehearsal)) == 1
    kinds(rehearsal)
    rehearsal.send("orders", request("CA"))
    run(sandbox, clock, 2)
    assert kinds(rehearsal) == []
    sandbox.close()
    assert rehearsal.drain("orders") == []


# -- two orders for one exam --------------------------------------------------------------------------------


def cancelled(rehearsal: Any) -> list[str]:
    return [one["OrderLocalId"] for one in events(rehearsal) if one["ResultObjectType"] == "OrderCancelled"]


@pytest.mark.parametrize(("first", "second"), [(["DR"], ["DR"]), (["DR", "AMD"], ["Glaucoma", "AMD"])])
def test_a_second_order_for_a_patient_and_evaluation_type_cancels_the_first(
    first: list[str],
    second: list[str],
    rehearse: Rehearse,
    new_order: NewOrder,
    clock: ManualClock,
    pictures: dict[str, bytes],
) -> None:
    rehearsal = rehearse(clock, LONG, stage_delay=10.0)
    client, sandbox = rehearsal.client(), rehearsal.sandbox()
    client.submit(new_order("first", evaluation_types=first), [image_file(pictures["OD"])])
    run(sandbox, clock, 2)
    receipt = events(rehearsal)[0]
    client.submit(new_order("second", evaluation_types=second), [image_file(pictures["OD"])])
    sandbox.step()
    found = events(rehearsal)
    seen = [(one["ResultObjectType"], one["OrderLocalId"]) for one in found]
    assert seen == [("OrderCreationReceipt", "second"), ("OrderCancelled", "first")]
    assert found[1]["IrisOrderId"] == receipt["IrisOrderId"]
    run(sandbox, clock, 8)
    assert {one["OrderLocalId"] for one in events(rehearsal)} == {"second"}  # nothing after it
    assert [one.order_local_id for one in results(rehearsal)] == ["second"]
    sandbox.close()
    assert rehearsal.drain("orders") == []


@pytest.mark.parametrize(
    ("patient", "evaluations", "guid"),
    [("P-2", ["DR"], None), ("P-1", ["AMD"], None), ("P-1", ["DR"], OTHER_GUID)],
    ids=["another patient", "another evaluation", "another organisation"],
)
def test_other_orders_do_not_cancel_it(
    patient: str, evaluations: list[str], guid: str | None, rehearse: Rehearse, new_order: NewOrder, clock: ManualClock
) -> None:
    own = new_order().client_guid
    rehearsal = rehearse(clock, LONG, client_guids=[own, OTHER_GUID])
    sandbox = rehearsal.sandbox()
    rehearsal.send("orders", with_site(new_order("first", "P-1")))
    second = with_site(new_order("second", patient, evaluation_types=evaluations))
    second.client_guid = guid or own
    rehearsal.send("orders", second)
    run(sandbox, clock, 2)
    assert kinds(rehearsal) == ["OrderCreationReceipt", "OrderCreationReceipt"]


def test_a_graded_order_is_not_cancelled_by_the_next_one(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG, stage_delay=10.0)
    client, sandbox = rehearsal.client(), rehearsal.sandbox()
    client.submit(new_order("first"), [image_file(pictures["OD"])])
    run(sandbox, clock, 4)
    client.submit(new_order("second"), [image_file(pictures["OD"])])
    run(sandbox, clock, 8)
    assert cancelled(rehearsal) == []
    assert [one.order_local_id for one in results(rehearsal)] == ["first", "second"]


def test_a_second_order_that_is_refused_cancels_nothing(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG)
    sandbox = rehearsal.sandbox()
    rehearsal.send("orders", with_site(new_order("first")))
    wrong = with_site(new_order("second"))
    assert wrong.patient is not None
    wrong.patient.dob = None
    rehearsal.send("orders", wrong)
    run(sandbox, clock, 2)
    assert [(one["ResultObjectType"], one["Success"]) for one in events(rehearsal)] == [
        ("OrderCreationReceipt", True),
        ("OrderCreationReceipt", False),
    ]


def test_an_order_that_was_not_accepted_yet_is_not_cancelled(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG, image_wait=15.0)
    sandbox = rehearsal.sandbox()
    rehearsal.send("orders", named(with_site(new_order("first"))))
    sandbox.step()
    rehearsal.send("orders", with_site(new_order("second")))
    run(sandbox, clock, 3)
    seen = [(one["ResultObjectType"], one["OrderLocalId"], one["Success"]) for one in events(rehearsal)]
    assert seen == [("OrderCreationReceipt", "second", True), ("OrderCreationReceipt", "first", False)]


def test_of_two_orders_that_come_again_the_one_ordered_first_is_cancelled(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG)
    rehearsal.send("orders", with_site(new_order("first")))
    orders = rehearsal.queue("orders")
    (held,) = orders.broker.receive("orders", 1)  # as if its lease were still running
    clock.advance(1.0)
    rehearsal.send("orders", with_site(new_order("second")))
    sandbox = rehearsal.sandbox()
    sandbox.step()
    held.nack()
    sandbox.step()
    seen = [(one["ResultObjectType"], one["OrderLocalId"]) for one in events(rehearsal)]
    assert seen == [
        ("OrderCreationReceipt", "second"), ("OrderCreationReceipt", "first"), ("OrderCancelled", "first"),
    ]  # fmt: skip
    sandbox.close()
    assert [message.correlation_id or "second" for message in rehearsal.drain("orders")] == ["second"]
