"""The published columns: each fills its field, whatever its value."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clouddirect.orders.csv_columns import (
    COLUMNS,
    REQUIRED_COLUMNS,
    columns_of_path,
    nearest,
    published,
    read_cells,
)
from clouddirect.orders.models import (
    EvaluationType,
    Gender,
    HealthPlan,
    Name,
    Order,
    OrderRequest,
    Patient,
    PersonGender,
    PrimaryCareProvider,
    Provider,
    Site,
    to_wire_dict,
)

PUBLISHED = """
CameraOperatorEmail CameraOperatorFirstName CameraOperatorLastName CameraOperatorNPI CameraOperatorUserName ClientGuid
CPTCode DepartmentId DxCode EncounterNumber EvaluationType HealthPlanEffectiveDate HealthPlanExpirationDate
HealthPlanGroupName HealthPlanGroupNumber HealthPlanMemberId HealthPlanName HealthPlanPayerName HealthPlanPolicyNumber
HealthPlanPrimaryCareProviderEmailAddress HealthPlanPrimaryCareProviderFaxNumber HealthPlanPrimaryCareProviderFirst
HealthPlanPrimaryCareProviderLast HealthPlanPrimaryCareProviderNPI MissingEyeReason OrderAdditionalInfo
OrderControlCode OrderingProviderEmail OrderingProviderFirstName OrderingProviderLastName OrderingProviderNPI
OrderLocalId OrderScheduledTime OrderState PatientAdditionalInfo PatientBirthGender PatientDob PatientFirstName
PatientIdentityGender PatientLastName PatientLocalId PatientPhone ReferringProviderEmail ReferringProviderFirstName
ReferringProviderLastName ReferringProviderNPI SingleEyeOnly SiteLocalId UserNameSubmitting Version
"""


def full() -> dict[str, str]:
    """A row with every column filled, each with a value of its own."""
    special = {
        "EvaluationType": "DR", "HealthPlanEffectiveDate": "1/2/2025", "HealthPlanExpirationDate": "2026-01-02",
        "OrderControlCode": "NW", "OrderScheduledTime": "3/4/2026", "PatientBirthGender": "F",
        "PatientDob": "12/1/1961", "PatientIdentityGender": "TM", "SingleEyeOnly": "true", "Version": "2.3.1",
    }  # fmt: skip
    return {column: special.get(column, f"the {column}") for column in COLUMNS}


def test_the_columns_are_the_published_ones() -> None:
    assert sorted(COLUMNS, key=str.lower) == sorted(PUBLISHED.split(), key=str.lower)
    assert set(REQUIRED_COLUMNS) == {
        "ClientGuid", "OrderControlCode", "PatientBirthGender", "PatientDob", "PatientFirstName", "PatientLastName",
        "PatientLocalId", "SiteLocalId", "Version",
    }  # fmt: skip


def test_every_column_fills_its_field() -> None:
    cells = full()
    order, wrong = read_cells(cells)
    assert wrong == []

    def person(kind: str) -> Provider:
        name = Name(first=f"the {kind}FirstName", last=f"the {kind}LastName")
        return Provider(npi=f"the {kind}NPI", email=f"the {kind}Email", name=name)

    care = "HealthPlanPrimaryCareProvider"
    assert to_wire_dict(order) == to_wire_dict(
        OrderRequest(
            version="2.3.1",
            client_guid="the ClientGuid",
            user_name_submitting="the UserNameSubmitting",
            order_control_code="NW",
            site=Site(local_id="the SiteLocalId"),
            order=Order(
                evaluation_types=["DR"], local_id="the OrderLocalId", scheduled_time="3/4/2026",
                department_id="the DepartmentId", encounter_number="the EncounterNumber", cpt_code="the CPTCode",
                additional_info="the OrderAdditionalInfo", state="the OrderState", single_eye_only=True,
                missing_eye_reason="the MissingEyeReason",
            ),
            patient=Patient(
                local_id="the PatientLocalId",
                name=Name(first="the PatientFirstName", last="the PatientLastName"),
                dob="12/1/1961",
                genders=[
                    PersonGender(context="BirthGender", gender="F"),
                    PersonGender(context="IdentityGender", gender="TM"),
                ],
                phone="the PatientPhone", additional_info="the PatientAdditionalInfo", dx_code="the DxCode",
            ),
            ordering_provider=person("OrderingProvider"),
            referring_provider=person("ReferringProvider"),
            camera_operator=person("CameraOperator"),
            camera_operator_user_name="the CameraOperatorUserName",
            health_plan=HealthPlan(
                name="the HealthPlanName", member_id="the HealthPlanMemberId",
                primary_care_provider=PrimaryCareProvider(
                    npi=f"the {care}NPI", email_address=f"the {care}EmailAddress", fax_number=f"the {care}FaxNumber",
                    name=Name(first=f"the {care}First", last=f"the {care}Last"),
                ),
                health_plan_payer_name="the HealthPlanPayerName", group_name="the HealthPlanGroupName",
                group_number="the HealthPlanGroupNumber", effective_date="1/2/2025", expiration_date="2026-01-02",
                policy_number="the HealthPlanPolicyNumber",
            ),
        )
    )  # fmt: skip


def wire_value(wire: dict[str, Any], column: str) -> Any:
    """What an order says where a column goes to."""
    if column in ("PatientBirthGender", "PatientIdentityGender"):
        context = column.removeprefix("Patient")
        (found,) = [one["Gender"] for one in wire["Patient"]["Genders"] if one["Context"] == context]
        return found
    value: Any = wire
    for step in COLUMNS[column].split("."):
        value = value[step]
    return "|".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else value


_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)
_day = st.dates().map(lambda day: day.isoformat()) | st.dates().map(lambda day: f"{day.month}/{day.day}/{day.year:04d}")
_values: dict[str, st.SearchStrategy[str]] = {
    "EvaluationType": st.lists(st.sampled_from([str(one.value) for one in EvaluationType]), min_size=1).map("|".join),
    "HealthPlanEffectiveDate": _day,
    "HealthPlanExpirationDate": _day,
    "OrderControlCode": st.sampled_from(["NW", "XO", "CA", "ResendResult"]),
    "OrderScheduledTime": _day | st.datetimes().map(lambda moment: moment.isoformat()),
    "PatientBirthGender": st.sampled_from([str(one.value) for one in Gender]),
    "PatientDob": _day,
    "PatientIdentityGender": st.sampled_from([str(one.value) for one in Gender]),
    "SingleEyeOnly": st.sampled_from(["true", "false"]),
    "Version": st.just("2.3.1"),
}
_rows = st.fixed_dictionaries({}, optional={column: _values.get(column, _text) for column in COLUMNS})


@settings(deadline=None)
@given(_rows)
def test_what_a_cell_says_is_what_the_order_says(cells: dict[str, str]) -> None:
    order, wrong = read_cells(cells)
    assert {one.path for one in wrong} <= {"OrderControlCode", "PatientBirthGender", "Version"}  # only: missing
    wire = to_wire_dict(order)
    assert {column: wire_value(wire, column) for column in cells} == cells


@pytest.mark.parametrize(
    ("column", "text", "said"),
    [
        ("OrderControlCode", "nw", "NW"),
        ("OrderControlCode", "RESENDRESULT", "ResendResult"),
        ("OrderControlCode", "4", "CA"),
        ("EvaluationType", "dr", "DR"),
        ("EvaluationType", "dr_amd; GLAUCOMA", "DR_AMD|Glaucoma"),
        ("EvaluationType", "DR||AMD|", "DR|AMD"),
        ("EvaluationType", "New_Eval", "New_Eval"),
        ("PatientBirthGender", "f", "F"),
        ("PatientIdentityGender", "nd", "ND"),
        ("SingleEyeOnly", "FALSE", "false"),
        ("SingleEyeOnly", "1", "true"),
        ("Version", "V2.3.1", "2.3.1"),
    ],
)
def test_codes_are_taken_in_any_case_and_sent_as_published(column: str, text: str, said: str) -> None:
    order, _ = read_cells({column: text})
    assert wire_value(to_wire_dict(order), column) == said


def test_an_empty_single_eye_only_is_neither_true_nor_false() -> None:
    order, _ = read_cells({"OrderLocalId": "ORD-1"})
    assert to_wire_dict(order)["Order"] == {"LocalId": "ORD-1"}


@pytest.mark.parametrize(
    ("column", "text", "what"),
    [
        ("PatientDob", "31/12/1961", "not a date of the calendar"),
        ("PatientDob", "12/1/61", "not a date"),
        ("PatientDob", "1961-13-01", "not a date"),
        ("OrderScheduledTime", "soon", "not a date"),
        ("HealthPlanEffectiveDate", "2027", "not a date"),
        ("SingleEyeOnly", "perhaps", "neither true nor false"),
    ],
)
def test_what_cannot_be_read_is_told_by_column_and_never_repeated(column: str, text: str, what: str) -> None:
    _, wrong = read_cells({"Version": "2.3.1", "OrderControlCode": "CA", column: text})
    assert [(one.path, one.severity) for one in wrong] == [(column, "error")]
    assert what in wrong[0].message
    assert text not in wrong[0].message


@pytest.mark.parametrize("column", ["Version", "OrderControlCode", "PatientBirthGender"])
def test_required_cells_that_the_library_would_fill_in_or_not_miss(column: str) -> None:
    cells = full()
    del cells[column]
    _, wrong = read_cells(cells)
    expected = {column}
    assert {one.path for one in wrong} == expected
    assert all("is required" in one.message for one in wrong)


def test_paths_lead_back_to_columns() -> None:
    cells = full()
    for column, path in COLUMNS.items():
        if not path.startswith("Patient.Genders"):
            assert columns_of_path(path, cells) == (column,)
    assert columns_of_path("Order.EvaluationTypes[3]", cells) == ("EvaluationType",)
    assert columns_of_path("Patient.Genders", cells) == ("PatientBirthGender",)
    assert columns_of_path("Patient.Genders[1].Gender", cells) == ("PatientIdentityGender",)
    assert columns_of_path("Patient.Genders[0].Gender", {"PatientIdentityGender": "M"}) == ("PatientIdentityGender",)
    assert set(columns_of_path("Patient", cells)) == {name for name in REQUIRED_COLUMNS if "Patient" in name}
    assert columns_of_path("Camera.LocalId", cells) == ("Camera.LocalId",)


@pytest.mark.parametrize(
    "header", ["OrderLocalId", "orderlocalid", " Order Local ID ", "order_local_id", "order-local-id"]
)
def test_headers_are_known_in_any_case_and_with_spaces(header: str) -> None:
    assert published(header) == "OrderLocalId"


@pytest.mark.parametrize(
    ("header", "near"),
    [("PatientDOBirth", "PatientDob"), ("OrderLocalID2", "OrderLocalId"), ("Site Id", "SiteLocalId"), ("xyz", None)],
)
def test_unknown_headers_get_the_nearest_published_one(header: str, near: str | None) -> None:
    assert published(header) is None
    assert nearest(header) == near


def test_the_page_on_the_columns_names_them_all() -> None:
    page = Path(__file__).parents[3] / "docs" / "csv-import.md"
    named = re.findall(r"^\| `(\w+)`(\\\*)? \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name, _ in named if name in COLUMNS] == list(COLUMNS)
    assert {name for name, star in named if star} == set(REQUIRED_COLUMNS)
