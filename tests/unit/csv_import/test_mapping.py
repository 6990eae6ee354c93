"""The mapping: what other headers mean, and what is wrong with a mapping file."""

from __future__ import annotations

from pathlib import Path

import pytest

from clouddirect.errors import ConfigurationError
from clouddirect.orders import CsvMapping

from .conftest import CANARY


def load(tmp_path: Path, text: str) -> CsvMapping:
    path = tmp_path / "mapping.toml"
    path.write_text(text, encoding="utf-8")
    return CsvMapping.load(path)


def test_a_mapping_file_is_read(tmp_path: Path) -> None:
    mapping = load(
        tmp_path,
        """\ufeff
ignore = ["Room"]
[columns]
"patient local id" = "MRN"
PatientDob = "Date of birth"
[constants]
Version = "2.3.1"
SingleEyeOnly = false
PatientDob2 = 3
""".replace("PatientDob2 = 3", "HealthPlanEffectiveDate = 2026-01-31\nDepartmentId = 12")
        + """
[values.PatientBirthGender]
" Female " = "F"
male = "M"
""",
    )
    assert mapping.columns == {"PatientLocalId": "MRN", "PatientDob": "Date of birth"}
    assert mapping.constants == {
        "Version": "2.3.1", "SingleEyeOnly": "false", "HealthPlanEffectiveDate": "2026-01-31", "DepartmentId": "12",
    }  # fmt: skip
    assert [mapping.value("PatientBirthGender", text) for text in ("FEMALE", "Male", "X")] == ["F", "M", "X"]
    assert mapping.value("PatientIdentityGender", "Male") == "Male"
    assert mapping.ignore == ["Room"]


def test_a_mapping_shows_no_values() -> None:
    mapping = CsvMapping(constants={"PatientLastName": CANARY}, values={"PatientLastName": {CANARY: "x"}})
    assert CANARY not in repr(mapping)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("columns", "not valid TOML"),
        ('[columns]\nPatientDOBirth = "DOB"', "'PatientDOBirth' is not a published column; did you mean PatientDob?"),
        ('[constants]\nXyz = "DOB"', "'Xyz' is not a published column; see docs/csv-import.md"),
        ('[values.Xyz]\na = "b"', "'Xyz' is not a published column"),
        ('[columns]\nPatientDob = "A"\n"patient dob" = "B"', "PatientDob is given twice"),
        ('[columns]\nPatientDob = " "', "columns.PatientDob: names no header"),
        ("[columns]\nPatientDob = 7", "columns.PatientDob must be a header"),
        ('[columns]\nPatientDob = "A"\n[constants]\nPatientDob = "1961-01-01"', "in columns and in constants"),
        ("[constants]\nVersion = 2.3", "constants.Version must be text in quotes"),
        ('[constants]\nEvaluationType = ["DR"]', "constants.EvaluationType must be text"),
        ('[values]\nPatientBirthGender = "M"', "values.PatientBirthGender must be a table"),
        ('PatientDob = "DOB"', "there is no 'PatientDob' in a mapping; it has columns, constants, values, ignore"),
        ('columns = "DOB"', "columns must be a table"),
        ('ignore = "Room"', "ignore must be a list"),
        ("ignore = [7]", "ignore must be a list"),
    ],
)
def test_what_is_wrong_with_a_mapping_is_told(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    assert what in str(caught.value)
    assert "mapping.toml" in str(caught.value)


def test_a_mapping_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        CsvMapping.load(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b'ignore = ["Stra\xdfe"]')
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        CsvMapping.load(tmp_path / "latin.toml")
