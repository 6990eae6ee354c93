"""What the sandbox remembers when it begins again: what was decided before stays decided."""

from __future__ import annotations

from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import UnavailableError
from clouddirect.orders.models import Site
from clouddirect.sandbox import open_orders, stages
from workflow.sandbox_messages import (
    LONG,
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


def absent(rehearsal: Any, queue: str = "orders") -> Any:
    """Take the only message that is there, so that the sandbox does not get it: its lease seems to be running still."""
    target = rehearsal.queue(queue)
    (delivery,) = target.broker.receive(target.name, 10)
    return delivery


def test_a_cancellation_waits_for_an_order_whose_lease_has_not_ended(under_way: UnderWay, clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(2)
    sandbox.close()
    order = absent(rehearsal)
    rehearsal.send("orders", request("CA"))
    again = rehearsal.sandbox()
    run(again, clock, 3)
    kinds(rehearsal)
    order.nack()
    run(again, clock, 8)
    assert kinds(rehearsal) == ["OrderCreationReceipt", "OrderCancelled"]
    assert results(rehearsal) == []
    again.close()
    assert rehearsal.drain("orders") == []


def test_it_is_cancelled_even_if_nothing_lies_between_its_stages(under_way: UnderWay, clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(1)
    sandbox.close()
    order = absent(rehearsal)
    rehearsal.send("orders", request("CA"))
    rehearsal.settings.sandbox.stage_delay = 0.0
    again = rehearsal.sandbox()
    again.step()
    kinds(rehearsal)
    order.nack()
    run(again, clock, 2)
    assert kinds(rehearsal) == ["OrderCreationReceipt", "OrderCancelled"]


def test_of_two_cancellations_that_wait_the_second_is_ignored(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG)
    rehearsal.send("orders", with_site(new_order()))
    sandbox = rehearsal.sandbox()
    sandbox.step()
    sandbox.close()
    order = absent(rehearsal)
    rehearsal.send("orders", request("CA"))
    again = rehearsal.sandbox()
    again.step()
    rehearsal.send("orders", request("CA"))
    again.step()
    order.nack()
    run(again, clock, 2)
    assert kinds(rehearsal) == ["OrderCreationReceipt", "OrderCreationReceipt", "OrderCancelled"]
    again.close()
    assert rehearsal.drain("orders") == []


@pytest.mark.parametrize("turns", [4, 5])
def test_a_graded_order_stays_graded(turns: int, under_way: UnderWay, clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(turns)
    assert "GradingReceipt" in kinds(rehearsal)
    sandbox.close()
    again = rehearsal.sandbox()
    again.step()
    rehearsal.send("orders", request("CA"))
    rehearsal.send("orders", request("XO", site=Site(local_id="PC-2")))
    run(again, clock, 8)
    assert "OrderCancelled" not in kinds(rehearsal)
    (result,) = results(rehearsal)
    assert result.site is not None
    assert result.site.local_id == "PC1234"


def test_a_change_that_was_taken_before_grading_is_in_the_result_after_a_crash(
    under_way: UnderWay, clock: ManualClock
) -> None:
    rehearsal, sandbox = under_way(2)
    rehearsal.send("orders", request("XO", site=Site(local_id="PC-2")))
    run(sandbox, clock, 2)
    assert kinds(rehearsal)[-1] == "GradingReceipt"
    sandbox.close()
    run(rehearsal.sandbox(), clock, 8)
    (result,) = results(rehearsal)
    assert result.site is not None
    assert result.site.local_id == "PC-2"


@pytest.mark.parametrize(
    ("queue", "message"),
    [("orders", request("XO", site=Site(local_id="PC-2"))), ("gradings", submission())],
    ids=["change", "grading"],
)
def test_an_order_waits_for_what_was_taken_for_it_before_it_is_graded(
    queue: str, message: Any, under_way: UnderWay, clock: ManualClock
) -> None:
    rehearsal, sandbox = under_way(2)
    rehearsal.send(queue, message)
    sandbox.step()
    sandbox.close()
    target = rehearsal.queue(queue)
    found = target.broker.receive(target.name, 10)
    held = found[-1]  # comes again after its order
    for delivery in found[:-1]:
        delivery.nack()
    again = rehearsal.sandbox()
    run(again, clock, 8)
    assert kinds(rehearsal)[-1] == "ReadyForGradingEvent"
    held.nack()
    run(again, clock, 4)
    (result,) = results(rehearsal)
    assert result.site is not None
    assert result.gradings is not None
    assert result.gradings.od is not None
    if queue == "orders":
        assert result.site.local_id == "PC-2"
    else:
        assert result.gradings.od.findings[0].finding == "Suspected Vein Occlusion"
    again.close()
    assert rehearsal.drain(queue) == []


def test_it_does_not_wait_for_ever(under_way: UnderWay, clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(2)
    rehearsal.send("gradings", submission())
    sandbox.step()
    sandbox.close()
    absent(rehearsal, "gradings").ack()  # somebody has taken it away
    again = rehearsal.sandbox()
    run(again, clock, 5)
    run(again, clock, 4, seconds=900.0)
    assert len(results(rehearsal)) == 1


def test_a_cancelled_order_that_comes_again_is_cancelled_and_nothing_else(
    under_way: UnderWay, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsal, sandbox = under_way(2)
    kinds(rehearsal)
    rehearsal.send("orders", request("CA"))

    def fail(*_: Any, **__: Any) -> Any:
        raise UnavailableError("down")

    with monkeypatch.context() as patched:
        patched.setattr(stages.OrderCancelled, "__init__", fail)
        sandbox.step()
    sandbox.close()
    run(rehearsal.sandbox(), clock, 8)
    assert kinds(rehearsal) == ["OrderCancelled"]
    assert results(rehearsal) == []


def test_an_order_whose_ack_did_not_count_is_not_begun_again(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG)
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    delivery = absent(rehearsal)
    message = delivery.message
    delivery.nack()
    sandbox = rehearsal.sandbox()
    sandbox.step()
    assert len(events(rehearsal)) == 5
    sandbox.close()
    clock.advance(1000.0)  # so that the broker does not know its id any more
    assert rehearsal.queue("orders").broker.send("orders", message).message_id == message.id
    again = rehearsal.sandbox()
    assert again.step() == 1
    assert events(rehearsal) == []
    again.close()
    assert rehearsal.drain("orders") == []


def test_an_order_that_was_put_aside_can_be_sent_again_under_its_id(
    rehearse: Rehearse,
    new_order: NewOrder,
    clock: ManualClock,
    pictures: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError

    rehearsal = rehearse(clock, LONG)
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    sandbox = rehearsal.sandbox()
    with monkeypatch.context() as patched:
        patched.setattr(stages, "make_result", fail)
        sandbox.step()
    events(rehearsal)
    rehearsal.send("orders", request("CA"))  # there is nothing to wait for any more
    sandbox.step()
    sandbox.close()
    assert rehearsal.drain("orders") == []
    sandbox = rehearsal.sandbox()
    (dead,) = rehearsal.drain("orders/$dead")
    clock.advance(1000.0)  # so that the broker does not know its id any more
    rehearsal.queue("orders").broker.send("orders", dead)
    sandbox.step()
    assert len(results(rehearsal)) == 1


def test_a_graded_order_that_comes_again_is_not_cancelled_by_a_later_one(
    under_way: UnderWay, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal, sandbox = under_way(4)
    sandbox.close()
    order = absent(rehearsal)
    rehearsal.client().submit(new_order("second"), [image_file(pictures["OD"])])
    again = rehearsal.sandbox()
    again.step()
    order.nack()
    run(again, clock, 8)
    assert "OrderCancelled" not in kinds(rehearsal)
    assert sorted(str(one.order_local_id) for one in results(rehearsal)) == ["ORD1", "second"]


def test_a_grading_that_came_too_late_is_not_taken_after_a_crash_either(
    under_way: UnderWay, clock: ManualClock
) -> None:
    rehearsal, sandbox = under_way(4)
    rehearsal.send("gradings", submission())
    sandbox.step()
    sandbox.close()
    run(rehearsal.sandbox(), clock, 8)
    (result,) = results(rehearsal)
    assert result.gradings is not None
    assert result.gradings.od is not None
    assert result.gradings.od.findings != (submission().od or result.gradings.od).findings


def test_what_waits_for_an_order_that_is_refused_is_ignored_in_the_end(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG, image_wait=20.0)
    rehearsal.send("orders", named(with_site(new_order())))
    sandbox = rehearsal.sandbox()
    sandbox.step()
    sandbox.close()
    order = absent(rehearsal)
    rehearsal.send("orders", request("CA"))
    again = rehearsal.sandbox()
    again.step()
    order.nack()
    run(again, clock, 5)
    assert [(one["ResultObjectType"], one["Success"]) for one in events(rehearsal)] == [("OrderCreationReceipt", False)]
    again.close()
    assert rehearsal.drain("orders") == []


def test_only_so_many_wait_here_and_the_others_in_their_queue(
    under_way: UnderWay, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_orders, "_MOST_EARLY", 1)
    rehearsal, sandbox = under_way(2)
    sandbox.close()
    order = absent(rehearsal)
    rehearsal.send("orders", request("CA"))
    rehearsal.send("orders", with_site(request("XO")))
    again = rehearsal.sandbox()
    again.step()
    clock.advance(10.0)
    absent(rehearsal).nack()
    order.nack()
    run(again, clock, 3)
    assert kinds(rehearsal)[-1] == "OrderCancelled"
    again.close()
    assert rehearsal.drain("orders") == []


def test_what_was_taken_for_an_order_is_not_expected_by_the_next_one_of_its_name(
    under_way: UnderWay, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal, sandbox = under_way(2)
    rehearsal.send("orders", request("XO", site=Site(local_id="PC-2")))
    run(sandbox, clock, 6)
    assert len(results(rehearsal)) == 1
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    run(sandbox, clock, 2)
    sandbox.close()
    run(rehearsal.sandbox(), clock, 8)
    assert len(results(rehearsal)) == 1


def test_what_is_no_longer_on_lease_is_not_kept(under_way: UnderWay) -> None:
    rehearsal, sandbox = under_way(2)
    sandbox.close()
    absent(rehearsal)
    rehearsal.send("orders", request("CA"))
    again = rehearsal.sandbox()
    again.step()
    ((_, _, delivery),) = again._orders._early
    delivery.lease_lost.set()
    again.step()
    assert again._orders._early == []


def test_what_it_remembers_names_neither_patients_nor_orders(under_way: UnderWay) -> None:
    rehearsal, _ = under_way(5)
    found = b"".join(file.read_bytes() for file in rehearsal.directory.glob("sandbox.db*"))
    assert b"graded" in found
    for secret in (b"MRN1", b"Jane", b"Roe", b"ORD1"):
        assert secret not in found
