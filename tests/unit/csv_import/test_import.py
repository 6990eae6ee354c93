"""A file of orders: everything is checked before anything is sent, and problems are told by line and column."""

from __future__ import annotations

import gc
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from clouddirect.errors import ChangedError, ConfigurationError, InvalidMessageError
from clouddirect.orders import CsvImport, CsvMapping, CsvReport, CsvRow

from .conftest import CANARY, GUID, ROW, Place, Write, order_row


def problems(place: Place, path: Path, values: dict[str, Any] | None = None) -> tuple[list[str], list[str]]:
    """The errors and warnings of a file; what it says never names the patient."""
    with CsvImport(place.client(values), path) as batch:
        assert batch.check() == (not batch.errors and not batch.warnings)
        found = [str(one) for one in batch.errors], [str(one) for one in batch.warnings]
    assert CANARY not in str(found)
    return found


def test_each_row_is_an_order(place: Place, write: Write) -> None:
    path = write(order_row(1), order_row(2, EvaluationType="DR|AMD", PatientIdentityGender="x"), encoding="utf-8-sig")
    told: list[CsvRow] = []
    with CsvImport(place.client(), path) as batch:
        report = batch.send(told=told.append)
    assert report == CsvReport(rows=2, sent=2, sent_before=0)
    messages = place.take()
    assert [message.id for message in messages] == [row.message_id for row in told]
    assert [(row.line, row.local_id, row.status) for row in told] == [(2, "ORD-1", "sent"), (3, "ORD-2", "sent")]
    assert [message.correlation_id for message in messages] == ["ORD-1", "ORD-2"]
    assert json.loads(messages[1].body) == {
        "Version": "2.3.1",
        "ClientGuid": GUID,
        "OrderControlCode": "NW",
        "Site": {"LocalId": "SITE1"},
        "Order": {"LocalId": "ORD-2", "EvaluationTypes": ["DR", "AMD"]},
        "Patient": {
            "LocalId": f"{CANARY}-2",
            "Name": {"First": f"{CANARY} Jane", "Last": CANARY},
            "Dob": "12/1/1961",
            "Genders": [
                {"Context": "BirthGender", "Gender": "F"},
                {"Context": "IdentityGender", "Gender": "X"},
            ],
        },
    }


def test_a_row_says_what_it_wants(place: Place, write: Write) -> None:
    by_id = {"Version": "2.3.1", "SiteLocalId": "SITE1"}
    path = write(
        order_row(1),
        order_row(2, OrderControlCode="XO"),
        by_id | {"OrderControlCode": "CA", "OrderLocalId": "ORD-3"},
        by_id | {"OrderControlCode": "ResendResult", "OrderLocalId": "ORD-4"},
    )
    with CsvImport(place.client(), path) as batch:
        batch.send()
    orders = place.orders()
    assert [order["OrderControlCode"] for order in orders] == ["NW", "XO", "CA", "ResendResult"]
    assert "Patient" not in orders[2]


def test_cancellations_alone_need_no_columns_for_the_patient(place: Place, write: Write) -> None:
    path = write({"Version": "2.3.1", "OrderControlCode": "CA", "OrderLocalId": "ORD-3"})
    assert problems(place, path) == ([], [])


def test_an_order_without_an_id_gets_one_that_is_told(place: Place, write: Write) -> None:
    path = write(order_row(1, OrderLocalId=""), order_row(2, OrderLocalId=""))
    told: list[CsvRow] = []
    with CsvImport(place.client(), path) as batch:
        batch.check()
        assert [row.local_id for row in batch.checked_rows()] == [None, None]
        batch.send(told=told.append)
    sent = [order["Order"]["LocalId"] for order in place.orders()]
    assert sent == [row.local_id for row in told]
    assert len(set(sent)) == 2
    assert all(one.startswith("CSV-") for one in sent)


def test_the_settings_fill_in_what_they_know(place: Place, write: Write) -> None:
    row = order_row(1)
    del row["ClientGuid"]
    path = write(row | {"SiteLocalId": ""})
    with CsvImport(place.client(), path) as batch:
        batch.send()
    (order,) = place.orders()
    assert (order["ClientGuid"], order["Site"]) == (GUID, {"LocalId": "SITE1"})
    unknown = place.values()
    del unknown["client_guid"], unknown["site"]
    errors, _ = problems(place, write(row | {"SiteLocalId": ""}, name="again.csv"), unknown)
    assert [error.partition(" is required")[0] for error in errors] == ["line 1, ClientGuid:", "line 2, SiteLocalId:"]


@pytest.mark.parametrize(
    "column",
    ["OrderControlCode", "PatientBirthGender", "PatientDob", "PatientFirstName", "PatientLastName", "PatientLocalId",
     "Version", "EvaluationType"],
)  # fmt: skip
def test_what_is_required_is_missed_in_a_row_and_once_in_a_header(place: Place, write: Write, column: str) -> None:
    errors, _ = problems(place, write(order_row(1), order_row(2, **{column: " "})))
    assert [error.partition(" is required")[0] for error in errors] == [f"line 3, {column}:"]
    rows = [{name: text for name, text in order_row(number).items() if name != column} for number in range(3)]
    errors, _ = problems(place, write(*rows))
    assert len(errors) == 1
    assert errors[0].startswith(f"line 1, {column}: is required")
    assert errors[0].endswith("there is no such column in the file")


def test_a_new_order_without_a_patient_misses_every_column_of_the_patient(place: Place, write: Write) -> None:
    errors, _ = problems(place, write(order_row(1), {**ROW, **dict.fromkeys([key for key in ROW if "Pat" in key], "")}))
    missed = {error.split()[2].rstrip(":") for error in errors if error.startswith("line 3, Patient")}
    assert missed == {key for key in ROW if "Patient" in key}


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_sent(place: Place, write: Write) -> None:
    path = write(
        order_row(1, OrderAdditionalInfo="two\nlines"),
        order_row(2, PatientDob="31/12/1961"),
        order_row(3, PatientLastName="", OrderControlCode="XO", OrderLocalId=""),
        order_row(4, ClientGuid="11111111-2222-3333-4444-555555555555"),
        order_row(5, OrderControlCode="new"),
    )
    errors, warnings = problems(place, path)
    assert [error.split(": ", 1)[0] for error in errors] == [
        "line 4, PatientDob", "line 5, OrderLocalId", "line 5, PatientLastName", "line 6, ClientGuid",
        "line 7, OrderControlCode",
    ]  # fmt: skip
    assert warnings == []
    with CsvImport(place.client(), path) as batch, pytest.raises(InvalidMessageError) as caught:
        batch.send()
    assert [str(one) for one in caught.value.problems] == errors
    assert "nothing was sent" in str(caught.value)
    assert CANARY not in str(caught.value)
    assert place.take() == []
    assert not path.with_name("orders.csv.progress").exists()


def test_warnings_refuse_when_asked_to_and_are_told_otherwise(place: Place, write: Write) -> None:
    path = write(order_row(1), order_row(2, OrderingProviderNPI="1234567890", Version="2.2"))
    errors, warnings = problems(place, path)
    assert errors == []
    assert [one.split(": ")[0] for one in warnings] == ["line 3, Version", "line 3, OrderingProviderNPI"]
    told: list[CsvRow] = []
    with CsvImport(place.client(), path) as batch:
        with pytest.raises(InvalidMessageError, match="OrderingProviderNPI"):
            batch.send(strict=True)
        assert place.take() == []
        batch.send(told=told.append)
    assert [[str(one) for one in row.warnings] for row in told] == [[], warnings]
    assert [order["Version"] for order in place.orders()] == ["2.3.1", "2.3.1"]


def test_the_deprecated_field_is_a_column_like_any_other(place: Place, write: Write) -> None:
    assert problems(place, write(order_row(1, CameraOperatorUserName="jroe"))) == ([], [])


def test_settings_for_mobile_work_ask_for_the_state(place: Place, write: Write) -> None:
    errors, _ = problems(place, write(order_row(1, OrderState="WA"), order_row(2)), place.values() | {"mobile": True})
    assert [error.split(": ")[0] for error in errors] == ["line 3, OrderState"]


def test_an_id_stands_once_in_a_file(place: Place, write: Write) -> None:
    cancel = {"Version": "2.3.1", "OrderControlCode": "CA", "OrderLocalId": "ORD-2"}
    errors, _ = problems(place, write(order_row(1), order_row(2), order_row(1, PatientLocalId="other"), cancel))
    assert errors == [
        "line 4, OrderLocalId: is that of line 2; each row needs its own",
        "line 5, OrderLocalId: is that of line 3; each row needs its own",
    ]


def test_two_new_orders_for_one_patient_and_evaluation_are_warned_of(place: Place, write: Write) -> None:
    same = {"PatientLocalId": "P"}
    errors, warnings = problems(
        place,
        write(
            order_row(1, **same), order_row(2, **same, EvaluationType="AMD"),
            order_row(3, **same, OrderControlCode="XO"), order_row(4, **same, EvaluationType="HIV|AMD"),
            order_row(5, PatientLocalId="Q"),
        ),
    )  # fmt: skip
    assert errors == []
    assert warnings == [
        "line 5, PatientLocalId: has an order for the same evaluation in line 3; IRIS may cancel the first of the two"
    ]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"OrderLocalId,Version\n", "line 1: there are no rows below the header"),
        (b"", "line 1: the file is empty"),
        (b"Jane,Canarysson\n", "line 1: none of the published columns"),
        (b"Version,Nope\n2.3.1,Canarysson\n", "line 1, 'Nope': is not a published column"),
        (b'Version,OrderLocalId\n2.3.1,"Canarysson\n', "line 2: a quotation mark is opened here"),
        (b"Version,OrderLocalId\n2.3.1,Canarysson\xff\n", "line 2: is not UTF-8"),
    ],
)
def test_a_file_that_is_none_is_refused(place: Place, tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(content)
    errors, _ = problems(place, path)
    assert errors[-1].startswith(what)
    with CsvImport(place.client(), path) as batch, pytest.raises(InvalidMessageError):
        batch.send()


def test_of_many_problems_the_first_are_kept_and_the_rest_is_counted(place: Place, write: Write) -> None:
    path = write(*[order_row(number, PatientDob="never") for number in range(1005)])
    with CsvImport(place.client(), path) as batch:
        assert not batch.check()
        assert (len(batch.errors), batch.more, batch.rows) == (1000, 5, 1005)
        with pytest.raises(InvalidMessageError, match="and 985 more") as caught:
            batch.send()
    assert len(str(caught.value)) < 5000


def test_a_mapping_may_be_a_file_or_made_in_python(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text("Visit;MRN;First;Last;DOB;Sex\n1;7;Jane;Roe;1961-12-01;Female\n", encoding="utf-8")
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(
        '[columns]\nOrderLocalId = "Visit"\nPatientLocalId = "MRN"\nPatientFirstName = "First"\n'
        'PatientLastName = "Last"\nPatientDob = "DOB"\nPatientBirthGender = "Sex"\n'
        '[constants]\nVersion = "2.3.1"\nOrderControlCode = "NW"\nEvaluationType = "DR"\n'
        '[values.PatientBirthGender]\nFemale = "F"\n',
        encoding="utf-8",
    )
    with CsvImport(place.client(), path, mapping=mapping) as batch:
        assert batch.check()
    with CsvImport(place.client(), path, mapping=CsvMapping.load(mapping), delimiter=";") as batch:
        batch.send(strict=True)
    (order,) = place.orders()
    assert (order["Order"], order["Patient"]["Dob"]) == ({"LocalId": "1", "EvaluationTypes": ["DR"]}, "1961-12-01")


def test_a_file_that_changes_between_the_check_and_the_send_is_noticed(place: Place, write: Write) -> None:
    path = write(*[order_row(number) for number in range(3)])
    with CsvImport(place.client(), path) as batch:
        batch.check()
        write(order_row(0), order_row(1, PatientDob="1/1/1970"), order_row(2))
        with pytest.raises(ChangedError, match="line 3: the file was changed"):
            batch.send()
        assert [order["Order"]["LocalId"] for order in place.orders()] == ["ORD-0"]
        batch.check()
        write(order_row(0))
        with pytest.raises(ChangedError, match="the file was changed"):
            batch.send()
    assert place.take() == []


def test_a_file_or_progress_file_that_cannot_be_used(place: Place, write: Write, tmp_path: Path) -> None:
    with CsvImport(place.client(), tmp_path / "nowhere.csv") as batch, pytest.raises(ConfigurationError):
        batch.send()
    with pytest.raises(ConfigurationError):
        CsvImport(place.client(), write(order_row(1)), mapping=tmp_path / "nowhere.toml")


def test_memory_does_not_grow_with_the_rows(place: Place, write: Write, long_run: bool) -> None:
    def held(rows: int) -> int:
        """Bytes that are in use when the last row is at hand, after all have been checked."""
        path = write(*[order_row(number) for number in range(rows)], name=f"{rows}.csv")
        with CsvImport(place.client(), path) as batch:
            tracemalloc.start()
            try:
                assert batch.check()
                for row in batch.checked_rows():
                    if row.line == rows + 1:
                        gc.collect()
                        return tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()
        raise AssertionError("rows are missing")

    held(10)  # what is loaded once
    assert held(10_000 if long_run else 500) < held(100) + 20_000
