"""What the rules of all message kinds share: a problem, and the checks that find it.

A problem names the field by its path on the wire and never repeats its value, which may be patient data.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from clouddirect.orders.models.base import WireModel
from clouddirect.orders.models.options import Option
from clouddirect.orders.models.order import WIRE_VERSION
from clouddirect.orders.models.tables import WireField, table_of

__all__ = ["Checks", "EARLIEST_BIRTH", "Problem", "is_guid", "is_npi", "walk"]

EARLIEST_BIRTH = date(1880, 1, 1)
"""Nobody born before this day is alive."""

_NPI_PREFIX = "80840"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a message.

    Attributes:
        path: the field on the wire, such as ``Camera.Images[0].Laterality``; empty for the message as a whole.
        message: what is wrong and what to do, without the value.
        severity: ``error`` when the message would fail, or be ignored in silence; ``warning`` when it may.
    """

    path: str
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class Checks:
    """Collects problems; one method for each check."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def error(self, path: str, message: str) -> None:
        """Note what would fail, or be ignored in silence."""
        self.found.append(Problem(path, message, "error"))

    def warning(self, path: str, message: str) -> None:
        """Note what may fail."""
        self.found.append(Problem(path, message, "warning"))

    def required(self, path: str, value: Any, why: str = "") -> bool:
        """Complain unless a value is given; True when it is."""
        if value is None or value == [] or (isinstance(value, str) and not value.strip()):
            self.error(path, f"is required{why and ': '}{why}")
            return False
        return True

    def version(self, value: str | None) -> None:
        """Complain about any version but the one this library speaks."""
        if self.required("Version", value, f"set it to {WIRE_VERSION}") and value != WIRE_VERSION:
            self.warning("Version", f"is not {WIRE_VERSION}, the version this library speaks")

    def client_guid(self, value: str | None) -> None:
        """Complain unless the ClientGuid is a GUID."""
        why = "it identifies the organisation, and without it no event ever comes"
        if self.required("ClientGuid", value, why) and not is_guid(value):
            self.error("ClientGuid", "is not a GUID: no event would ever come")

    def birth(self, path: str, value: date | None, today: date) -> None:
        """Complain about a birth in the future or longer ago than anybody lives."""
        if value is None:
            return
        if value > today:
            self.error(path, "lies in the future")
        elif value < EARLIEST_BIRTH:
            self.error(path, f"is before {EARLIEST_BIRTH.year}")

    def formats(self, model: WireModel) -> None:
        """Warnings on values that do not look as documented, anywhere in a message."""
        for path, field, value in walk(model):
            if field.attribute == "npi" and not is_npi(value):
                self.warning(path, "is not a valid NPI (10 digits, the last one a check digit)")
            elif field.attribute in ("taken", "received", "timestamp") and _lacks_offset(value):
                self.warning(path, "has no offset from UTC; the time will be taken as another one elsewhere")
            elif field.kind is not None and field.kind.option is not None and field.kind.option.closed():
                self._known_codes(path, value, field.kind.option, many=field.many)

    def _known_codes(self, path: str, value: Any, option: type[Option], *, many: bool) -> None:
        for index, item in enumerate(value if many else [value]):
            if not any(item == known for known in option):
                self.warning(f"{path}[{index}]" if many else path, "is not a code of the published list")


def walk(model: WireModel, path: str = "") -> Iterator[tuple[str, WireField, Any]]:
    """All values that are set in a model and its parts, with their paths on the wire."""
    for field in table_of(type(model)).fields:
        value = getattr(model, field.attribute)
        here = f"{path}{field.wire}"
        if value is None:
            continue
        if field.part is None:
            yield here, field, value
        elif field.many:
            for index, part in enumerate(value):
                yield from walk(part, f"{here}[{index}].")
        else:
            yield from walk(value, f"{here}.")


def is_guid(text: Any) -> bool:
    """Whether text is a GUID, as 32 hexadecimal digits with or without hyphens and braces."""
    try:
        UUID(text)
    except (ValueError, AttributeError, TypeError):
        return False
    return True


def is_npi(text: Any) -> bool:
    """Whether text is a US National Provider Identifier: ten digits that pass the Luhn check with the prefix 80840."""
    if not (isinstance(text, str) and len(text) == 10 and text.isascii() and text.isdigit()):
        return False
    total = 0
    for position, digit in enumerate(reversed(_NPI_PREFIX + text)):
        weighted = int(digit) * (2 if position % 2 else 1)
        total += weighted - 9 if weighted > 9 else weighted
    return total % 10 == 0


def _lacks_offset(value: Any) -> bool:
    return isinstance(value, datetime) and value.utcoffset() is None
