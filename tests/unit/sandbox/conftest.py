"""A graded order to make results and reports of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from io import BytesIO

import pytest
from PIL import Image as Pixels

from clouddirect.orders.models import (
    AzureBlobStorage,
    Camera,
    EyeSideGrading,
    Finding,
    Image,
    Name,
    Order,
    OrderRequest,
    Patient,
    PersonGender,
    Provider,
    Site,
)
from clouddirect.sandbox.fundus import demo_image
from clouddirect.sandbox.pictures import OrderImage, read_picture
from clouddirect.sandbox.results import Graded
from clouddirect.sandbox.stamps import Stamps

NOW = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)


@pytest.fixture(scope="session")
def pictures() -> dict[str, bytes]:
    """Drawn once: a good picture of each eye and a dark one."""
    return {"OD": demo_image(1, "OD"), "OS": demo_image(1, "OS"), "dark": demo_image(1, "OS", dark=True)}


@pytest.fixture(scope="session")
def many_pictures(pictures: dict[str, bytes]) -> list[bytes]:
    """Thirty pictures that differ: a document holds the same picture only once."""
    made = []
    for number in range(30):
        target = BytesIO()
        copy = Pixels.open(BytesIO(pictures["OD"]))
        copy.paste((0, 8 * number, 200), (300, 300, 340, 340))
        copy.save(target, "JPEG", quality=90)
        made.append(target.getvalue())
    return made


@pytest.fixture
def order_image() -> Callable[..., OrderImage]:
    """Make an image as it is when its order is graded."""

    def make(data: bytes, laterality: str = "OD", name: str = "img-1", context: str | None = None) -> OrderImage:
        entry = Image(
            local_id=name,
            taken=NOW,
            laterality=laterality,
            image_context=context,
            azure_blob_storage=AzureBlobStorage(container="retina", file_name=f"{name}.jpg"),
        )
        return OrderImage(entry, laterality, NOW, read_picture(data))

    return make


@pytest.fixture
def graded() -> Callable[..., Graded]:
    """Make a graded order."""

    def make(images: Sequence[OrderImage], patient_name: Name | None = None, **order: object) -> Graded:
        request = OrderRequest(
            client_guid="63e3c9ef-66ac-4154-b0c2-494515eb99a7",
            order_control_code="NW",
            site=Site(local_id="PC1", name="Primary Care One"),
            camera=Camera(local_id="C1", model="Drawn"),
            order=Order(local_id="ORD1", evaluation_types=["DR"], scheduled_time="1/2/2026", **order),  # type: ignore[arg-type]
            patient=Patient(
                local_id="MRN1",
                name=patient_name or Name(first="Jane", last="Roe"),
                dob=date(1961, 12, 1),
                genders=[PersonGender(context="BirthGender", gender="F")],
                dx_code="E109",
            ),
            ordering_provider=Provider(npi="1234567893"),
            camera_operator_user_name="operator",
        )
        eyes = {}
        if any(image.laterality == "OD" for image in images):
            found = [Finding(finding="Diabetic Retinopathy", result="Mild"), Finding(finding="Suspected Cataract")]
            eyes["OD"] = EyeSideGrading(gradable=True, findings=found)
        if any(image.laterality == "OS" for image in images):
            eyes["OS"] = EyeSideGrading(gradable=False, ungradable_reasons=["Image Too Dark"])
        return Graded(request, Stamps(0, "message-1"), images, eyes, NOW, NOW)

    return make
