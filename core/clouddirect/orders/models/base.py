"""The base of all IRIS models: what is common to constructing, showing and comparing them.

From Python, a model is made with snake_case keyword arguments; an unknown one is refused, since it is a typing mistake.
From the wire, ``read_order`` and its neighbours make it; fields nobody documented are kept in ``unknown_fields`` and
written again. pydantic checks the first way; the second has a reader of its own (see ``reader``).

A model shows only what cannot identify a person. Class variables say what that is, so that it stands beside the fields.
"""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from clouddirect.errors import InvalidMessageError
from clouddirect.orders.models.options import Option

__all__ = ["WireModel"]


class WireModel(BaseModel):
    """One JSON object of the IRIS wire. Attributes are snake_case, keys on the wire PascalCase.

    Constructing or assigning raises InvalidMessageError for an unknown field or a value that does not fit; the text
    names the field and never the value.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, validate_assignment=True, defer_build=True)

    wire_names: ClassVar[dict[str, str]] = {}
    """Keys on the wire that do not follow from the attribute's name, by attribute."""
    also_read: ClassVar[dict[str, str]] = {}
    """Other keys that senders write for an attribute, to that attribute."""
    required_fields: ClassVar[frozenset[str]] = frozenset()
    """Attributes that IRIS documents as required."""
    safe_fields: ClassVar[frozenset[str]] = frozenset()
    """Attributes whose values cannot identify a person: ``masked`` leaves them readable."""
    repr_fields: ClassVar[tuple[str, ...]] = ()
    """Attributes that ``repr`` shows."""
    text_fields: ClassVar[frozenset[str]] = frozenset()
    """Parts that some senders write as plain text in place of an object: the text is kept as an unknown field."""

    _unknown: dict[str, Any] = PrivateAttr(default_factory=dict)

    def __init__(self, /, **values: Any) -> None:
        problem = None
        try:
            super().__init__(**values)
        except ValidationError as error:
            problem = _problem(type(self), error)
        # raised out here: the pydantic error, which holds the values, is no part of ours
        if problem:
            raise InvalidMessageError(problem)

    if not TYPE_CHECKING:  # a type checker shall still know which attributes exist

        def __setattr__(self, name: str, value: Any) -> None:
            problem = None
            try:
                super().__setattr__(name, value)
            except ValidationError as error:
                problem = _problem(type(self), error, assigned=name)
            if problem:
                raise InvalidMessageError(problem)

    @property
    def unknown_fields(self) -> dict[str, Any]:
        """Fields that came from the wire and are not documented, by their key; written again as they came."""
        return self._unknown

    def __str__(self) -> str:
        return repr(self)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name in self.repr_fields:
            value = self.__dict__.get(name)
            if isinstance(value, Option) and not value.known:
                value = "(unknown code)"
            if value is not None:
                yield name, value


def _problem(cls: type[WireModel], error: ValidationError, assigned: str | None = None) -> str:
    """What pydantic found, with the names of fields but without any value."""
    parts = []
    for item in error.errors(include_url=False, include_input=False):
        path = ".".join(str(step) for step in item["loc"])
        if item["type"] in ("extra_forbidden", "no_such_attribute"):
            parts.append(_unknown_name(cls, path or str(assigned)))
            continue
        cause = item.get("ctx", {}).get("error")
        parts.append(f"{path or assigned}: {cause if cause is not None else item['msg']}")
    return f"{cls.__name__}: {'; '.join(parts)}"


def _unknown_name(cls: type[WireModel], name: str) -> str:
    near = get_close_matches(name.lower(), cls.model_fields, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"fields are {', '.join(cls.model_fields)}"
    return f"there is no field {name!r}; {hint}"
