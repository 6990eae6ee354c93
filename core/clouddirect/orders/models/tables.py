"""Field tables: how the attributes of each model correspond to keys on the wire.

A table is derived once for each class, at its first use, from the pydantic fields and the class variables beside them.
The reader, the writer, the rules, the masking and the JSON Schemas all work from it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin

from clouddirect.orders.models.base import WireModel
from clouddirect.orders.models.values import Kind

__all__ = ["Table", "WireField", "table_of"]


@dataclass(frozen=True, slots=True, eq=False)
class WireField:
    """One field: either a value of some kind, or a part (a model or a list of models)."""

    attribute: str
    wire: str
    description: str
    kind: Kind | None
    read: Callable[[Any], Any] | None
    part: type[WireModel] | None
    many: bool
    required: bool
    safe: bool
    text_allowed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """All fields of a model, by attribute in their order and by every key that is read."""

    fields: tuple[WireField, ...]
    by_key: dict[str, WireField] = field(default_factory=dict)
    blank: dict[str, Any] = field(default_factory=dict)
    lists: tuple[str, ...] = ()


@cache
def table_of(cls: type[WireModel]) -> Table:
    """The field table of a model class."""
    fields = tuple(_field(cls, attribute) for attribute in cls.model_fields)
    by_attribute = {item.attribute: item for item in fields}
    by_key: dict[str, WireField] = {}
    # the reader looks a key up as it is, then in lower case: camelCase is worth an entry because whole messages use it
    for key, attribute in cls.also_read.items():
        by_key.update(dict.fromkeys(_spellings(key), by_attribute[attribute]))
    for item in fields:
        by_key.update(dict.fromkeys(_spellings(item.wire), item))
    return Table(fields, by_key, dict.fromkeys(by_attribute), tuple(item.attribute for item in fields if item.many))


def _spellings(key: str) -> tuple[str, str, str]:
    return key, key[0].lower() + key[1:], key.lower()


def _field(cls: type[WireModel], attribute: str) -> WireField:
    info = cls.model_fields[attribute]
    kind = next((item for item in info.metadata if isinstance(item, Kind)), None)
    many = get_origin(info.annotation) is list
    arguments = [item for item in get_args(info.annotation) if item is not NoneType]
    return WireField(
        attribute=attribute,
        wire=cls.wire_names.get(attribute) or "".join(word.capitalize() for word in attribute.split("_")),
        description=info.description or "",
        kind=kind,
        read=kind.read if kind else None,
        part=None if kind else arguments[0],
        many=many,
        required=attribute in cls.required_fields,
        safe=attribute in cls.safe_fields,
        text_allowed=attribute in cls.text_fields,
    )
