"""Results as rows under the published headers."""

from __future__ import annotations

import csv
import stat
from pathlib import Path

import pytest

from clouddirect.errors import UnavailableError
from clouddirect.orders import append_results
from clouddirect.orders.models import OrderResult, read_result
from clouddirect.orders.result_table import RESULT_HEADERS

BODY = """{
  "Timestamp": "2026-03-02T10:00:00+00:00",
  "Site": {"LocalId": "PC1", "Name": "Main Street"},
  "ImageDetails": {"RightEyeOriginalCount": 2, "LeftEyeOriginalCount": 1, "TotalCount": 9},
  "Order": {"LocalId": "ORD-1", "ScheduledTime": "1/2/2026", "Status": "Complete", "EvaluationTypes": ["DR", "AMD"],
            "State": "WA"},
  "Patient": {"LocalId": "MRN-7", "Name": {"First": "Zoë", "Last": "O\\"Hara, Smith"}, "Dob": "12/1/1961",
              "Genders": [{"Context": "IdentityGender", "Gender": "X"}, {"Context": "BirthGender", "Gender": "F"}],
              "Phone": "+1 555 0100"},
  "OrderingProvider": {"Name": {"First": "Olga", "Last": "Order"}},
  "CameraOperator": {"UserName": "cam", "Notes": [{"Text": "dark\\nroom"}]},
  "Cpt": {"Code": "92250"},
  "Gradings": {"GradedTime": "2026-03-01T10:00:00+00:00", "CarePlanName": "Return in a year",
    "Provider": {"Name": {"First": "Gina", "Last": "Grader"}}, "Notes": [{"Text": "one"}, {"Text": "two"}],
    "DiagnosisCodes": [{"Code": "E11.9", "Description": "Type 2"}],
    "OD": {"Gradable": true, "Findings": [{"Finding": "Diabetic Retinopathy", "Result": "Mild"},
                                          {"Finding": "Suspected Cataract"}]},
    "OS": {"Gradable": false, "UngradableReasons": ["Too dark"]}}
}"""


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_result_is_a_row_under_the_published_headers(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    assert append_results(path, [read_result(BODY)]) == 1
    (row,) = rows(path)
    assert tuple(row) == RESULT_HEADERS
    assert row == {
        "Order Id": "ORD-1", "Scheduled Date": "2026-01-02", "Order Status": "Complete",
        "Evaluation Type(s)": "DR|AMD", "Exam Location": "Main Street", "Patient Name": 'O"Hara, Smith, Zoë',
        "Patient Gender": "F", "Patient DOB": "1961-12-01", "Patient MRN": "MRN-7",
        "Patient Phone Number": "+1 555 0100", "Camera Operator": "cam", "Ordering Provider": "Order, Olga",
        "Interpreting Provider": "Grader, Gina", "Interpretation Date": "2026-03-01T10:00:00+00:00",
        "Findings": "OD Diabetic Retinopathy: Mild|OD Suspected Cataract|OS Not Gradable: Too dark",
        "Diagnoses": "E11.9 Type 2", "CPT": "92250", "Care Plan": "Return in a year", "Original images": "3",
        "Camera Operator Notes": "dark\nroom", "Interpreting Provider Notes": "one|two",
        "Results Sent Date": "2026-03-02T10:00:00+00:00", "Order State": "WA", "Order Creation Source": "",
    }  # fmt: skip


def test_an_empty_result_is_a_row_of_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    append_results(path, [OrderResult(), read_result('{"Gradings": {"OD": {"MissingEyeReason": "Prosthesis"}}}')])
    first, second = rows(path)
    assert set(first.values()) == {""}
    assert second["Findings"] == "OD Missing: Prosthesis"


def test_half_a_surrogate_pair_is_written(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    append_results(path, [read_result('{"Order": {"LocalId": "O\\ud800"}}')])
    assert rows(path)[0]["Order Id"] == "O?"


def test_rows_are_appended_under_one_header_by_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    append_results(path, [read_result(BODY)])
    append_results(path, [read_result(BODY), OrderResult()])
    assert len(rows(path)) == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot be written to"):
        append_results(tmp_path, [OrderResult()])
