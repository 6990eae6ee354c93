"""The JSON Schemas: valid themselves, and true of real messages."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from clouddirect.orders.models import (
    EVENT_KINDS,
    SCHEMA_NAMES,
    GradingSubmission,
    OrderRequest,
    OrderResult,
    json_schema,
)
from clouddirect.orders.models.tables import table_of


def errors(name: str, message: object) -> list[str]:
    return [error.json_path for error in Draft202012Validator(json_schema(name)).iter_errors(message)]


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_the_schemas_are_schemas(name: str) -> None:
    schema = json_schema(name)
    Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema
    assert schema["title"] == name
    for part in (schema, *schema["$defs"].values()):
        assert part["additionalProperties"] is True
        assert part["description"]
        for key, described in part["properties"].items():
            assert described["description"], key
            assert key[0].isupper()
    text = json.dumps(schema)
    for reference in schema["$defs"]:
        assert f'"#/$defs/{reference}"' in text


def test_names() -> None:
    assert set(SCHEMA_NAMES) == {"order-request", "event", "order-result", "grading-submission"}
    with pytest.raises(ValueError, match="there is no schema 'orders'; there are event, "):
        json_schema("orders")


@pytest.mark.parametrize(
    ("name", "cls"),
    [("order-request", OrderRequest), ("order-result", OrderResult), ("grading-submission", GradingSubmission)],
)
def test_every_documented_field_is_described(name: str, cls: Any) -> None:
    assert list(json_schema(name)["properties"]) == [field.wire for field in table_of(cls).fields]


def test_events_are_described_by_kind() -> None:
    schema = json_schema("event")
    assert set(EVENT_KINDS) <= set(schema["$defs"])
    assert errors("event", {"ResultObjectType": "ImageReceipt", "IrisImageId": 5}) == []
    assert errors("event", {"ResultObjectType": "ImageReceipt", "IrisImageId": "five"}) == ["$.IrisImageId"]
    assert errors("event", {"ResultObjectType": "New", "IrisImageId": "five"}) == []
    assert errors("event", {"IrisImageId": 5}) == ["$"]


def test_orders_are_described_by_operation(new_order: dict[str, Any]) -> None:
    assert errors("order-request", new_order) == []
    cancel = {key: new_order[key] for key in ("Version", "ClientGuid")} | {"Order": {"LocalId": "1"}}
    assert errors("order-request", cancel | {"OrderControlCode": "CA"}) == []
    assert errors("order-request", cancel | {"OrderControlCode": "NW"}) != []
    for key in ("Patient", "Site", "Order", "ClientGuid", "Version", "OrderControlCode"):
        assert errors("order-request", {k: v for k, v in new_order.items() if k != key}) != []
    del new_order["Order"]["EvaluationTypes"]
    assert errors("order-request", new_order) == ["$.Order"]


def test_results(order_result: dict[str, Any]) -> None:
    assert errors("order-result", order_result | {"New": 1}) == []
    order_result["Gradings"]["OD"]["Gradable"] = "yes"
    assert errors("order-result", order_result) == ["$.Gradings"]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("order-new.json", "order-request"),
        ("order-cancel.json", "order-request"),
        ("event-image-receipt.json", "event"),
        ("event-order-creation-receipt.json", "event"),
        ("grading-normal-dr-amd.json", "grading-submission"),
    ],
)
def test_published_samples_follow_the_schemas(sample: Callable[[str], bytes], file: str, name: str) -> None:
    assert errors(name, json.loads(sample(file))) == []
