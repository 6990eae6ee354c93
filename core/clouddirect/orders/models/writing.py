"""Writing IRIS messages: strictly the documented form.

Keys are PascalCase, options are codes, fields that are not set are left out, and unknown fields go out as they came.
Dates and date-times that were read and not changed keep their text. Made in Python, a date-time is written in ISO 8601
with its offset, and a date as IRIS's own examples have it (``12/1/1961``).
"""

import json
from copy import deepcopy
from typing import Any

from clouddirect.errors import InvalidMessageError
from clouddirect.orders.models.base import WireModel
from clouddirect.orders.models.tables import table_of

__all__ = ["to_wire", "to_wire_dict"]

_COMPACT = (",", ":")
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=_COMPACT)
_ASCII_ENCODER = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=_COMPACT)


def to_wire(model: WireModel) -> bytes:
    """A message's body: compact JSON in UTF-8. InvalidMessageError when a field holds what cannot be written."""
    data = to_wire_dict(model)
    problem = ""
    try:
        return _ENCODER.encode(data).encode()
    except UnicodeEncodeError:
        # half of a surrogate pair, which JSON can carry only as an escape
        return _ASCII_ENCODER.encode(data).encode()
    except (TypeError, ValueError, RecursionError):
        problem = f"{type(model).__name__} cannot be written: a field holds something that JSON cannot"
    raise InvalidMessageError(problem)


def to_wire_dict(model: WireModel) -> dict[str, Any]:
    """The wire form of a model as a dict of JSON values, independent of the model."""
    values = model.__dict__
    wire: dict[str, Any] = {}
    for field in table_of(type(model)).fields:
        value = values.get(field.attribute)
        if value is None or (field.many and not value):
            continue
        try:
            if field.kind is not None:
                wire[field.wire] = value if field.kind.write is None else field.kind.write(value)
                continue
            value = [item for item in map(to_wire_dict, value) if item] if field.many else to_wire_dict(value)
        except (AttributeError, TypeError):
            _refuse(field.wire)
        if value:
            wire[field.wire] = value
    if model.unknown_fields:
        for key, value in model.unknown_fields.items():
            wire.setdefault(key, deepcopy(value) if value.__class__ in (dict, list) else value)
    return wire


def _refuse(wire: str) -> None:
    raise InvalidMessageError(f"{wire} cannot be written: it holds something of another type") from None
