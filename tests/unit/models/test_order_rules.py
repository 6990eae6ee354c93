"""The rules for order requests: nothing to say of a good one, all that is wrong with a bad one."""

import copy
import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from clouddirect.orders.models import Name, Order, OrderRequest, Patient, Problem, problems, read_order

TODAY = date(2025, 6, 1)


def check(wire: dict[str, Any], operation: str | None = None) -> dict[str, str]:
    """Problems by path: severity and message."""
    found = problems(read_order(json.dumps(wire)), operation, today=TODAY)
    assert len({problem.path for problem in found}) == len(found)
    return {problem.path: f"{problem.severity}: {problem.message}" for problem in found}


def without(wire: dict[str, Any], path: str) -> dict[str, Any]:
    changed = copy.deepcopy(wire)
    *parents, last = path.split(".")
    inner = changed
    for key in parents:
        inner = inner[key]
    del inner[last]
    return changed


def test_a_good_order_has_no_problem(new_order: dict[str, Any]) -> None:
    assert check(new_order) == {}
    assert check(new_order | {"OrderControlCode": "XO"}) == {}


@pytest.mark.parametrize("code", ["NW", "XO"])
@pytest.mark.parametrize(
    "path",
    [
        "Version",
        "ClientGuid",
        "Site.LocalId",
        "Order.LocalId",
        "Order.EvaluationTypes",
        "Patient",
        "Patient.LocalId",
        "Patient.Name.First",
        "Patient.Name.Last",
        "Patient.Dob",
        "Patient.Genders",
    ],
)
def test_what_a_new_order_and_a_change_require(new_order: dict[str, Any], path: str, code: str) -> None:
    found = check(without(new_order, path) | {"OrderControlCode": code})
    assert list(found) == [path]
    assert found[path].startswith("error: is required")


def test_everything_is_said_at_once() -> None:
    found = check({"OrderControlCode": "NW", "Patient": {"Name": {"Middle": "Q"}}})
    assert list(found) == [
        "Version",
        "ClientGuid",
        "Site.LocalId",
        "Order.LocalId",
        "Order.EvaluationTypes",
        "Patient.LocalId",
        "Patient.Name.First",
        "Patient.Name.Last",
        "Patient.Dob",
        "Patient.Genders",
    ]
    assert all(text.startswith("error: is required") for text in found.values())


@pytest.mark.parametrize("code", ["CA", "ResendResult"])
def test_what_cancelling_and_resending_require(code: str, new_order: dict[str, Any]) -> None:
    wire = {key: new_order[key] for key in ("Version", "ClientGuid", "Site")}
    wire |= {"OrderControlCode": code, "Order": {"LocalId": "ORD-1"}}
    assert check(wire) == {}
    # a published example leaves the site out
    assert check(without(wire, "Site")) == {"Site.LocalId": "warning: is missing: IRIS documents it as required"}
    assert list(check(without(wire, "Order"))) == ["Order.LocalId"]
    assert list(check(without(wire, "ClientGuid"))) == ["ClientGuid"]


def test_the_operation_may_be_given(new_order: dict[str, Any]) -> None:
    plain = without(new_order, "OrderControlCode")
    assert list(check(plain)) == ["OrderControlCode"]
    assert check(plain, "NW") == {}
    assert check(new_order, "NW") == {}
    assert check(new_order, "CA") == {"OrderControlCode": "error: asks for another operation than CA"}


def test_operations_beyond_the_documented_ones(new_order: dict[str, Any]) -> None:
    assert check(new_order | {"OrderControlCode": 6})["OrderControlCode"].startswith("warning: is not documented")
    found = problems(read_order(json.dumps(new_order | {"OrderControlCode": "ZZ"})), today=TODAY)
    assert Problem("OrderControlCode", "is not an operation: use NW, XO, CA or ResendResult", "error") in found


@pytest.mark.parametrize(
    ("change", "path", "problem"),
    [
        (lambda w: w.update(ClientGuid="not-a-guid"), "ClientGuid", "error: is not a GUID"),
        (lambda w: w.update(Version="9.9"), "Version", "warning: is not 2.3.1"),
        (lambda w: w["Patient"].update(Dob="6/3/2025"), "Patient.Dob", "error: lies in the future"),
        (lambda w: w["Patient"].update(Dob="12/31/1879"), "Patient.Dob", "error: is before 1880"),
        (lambda w: w["Patient"].update(DxCode="diabetes"), "Patient.DxCode", "warning: is not an ICD-10"),
        (lambda w: w["Patient"].update(MaritalStatus="Q"), "Patient.MaritalStatus", "warning: is not a code"),
        (
            lambda w: w["Patient"]["Genders"][0].update(Gender="Q"),
            "Patient.Genders[0].Gender",
            "warning: is not a code",
        ),
        (lambda w: w["Patient"]["Genders"][0].pop("Gender"), "Patient.Genders[0].Gender", "error: is required"),
        (lambda w: w["Patient"]["Genders"][0].pop("Context"), "Patient.Genders[0].Context", "warning: is missing"),
        (
            lambda w: w["Patient"].update(Genders=None, Gender="F"),
            "Patient.Gender",
            "warning: is obsolete",
        ),
        (
            lambda w: w["Order"].update(EvaluationTypes=["DR", "ZZ"]),
            "Order.EvaluationTypes[1]",
            "warning: is not a code",
        ),
        (
            lambda w: w["Order"].update(EvaluationTypes=["DR", 1]),
            "Order.EvaluationTypes",
            "warning: names an evaluation twice",
        ),
        (lambda w: w["Order"].update(State="Florence"), "Order.State", "warning: is neither"),
        (
            lambda w: w["Order"].update(StudyInstanceUniqueId="1.a"),
            "Order.StudyInstanceUniqueId",
            "warning: is not a DICOM",
        ),
        (
            lambda w: w["OrderingProvider"].update(NPI="1234567890"),
            "OrderingProvider.NPI",
            "warning: is not a valid NPI",
        ),
        (lambda w: w.update(ReferringProvider={"NPI": "123"}), "ReferringProvider.NPI", "warning: is not a valid NPI"),
        (
            lambda w: w.update(HealthPlan={"PrimaryCareProvider": {"NPI": "x"}}),
            "HealthPlan.PrimaryCareProvider.NPI",
            "warning: is not a valid NPI",
        ),
        (lambda w: w.update(CameraOperatorUserName="op"), "CameraOperatorUserName", "warning: is deprecated"),
        (
            lambda w: w["Camera"]["Images"][1]["AzureBlobStorage"].pop("FileName"),
            "Camera.Images[1].AzureBlobStorage.FileName",
            "error: is required",
        ),
        (
            lambda w: w["Camera"]["Images"][1]["AzureBlobStorage"].pop("Container"),
            "Camera.Images[1].AzureBlobStorage.Container",
            "error: is required",
        ),
        (
            lambda w: w["Camera"]["Images"][1]["AzureBlobStorage"].update(FileName="a.jpg"),
            "Camera.Images[1].AzureBlobStorage.FileName",
            "warning: names the same file",
        ),
        (lambda w: w["Camera"]["Images"][0].pop("Laterality"), "Camera.Images[0].Laterality", "warning: is missing"),
        (
            lambda w: w["Camera"]["Images"][0].update(Laterality="QQ"),
            "Camera.Images[0].Laterality",
            "warning: is not a code",
        ),
        (
            lambda w: w["Camera"]["Images"][0].update(ImageContext="QQ"),
            "Camera.Images[0].ImageContext",
            "warning: is not a code",
        ),
        (
            lambda w: w["Camera"]["Images"][0].update(Taken="2025-03-04T09:15:42"),
            "Camera.Images[0].Taken",
            "warning: has no offset",
        ),
    ],
)
def test_one_thing_wrong(
    new_order: dict[str, Any], change: Callable[[dict[str, Any]], object], path: str, problem: str
) -> None:
    change(new_order)
    found = check(new_order)
    assert list(found) == [path]
    assert found[path].startswith(problem)


@pytest.mark.parametrize(
    ("change"),
    [
        # a clinic east of here may be a day ahead
        lambda w: (w["Patient"].update(Dob="6/2/2025"), w["Order"].pop("ScheduledTime"), w["Camera"].pop("Images")),
        lambda w: w["Patient"].update(Race="9999-9", Ethnicity="9999-9", PrimaryLanguage="de-AT"),
        lambda w: w["Patient"].update(DxCode="e119"),
        lambda w: w["Order"].update(State="florida"),
        lambda w: w["Order"].update(StudyInstanceUniqueId="1.2.840.10008.1"),
        lambda w: w.update(ClientGuid="63E3C9EF66AC4154B0C2494515EB99A7"),
        lambda w: w["Camera"].pop("Images"),
        lambda w: w["Camera"]["Images"][0].update(Laterality="OU"),
    ],
)
def test_nothing_wrong(new_order: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> None:
    change(new_order)
    assert check(new_order) == {}


def test_text_of_a_problem() -> None:
    assert str(Problem("Patient.Name.Last", "is required")) == "Patient.Name.Last: is required"
    assert str(Problem("", "is no message")) == "is no message"


def test_plain_codes_added_from_python_are_known() -> None:
    order = OrderRequest(
        order=Order(local_id="1"), order_control_code="CA", client_guid="63e3c9ef-66ac-4154-b0c2-494515eb99a7"
    )
    assert order.order is not None
    order.order.evaluation_types.append("DR")
    assert [problem.path for problem in problems(order)] == ["Site.LocalId"]


def test_messages_hold_no_value() -> None:
    marker = "CANARY"
    order = OrderRequest(
        client_guid=marker,
        order_control_code="NW",
        order=Order(local_id="1", state=marker, study_instance_unique_id=marker, evaluation_types=[marker]),
        patient=Patient(local_id="m", name=Name(first=marker), gender=marker, race=marker, dx_code=marker),
    )
    found = problems(order)
    assert len(found) >= 8
    assert marker not in "".join(map(str, found)) + repr(found)
