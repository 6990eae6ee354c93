"""The kinds of value on the IRIS wire: how each is read, written and described.

Reading is liberal, because IRIS and the two IRIS libraries write the same thing in several ways. A reader takes what
came, from JSON or from Python, and returns the attribute's value, None for "not given". What it cannot take is a
``ValueError`` that says what is wrong and never repeats the value, which may be patient data.

Dates and date-times remember the text they came from. Real messages carry seven fractional digits (.NET), one more than
Python's ``datetime`` can hold, and dates in two notations; a value that nobody changed is written back as it was read.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from clouddirect.orders.models.options import Option

__all__ = [
    "DATE",
    "DATE_OR_TIME",
    "DATE_TIME",
    "Date",
    "DateOrTime",
    "DateTime",
    "FLAG",
    "Flag",
    "GUID",
    "Guid",
    "INTEGER",
    "Integer",
    "Kind",
    "TEXT",
    "TEXTS",
    "Text",
    "Texts",
    "VERSION",
    "Version",
    "WireDate",
    "WireDateTime",
    "code",
    "codes",
    "is_empty",
    "read_text",
]

_US_DATE = re.compile(
    r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})"
    r"(?:[ T]+([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?[ ]*([AaPp][Mm])?)?"
)
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_FLAGS = {"true": True, "false": False, "1": True, "0": False}

OptionT = TypeVar("OptionT", bound=Option)


class WireDate(date):
    """A date with the text it was read from; one that was changed or made in Python has no text."""

    text: str | None = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self.text is None:
            return date, (self.year, self.month, self.day)
        return _with_text, (type(self), date(self.year, self.month, self.day), self.text)


class WireDateTime(datetime):
    """A date-time with the text it was read from; one that was changed or made in Python has no text."""

    text: str | None = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        plain = datetime.combine(self.date(), self.timetz())
        return (_with_text, (type(self), plain, self.text)) if self.text else plain.__reduce_ex__(protocol)


def _with_text(cls: Any, plain: Any, text: str) -> Any:
    value = cls.combine(plain, plain.timetz()) if isinstance(plain, datetime) else cls(*plain.timetuple()[:3])
    value.text = text
    return value


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """How one kind of value is read, written and described; used as annotation of a model's field."""

    read: Callable[[Any], Any]
    """From JSON or Python to the attribute's value; ValueError says what is wrong without the value."""
    write: Callable[[Any], Any] | None
    """From the attribute's value to JSON; None where both are the same."""
    schema: Mapping[str, Any]
    """The documented wire form as JSON Schema."""
    option: type[Option] | None = None
    """The option list, where the value is a code or a list of codes."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        # the same reader serves both ways in: JSON through our own reader, Python through pydantic
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return dict(self.schema)


def is_empty(value: Any) -> bool:
    """Whether a JSON value stands for "not given": null, empty text, an empty object or an empty array."""
    return value is None or (value.__class__ in (str, dict, list) and not value)


def read_text(value: Any) -> str | None:
    """Text; a number is taken as its digits (an id such as 1234)."""
    if value.__class__ is str:
        return value or None
    if is_empty(value):
        return None
    if isinstance(value, str):
        return str.__str__(value) or None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise ValueError("is not text")


def _read_guid(value: Any) -> str | None:
    return str(value) if isinstance(value, UUID) else read_text(value)


def _read_version(value: Any) -> str | None:
    text = read_text(value)
    # the IRIS Go library writes "V2.3.1"
    return text[1:] if text and text[0] in "vV" and text[1:2].isdigit() else text


def _read_texts(value: Any) -> list[str]:
    items = value if isinstance(value, list | tuple) else [value]
    return [text for text in map(read_text, items) if text is not None]


def _read_integer(value: Any) -> int | None:
    if value.__class__ is int:
        return int(value)
    if is_empty(value):
        return None
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError("is not a whole number")


def _read_flag(value: Any) -> bool | None:
    if value is True or value is False:
        return bool(value)
    if is_empty(value):
        return None
    flag = _FLAGS.get(str(value).strip().lower()) if isinstance(value, str | int) else None
    if flag is None:
        raise ValueError("is neither true nor false")
    return flag


def _read_date_time(value: Any) -> datetime | None:
    if value.__class__ is str and value:
        try:
            parsed = WireDateTime.fromisoformat(value)
        except ValueError:
            parsed = _us_date_time(value)
        parsed.text = value
        return parsed
    if is_empty(value):
        return None
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    raise ValueError("is not a date-time")


def _us_date_time(text: str) -> WireDateTime:
    match = _US_DATE.fullmatch(text.strip())
    if match is None:
        raise ValueError("is not a date (ISO 2025-01-31 or US 1/31/2025, with a time if wanted)")
    month, day, year, hour, minute, second, fraction, half = match.groups()
    hours = int(hour or 0)
    if half:
        hours = hours % 12 + (12 if half in ("PM", "pm", "Pm", "pM") else 0)
    micros = int((fraction or "0").ljust(6, "0")[:6])
    try:
        return WireDateTime(int(year), int(month), int(day), hours, int(minute or 0), int(second or 0), micros)
    except ValueError:
        pass
    raise ValueError("is not a date of the calendar (US dates are month/day/year)")


def _read_date(value: Any) -> date | None:
    if value.__class__ is str and value:
        return _date_with_text(_read_date_time(value), value)
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    if is_empty(value):
        return None
    raise ValueError("is not a date")


def _date_with_text(moment: Any, text: str) -> WireDate:
    value = WireDate(moment.year, moment.month, moment.day)
    value.text = text
    return value


def _read_date_or_time(value: Any) -> date | None:
    if isinstance(value, date):
        return value
    moment = _read_date_time(value)
    if moment is not None and len(value.strip()) <= len("2025-01-31"):
        return _date_with_text(moment, value)
    return moment


def _write_date(value: Any) -> str:
    text: str | None = getattr(value, "text", None)
    return text or f"{value.month}/{value.day}/{value.year:04d}"


def _write_date_time(value: Any) -> str:
    text: str | None = getattr(value, "text", None)
    return text or value.isoformat()


def _write_date_or_time(value: Any) -> str:
    return _write_date_time(value) if isinstance(value, datetime) else _write_date(value)


def _write_code(value: Any) -> str:
    return str.__str__(value)


def _write_codes(values: Any) -> list[str]:
    return [str.__str__(value) for value in values]


def code(option: type[OptionT]) -> Kind:
    """One option: its code, its number or an unknown code, which is kept as its own text."""
    return Kind(_code_reader(option), _write_code, _code_schema(option), option)


def codes(option: type[OptionT]) -> Kind:
    """A list of options; a single one that stands without its list is taken too."""
    read_one = _code_reader(option)

    def read(value: Any) -> list[OptionT]:
        items = value if isinstance(value, list | tuple) else [value]
        return [item for item in map(read_one, items) if item is not None]

    return Kind(read, _write_codes, {"type": "array", "items": _code_schema(option)}, option)


def _code_reader(option: type[OptionT]) -> Callable[[Any], OptionT | None]:
    known: dict[Any, OptionT] = {}

    def read(value: Any) -> OptionT | None:
        if not known:
            known.update(option.spellings())
        # an exact class, because True would be found as 1
        if value.__class__ is str or value.__class__ is int:
            found = known.get(value)
            if found is not None:
                return found
        if is_empty(value):
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError("is not an option code")
        return option(str(value))

    return read


def _code_schema(option: type[Option]) -> dict[str, Any]:
    return {"type": "string", "examples": [member.value for member in option]}


TEXT = Kind(read_text, None, {"type": "string"})
TEXTS = Kind(_read_texts, list, {"type": "array", "items": {"type": "string"}})
GUID = Kind(_read_guid, None, {"type": "string"})
VERSION = Kind(_read_version, None, {"type": "string"})
INTEGER = Kind(_read_integer, None, {"type": "integer"})
FLAG = Kind(_read_flag, None, {"type": "boolean"})
DATE = Kind(_read_date, _write_date, {"type": "string", "examples": ["12/1/1961"]})
DATE_TIME = Kind(
    _read_date_time, _write_date_time, {"type": "string", "examples": ["2022-01-01T17:42:18.6936779+00:00"]}
)
DATE_OR_TIME = Kind(_read_date_or_time, _write_date_or_time, {"type": "string", "examples": ["1/1/2025"]})

Text = Annotated[str | None, TEXT]
Texts = Annotated[list[str], TEXTS]
Guid = Annotated[str | None, GUID]
Version = Annotated[str | None, VERSION]
Integer = Annotated[int | None, INTEGER]
Flag = Annotated[bool | None, FLAG]
Date = Annotated[date | None, DATE]
DateTime = Annotated[datetime | None, DATE_TIME]
DateOrTime = Annotated[date | datetime | None, DATE_OR_TIME]
