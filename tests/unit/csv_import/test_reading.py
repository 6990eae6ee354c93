"""Reading CSV files: encodings, delimiters, headers, quoted lines, and where each row begins."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clouddirect.errors import ConfigurationError
from clouddirect.orders import CsvMapping, RowProblem
from clouddirect.orders.csv_reading import CsvFile, CsvRecord

from .conftest import CANARY

Save = Callable[..., Path]


def read(
    path: Path, mapping: CsvMapping | None = None, delimiter: str | None = None
) -> tuple[list[CsvRecord], list[RowProblem]]:
    trouble: list[RowProblem] = []
    records = list(CsvFile(path, mapping or CsvMapping(), delimiter).read(trouble))
    return records, [*trouble, *(one.problem for one in records if one.problem is not None)]


def cells(path: Path, mapping: CsvMapping | None = None, delimiter: str | None = None) -> list[dict[str, str]]:
    records, problems = read(path, mapping, delimiter)
    assert problems == []
    return [dict(record.cells) for record in records]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(content: str | bytes, encoding: str = "utf-8") -> Path:
        path = tmp_path / "orders.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write


_cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).map(str.strip)
_pair = st.fixed_dictionaries({"OrderLocalId": _cell.filter(bool), "PatientLastName": _cell, "DxCode": _cell})


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(_pair, min_size=1), st.sampled_from(",;\t"), st.sampled_from(["\r\n", "\n"]),
    st.sampled_from(["utf-8", "utf-8-sig"]), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.booleans(),
)  # fmt: skip
def test_what_is_written_is_what_is_read(
    tmp_path: Path, rows: list[dict[str, str]], delimiter: str, end: str, encoding: str, quoting: int, told: bool
) -> None:
    text = io.StringIO(newline="")
    if end == "\n" and any("\r" in cell for row in rows for cell in row.values()):
        quoting = csv.QUOTE_ALL  # Python's writer leaves a lone \r bare then, and it ends the row
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    path = tmp_path / "orders.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    expected = [{column: value for column, value in row.items() if value} for row in rows]
    assert cells(path, delimiter=delimiter if told else None) == expected


def test_rows_know_the_line_they_begin_at(save: Save) -> None:
    path = save('\n\nOrderLocalId,OrderAdditionalInfo\r\nA,"one\r\ntwo\nthree"\n\n,\n" ",""\nB,\nC,x\n')
    records, problems = read(path)
    assert problems == []
    assert [(one.number, one.line, one.cells.get("OrderLocalId")) for one in records] == [
        (1, 4, "A"), (2, 10, "B"), (3, 11, "C"),
    ]  # fmt: skip
    assert records[0].cells["OrderAdditionalInfo"] == "one\r\ntwo\nthree"
    assert CANARY not in repr(CsvRecord(1, 2, {"PatientLastName": CANARY}))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_found_although_others_stand_in_the_header(save: Save, delimiter: str) -> None:
    others = [one for one in ",;" if one != delimiter]
    header = delimiter.join(["OrderLocalId", f'"Remarks{"".join(others * 5)}"', "DxCode"])
    path = save(f"{header}\n{delimiter.join(['A', 'x', 'E11'])}\n")
    mapping = CsvMapping(ignore=[f"Remarks{''.join(others * 5)}"])
    assert cells(path, mapping) == [{"OrderLocalId": "A", "DxCode": "E11"}]


def test_a_delimiter_that_is_given_is_the_one(save: Save) -> None:
    path = save("OrderLocalId,DxCode\nA,E11\n")
    _, problems = read(path, delimiter=";")
    assert "none of the published columns" in problems[0].message
    with pytest.raises(ConfigurationError, match="comma, a semicolon or a tab"):
        CsvFile(path, CsvMapping(), "|")


def test_a_mapping_names_columns_constants_and_values(save: Save) -> None:
    path = save("MRN;Date of Birth;Sex;Doctor;Room\n 7 ;1961-12-01;FEMALE;1234567893;12\n8;;male;;\n")
    mapping = CsvMapping(
        columns={
            "PatientLocalId": "mrn", "PatientDob": "date_of_birth", "PatientBirthGender": "Sex",
            "OrderingProviderNPI": "Doctor", "ReferringProviderNPI": "Doctor",
        },
        constants={"Version": "2.3.1"},
        values={"PatientBirthGender": {"Female": "F"}},
        ignore=["ROOM"],
    )  # fmt: skip
    assert cells(path, mapping) == [
        {
            "Version": "2.3.1", "PatientLocalId": "7", "PatientDob": "1961-12-01", "PatientBirthGender": "F",
            "OrderingProviderNPI": "1234567893", "ReferringProviderNPI": "1234567893",
        },
        {"Version": "2.3.1", "PatientLocalId": "8", "PatientBirthGender": "male"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        (b"", 1, "the file is empty"),
        (b"\n \n\n", 1, "the file is empty"),
        (b"Jane,Canarysson,12/1/1961\n", 1, "none of the published columns"),
        ("OrderLocalId,DxCode\nA,E11".encode("utf-16"), 1, "UTF-16"),
        ("OrderLocalId,DxCode\nA,E11".encode("utf-16-le"), 1, "UTF-16"),
        ("OrderLocalId,DxCode\nA,E11".encode("utf-32"), 1, "UTF-16"),
        (b"PK\x03\x04 and so on", 1, "Excel workbook"),
        (b"\xd0\xcf\x11\xe0 and so on", 1, "Excel workbook"),
        (b"OrderLocalId,PatientLastName\nA,x\nB,Canarysson Zo\xeb\n", 3, "not UTF-8"),
        (b"OrderLocalId,PatientLastName\rA,x\rB,Canarysson Zo\xeb\r", 3, "not UTF-8"),
        (b"OrderLocalId,Pr\xe9nom\nA,x\n", 1, "not UTF-8"),
        (b'OrderLocalId,DxCode\nA,"x\nB,y\nC,z\n', 2, "opened here and never closed"),
        (b'OrderLocalId,DxCode\nA,y\nB,"x" Canarysson\n', 3, "follows a closing quotation mark"),
        (b"OrderLocalId,DxCode\nA,y\nB," + b"x" * 200_000 + b"\n", 3, "longer than any should be"),
        (b"OrderLocalId,DxCode\nA\n", 2, "has 1 cells, and the header has 2"),
        (b"OrderLocalId,DxCode\nA,x,y\n", 2, "has 3 cells, and the header has 2"),
        (b"OrderLocalId,DxCode\nA,x\0\n", 2, "NUL"),
        (b"OrderLocalId,,DxCode\nA,Canarysson,x\n", 2, "under no header"),
        (b'"OrderLocalId,DxCode\nA,x\n', 1, "opened here and never closed"),
    ],
)
def test_what_is_no_csv_of_ours_is_told_by_line_and_never_quoted(
    save: Save, content: bytes, line: int, what: str
) -> None:
    _, problems = read(save(content))
    assert [(one.line, one.severity) for one in problems] == [(line, "error")]
    assert what in problems[0].message
    assert CANARY not in str(problems[0])


def test_an_empty_column_without_a_header_is_let_pass(save: Save) -> None:
    assert cells(save("OrderLocalId,DxCode,,\nA,E11,,\n")) == [{"OrderLocalId": "A", "DxCode": "E11"}]


@pytest.mark.parametrize(
    ("header", "mapping", "expected"),
    [
        (
            "OrderLocalId,PatientDOBirth",
            CsvMapping(),
            ["line 1, 'PatientDOBirth': is not a published column; did you mean PatientDob? If not, say in a mapping "
             "file what it stands for, or that it is ignored"],
        ),
        (
            "OrderLocalId,Qqq",
            CsvMapping(),
            ["line 1, 'Qqq': is not a published column; say in a mapping file what it stands for, or that it is "
             "ignored"],
        ),
        ("OrderLocalId,order local id", CsvMapping(), ["line 1, OrderLocalId: stands twice in the header"]),
        (
            "OrderLocalId,Visit",
            CsvMapping(columns={"OrderLocalId": "Visit"}),
            ["line 1, OrderLocalId: stands twice in the header"],
        ),
        (
            "OrderLocalId,DxCode",
            CsvMapping(columns={"PatientDob": "DOB"}),
            ["line 1, PatientDob: the mapping says 'DOB', and no column has this header"],
        ),
        (
            "OrderLocalId,DxCode",
            CsvMapping(constants={"DxCode": "E11"}),
            ["line 1, DxCode: stands in the file and among the constants of the mapping; one of them must go"],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_header(save: Save, header: str, mapping: CsvMapping, expected: list[str]) -> None:
    records, problems = read(save(f"{header}\nA,B\n"), mapping)
    assert records == []
    assert [str(one) for one in problems] == expected


def test_a_published_header_may_be_ignored_or_mean_something_else(save: Save) -> None:
    path = save("OrderLocalId,DxCode,DepartmentId\nA,B,C\n")
    mapping = CsvMapping(columns={"EncounterNumber": "DepartmentId"}, ignore=["DxCode"])
    assert cells(path, mapping) == [{"OrderLocalId": "A", "EncounterNumber": "C"}]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.csv cannot be read"):
        list(CsvFile(tmp_path / "nowhere.csv", CsvMapping()).read([]))
