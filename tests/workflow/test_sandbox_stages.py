"""How the sandbox takes orders through their stages, on a clock that the test moves."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import ConfigurationError, NotFoundError, UnavailableError
from clouddirect.orders import ImageFile
from clouddirect.orders.models import (
    AzureBlobStorage,
    Camera,
    Image,
    OrderRequest,
    read_result,
    to_wire_dict,
)
from clouddirect.sandbox import Sandbox, demo_image
from clouddirect.settings import Settings

NewOrder = Callable[..., OrderRequest]
Rehearse = Callable[..., Any]

#: Leases that outlast every test; otherwise each jump of the clock would be a race with their renewal.
LONG = {"lease": 100_000.0}


@pytest.fixture
def clock() -> ManualClock:
    """Starts now, so that it can be compared with the times of files."""
    return ManualClock(datetime.now(UTC))


def events(rehearsal: Any) -> list[dict[str, Any]]:
    return [json.loads(message.body) for message in rehearsal.drain("events")]


def kinds(rehearsal: Any) -> list[str]:
    return [event["ResultObjectType"] for event in events(rehearsal)]


def image_file(data: bytes, laterality: str | None = "OD", suffix: str = ".jpg") -> ImageFile:
    return ImageFile(source=data, laterality=laterality, suffix=suffix)


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


# -- images that an order names -----------------------------------------------------------------------------


def named(order: OrderRequest, container: str = "retina", file_name: str = "nowhere.jpg") -> OrderRequest:
    place = AzureBlobStorage(container=container, file_name=file_name)
    order.camera = Camera(images=[Image(local_id="image-7", laterality="OD", azure_blob_storage=place)])
    return order


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


# -- what is wrong ------------------------------------------------------------------------------------------


def with_site(order: OrderRequest) -> OrderRequest:
    from clouddirect.orders.models import Site

    order.site = Site(local_id="PC1234")
    return order


def test_a_receipt_says_everything_that_is_wrong_with_an_order(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG)
    order = to_wire_dict(new_order())  # without a site
    del order["Order"]["LocalId"], order["Patient"]["Dob"]
    rehearsal.send("orders", json.dumps(order).encode())
    rehearsal.sandbox().step()
    (receipt,) = events(rehearsal)
    assert receipt["Success"] is False
    for path in ("Site.LocalId", "Order.LocalId", "Patient.Dob"):
        assert path in receipt["ErrorMessage"]
    assert rehearsal.drain("orders") == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"OrderControlCode": "NW", "Patient": 7}'])
def test_what_cannot_be_read_is_dead_lettered_whole_with_the_reason(
    body: bytes, rehearse: Rehearse, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG)
    rehearsal.send("orders", body)
    rehearsal.sandbox().step()
    (dead,) = rehearsal.drain("orders/$dead")
    assert dead.body == body
    assert dead.attributes["DeadLetterReason"] == "unreadable"
    assert dead.attributes["DeadLetterErrorDescription"]
    assert events(rehearsal) == []


def test_one_order_that_breaks_the_sandbox_is_put_aside_and_the_others_go_on(
    rehearse: Rehearse,
    new_order: NewOrder,
    clock: ManualClock,
    pictures: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from clouddirect.sandbox import stages

    make_result = stages.make_result

    def make(order: Any, *args: Any, **options: Any) -> Any:
        if order.request.order_local_id == "odd":
            raise RuntimeError("Jane Roe")
        return make_result(order, *args, **options)

    monkeypatch.setattr(stages, "make_result", make)
    rehearsal = rehearse(clock, LONG)
    client = rehearsal.client()
    for name in ("odd", "even"):
        client.submit(new_order(name), [image_file(pictures["OD"])])
    rehearsal.sandbox().step()
    (dead,) = rehearsal.drain("orders/$dead")
    assert dead.correlation_id == "odd"
    assert dead.attributes["DeadLetterReason"] == "sandbox-failed"
    assert "RuntimeError" in dead.attributes["DeadLetterErrorDescription"]
    assert "Jane" not in dead.attributes["DeadLetterErrorDescription"]
    assert [message.correlation_id for message in rehearsal.drain("results")] == ["even"]


@pytest.mark.parametrize(
    ("error", "raised"), [(UnavailableError("down"), None), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_an_order_that_could_not_go_on_begins_again(
    error: BaseException,
    raised: type[BaseException] | None,
    rehearse: Rehearse,
    new_order: NewOrder,
    clock: ManualClock,
    pictures: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from clouddirect.sandbox import stages

    rehearsal = rehearse(clock, LONG)
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    sandbox = rehearsal.sandbox()

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    with monkeypatch.context() as patched, pytest.raises(raised) if raised else nullcontext():
        patched.setattr(stages, "make_result", fail)
        sandbox.step()
    assert sandbox.step() == 0
    assert rehearsal.drain("results") == []
    clock.advance(10.0)
    sandbox.step()
    assert len(rehearsal.drain("results")) == 1
    assert len({event["TransactionId"] for event in events(rehearsal)}) == 5
    assert rehearsal.drain("orders") == []


def test_a_result_fits_a_small_queue(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG | {"max_message_bytes": 128 << 10})
    rehearsal.client().submit(new_order(), [image_file(demo_image(n, "OD")) for n in range(4)])
    rehearsal.sandbox().step()
    (result,) = rehearsal.drain("results")
    assert len(result.body) < 128 << 10
    report = read_result(result.body).report()
    assert report is not None
    assert report.data.count(b"/Subtype /Image") == 4


def test_a_queue_that_is_missing_ends_the_sandbox_and_loses_nothing(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG)
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    events_endpoint = rehearsal.settings.sandbox.endpoints.events
    events_endpoint.create, events_endpoint.queue = False, "no-such-queue"
    with pytest.raises(NotFoundError), rehearsal.sandbox() as sandbox:
        sandbox.run()
    clock.advance(10.0)
    events_endpoint.queue = "events"
    events_endpoint.create = True
    rehearsal.sandbox().step()
    assert len(rehearsal.drain("results")) == 1


def test_close_raises_what_ended_the_thread(
    rehearse: Rehearse, new_order: NewOrder, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse()
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    rehearsal.settings.sandbox.endpoints.results.create = False
    rehearsal.settings.sandbox.endpoints.results.queue = "no-such-queue"
    sandbox = Sandbox(rehearsal.settings)
    sandbox.start()
    assert sandbox._thread is not None
    sandbox._thread.join(20.0)
    assert not sandbox.running
    with pytest.raises(NotFoundError):
        sandbox.close()
    sandbox.close()


def test_what_the_caller_raises_ends_the_turn_and_not_the_order(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG, stage_delay=1.0)
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    told: list[str] = []

    def tell(message: Any) -> None:
        told.append(str(message.result_object_type))
        if len(told) == 1:
            raise BrokenPipeError

    sandbox = rehearsal.sandbox(on_sent=tell)
    with pytest.raises(BrokenPipeError):
        sandbox.run()
    for _ in range(6):
        sandbox.step()
        clock.advance(1.0)
    assert told == [
        "OrderCreationReceipt", "ImageReceipt", "ReadyForGradingEvent", "GradingReceipt", "OrderGradedEvent",
        "OrderResult",
    ]  # fmt: skip
    assert rehearsal.drain("orders/$dead") == []


def test_stop_ends_an_idle_run_soon(rehearse: Rehearse) -> None:
    sandbox = rehearse().sandbox()
    sandbox.start()
    sandbox.stop()
    assert sandbox._thread is not None
    sandbox._thread.join(10.0)
    assert not sandbox.running


def test_settings_that_do_not_suffice_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="ClientGuid"):
        Sandbox(Settings.of({}))
    with pytest.raises(ConfigurationError, match=r"sandbox\.endpoints\.orders"):
        Sandbox(Settings.of({"client_guid": "63E3C9EF-66AC-4154-B0C2-494515EB99A7"}))
