"""The columns of the CSV bulk import that IRIS publishes, and how a row of them becomes an order request.

Source: IRIS integration guide, "CSV Bulk Import", which lists the columns, and which of them are required. It describes
an import of files by IRIS itself; here every row becomes an order request that is sent to the queue.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from clouddirect.orders.models import EvaluationType, Gender, Option, OrderControlCode, OrderRequest, Problem
from clouddirect.orders.models.order_rules import NEEDS_PATIENT
from clouddirect.orders.models.reader import Unreadable, read_fields

__all__ = ["COLUMNS", "REQUIRED_COLUMNS", "columns_of_path", "nearest", "plain_header", "published", "read_cells"]

#: Each published column and the field on the wire that it fills. Each gender is an entry of the list.
COLUMNS = {
    "CameraOperatorEmail": "CameraOperator.Email",
    "CameraOperatorFirstName": "CameraOperator.Name.First",
    "CameraOperatorLastName": "CameraOperator.Name.Last",
    "CameraOperatorNPI": "CameraOperator.NPI",
    "CameraOperatorUserName": "CameraOperatorUserName",
    "ClientGuid": "ClientGuid",
    "CPTCode": "Order.CPTCode",
    "DepartmentId": "Order.DepartmentId",
    "DxCode": "Patient.DxCode",
    "EncounterNumber": "Order.EncounterNumber",
    "EvaluationType": "Order.EvaluationTypes",
    "HealthPlanEffectiveDate": "HealthPlan.EffectiveDate",
    "HealthPlanExpirationDate": "HealthPlan.ExpirationDate",
    "HealthPlanGroupName": "HealthPlan.GroupName",
    "HealthPlanGroupNumber": "HealthPlan.GroupNumber",
    "HealthPlanMemberId": "HealthPlan.MemberId",
    "HealthPlanName": "HealthPlan.Name",
    "HealthPlanPayerName": "HealthPlan.HealthPlanPayerName",
    "HealthPlanPolicyNumber": "HealthPlan.PolicyNumber",
    "HealthPlanPrimaryCareProviderEmailAddress": "HealthPlan.PrimaryCareProvider.EmailAddress",
    "HealthPlanPrimaryCareProviderFaxNumber": "HealthPlan.PrimaryCareProvider.FaxNumber",
    "HealthPlanPrimaryCareProviderFirst": "HealthPlan.PrimaryCareProvider.Name.First",
    "HealthPlanPrimaryCareProviderLast": "HealthPlan.PrimaryCareProvider.Name.Last",
    "HealthPlanPrimaryCareProviderNPI": "HealthPlan.PrimaryCareProvider.NPI",
    "MissingEyeReason": "Order.MissingEyeReason",
    "OrderAdditionalInfo": "Order.AdditionalInfo",
    "OrderControlCode": "OrderControlCode",
    "OrderingProviderEmail": "OrderingProvider.Email",
    "OrderingProviderFirstName": "OrderingProvider.Name.First",
    "OrderingProviderLastName": "OrderingProvider.Name.Last",
    "OrderingProviderNPI": "OrderingProvider.NPI",
    "OrderLocalId": "Order.LocalId",
    "OrderScheduledTime": "Order.ScheduledTime",
    "OrderState": "Order.State",
    "PatientAdditionalInfo": "Patient.AdditionalInfo",
    "PatientBirthGender": "Patient.Genders.BirthGender",
    "PatientDob": "Patient.Dob",
    "PatientFirstName": "Patient.Name.First",
    "PatientIdentityGender": "Patient.Genders.IdentityGender",
    "PatientLastName": "Patient.Name.Last",
    "PatientLocalId": "Patient.LocalId",
    "PatientPhone": "Patient.Phone",
    "ReferringProviderEmail": "ReferringProvider.Email",
    "ReferringProviderFirstName": "ReferringProvider.Name.First",
    "ReferringProviderLastName": "ReferringProvider.Name.Last",
    "ReferringProviderNPI": "ReferringProvider.NPI",
    "SingleEyeOnly": "Order.SingleEyeOnly",
    "SiteLocalId": "Site.LocalId",
    "UserNameSubmitting": "UserNameSubmitting",
    "Version": "Version",
}

#: The columns that IRIS publishes as required.
REQUIRED_COLUMNS = (
    "ClientGuid", "OrderControlCode", "PatientBirthGender", "PatientDob", "PatientFirstName", "PatientLastName",
    "PatientLocalId", "SiteLocalId", "Version",
)  # fmt: skip

_PATIENT = tuple(name for name in REQUIRED_COLUMNS if name.startswith("Patient"))
_BY_PATH = {path: name for name, path in COLUMNS.items()}
_OPTIONS: dict[str, type[Option]] = {
    "EvaluationType": EvaluationType,
    "OrderControlCode": OrderControlCode,
    "PatientBirthGender": Gender,
    "PatientIdentityGender": Gender,
}
_GENDERS = (("PatientBirthGender", "BirthGender"), ("PatientIdentityGender", "IdentityGender"))
_INDEX = re.compile(r"\[\d+\]")
_SEVERAL = re.compile(r"[|;]")
_FILLERS = re.compile(r"[\s_\-]+")


def plain_header(header: str) -> str:
    """A header for comparison: without case, spaces, ``_`` and ``-``."""
    return _FILLERS.sub("", header).casefold()


_BY_HEADER = {plain_header(name): name for name in COLUMNS}


def published(header: str) -> str | None:
    """The published column that a header names, or None."""
    return _BY_HEADER.get(plain_header(header))


def nearest(header: str) -> str | None:
    """The published column whose name is most like a header, or None when none is."""
    found = difflib.get_close_matches(plain_header(header), _BY_HEADER, n=1, cutoff=0.6)
    return _BY_HEADER[found[0]] if found else None


def read_cells(cells: Mapping[str, str]) -> tuple[OrderRequest, list[Problem]]:
    """Make an order request of a row: cells by published column, the empty ones left out.

    Returns it with what is wrong with the cells themselves: each problem's path is the column. What is wrong with the
    order is for `clouddirect.orders.models.problems` to find.
    """
    data: dict[str, Any] = {}
    for column, text in cells.items():
        if column not in ("PatientBirthGender", "PatientIdentityGender"):
            *parents, last = COLUMNS[column].split(".")
            place = data
            for parent in parents:
                place = place.setdefault(parent, {})
            place[last] = _value(column, text)
    genders = [
        {"Context": context, "Gender": _code(column, cells[column])} for column, context in _GENDERS if column in cells
    ]
    if genders:
        data.setdefault("Patient", {})["Genders"] = genders
    unreadable: list[Unreadable] = []
    order = read_fields(OrderRequest, data, unreadable)
    found = [Problem(columns_of_path(path, cells)[0], what, "error") for path, what in unreadable]
    return order, found + _missing(order, cells)


def columns_of_path(path: str, cells: Mapping[str, str]) -> tuple[str, ...]:
    """The columns that a problem with a field on the wire concerns; the path itself where no column fills it."""
    if path == "Patient":
        return _PATIENT
    if path == "Patient.Genders":
        return ("PatientBirthGender",)
    if path.startswith("Patient.Genders["):
        given = [column for column, _ in _GENDERS if column in cells]
        index = int(path[len("Patient.Genders[") :].partition("]")[0])
        return (given[index],) if index < len(given) else ("PatientBirthGender",)
    return (_BY_PATH.get(_INDEX.sub("", path), path),)


def _value(column: str, text: str) -> Any:
    if column == "EvaluationType":
        return [_code(column, one.strip()) for one in _SEVERAL.split(text) if one.strip()]
    return _code(column, text) if column in _OPTIONS else text


def _code(column: str, text: str) -> str:
    """The code as it is published, whichever case it was written in; what is no code of the list as it is."""
    return _codes(_OPTIONS[column]).get(text.casefold(), text)


@cache
def _codes(option: type[Option]) -> dict[str, str]:
    return {str(spelling).casefold(): str.__str__(member) for spelling, member in option.spellings()}


def _missing(order: OrderRequest, cells: Mapping[str, str]) -> list[Problem]:
    """What the columns ask for and the rules for orders do not: the library would fill it in without a word."""
    found = []
    if "Version" not in cells:
        found.append(Problem("Version", "is required", "error"))
    if "OrderControlCode" not in cells:
        found.append(
            Problem("OrderControlCode", "is required: NW new order, XO change, CA cancel, ResendResult", "error")
        )
    if order.order_control_code in NEEDS_PATIENT and "PatientBirthGender" not in cells:
        found.append(Problem("PatientBirthGender", "is required", "error"))
    return found
