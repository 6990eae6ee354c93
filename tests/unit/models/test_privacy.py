"""The canary: a marker in every field that may say who somebody is shows nowhere but on the wire."""

import copy
import io
import json
import logging
import pickle
import traceback
from pprint import pformat
from typing import Any

import pytest
from rich.console import Console
from rich.pretty import Pretty

from clouddirect.errors import InvalidMessageError
from clouddirect.orders.models import (
    EVENT_KINDS,
    GradingSubmission,
    OrderRequest,
    OrderResult,
    UnknownEvent,
    WireModel,
    inspect_message,
    masked,
    read_event,
    read_grading,
    read_order,
    read_result,
    to_wire,
)
from clouddirect.orders.models.tables import table_of

CANARY = "CANARY"
ROOTS: list[type[WireModel]] = [OrderRequest, OrderResult, GradingSubmission, UnknownEvent, *EVENT_KINDS.values()]

# what a test of privacy must not take from the models themselves: fields that hold or may hold patient data
PATIENT_DATA = {
    "AdditionalInfo", "CarePlanDescription", "Content", "Date", "Dob", "DxCode",
    "DxCodes", "Email", "EncounterNumber", "ErrorMessage", "Ethnicity", "FaxNumber", "FileName", "First", "Gender",
    "Genders", "ImageLocalId", "IndividualId", "Last", "MaritalStatus", "MemberId", "Middle", "MissingEyeReason",
    "Notes", "PatientId", "PatientLocalId", "Phone", "PolicyNumber", "PrimaryLanguage", "Race", "ScheduledTime",
    "ServicedTime", "StudyInstanceUniqueId", "Taken", "Text", "Title", "UserName", "UserNameSubmitting",
}  # fmt: skip


def filled(cls: type[WireModel], allowed: tuple[str, ...]) -> dict[str, Any]:
    """A wire form with the canary wherever text, a code or an undocumented field may stand, except in ``allowed``."""
    wire: dict[str, Any] = {f"X-{CANARY.lower()}": CANARY, "X-deep": {"a": [CANARY]}}
    for field in table_of(cls).fields:
        if field.part is not None:
            part = filled(field.part, getattr(field.part, "repr_fields", ()))
            wire[field.wire] = [part] if field.many else part
        elif field.attribute in allowed and field.kind is not None and field.kind.option is None:
            continue
        elif field.kind is not None and (
            field.kind.option is not None or field.kind.schema["type"] in ("string", "array")
        ):
            value = CANARY if "examples" not in field.kind.schema or field.kind.option else "12/1/1961"
            wire[field.wire] = [value] if field.many else value
    return wire


def read(cls: type[WireModel], wire: dict[str, Any]) -> WireModel:
    from clouddirect.orders.models.reader import read_fields

    unreadable: list[tuple[str, str]] = []
    model = read_fields(cls, wire, unreadable)
    assert unreadable == []
    return model


def walk(model: WireModel) -> list[WireModel]:
    found = [model]
    for field in table_of(type(model)).fields:
        value = getattr(model, field.attribute)
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, WireModel):
                found += walk(part)
    return found


@pytest.mark.parametrize("cls", ROOTS, ids=lambda cls: cls.__name__)
def test_models_show_nothing_of_a_person(cls: type[WireModel], caplog: pytest.LogCaptureFixture) -> None:
    model = read(cls, filled(cls, cls.repr_fields))
    assert CANARY in to_wire(model).decode()
    for part in walk(model):
        for twin in (part, pickle.loads(pickle.dumps(part)), copy.deepcopy(part)):
            console = Console(file=io.StringIO(), width=400)
            console.print(twin, Pretty(twin))
            logging.getLogger("test").warning("%s %r", twin, twin)
            assert isinstance(console.file, io.StringIO)
            shown = f"{twin} {twin!r} {twin:} {pformat(twin)} {console.file.getvalue()} {[twin]} {caplog.text}"
            assert CANARY not in shown
            assert "12/1/1961" not in shown
            assert "1961" not in shown
            assert type(part).__name__ in repr(twin)


def test_what_models_do_show(new_order: dict[str, Any], order_result: dict[str, Any]) -> None:
    order = read_order(json.dumps(new_order))
    assert repr(order) == str(order)
    for text in ("OrderRequest", "NW", "ORD-1", "images=2"):
        assert text in repr(order)
    for text in ("OrderResult", "ORD-1", "images=1"):
        assert text in repr(read_result(json.dumps(order_result)))
    assert repr(order.patient) == "Patient()"
    receipt = read_event(b'{"ResultObjectType":"ImageReceipt","IrisOrderId":5,"OrderLocalId":"O","PatientLocalId":"P"}')
    assert repr(receipt) == "ImageReceipt(iris_order_id=5, order_local_id='O')"
    assert repr(read_event(b'{"ResultObjectType":"New"}')) == "UnknownEvent(result_object_type='New')"


@pytest.mark.parametrize("cls", ROOTS, ids=lambda cls: cls.__name__)
def test_masking_hides_patient_data(cls: type[WireModel]) -> None:
    model = read(cls, filled(cls, cls.repr_fields))
    shown = masked(model)
    check_masked(shown)
    # the masked form has the shape of the wire form
    assert shape(shown) == shape(json.loads(to_wire(model)))


def check_masked(value: Any, key: str = "") -> None:
    if isinstance(value, dict):
        for inner, item in value.items():
            check_masked(item, inner)
    elif isinstance(value, list):
        for item in value:
            check_masked(item, key)
    elif key in PATIENT_DATA or key.startswith("X-"):
        assert value in ("***", f"*** ({len(CANARY)} characters)"), key


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: None if key.startswith("X-") else shape(inner) for key, inner in sorted(value.items())}
    return [shape(item) for item in value] if isinstance(value, list) else None


def test_masking_a_real_order(new_order: dict[str, Any]) -> None:
    new_order["Patient"]["Email"] = "jane@example.org"
    new_order["New"] = {"Name": "Jane"}
    for message in (new_order, read_order(json.dumps(new_order))):
        shown = masked(message)
        assert shown["ClientGuid"] == new_order["ClientGuid"]
        assert shown["Order"]["LocalId"] == "ORD-1"
        assert shown["Order"]["EvaluationTypes"] == ["DR", "AMD"]
        assert shown["Camera"]["Images"][0]["Laterality"] == "OD"
        assert shown["Camera"]["Images"][0]["AzureBlobStorage"] == {"Container": "images", "FileName": "***"}
        assert shown["Patient"] == {
            "LocalId": "***",
            "Name": {"First": "***", "Last": "***"},
            "Dob": "***",
            "Genders": [{"Context": "***", "Gender": "***"}],
            "Email": "***",
            "DxCode": "***",
        }
        assert shown["New"] == "***"


def test_masking_results(order_result: dict[str, Any]) -> None:
    order_result["Gradings"]["OD"]["Findings"].append({"Finding": "Other", "Result": "Jane Roe's eye"})
    shown = masked(order_result)
    assert shown["ResultsDocument"] == {"Type": "PDF", "Encoding": "Base64", "Content": "*** (12 characters)"}
    assert shown["Gradings"]["OD"]["Findings"] == [
        {"Finding": "Diabetic Retinopathy", "Result": "Mild"},
        {"Finding": "Other", "Result": "***"},
    ]
    assert shown["Gradings"]["OS"] == {"Gradable": False, "UngradableReasons": ["***"]}
    assert shown["Gradings"]["Notes"] == [{"Date": "***", "Text": "***"}]


def test_masking_what_is_no_message_or_cannot_be_read() -> None:
    assert masked({"Hello": "Jane", "Deep": {"Name": "Jane"}}) == {"Hello": "***", "Deep": "***"}
    shown = masked({"OrderControlCode": "NW", "Patient": {"Dob": "Jane", "Name": "Jane Roe"}, "Site": ["Jane"]})
    assert shown == {"OrderControlCode": "NW", "Patient": {"Dob": "***", "Name": "***"}, "Site": "***"}


def test_unknown_codes_are_masked() -> None:
    order = {"OrderControlCode": "Jane", "Order": {"EvaluationTypes": ["DR", "Jane"]}}
    assert masked(order) == {"OrderControlCode": "***", "Order": {"EvaluationTypes": ["***", "***"]}}


@pytest.mark.parametrize("reader", [read_order, read_result, read_grading, read_event])
def test_refusals_show_nothing_of_a_person(reader: Any) -> None:
    bodies: list[str | bytes] = [CANARY, f'{{"a": {CANARY}}}', f'"{CANARY}"', f"\xff{CANARY}".encode("latin-1")]
    for cls in ROOTS:
        for field in table_of(cls).fields:
            wrong = {"CANARY": CANARY} if field.kind else CANARY
            bodies.append(json.dumps({field.wire: wrong, "ResultObjectType": cls.__name__}))
            bodies.append(json.dumps({field.wire: [wrong], "OrderControlCode": "NW"}))
    refusals = [error for error in (refusal(reader, body) for body in bodies) if error is not None]
    for error in refusals:
        assert CANARY not in str(error) + repr(error) + str(vars(error)) + str(error.args)
        assert CANARY not in "".join(traceback.format_exception_only(error))
        assert error.__cause__ is None
        assert error.__context__ is None
    assert len(refusals) > 20


def refusal(reader: Any, body: str | bytes) -> InvalidMessageError | None:
    try:
        reader(body)
    except InvalidMessageError as error:
        return error
    return None


@pytest.mark.parametrize("cls", ROOTS, ids=lambda cls: cls.__name__)
def test_problems_show_nothing_of_a_person(cls: type[WireModel]) -> None:
    wire = filled(cls, cls.repr_fields)
    if cls.__name__ in EVENT_KINDS:
        wire["ResultObjectType"] = cls.__name__
    inspection = inspect_message(json.dumps(wire))
    assert inspection.problems
    shown = repr(inspection.problems) + "".join(map(str, inspection.problems)) + repr(inspection)
    assert CANARY not in shown
    assert "1961" not in shown
