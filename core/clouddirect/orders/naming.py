"""Naming templates: how the files of results are called.

The tokens are those of the naming templates in the IRIS integration guide: fixed text with ``{token}`` placeholders,
case-sensitive. They may name the patient, so a template is the reader's own decision; without one, files are called
after ``Order.LocalId``.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from clouddirect.errors import ConfigurationError, InvalidMessageError
from clouddirect.orders.models import OrderResult

__all__ = ["NAMING_TOKENS", "NamingTemplate", "file_path", "file_stem"]

_TOKEN = re.compile(r"\{([^{}]*)\}")
#: What Windows permits in no file name, and no system in a part of a path.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
#: UTF-8 bytes of a name, less than the 255 that file systems permit: a number and a suffix follow.
_LONGEST = 200

_VALUES: dict[str, Callable[[OrderResult], object]] = {
    "patientId": lambda result: result.patient and result.patient.patient_id,
    "patientLocalId": lambda result: result.patient and result.patient.local_id,
    "orderId": lambda result: result.order and result.order.patient_order_id,
    "orderLocalId": lambda result: result.order and result.order.local_id,
    "patientFirstName": lambda result: result.patient and result.patient.name and result.patient.name.first,
    "patientLastName": lambda result: result.patient and result.patient.name and result.patient.name.last,
    "clientLocalId": lambda result: result.site and result.site.local_id,
    "departmentLocalId": lambda result: result.order and result.order.department_id,
}
_TIMES = {
    "yyyy": "%Y",
    "MM": "%m",
    "dd": "%d",
    "yyyyMMdd_HHmmss": "%Y%m%d_%H%M%S",
    "yyyyMMdd": "%Y%m%d",
    "MMddyyyy": "%m%d%Y",
}
_YESTERDAY = "YEST_"

#: Every token, each with what it stands for.
NAMING_TOKENS: dict[str, str] = {
    "patientId": "IRIS's own id of the patient",
    "patientLocalId": "Patient.LocalId, such as the MRN",
    "orderId": "IRIS's own id of the order",
    "orderLocalId": "Order.LocalId",
    "patientFirstName": "the patient's first name",
    "patientLastName": "the patient's last name",
    "clientLocalId": "Site.LocalId",
    "departmentLocalId": "Order.DepartmentId",
    **{name: f"the time of delivery as {name}" for name in _TIMES},
    **{f"{_YESTERDAY}{name}": f"the day before the delivery as {name}" for name in _TIMES},
}


class NamingTemplate:
    """A template such as ``{yyyyMMdd}/{orderLocalId}``; a ``/`` in it makes directories.

    Values are made safe for every file system: what Windows, macOS or Linux does not permit becomes ``_``, so that no
    value leads into another directory. Letters of every script stay.
    """

    def __init__(self, text: str) -> None:
        """Read a template.

        Raises:
            ConfigurationError: a token does not exist (the nearest one is suggested), a brace stands alone, or the text
                is no relative path that every system permits.
        """
        self.text = text
        for token in _TOKEN.findall(text):
            if token not in NAMING_TOKENS:
                raise _wrong(text, f"{{{token}}} is no token{_nearest(token)}")
        fixed = _TOKEN.sub("", text)
        if "{" in fixed or "}" in fixed:
            raise _wrong(text, "a brace stands alone")
        if _FORBIDDEN.search(fixed.replace("/", "")):
            raise _wrong(text, 'none of < > : " \\ | ? * may stand in a file name')
        if any(not part.strip(". ") for part in text.split("/")):
            raise _wrong(text, "each part between '/' must be a name")

    def __repr__(self) -> str:
        return f"NamingTemplate({self.text!r})"

    def path(self, result: OrderResult, at: datetime) -> PurePosixPath:
        """Return the relative path, without a suffix, of a result that is delivered ``at`` this time.

        Raises:
            InvalidMessageError: a token has no value in this result.
        """

        def value(token: re.Match[str]) -> str:
            return _clean(_value(token[1], result, at))

        parts = [_part(_TOKEN.sub(value, part)) for part in self.text.split("/")]
        return PurePosixPath(*parts)


def file_stem(text: str) -> str:
    """Make a file name out of any text, without letters beyond ASCII."""
    return _part(re.sub(r"[^A-Za-z0-9._-]", "_", text)[:100]) or "result"


def file_path(key: str) -> PurePosixPath:
    """Make a relative path out of a store's key that every file system takes and that leads nowhere else."""
    return PurePosixPath(*(_part(_clean(part)) for part in key.split("/")))


def _value(token: str, result: OrderResult, at: datetime) -> str:
    name = token.removeprefix(_YESTERDAY)
    if name in _TIMES:
        return (at - timedelta(days=1) if name != token else at).strftime(_TIMES[name])
    value = _VALUES[token](result)
    if value is None or not str(value).strip():
        raise InvalidMessageError(
            f"the files of this result cannot be named: it has no value for {{{token}}} "
            f"({NAMING_TOKENS[token]}); use a template without it"
        )
    return str(value)


def _clean(value: str) -> str:
    encodable = value.encode("utf-8", "replace").decode()  # half a surrogate pair is in no name
    return _FORBIDDEN.sub("_", unicodedata.normalize("NFC", encodable))


def _part(name: str) -> str:
    """One name of a path: not too long, without dots or spaces at its ends, not one that Windows keeps for devices."""
    name = name.strip(". ").encode()[:_LONGEST].decode(errors="ignore").strip(". ")
    return f"_{name}" if not name or _RESERVED.fullmatch(name) else name


def _nearest(token: str) -> str:
    found = difflib.get_close_matches(token, NAMING_TOKENS, 1)
    return f"; did you mean {{{found[0]}}}?" if found else f"; the tokens are {', '.join(NAMING_TOKENS)}"


def _wrong(text: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"the naming template {text!r} cannot be used: {why}")
