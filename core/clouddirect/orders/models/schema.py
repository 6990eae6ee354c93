"""JSON Schemas (draft 2020-12) of the documented wire form, made from the same field tables as the reader."""

from inspect import cleandoc
from typing import Any

from clouddirect.orders.models.base import WireModel
from clouddirect.orders.models.events import EVENT_KINDS, Event
from clouddirect.orders.models.grading import GradingSubmission
from clouddirect.orders.models.order import OrderRequest
from clouddirect.orders.models.order_rules import NEEDS_PATIENT
from clouddirect.orders.models.result import OrderResult
from clouddirect.orders.models.tables import WireField, table_of

__all__ = ["SCHEMA_NAMES", "json_schema"]

_ROOTS: dict[str, type[WireModel]] = {
    "event": Event,
    "grading-submission": GradingSubmission,
    "order-request": OrderRequest,
    "order-result": OrderResult,
}

SCHEMA_NAMES = tuple(_ROOTS)
"""The names that ``json_schema`` knows."""


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a kind of message: ``event``, ``grading-submission``, ``order-request`` or ``order-result``.

    It describes the documented wire form: PascalCase keys, option codes, null or absent for "not given". Undocumented
    fields and codes are allowed, since IRIS adds both. ValueError for another name.
    """
    if name not in _ROOTS:
        raise ValueError(f"there is no schema {name!r}; there are {', '.join(SCHEMA_NAMES)}")
    parts: dict[str, Any] = {}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        **_object(_ROOTS[name], parts),
    }
    if name == "order-request":
        schema["allOf"] = [_by_operation()]
    elif name == "event":
        schema["allOf"] = [_by_kind(kind, cls, parts) for kind, cls in EVENT_KINDS.items()]
    return {**schema, "$defs": dict(sorted(parts.items()))}


def _object(cls: type[WireModel], parts: dict[str, Any]) -> dict[str, Any]:
    fields = table_of(cls).fields
    return {
        "type": "object",
        "description": " ".join(cleandoc(cls.__doc__ or "").split()),
        "properties": {field.wire: _property(field, parts) for field in fields},
        "required": [field.wire for field in fields if field.required],
        "additionalProperties": True,
    }


def _property(field: WireField, parts: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any]
    if field.kind is not None:
        schema = dict(field.kind.schema)
    elif field.part is not None and field.many:
        schema = {"type": "array", "items": _reference(field.part, parts)}
    else:
        assert field.part is not None
        schema = _reference(field.part, parts)
    if not field.required:
        schema = (
            {"anyOf": [schema, {"type": "null"}]} if "$ref" in schema else {**schema, "type": [schema["type"], "null"]}
        )
    return {"description": field.description, **schema}


def _reference(cls: type[WireModel], parts: dict[str, Any]) -> dict[str, Any]:
    if cls.__name__ not in parts:
        parts[cls.__name__] = {}  # holds the place while the part's own parts are described
        parts[cls.__name__] = _object(cls, parts)
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _by_operation() -> dict[str, Any]:
    whole = {"enum": sorted(code.value for code in NEEDS_PATIENT)}
    return {
        "if": {"properties": {"OrderControlCode": whole}, "required": ["OrderControlCode"]},
        "then": {
            "properties": {
                "Site": {"type": "object"},
                "Patient": {"type": "object"},
                "Order": {"required": ["EvaluationTypes"]},
            },
            "required": ["Site", "Patient"],
        },
    }


def _by_kind(kind: str, cls: type[WireModel], parts: dict[str, Any]) -> dict[str, Any]:
    return {
        "if": {"properties": {"ResultObjectType": {"const": kind}}, "required": ["ResultObjectType"]},
        "then": _reference(cls, parts),
    }
