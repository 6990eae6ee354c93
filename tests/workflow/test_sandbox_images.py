"""How the sandbox finds the images of an order: named by it, or by their own metadata."""

from __future__ import annotations

import os
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.orders.models import read_result
from clouddirect.sandbox import demo_image
from workflow.sandbox_messages import LONG, NewOrder, Rehearse, events, image_file, kinds, named, with_site


def test_a_missing_image_is_waited_for_then_the_order_is_refused(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG, image_wait=5.0)
    rehearsal.send("orders", named(with_site(new_order())))
    sandbox = rehearsal.sandbox()
    for _ in range(10):
        sandbox.step()
        assert events(rehearsal) == []
        clock.advance(0.5)
    sandbox.step()
    (receipt,) = events(rehearsal)
    assert receipt["ResultObjectType"] == "OrderCreationReceipt"
    assert receipt["Success"] is False
    assert "image-7" in receipt["ErrorMessage"]
    assert "IrisOrderId" not in receipt
    assert rehearsal.drain("orders") == []
    assert rehearsal.drain("results") == []


@pytest.mark.parametrize("file_name", ["../../etc/passwd", "a//b", "x\x00y", "y" * 2000])
def test_a_name_that_no_store_can_hold_is_a_missing_image(
    file_name: str, rehearse: Rehearse, new_order: NewOrder, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG, image_wait=0.0)
    rehearsal.send("orders", named(with_site(new_order()), file_name=file_name))
    rehearsal.sandbox().step()
    (receipt,) = events(rehearsal)
    assert receipt["Success"] is False


def test_an_unknown_container_is_refused_at_once(rehearse: Rehearse, new_order: NewOrder, clock: ManualClock) -> None:
    rehearsal = rehearse(clock, LONG, image_wait=60.0)
    rehearsal.send("orders", named(with_site(new_order()), container="elsewhere"))
    rehearsal.sandbox().step()
    (receipt,) = events(rehearsal)
    assert "'elsewhere'" in receipt["ErrorMessage"]


def test_an_image_that_vanishes_before_grading_makes_its_eye_ungradable(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG, stage_delay=10.0)
    submission = rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    sandbox = rehearsal.sandbox()
    sandbox.step()
    (rehearsal.directory / "files" / "images" / submission.images[0].key).unlink()
    for _ in range(6):
        clock.advance(10.0)
        sandbox.step()
    (result,) = rehearsal.drain("results")
    assert read_result(result.body).gradings.od.ungradable_reasons == ["Unreadable Image"]


def test_laterality_is_taken_from_the_image_where_the_order_says_nothing(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG)
    rehearsal.client()._connections.store("images").store.put("scan_OS.jpg", pictures["OS"])
    order = named(with_site(new_order()), file_name="scan_OS.jpg")
    order.camera.images[0].laterality = None  # type: ignore[union-attr]
    rehearsal.send("orders", order)
    rehearsal.sandbox().step()
    (result,) = rehearsal.drain("results")
    assert [side for side, _ in read_result(result.body).gradings.eyes()] == ["OS"]


# -- images that name their patient -------------------------------------------------------------------------


def test_one_eye_alone_is_graded_when_no_further_image_comes(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG, image_wait=5.0)
    client, sandbox = rehearsal.client(), rehearsal.sandbox()
    client.submit(new_order(patient="P-1"))
    sandbox.step()
    client.upload_image(image_file(demo_image(3, "OS", patient_id="P-1"), None, "_os.jpg"))
    clock.advance(0.5)
    sandbox.step()
    assert kinds(rehearsal) == ["OrderCreationReceipt", "ImageReceipt"]
    clock.advance(5.0)
    sandbox.step()
    (result,) = rehearsal.drain("results")
    assert [side for side, _ in read_result(result.body).gradings.eyes()] == ["OS"]


@pytest.mark.parametrize("fields", [{"single_eye_only": True}, {"missing_eye_reason": "Prosthesis"}])
def test_one_eye_suffices_where_the_order_says_so(
    fields: dict[str, Any], rehearse: Rehearse, new_order: NewOrder, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG, image_wait=1000.0)
    client = rehearsal.client()
    client.submit(new_order(patient="P-1", **fields))
    client.upload_image(image_file(demo_image(3, "OD", patient_id="P-1"), None))
    rehearsal.sandbox().step()
    (result,) = rehearsal.drain("results")
    assert [side for side, _ in read_result(result.body).gradings.eyes()] == ["OD"]
    for name, value in fields.items():
        assert getattr(read_result(result.body).order, name) == value


def test_images_go_to_the_patient_they_name_and_to_one_order_only(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG)
    client, sandbox = rehearsal.client(), rehearsal.sandbox()
    client.submit(new_order("first", patient="P-1"))
    client.submit(new_order("other", patient="P-2"))
    sandbox.step()
    for eye in ("OD", "OS"):
        client.upload_image(image_file(demo_image(3, eye, patient_id="P-1"), None, f"_{eye}.jpg"))
    clock.advance(1.0)
    sandbox.step()
    assert [message.correlation_id for message in rehearsal.drain("results")] == ["first"]
    client.submit(new_order("second", patient="P-1"))
    clock.advance(1.0)
    sandbox.step()
    clock.advance(1.0)
    sandbox.step()
    assert rehearsal.drain("results") == []


def test_images_of_an_earlier_visit_are_left_alone(rehearse: Rehearse, new_order: NewOrder, clock: ManualClock) -> None:
    rehearsal = rehearse(clock, LONG, image_wait=0.0)
    client, sandbox = rehearsal.client(), rehearsal.sandbox()
    old = client.upload_image(image_file(demo_image(3, "OD", patient_id="P-1"), None))
    an_hour_ago = clock.now().timestamp() - 3600
    os.utime(rehearsal.directory / "files" / "images" / old.key, (an_hour_ago, an_hour_ago))
    client.submit(new_order(patient="P-1"))
    sandbox.step()
    clock.advance(1.0)
    sandbox.step()
    assert kinds(rehearsal) == ["OrderCreationReceipt"]
    new = client.upload_image(image_file(demo_image(4, "OD", patient_id="P-1"), None))
    clock.advance(1.0)
    sandbox.step()
    (result,) = rehearsal.drain("results")
    assert [image.file_name for image in read_result(result.body).images] == [new.key]
