"""Whole orders, from the client through the sandbox and back, on the local provider in real time."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from PIL import Image as Pixels

from clouddirect.orders import CloudDirect, ImageFile, save_report
from clouddirect.orders.models import (
    AzureBlobStorage,
    Camera,
    Image,
    ImageReceipt,
    OrderCreationReceipt,
    OrderRequest,
    Site,
    problems_event,
    problems_result,
    read_order,
)
from clouddirect.sandbox import demo_image

STAGES = [
    "OrderCreationReceipt",
    "ImageReceipt",
    "ImageReceipt",
    "ReadyForGradingEvent",
    "GradingReceipt",
    "OrderGradedEvent",
]

NewOrder = Callable[..., OrderRequest]
Both = tuple[Any, CloudDirect, Any]


@pytest.fixture
def both(rehearse: Callable[..., Any], listen: Callable[[CloudDirect], Any]) -> Callable[..., Both]:
    """Start a sandbox, a client and its inbox."""

    def start(**options: Any) -> Both:
        rehearsal = rehearse(**({"image_wait": 1.0} | options))
        client = rehearsal.client()
        rehearsal.sandbox().start()
        return rehearsal, client, listen(client)

    return start


def test_images_first(
    both: Callable[..., Both], new_order: NewOrder, pictures: dict[str, bytes], tmp_path: Path
) -> None:
    _, client, inbox = both()
    images = [
        ImageFile(source=pictures[eye], laterality=eye, local_id=f"i-{eye}", suffix=".jpg") for eye in ("OD", "OS")
    ]
    submission = client.submit(new_order(), images)
    result = inbox.result("ORD1")
    inbox.event("ORD1", "OrderGradedEvent")

    assert inbox.kinds("ORD1") == STAGES
    assert all(event.success and problems_event(event) == [] for event in inbox.events)
    assert [event.image_local_id for event in inbox.events if isinstance(event, ImageReceipt)] == ["i-OD", "i-OS"]
    assert len({event.transaction_id for event in inbox.events} | {result.transaction_id}) == 7

    assert problems_result(result) == []
    assert [image.file_name for image in result.images] == [image.key for image in submission.images]
    assert [side for side, eye in result.gradings.eyes() if eye.gradable] == ["OD", "OS"]
    assert result.order.patient_order_id == inbox.events[0].iris_order_id
    report = save_report(result, tmp_path)
    assert report is not None
    assert report.read_bytes().startswith(b"%PDF-")
    assert report.read_bytes().count(b"/Subtype /Image") == 2


def test_order_first(both: Callable[..., Both], new_order: NewOrder, pictures: dict[str, bytes]) -> None:
    _, client, inbox = both(image_wait=60.0)  # nothing but the second eye ends the waiting
    client.submit(new_order(patient="MRN-77"))
    inbox.event("ORD1", "OrderCreationReceipt")
    client.upload_image(ImageFile(source=pictures["OD"], suffix=".jpg"))  # names another patient
    client.upload_image(ImageFile(source=demo_image(2, "OD", patient_id="MRN-77"), suffix="-od.jpg"))
    inbox.event("ORD1", "ImageReceipt")
    client.upload_image(ImageFile(source=demo_image(2, "OS", patient_id="MRN-77"), suffix="-os.jpg"))
    result = inbox.result("ORD1")

    assert inbox.kinds("ORD1")[:3] == STAGES[:3]
    assert [image.laterality for image in result.images] == ["OD", "OS"]
    assert result.image_details.total_count == 2


def test_an_order_is_refused_when_an_image_is_missing(
    both: Callable[..., Both], new_order: NewOrder, pictures: dict[str, bytes]
) -> None:
    rehearsal, client, inbox = both(image_wait=0.5)
    order = new_order()
    nowhere = AzureBlobStorage(container="retina", file_name="nowhere.jpg")
    order.camera = Camera(images=[Image(local_id="i-OS", laterality="OS", azure_blob_storage=nowhere)])
    client.submit(order, [ImageFile(source=pictures["OD"], laterality="OD", suffix=".jpg")])
    receipt = inbox.event("ORD1", "OrderCreationReceipt")

    assert receipt.success is False
    assert "i-OS" in (receipt.error_message or "")
    client.submit(new_order("ORD2"), [ImageFile(source=pictures["OD"], laterality="OD", suffix=".jpg")])
    inbox.result("ORD2")
    assert inbox.kinds("ORD1") == ["OrderCreationReceipt"]
    assert [one.order_local_id for one in inbox.results] == ["ORD2"]
    client.close()
    assert rehearsal.drain("orders") == []


def test_an_image_that_comes_late_is_waited_for(
    both: Callable[..., Both], new_order: NewOrder, pictures: dict[str, bytes]
) -> None:
    _, client, inbox = both(image_wait=15.0)
    order = new_order()
    place = AzureBlobStorage(container="retina", file_name="late.jpg")
    order.camera = Camera(images=[Image(local_id="i-OD", laterality="OD", azure_blob_storage=place)])
    client.submit(order)
    client.submit(new_order("ORD2"), [ImageFile(source=pictures["OD"], laterality="OD", suffix=".jpg")])
    inbox.result("ORD2")
    client._connections.store("images").store.put("late.jpg", pictures["OD"])
    assert inbox.result("ORD1").gradings.od.gradable
    assert inbox.event("ORD1", "OrderCreationReceipt").success


def test_an_eye_that_cannot_be_graded(
    both: Callable[..., Both], new_order: NewOrder, pictures: dict[str, bytes]
) -> None:
    _, client, inbox = both()
    client.submit(
        new_order(),
        [
            ImageFile(source=pictures["OD"], laterality="OD", suffix=".jpg"),
            ImageFile(source=pictures["dark"], laterality="OS", suffix=".jpg"),
        ],
    )
    gradings = inbox.result("ORD1").gradings
    assert gradings.od.gradable
    assert gradings.od.findings
    assert gradings.os.gradable is False
    assert gradings.os.ungradable_reasons == ["Image Too Dark"]
    assert gradings.os.findings == []


def test_a_cancelled_order_ends(both: Callable[..., Both], new_order: NewOrder, pictures: dict[str, bytes]) -> None:
    rehearsal, client, inbox = both()
    client.submit(new_order())
    inbox.event("ORD1", "OrderCreationReceipt")
    cancel = new_order()
    cancel.order_control_code = "CA"
    cancel.patient = None
    rehearsal.send("orders", cancel)
    cancelled = inbox.event("ORD1", "OrderCancelled")
    assert cancelled.iris_order_id == inbox.events[0].iris_order_id

    client.submit(new_order("ORD2"), [ImageFile(source=pictures["OD"], laterality="OD", suffix=".jpg")])
    inbox.result("ORD2")
    assert inbox.kinds("ORD1") == ["OrderCreationReceipt", "OrderCancelled"]


def test_a_wrong_client_guid_leads_to_nothing(
    both: Callable[..., Both], new_order: NewOrder, pictures: dict[str, bytes]
) -> None:
    rehearsal, client, inbox = both()
    order = new_order()
    order.client_guid = "00000000-0000-4000-8000-000000000000"
    order.site = Site(local_id="PC1234")
    rehearsal.send("orders", order)  # a client would refuse it
    client.submit(new_order("ORD2"), [ImageFile(source=pictures["OD"], laterality="OD", suffix=".jpg")])
    inbox.result("ORD2")
    client.close()
    assert {getattr(event, "order_local_id", None) for event in inbox.events} == {"ORD2"}
    assert rehearsal.drain("orders") == []
    assert rehearsal.drain("orders/$dead") == []


def test_the_published_order_goes_through(both: Callable[..., Both], shared: Path) -> None:
    samples = shared / "domain" / "samples"
    _, client, inbox = both(container="PC1234")
    order = read_order((samples / "order-new.json").read_bytes())
    file_name = order.camera.images[0].azure_blob_storage.file_name
    client._connections.store("images").store.put(file_name, samples / "images" / "secondary-capture.dcm")
    photograph = ImageFile(source=samples / "images" / "fundus-color.jpg", laterality="OS", local_id="1234-1-2")
    client.submit(order, [photograph])
    result = inbox.result("ORD1234")
    inbox.event("ORD1234", "OrderGradedEvent")

    assert inbox.kinds("ORD1234") == STAGES
    assert isinstance(inbox.events[0], OrderCreationReceipt)
    assert inbox.events[0].patient_local_id == "1234"
    assert [image.local_id for image in result.images] == ["1234-1-1", "1234-1-2"]
    assert result.images[0].taken == order.camera.images[0].taken
    assert [eye.gradable for _, eye in result.gradings.eyes()] == [True, True]
    assert [one.severity for one in problems_result(result)] == ["warning", "warning"]  # NPIs of the example
    assert result.report().data.count(b"/Subtype /Image") == 2


def test_the_sample_images_find_their_order(both: Callable[..., Both], new_order: NewOrder, shared: Path) -> None:
    folder = shared / "domain" / "samples" / "images"
    _, client, inbox = both()
    client.submit(new_order(patient="MRN-9"))
    inbox.event("ORD1", "OrderCreationReceipt")
    dataset = pydicom.dcmread(folder / "secondary-capture.dcm")  # its PatientID is empty
    dataset.PatientID, dataset.ImageLaterality = "MRN-9", "L"
    dicom = BytesIO()
    dataset.save_as(dicom)
    exif = Pixels.Exif()
    exif[0x010E] = "MRN-9"
    photograph = BytesIO()
    Pixels.open(folder / "fundus-color.jpg").save(photograph, "JPEG", exif=exif)
    client.upload_image(ImageFile(source=dicom.getvalue(), suffix=".dcm"))
    client.upload_image(ImageFile(source=photograph.getvalue(), suffix=".jpg"))
    result = inbox.result("ORD1")
    assert {image.laterality: (image.file_name or "")[-4:] for image in result.images} == {"OS": ".dcm", "OD": ".jpg"}


def test_the_published_cancellation_ends_the_published_order(both: Callable[..., Both], shared: Path) -> None:
    samples = shared / "domain" / "samples"
    rehearsal, _, inbox = both(container="PC1234")
    order = json.loads((samples / "order-new.json").read_text())
    del order["Camera"]["Images"]
    rehearsal.send("orders", json.dumps(order).encode())
    inbox.event("ORD1234", "OrderCreationReceipt")
    rehearsal.send("orders", (samples / "order-cancel.json").read_bytes())
    inbox.event("ORD1234", "OrderCancelled")


def test_the_published_grading_decides_the_result(
    both: Callable[..., Both], new_order: NewOrder, pictures: dict[str, bytes], shared: Path
) -> None:
    rehearsal, client, inbox = both(auto_grade=False)
    client.submit(
        new_order("1315535", evaluation_types=["DR_AMD"]),
        [ImageFile(source=pictures[eye], laterality=eye, suffix=".jpg") for eye in ("OD", "OS")],
    )
    inbox.event("1315535", "ReadyForGradingEvent")
    rehearsal.send("gradings", (shared / "domain" / "samples" / "grading-normal-dr-amd.json").read_bytes())
    result = inbox.result("1315535")
    assert [(one.finding, one.result) for one in result.gradings.od.findings] == [
        ("Diabetic Retinopathy", "None"),
        ("Macular Edema", "None"),
        ("Wet AMD", "No Observable"),
        ("Dry AMD", "No Observable"),
    ]
    assert result.gradings.pathology is False
