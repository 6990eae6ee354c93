"""Showing messages without saying who they are about.

What is not known to be safe is masked: names, dates of birth and of the exam, ids of the patient, contact data, free
text, and everything undocumented. Left readable are ids of orders and messages, codes of closed lists, flags, counts,
published findings, and what the models name as ``safe_fields``.
"""

from collections.abc import Mapping
from typing import Any

from clouddirect.orders.models.base import WireModel
from clouddirect.orders.models.grading import PUBLISHED_FINDINGS, Finding
from clouddirect.orders.models.options import Option
from clouddirect.orders.models.reader import read_fields
from clouddirect.orders.models.reading import kind_of, model_class
from clouddirect.orders.models.result import ResultsDocument
from clouddirect.orders.models.tables import WireField, table_of
from clouddirect.orders.models.writing import to_wire_dict

__all__ = ["MASK", "masked"]

MASK = "***"
"""Stands for a value that is not shown."""

_LEVELS = frozenset(level for levels in PUBLISHED_FINDINGS.values() for level in levels or ())


def masked(message: WireModel | Mapping[str, Any]) -> dict[str, Any]:
    """The wire form of a message, with every value replaced that might identify a person.

    Args:
        message: a model, or a JSON object; one whose kind is not known is masked as a whole, its keys excepted.
    """
    if isinstance(message, WireModel):
        return _masked(message)
    data = dict(message)
    cls = model_class(kind_of(data), data)
    return dict.fromkeys(data, MASK) if cls is None else _masked(read_fields(cls, data, []))


def _masked(model: WireModel) -> dict[str, Any]:
    wire = to_wire_dict(model)
    shown: dict[str, Any] = {}
    for field in table_of(type(model)).fields:
        value = getattr(model, field.attribute)
        # a value that could not be read stands under its key among the unknown fields, and is masked as they are
        if field.wire not in wire or value is None or (field.many and not value):
            continue
        if field.part is None:
            shown[field.wire] = wire[field.wire] if _is_safe(model, field, value) else _hide(model, field, value)
        elif field.many:
            shown[field.wire] = [_masked(part) for part in value]
        else:
            shown[field.wire] = _masked(value)
    shown.update((key, MASK) for key in wire if key not in shown)
    return shown


def _is_safe(model: WireModel, field: WireField, value: Any) -> bool:
    if isinstance(model, Finding):
        return value in (PUBLISHED_FINDINGS if field.attribute == "finding" else _LEVELS)
    if not field.safe:
        return False
    if field.kind is None or field.kind.option is None:
        return True
    return all(isinstance(item, Option) and item.known for item in (value if field.many else [value]))


def _hide(model: WireModel, field: WireField, value: Any) -> Any:
    if isinstance(model, ResultsDocument) and field.attribute == "content":
        return f"{MASK} ({len(value)} characters)"
    return [MASK] * len(value) if field.many else MASK
