from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from clouddirect.orders.models import Name, OrderResult, problems_result, read_result, to_wire, to_wire_dict
from clouddirect.sandbox.pictures import OrderImage
from clouddirect.sandbox.results import Graded, make_result

NOW = datetime(2026, 3, 4, 5, 6, 9, tzinfo=UTC)
LARGE = 10 << 20

MakeImage = Callable[..., OrderImage]
MakeGraded = Callable[..., Graded]


@pytest.fixture
def result(graded: MakeGraded, order_image: MakeImage, pictures: dict[str, bytes]) -> OrderResult:
    images = [
        order_image(pictures["OD"], "OD", "a"),
        order_image(pictures["OD"], "OD", "b", "Enhancement"),
        order_image(pictures["dark"], "OS", "c"),
    ]
    return make_result(graded(images, cpt_code="92250", urgent=True), NOW, max_message_bytes=LARGE)


def test_a_result_has_nothing_to_complain_of_and_survives_the_wire(result: OrderResult) -> None:
    assert problems_result(result) == []
    again = read_result(to_wire(result))
    assert to_wire(again) == to_wire(result)
    assert problems_result(again) == []


def test_it_says_what_was_ordered(result: OrderResult) -> None:
    wire = to_wire_dict(result)
    assert wire["Order"] == {
        "EvaluationTypes": ["DR"],
        "LocalId": "ORD1",
        "ScheduledTime": "1/2/2026",
        "CPTCode": "92250",
        "Urgent": True,
        "PatientOrderId": wire["Order"]["PatientOrderId"],
        "ServicedTime": "2026-03-04T05:06:07.890123+00:00",
        "Status": "Complete",
        "Expedite": True,
    }
    assert wire["Site"] == {"LocalId": "PC1", "Name": "Primary Care One"}
    assert wire["Patient"]["LocalId"] == "MRN1"
    assert wire["Patient"]["Dob"] == "12/1/1961"
    assert wire["OrderingProvider"] == {"NPI": "1234567893"}
    assert wire["CameraOperator"] == {"UserName": "operator"}
    assert wire["Cpt"] == {"Code": "92250"}
    assert (wire["Version"], wire["Success"], wire["ResultCode"]) == ("2.3.1", True, "F")


def test_it_counts_and_lists_the_images(result: OrderResult) -> None:
    wire = to_wire_dict(result)
    assert wire["ImageDetails"] == {
        "TotalCount": 3,
        "RightEyeCount": 2,
        "RightEyeOriginalCount": 1,
        "RightEyeEnhancedCount": 1,
        "LeftEyeCount": 1,
        "LeftEyeOriginalCount": 1,
        "LeftEyeEnhancedCount": 0,
        "Preferred": False,
        "SingleEyeOnly": False,
    }
    first = wire["Images"][0]
    assert (first["ContainerName"], first["FileName"], first["Laterality"]) == ("retina", "a.jpg", "OD")
    assert first["Camera"] == {"LocalId": "C1", "Model": "Drawn"}
    assert len({image["OrderImageID"] for image in wire["Images"]}) == 3


def test_it_says_what_was_found(result: OrderResult) -> None:
    wire = to_wire_dict(result)["Gradings"]
    assert wire["OD"]["Findings"][1] == {"Finding": "Suspected Cataract"}
    assert wire["OS"] == {"Gradable": False, "UngradableReasons": ["Image Too Dark"]}
    assert wire["DxCodes"] == ["E10.3291"]
    assert wire["Pathology"] is True
    assert wire["GradedTime"] == "2026-03-04T05:06:07.8901230+00:00"


def test_an_eye_without_images_is_missing(
    graded: MakeGraded, order_image: MakeImage, pictures: dict[str, bytes]
) -> None:
    order = graded([order_image(pictures["OS"], "OS")], single_eye_only=True, missing_eye_reason="Prosthesis")
    wire = to_wire_dict(make_result(order, NOW, max_message_bytes=LARGE))
    assert "OD" not in wire["Gradings"]
    assert wire["ImageDetails"]["SingleEyeOnly"] is True
    assert wire["Order"]["MissingEyeReason"] == "Prosthesis"


@pytest.mark.parametrize("limit", [256 << 10, 128 << 10])
def test_the_report_is_made_to_fit_the_queue(
    limit: int, graded: MakeGraded, order_image: MakeImage, many_pictures: list[bytes]
) -> None:
    images = [order_image(many_pictures[number], "OD", f"image-{number}") for number in range(8)]
    unbounded = to_wire(make_result(graded(images), NOW, max_message_bytes=LARGE))
    assert len(unbounded) > limit
    assert len(to_wire(make_result(graded(images), NOW, max_message_bytes=limit))) < limit


def test_a_patient_with_any_name_gets_a_result(
    graded: MakeGraded, order_image: MakeImage, pictures: dict[str, bytes]
) -> None:
    order = graded([order_image(pictures["OD"])], patient_name=Name(first="王小明" * 50, last="\u202eabc\x00"))
    result = make_result(order, NOW, max_message_bytes=LARGE)
    assert result.report() is not None
    assert read_result(to_wire(result)).patient == result.patient
