"""Inspecting a message of unknown origin: what it is, and all that is wrong with it, without raising."""

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from clouddirect.errors import InvalidMessageError
from clouddirect.orders.models.base import WireModel
from clouddirect.orders.models.checks import Problem
from clouddirect.orders.models.events import Event
from clouddirect.orders.models.grading import GradingSubmission
from clouddirect.orders.models.masking import MASK, masked
from clouddirect.orders.models.message_rules import problems_event, problems_grading, problems_result
from clouddirect.orders.models.order import OrderRequest
from clouddirect.orders.models.order_rules import problems
from clouddirect.orders.models.reader import Unreadable, read_fields
from clouddirect.orders.models.reading import MessageKind, kind_of, load, model_class
from clouddirect.orders.models.result import OrderResult
from clouddirect.orders.models.writing import to_wire_dict

__all__ = ["Inspection", "inspect_message"]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found out about a message.

    Attributes:
        kind: the kind of message; ``MessageKind.UNKNOWN`` when it is none or cannot be read at all.
        problems: all that is wrong, errors and warnings.
        model: the message as far as it could be read, or None. Values that could not be read are among its
            ``unknown_fields``.
    """

    kind: MessageKind
    problems: list[Problem]
    model: WireModel | None
    data: dict[str, Any] | None = field(default=None, repr=False)
    """The JSON object as it came, or None when the body holds none."""

    @property
    def valid(self) -> bool:
        """Whether nothing is wrong but for warnings."""
        return not any(problem.severity == "error" for problem in self.problems)

    def message(self, *, show_patient_data: bool = False) -> dict[str, Any] | None:
        """The normalised wire form, masked unless asked otherwise; None when the body holds no JSON object."""
        if self.model is not None:
            return to_wire_dict(self.model) if show_patient_data else masked(self.model)
        if self.data is None or show_patient_data:
            return self.data
        return dict.fromkeys(self.data, MASK)


def inspect_message(body: bytes | str, *, today: date | None = None) -> Inspection:
    """Say what kind of IRIS message a body is and what is wrong with it. Raises nothing.

    Args:
        body: the message's body.
        today: the day that dates of birth are compared with; the current one where None.
    """
    try:
        data = load(body)
    except InvalidMessageError as error:
        return Inspection(MessageKind.UNKNOWN, [Problem("", str(error))], None)
    kind = kind_of(data)
    cls = model_class(kind, data)
    if cls is None:
        return Inspection(kind, [Problem("", "is none of the kinds of IRIS message")], None, data)
    unreadable: list[Unreadable] = []
    model = read_fields(cls, data, unreadable)
    found = [Problem(path, message) for path, message in unreadable]
    # a value that is there but cannot be read shall not be called missing as well
    read = {problem.path for problem in found}
    found += [item for item in _rules(model, today) if not _concerns(item.path, read)]
    return Inspection(kind, found, model, data)


def _rules(model: WireModel, today: date | None) -> list[Problem]:
    if isinstance(model, OrderRequest):
        return problems(model, today=today)
    if isinstance(model, OrderResult):
        return problems_result(model)
    if isinstance(model, GradingSubmission):
        return problems_grading(model)
    return problems_event(model) if isinstance(model, Event) else []


def _concerns(path: str, unreadable: set[str]) -> bool:
    return any(
        path == bad or path.startswith((f"{bad}.", f"{bad}[")) or bad.startswith(f"{path}[") for bad in unreadable
    )
