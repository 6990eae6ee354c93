"""Reading: all of what real messages look like, and refusals that name the path and not the value."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from clouddirect.errors import InvalidMessageError
from clouddirect.orders.models import (
    EVENT_KINDS,
    Address,
    CameraOperator,
    Event,
    Gender,
    GenderContext,
    ImageReceipt,
    Laterality,
    MessageKind,
    Name,
    OrderCancelled,
    OrderCreationReceipt,
    Provider,
    ResultsDeliveryReceipt,
    UnknownEvent,
    read_event,
    read_grading,
    read_message,
    read_order,
    read_result,
    to_wire,
    to_wire_dict,
)

RECEIPT: dict[str, Any] = {
    "TransactionId": "0c5b8b0e-3a83-4ce5-8f39-3f8cf1f0a7d2",
    "Timestamp": "2022-01-02T17:42:18.6936779+00:00",
    "IrisOrderId": 7,
    "OrderLocalId": "ORD-1",
    "PatientLocalId": "MRN-1",
    "Success": True,
    "ErrorMessage": None,
    "ResultObjectType": "OrderCreationReceipt",
    "Version": "2.3.1",
}


def event(**changes: Any) -> Event:
    return read_event(json.dumps(RECEIPT | changes))


def test_a_receipt() -> None:
    receipt = event()
    assert type(receipt) is OrderCreationReceipt
    assert receipt.transaction_id == RECEIPT["TransactionId"]
    assert receipt.timestamp == datetime(2022, 1, 2, 17, 42, 18, 693677, UTC)
    assert (receipt.iris_order_id, receipt.order_local_id, receipt.patient_local_id) == (7, "ORD-1", "MRN-1")
    assert receipt.success is True
    assert receipt.error_message is None
    assert receipt.unknown_fields == {}
    assert to_wire_dict(receipt) == {key: value for key, value in RECEIPT.items() if value is not None}


@pytest.mark.parametrize("kind", EVENT_KINDS)
def test_every_kind_of_event_has_its_class(kind: str) -> None:
    assert type(event(ResultObjectType=kind)) is EVENT_KINDS[kind]
    assert EVENT_KINDS[kind].__name__ == kind


def test_an_event_of_an_unknown_kind_reaches_the_caller_whole() -> None:
    body = RECEIPT | {"ResultObjectType": "ImageRejected", "Reason": {"Code": 5}}
    unknown = read_event(json.dumps(body))
    assert type(unknown) is UnknownEvent
    assert unknown.result_object_type == "ImageRejected"
    assert unknown.order_local_id == "ORD-1"
    assert unknown.unknown_fields == {"Reason": {"Code": 5}}
    assert to_wire_dict(unknown) == {key: value for key, value in body.items() if value is not None}
    assert type(read_event(b'{"Hello": 1}')) is UnknownEvent


def test_more_fields_of_some_events() -> None:
    image = event(ResultObjectType="ImageReceipt", ImageLocalId="I1", IrisImageId="9")
    assert isinstance(image, ImageReceipt)
    assert (image.image_local_id, image.iris_image_id) == ("I1", 9)
    delivery = event(
        ResultObjectType="ResultsDeliveryReceipt",
        TimeDelivered="2022-01-02T17:42:18+00:00",
        DeliveryType="Fax",
        Endpoint="555",
        TransmissionStatus="Sent",
    )
    assert isinstance(delivery, ResultsDeliveryReceipt)
    assert delivery.time_delivered == datetime(2022, 1, 2, 17, 42, 18, tzinfo=UTC)
    assert (delivery.delivery_type, delivery.endpoint, delivery.transmission_status) == ("Fax", "555", "Sent")


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text,
        lambda text: text.encode(),
        lambda text: text.encode("utf-8-sig"),
        lambda text: "\ufeff" + text,
        lambda text: json.dumps(text).encode(),
        lambda text: json.dumps(json.dumps(text)),
        lambda text: f" \r\n{text}\n",
        lambda text: memoryview(text.encode()),
    ],
)
def test_the_forms_a_body_may_have(encode: Callable[[str], Any]) -> None:
    assert read_event(encode(json.dumps(RECEIPT, ensure_ascii=False))) == event()


@pytest.mark.parametrize(
    "respell", [str.lower, str.upper, lambda key: key[0].lower() + key[1:], lambda key: key.swapcase()]
)
def test_keys_in_any_case(respell: Callable[[str], str], order_result: dict[str, Any]) -> None:
    def respelled(value: Any) -> Any:
        if isinstance(value, dict):
            return {respell(key): respelled(inner) for key, inner in value.items()}
        return [respelled(inner) for inner in value] if isinstance(value, list) else value

    assert read_result(json.dumps(respelled(order_result))) == read_result(json.dumps(order_result))


def test_nothing_given_in_every_way() -> None:
    for nothing in (None, "", {}, []):
        order = read_order(
            json.dumps(
                {
                    "OrderControlCode": "NW",
                    "Site": nothing,
                    "Camera": {"LocalId": nothing, "Images": nothing},
                    "Order": {"EvaluationTypes": nothing, "ScheduledTime": nothing, "SingleEyeOnly": nothing},
                    "Patient": {"Name": {"First": nothing}, "Genders": [nothing], "Dob": nothing},
                }
            )
        )
        # parts that say nothing are not given either
        assert (order.site, order.camera, order.order, order.patient) == (None, None, None, None)
        assert to_wire_dict(order) == {"OrderControlCode": "NW"}
    assert read_order(b'{"OrderControlCode": "NW"}') == order


def test_false_and_zero_are_given() -> None:
    order = read_order(b'{"OrderControlCode":"NW","Order":{"Urgent":false,"SingleEyeOnly":false,"LocalId":0}}')
    assert order.order is not None
    assert (order.order.urgent, order.order.single_eye_only, order.order.local_id) == (False, False, "0")
    result = read_result(b'{"ImageDetails": {"TotalCount": 0}}')
    assert result.image_details is not None
    assert result.image_details.total_count == 0


def test_options_as_code_or_number_in_one_message() -> None:
    order = read_order(
        json.dumps(
            {
                "OrderControlCode": 1,
                "Camera": {"Images": [{"Laterality": 0}, {"Laterality": "OD", "ImageContext": "1"}, {"Laterality": 9}]},
                "Order": {"EvaluationTypes": [1, "AMD", "13", 99, "NEW"]},
                "Patient": {"Genders": [{"Context": 2, "Gender": "F"}], "MaritalStatus": 6, "Race": "9999-9"},
            }
        )
    )
    assert to_wire_dict(order) == {
        "OrderControlCode": "NW",
        "Camera": {
            "Images": [
                {"Laterality": "OS"},
                {"Laterality": "OD", "ImageContext": "SecondaryViewField"},
                {"Laterality": "9"},
            ]
        },
        "Order": {"EvaluationTypes": ["DR", "AMD", "AI_Eyenuk_O1", "99", "NEW"]},
        "Patient": {"Genders": [{"Context": "BirthGender", "Gender": "F"}], "MaritalStatus": "S", "Race": "9999-9"},
    }
    assert order.camera is not None
    assert order.camera.images[0].laterality is Laterality.OS


def test_the_other_names_of_fields() -> None:
    order = read_order(
        b'{"Version":"V2.3.1","OrderControlCode":"NW",'
        b'"Patient":{"Genders":[{"Context":1,"Value":2}],"Address":{"zip":"33601"}}}'
    )
    assert order.version == "2.3.1"
    assert order.patient is not None
    assert (order.patient.genders[0].context, order.patient.genders[0].gender) == (
        GenderContext.IDENTITY_GENDER,
        Gender.F,
    )
    assert order.patient.address == Address(postal_code="33601")
    assert to_wire_dict(order)["Patient"]["Address"] == {"PostalCode": "33601"}
    for key in ("ServicedTime", "ServiceDate", "serviceDate"):
        result = read_result(json.dumps({"Order": {key: "2022-01-04T12:42:18.6929481+00:00"}}))
        assert to_wire_dict(result)["Order"] == {"ServicedTime": "2022-01-04T12:42:18.6929481+00:00"}


def test_the_documented_key_wins_and_the_other_one_is_kept() -> None:
    for address in (
        {"Zip": "1", "PostalCode": "2", "postalcode": "3"},
        {"PostalCode": "2", "postalcode": "3", "Zip": "1"},
    ):
        order = read_order(json.dumps({"Site": {"LocalId": "1", "Address": address}, "OrderControlCode": "NW"}))
        assert order.site is not None
        assert order.site.address is not None
        assert order.site.address.postal_code == "2"
        assert order.site.address.unknown_fields == {"Zip": "1", "postalcode": "3"}
        assert read_order(to_wire(order)) == order


def test_a_single_value_where_a_list_is_documented() -> None:
    result = read_result(b'{"Order":{"EvaluationTypes":"DR"},"Gradings":{"DxCodes":"E11","Notes":{"Text":"x"}}}')
    assert to_wire_dict(result) == {
        "Order": {"EvaluationTypes": ["DR"]},
        "Gradings": {"Notes": [{"Text": "x"}], "DxCodes": ["E11"]},
    }


def test_a_name_as_text_is_kept() -> None:
    # the guide's table of Provider says that Name is text; its examples have an object
    result = read_result(b'{"OrderingProvider":{"Name":"Dr Roe"},"CameraOperator":{"name":"op"},"ResultCode":"F"}')
    assert result.ordering_provider is not None
    assert result.ordering_provider.name is None
    assert result.ordering_provider.unknown_fields == {"Name": "Dr Roe"}
    assert to_wire_dict(result)["CameraOperator"] == {"name": "op"}
    assert (Provider().name, CameraOperator(name=Name(first="x")).unknown_fields) == (None, {})


def test_undocumented_fields_survive_at_every_level(order_result: dict[str, Any]) -> None:
    extra = {"Null": None, "text": "x", "Number": 1.25, "Deep": [{"a": [1, {"b": ""}]}], "Empty": {}}

    def added(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: added(inner) for key, inner in value.items()} | extra
        return [added(inner) for inner in value] if isinstance(value, list) else value

    body = added(order_result)
    result = read_result(json.dumps(body))
    assert result.unknown_fields == extra
    assert to_wire_dict(result) == body


def test_reading_does_not_invent_defaults() -> None:
    order = read_order(b'{"OrderControlCode":"CA"}')
    assert order.version is None
    assert to_wire_dict(order) == {"OrderControlCode": "CA"}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "not JSON"),
        (b"SECRET", "not JSON: expecting value at line 1, column 1"),
        (b'{"a":SECRET}', "not JSON"),
        (b'"SECRET"', "not JSON"),
        (b"[1]", "not an object"),
        (b"null", "not an object"),
        (b"\xff\xfeSECRET", "not UTF-8"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "Infinity"),
        (b'{"a":1e999}', "out of range"),
        (b'{"a":' + b"9" * 5000 + b"}", "out of range"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"OrderControlCode":"NW","a":' + b"[" * 90 + b"]" * 90 + b"}", "nested too deeply"),
    ],
)
def test_a_body_that_is_no_message(body: bytes, problem: str) -> None:
    for read in (read_order, read_event, read_result, read_grading, read_message):
        if b"OrderControlCode" in body and read not in (read_order, read_message):
            continue
        with pytest.raises(InvalidMessageError, match=problem) as caught:
            read(body)
        assert "SECRET" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


def test_all_that_cannot_be_read_is_named_at_once() -> None:
    body = {
        "OrderControlCode": "NW",
        "Site": 5,
        "Camera": {"Images": [{"GroupId": "SECRET"}, "SECRET", {"taken": "SECRET"}]},
        "order": {"Urgent": "SECRET", "EvaluationTypes": [{"SECRET": 1}], "LocalId": ["SECRET"]},
        "Patient": {"Name": ["SECRET"], "Dob": "SECRET", "Genders": [{"Gender": ["SECRET"]}]},
    }
    with pytest.raises(InvalidMessageError) as caught:
        read_order(json.dumps(body))
    text = str(caught.value)
    assert "SECRET" not in text + repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    paths = [part.split(": ")[0] for part in text.removeprefix("order-request cannot be read: ").split("; ")]
    assert paths == [
        "Site",
        "Camera.Images[0].GroupId",
        "Camera.Images[1]",
        "Camera.Images[2].Taken",
        "Order.Urgent",
        "Order.EvaluationTypes",
        "Order.LocalId",
        "Patient.Name",
        "Patient.Dob",
        "Patient.Genders[0].Gender",
    ]


def test_a_long_list_of_problems_is_cut() -> None:
    body = {"OrderControlCode": "NW", "Camera": {"Images": [{"GroupId": "x"}] * 100}}
    with pytest.raises(InvalidMessageError, match=r"; and 80 more$"):
        read_order(json.dumps(body))


def test_a_message_of_another_kind_is_refused(new_order: dict[str, Any], order_result: dict[str, Any]) -> None:
    grading = {"LocalId": "1", "ClientGuid": "g", "OD": {"Gradable": True}}
    bodies = {
        MessageKind.ORDER_REQUEST: new_order,
        MessageKind.ORDER_RESULT: order_result,
        MessageKind.GRADING_SUBMISSION: grading,
        MessageKind.EVENT: RECEIPT,
    }
    readers: dict[MessageKind, Callable[[str], Any]] = {
        MessageKind.ORDER_REQUEST: read_order,
        MessageKind.ORDER_RESULT: read_result,
        MessageKind.GRADING_SUBMISSION: read_grading,
        MessageKind.EVENT: read_event,
    }
    for kind, body in bodies.items():
        for wanted, read in readers.items():
            if kind is wanted:
                assert read_message(json.dumps(body)) == (kind, read(json.dumps(body)))
            else:
                with pytest.raises(
                    InvalidMessageError, match=f"expected the kind {wanted}, but the body's kind is {kind}"
                ):
                    read(json.dumps(body))
    for read in (read_order, read_result, read_grading):
        with pytest.raises(InvalidMessageError, match="kind is unknown"):
            read('{"Hello": 1}')


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"ordercontrolcode": 4}, MessageKind.ORDER_REQUEST),
        ({"$schema": "https://example.org/order-submission.schema.2.3.1.json"}, MessageKind.ORDER_REQUEST),
        ({"ClientGuid": "g", "Order": {"LocalId": "1"}}, MessageKind.ORDER_REQUEST),
        ({"$schema": "https://example.org/order-results.schema.2.3.1.json"}, MessageKind.ORDER_RESULT),
        ({"ResultCode": "F"}, MessageKind.ORDER_RESULT),
        ({"ResultObjectType": "OrderResult", "Success": False}, MessageKind.ORDER_RESULT),
        ({"TransactionId": "t", "Order": {"LocalId": "1"}, "Success": False}, MessageKind.ORDER_RESULT),
        ({"gradings": {"od": {"gradable": True}}}, MessageKind.ORDER_RESULT),
        ({"os": {"missingEyeReason": "Enucleation"}}, MessageKind.GRADING_SUBMISSION),
        ({"$schema": "https://example.org/grading-submission.schema.2.3.1.json"}, MessageKind.GRADING_SUBMISSION),
        ({"resultObjectType": "ordercancelled"}, MessageKind.EVENT),
        ({"ResultObjectType": "SomethingNew", "ResultCode": "F"}, MessageKind.EVENT),
        ({"TransactionId": "t", "Success": True}, MessageKind.EVENT),
        ({"Hello": 1}, MessageKind.UNKNOWN),
        ({"OD": None, "Order": {}, "ResultObjectType": ""}, MessageKind.UNKNOWN),
        ({}, MessageKind.UNKNOWN),
    ],
)
def test_the_kind_of_a_message(body: dict[str, Any], kind: MessageKind) -> None:
    found, model = read_message(json.dumps(body))
    assert found is kind
    assert (model is None) == (kind is MessageKind.UNKNOWN)


def test_the_kind_of_an_event_in_any_case() -> None:
    assert type(read_event(b'{"resultobjecttype":"ordercancelled"}')) is OrderCancelled


def test_half_a_surrogate_pair_survives() -> None:
    order = read_order(rb'{"OrderControlCode":"NW","Patient":{"Email":"\ud800"},"X":"\udfff"}')
    assert read_order(to_wire(order)) == order
    assert json.loads(to_wire(order))["Patient"]["Email"] == "\ud800"


def test_dates_of_both_notations() -> None:
    for text in ("12/1/1961", "1961-12-01"):
        result = read_result(json.dumps({"Patient": {"Dob": text}}))
        assert result.patient is not None
        assert result.patient.dob == date(1961, 12, 1)
        assert to_wire_dict(result) == {"Patient": {"Dob": text}}
