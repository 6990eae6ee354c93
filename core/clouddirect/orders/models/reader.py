"""The reader: fills a model from a JSON object, along the field table of its class.

Why a reader of our own beside pydantic: keys come in any case and under several names, options as code or number, dates
in two notations with more digits than Python holds, and unknown fields must survive, while constructing from Python
refuses them. Put into pydantic as validators, that is a Python call for every object and every value; measured side by
side, it took the same time as this loop, which says in one place what is read how, and reports everything that is wrong
at once. Reading an event costs about three times ``json.loads`` of its bytes, a result about seven times
(``benchmarks/bench_models.py``).
"""

from typing import Any, TypeVar

from clouddirect.orders.models.base import WireModel
from clouddirect.orders.models.tables import Table, WireField, table_of
from clouddirect.orders.models.values import is_empty

__all__ = ["Unreadable", "read_fields"]

M = TypeVar("M", bound=WireModel)

MAX_DEPTH = 64
"""How deep undocumented fields may nest; documented ones stay far below."""

Unreadable = tuple[str, str]
"""A path on the wire and what is wrong there."""

_NO_OBJECT: Any = object()
_set = object.__setattr__


def read_fields(cls: type[M], data: dict[str, Any], unreadable: list[Unreadable]) -> M:
    """Read a JSON object into a model. What cannot be read is added to ``unreadable`` and kept as an unknown field."""
    table = table_of(cls)
    find = table.by_key.get
    attributes = table.blank.copy()
    given = set()
    unknown: dict[str, Any] = {}
    for key, raw in data.items():
        field = find(key) or find(key.lower())
        if field is None:
            unknown[key] = raw
            continue
        if raw is None:
            continue
        read = field.read
        if read is not None:
            try:
                value = read(raw)
            except ValueError as error:
                unreadable.append((field.wire, str(error)))
                unknown[key] = raw
                continue
        else:
            value = _read_part(field, raw, unreadable)
            if value is raw:
                unknown[key] = raw
                continue
        if value is None or value == []:  # an empty array is the same as none
            continue
        attribute = field.attribute
        if attribute in given:
            if key != field.wire:
                unknown[key] = raw
                continue
            _set_aside(table, field, data, unknown)
        given.add(attribute)
        attributes[attribute] = value
    if unknown:
        _check_depth(unknown, unreadable)
    for attribute in table.lists:
        if attributes[attribute] is None:
            attributes[attribute] = []
    return _fill(cls, attributes, given, unknown)


def _fill(cls: type[M], attributes: dict[str, Any], given: set[str], unknown: dict[str, Any]) -> M:
    """A model with these attributes, as ``model_construct`` makes it, but without its search for defaults."""
    model = cls.__new__(cls)
    _set(model, "__dict__", attributes)
    _set(model, "__pydantic_fields_set__", given)
    _set(model, "__pydantic_extra__", None)
    _set(model, "__pydantic_private__", {"_unknown": unknown})
    return model


def _set_aside(table: Table, field: WireField, data: dict[str, Any], unknown: dict[str, Any]) -> None:
    """Keep other spellings of a key, read before the documented one, which is the one that counts."""
    for key, raw in data.items():
        if key == field.wire:
            return
        if not is_empty(raw) and (table.by_key.get(key) or table.by_key.get(key.lower())) is field:
            unknown[key] = raw


def _read_part(field: WireField, raw: Any, unreadable: list[Unreadable]) -> Any:
    """The part or parts of a field; None when not given; ``raw`` itself when it has to be kept as it came."""
    if not raw and is_empty(raw):
        return None
    if not field.many:
        part = _read_one(field, raw, field.wire, unreadable)
        return raw if part is _NO_OBJECT else part
    parts = []
    for index, item in enumerate(raw if raw.__class__ is list else [raw]):
        part = _read_one(field, item, f"{field.wire}[{index}]", unreadable)
        if part is not None:
            parts.append(part)
    return raw if _NO_OBJECT in parts else parts


def _read_one(field: WireField, raw: Any, path: str, unreadable: list[Unreadable]) -> Any:
    if raw.__class__ is not dict:
        if is_empty(raw):
            return None
        if not (field.text_allowed and isinstance(raw, str)):
            unreadable.append((path, "is not an object"))
        return _NO_OBJECT
    before = len(unreadable)
    assert field.part is not None
    part = read_fields(field.part, raw, unreadable)
    if len(unreadable) > before:
        unreadable[before:] = [(f"{path}.{inner}", problem) for inner, problem in unreadable[before:]]
    # an object that says nothing is the same as none
    return part if part.__pydantic_fields_set__ or part._unknown else None


def _check_depth(unknown: dict[str, Any], unreadable: list[Unreadable]) -> None:
    level = [value for value in unknown.values() if value.__class__ in (dict, list)]
    for _ in range(MAX_DEPTH):
        if not level:
            return
        level = [
            inner
            for value in level
            for inner in (value.values() if value.__class__ is dict else value)
            if inner.__class__ in (dict, list)
        ]
    unreadable.append(("(undocumented field)", "is nested too deeply"))
