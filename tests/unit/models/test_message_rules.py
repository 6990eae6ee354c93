"""The rules for grading submissions, events and results, and the inspection of any message."""

import json
from typing import Any

import pytest

from clouddirect.orders.models import (
    PUBLISHED_FINDINGS,
    MessageKind,
    Problem,
    inspect_message,
    problems_event,
    problems_grading,
    problems_result,
    read_event,
    read_grading,
    read_result,
)

GUID = "63e3c9ef-66ac-4154-b0c2-494515eb99a7"
GOOD = {"Gradable": True, "Findings": [{"Finding": "Diabetic Retinopathy", "Result": "Mild"}]}


def by_path(found: list[Problem]) -> dict[str, str]:
    return {problem.path: f"{problem.severity}: {problem.message}" for problem in found}


def grading(**changes: Any) -> dict[str, str]:
    wire = {
        "Version": "2.3.1",
        "ClientGuid": GUID,
        "Site": {"LocalId": "PC1"},
        "LocalId": "ORD-1",
        "OD": GOOD,
        "OS": GOOD,
    }
    return by_path(problems_grading(read_grading(json.dumps(wire | changes))))


@pytest.mark.parametrize(
    "eye",
    [
        GOOD,
        {"Gradable": True},
        {"Gradable": True, "Findings": [{"Finding": "Suspected Glaucoma"}]},
        {"Gradable": True, "Findings": [{"Finding": "Other", "Result": "anything"}]},
        {"Gradable": False, "UngradableReasons": ["Blurred"]},
        {"MissingEyeReason": "Enucleation"},
        None,
    ],
)
def test_a_good_grading(eye: Any) -> None:
    assert grading(OS=eye) == {}


@pytest.mark.parametrize(
    ("eye", "path", "problem"),
    [
        ({"Gradable": False}, "OS.UngradableReasons", "error: must hold exactly one"),
        ({"Gradable": False, "UngradableReasons": ["a", "b"]}, "OS.UngradableReasons", "error: must hold exactly one"),
        ({**GOOD, "Gradable": False, "UngradableReasons": ["a"]}, "OS.Findings", "error: must not be given"),
        ({**GOOD, "UngradableReasons": ["a"]}, "OS.UngradableReasons", "error: must not be given"),
        ({"MissingEyeReason": "x", "Gradable": False}, "OS.Gradable", "error: must not be given: a missing eye"),
        ({"MissingEyeReason": "x", "UngradableReasons": ["a"]}, "OS.UngradableReasons", "error: must not be given"),
        ({"MissingEyeReason": "x", "Findings": GOOD["Findings"]}, "OS.Findings", "error: must not be given"),
        ({"Findings": GOOD["Findings"]}, "OS.Gradable", "error: is required"),
        ({"Gradable": True, "Findings": [{"Result": "Mild"}]}, "OS.Findings[0].Finding", "error: is required"),
        (
            {"Gradable": True, "Findings": [{"Finding": "Gout"}]},
            "OS.Findings[0].Finding",
            "warning: is not a published",
        ),
        (
            {"Gradable": True, "Findings": [{"Finding": "Suspected Glaucoma", "Result": "Mild"}]},
            "OS.Findings[0].Result",
            "warning: must not be given",
        ),
        (
            {"Gradable": True, "Findings": [{"Finding": "Wet AMD"}]},
            "OS.Findings[0].Result",
            "warning: is missing",
        ),
        (
            {"Gradable": True, "Findings": [{"Finding": "Wet AMD", "Result": "Mild"}]},
            "OS.Findings[0].Result",
            "warning: is not a published level",
        ),
    ],
)
def test_a_bad_eye(eye: Any, path: str, problem: str) -> None:
    found = grading(OS=eye)
    assert list(found) == [path]
    assert found[path].startswith(problem)


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"Version": None}, {"Version": "error"}),
        ({"ClientGuid": None}, {"ClientGuid": "error"}),
        ({"ClientGuid": "x"}, {"ClientGuid": "error"}),
        ({"LocalId": None}, {"LocalId": "error"}),
        ({"Site": None}, {"Site.LocalId": "warning"}),
        ({"OD": None, "OS": None}, {"OD": "error"}),
    ],
)
def test_a_bad_grading(changes: dict[str, Any], paths: dict[str, str]) -> None:
    assert {path: text.split(":")[0] for path, text in grading(**changes).items()} == paths


def test_published_findings() -> None:
    assert PUBLISHED_FINDINGS["Macular Edema"] == ("None", "Positive")
    assert sum(name.startswith("Suspected ") for name in PUBLISHED_FINDINGS) == 15
    with pytest.raises(TypeError):
        PUBLISHED_FINDINGS["Gout"] = ()  # type: ignore[index]


RECEIPT = {
    "ResultObjectType": "OrderCreationReceipt",
    "TransactionId": GUID,
    "Timestamp": "2025-03-04T09:15:42+00:00",
    "OrderLocalId": "ORD-1",
}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, {}),
        ({"Success": False}, {}),
        ({"ResultObjectType": None}, {"ResultObjectType": "error: is required"}),
        ({"ResultObjectType": "New"}, {"ResultObjectType": "warning: is a kind of event"}),
        ({"TransactionId": None}, {"TransactionId": "warning: is missing"}),
        ({"TransactionId": "x"}, {"TransactionId": "warning: is not a GUID"}),
        ({"Timestamp": ""}, {"Timestamp": "warning: is missing"}),
        ({"Timestamp": "2025-03-04T09:15:42"}, {"Timestamp": "warning: has no offset"}),
        ({"OrderLocalId": None}, {"OrderLocalId": "warning: is missing"}),
    ],
)
def test_events(changes: dict[str, Any], found: dict[str, str]) -> None:
    problems = by_path(problems_event(read_event(json.dumps(RECEIPT | changes))))
    assert list(problems) == list(found)
    for path, text in found.items():
        assert problems[path].startswith(text)


def test_a_good_result(order_result: dict[str, Any]) -> None:
    assert problems_result(read_result(json.dumps(order_result))) == []


GRADED = GOOD["Findings"]


@pytest.mark.parametrize(
    ("part", "changes", "path", "problem"),
    [
        (
            "Gradings",
            {"OS": {"Gradable": False, "Findings": GRADED, "UngradableReasons": ["a"]}},
            "Gradings.OS.Findings",
            "warning: are given although",
        ),
        ("Gradings", {"OS": {"Gradable": False}}, "Gradings.OS.UngradableReasons", "warning: is missing"),
        ("Gradings", {"OD": {"Findings": GRADED}}, "Gradings.OD.Gradable", "warning: is missing"),
        (
            "Gradings",
            {"OD": {"Gradable": True, "Findings": [{"Result": "Mild"}]}},
            "Gradings.OD.Findings[0].Finding",
            "warning: is missing",
        ),
        ("ResultsDocument", {"Content": "not base64!"}, "ResultsDocument.Content", "error: is not valid Base64"),
        ("ResultsDocument", {"Encoding": "ASCII"}, "ResultsDocument.Encoding", "error: a PDF report must be Base64"),
        ("ResultsDocument", {"Type": "DOC"}, "ResultsDocument.Type", "warning: is not a code"),
        ("Order", {"LocalId": None}, "Order.LocalId", "warning: is missing"),
        ("Order", {"Status": "Lost"}, "Order.Status", "warning: is not a code"),
    ],
)
def test_an_odd_result(
    order_result: dict[str, Any], part: str, changes: dict[str, Any], path: str, problem: str
) -> None:
    order_result[part] |= changes
    found = by_path(problems_result(read_result(json.dumps(order_result))))
    assert list(found) == [path]
    assert found[path].startswith(problem)


def test_a_result_without_gradings(order_result: dict[str, Any]) -> None:
    del order_result["Gradings"]
    assert list(by_path(problems_result(read_result(json.dumps(order_result))))) == ["Gradings"]
    order_result["Success"] = False
    assert problems_result(read_result(json.dumps(order_result))) == []


def test_free_findings_of_a_result_are_no_complaint(order_result: dict[str, Any]) -> None:
    order_result["Gradings"]["OD"]["Findings"] = [
        {"Finding": "Suspected Something New"},
        {"Finding": "Gout", "Result": "Bad"},
    ]
    assert problems_result(read_result(json.dumps(order_result))) == []


def test_inspecting_each_kind(new_order: dict[str, Any], order_result: dict[str, Any]) -> None:
    grading_wire = {"Version": "2.3.1", "ClientGuid": GUID, "Site": {"LocalId": "1"}, "LocalId": "1", "OD": GOOD}
    for wire, kind in (
        (new_order, MessageKind.ORDER_REQUEST),
        (order_result, MessageKind.ORDER_RESULT),
        (RECEIPT, MessageKind.EVENT),
        (grading_wire, MessageKind.GRADING_SUBMISSION),
    ):
        inspection = inspect_message(json.dumps(wire))
        assert (inspection.kind, inspection.valid, inspection.problems) == (kind, True, [])
        assert inspection.message(show_patient_data=True) == wire


def test_inspecting_what_is_no_message() -> None:
    for body, data in ((b"SECRET", None), (b"[]", None), (b'{"Hello": "SECRET"}', {"Hello": "***"})):
        inspection = inspect_message(body)
        assert inspection.kind is MessageKind.UNKNOWN
        assert not inspection.valid
        assert inspection.model is None
        assert [problem.path for problem in inspection.problems] == [""]
        assert inspection.message() == data
        assert "SECRET" not in repr(inspection)
    assert inspect_message(b'{"Hello": 1}').message(show_patient_data=True) == {"Hello": 1}


def test_inspecting_names_values_that_cannot_be_read_and_all_else_that_is_wrong(new_order: dict[str, Any]) -> None:
    new_order["Patient"] |= {"Dob": "SECRET", "Genders": ["SECRET"], "Name": 5}
    new_order["Order"]["LocalId"] = None
    inspection = inspect_message(json.dumps(new_order))
    assert inspection.kind is MessageKind.ORDER_REQUEST
    assert not inspection.valid
    # what is there but cannot be read is not called missing as well
    assert [problem.path for problem in inspection.problems] == [
        "Patient.Name",
        "Patient.Dob",
        "Patient.Genders[0]",
        "Order.LocalId",
    ]
    assert "SECRET" not in repr(inspection) + "".join(map(str, inspection.problems)) + json.dumps(inspection.message())
    shown = inspection.message(show_patient_data=True)
    assert shown is not None
    assert shown["Patient"]["Dob"] == "SECRET"


def test_warnings_do_not_make_a_message_invalid(new_order: dict[str, Any]) -> None:
    new_order["OrderingProvider"]["NPI"] = "1234567890"
    inspection = inspect_message(json.dumps(new_order))
    assert [problem.severity for problem in inspection.problems] == ["warning"]
    assert inspection.valid
