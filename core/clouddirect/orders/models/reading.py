"""Reading IRIS messages: liberal in what it takes, and it loses nothing.

All of what real messages look like is read: a byte-order mark, empty text for unset values, keys in any case, options
as code or number, dates in two notations. Undocumented fields are kept, and written again as they came. A message that
cannot be read raises InvalidMessageError, which names all paths that are wrong and never a value, since values are
patient data.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NoReturn, TypeVar

from clouddirect.errors import InvalidMessageError
from clouddirect.orders.models.base import WireModel
from clouddirect.orders.models.events import EVENT_KINDS, Event, UnknownEvent
from clouddirect.orders.models.grading import GradingSubmission
from clouddirect.orders.models.order import OrderRequest
from clouddirect.orders.models.reader import Unreadable, read_fields
from clouddirect.orders.models.result import OrderResult
from clouddirect.orders.models.values import is_empty

__all__ = [
    "MessageKind",
    "event_class",
    "kind_of",
    "load",
    "model_class",
    "read_event",
    "read_grading",
    "read_message",
    "read_order",
    "read_result",
]

M = TypeVar("M", bound=WireModel)


class MessageKind(StrEnum):
    """The kinds of IRIS message."""

    EVENT = "event"
    GRADING_SUBMISSION = "grading-submission"
    ORDER_REQUEST = "order-request"
    ORDER_RESULT = "order-result"
    UNKNOWN = "unknown"


_MAX_LISTED = 20
_CLASSES: dict[MessageKind, type[WireModel]] = {
    MessageKind.ORDER_REQUEST: OrderRequest,
    MessageKind.ORDER_RESULT: OrderResult,
    MessageKind.GRADING_SUBMISSION: GradingSubmission,
}
_EVENTS = {name.lower(): cls for name, cls in EVENT_KINDS.items()}
_HALLMARKS = {
    MessageKind.EVENT: {"result_object_type"},
    MessageKind.GRADING_SUBMISSION: {"od", "os"},
    MessageKind.ORDER_REQUEST: {"order_control_code"},
    MessageKind.ORDER_RESULT: {"gradings", "image_details", "result_code", "results_document"},
}
"""Attributes of which one is enough to be sure of the kind."""
_RESULT_KEYS = {"gradings", "resultsdocument", "imagedetails"}


def read_order(body: bytes | str) -> OrderRequest:
    """Read an order request. InvalidMessageError names every path that cannot be read, and no value."""
    return _read(OrderRequest, load(body), MessageKind.ORDER_REQUEST)


def read_event(body: bytes | str) -> Event:
    """Read an event of any kind; an unknown kind gives an UnknownEvent that holds everything.

    InvalidMessageError names every path that cannot be read, and no value.
    """
    data = load(body)
    return _read(event_class(data), data, MessageKind.EVENT)


def read_result(body: bytes | str) -> OrderResult:
    """Read an order result. InvalidMessageError names every path that cannot be read, and no value."""
    return _read(OrderResult, load(body), MessageKind.ORDER_RESULT)


def read_grading(body: bytes | str) -> GradingSubmission:
    """Read a grading submission. InvalidMessageError names every path that cannot be read, and no value."""
    return _read(GradingSubmission, load(body), MessageKind.GRADING_SUBMISSION)


def read_message(body: bytes | str) -> tuple[MessageKind, WireModel | None]:
    """Read a message of any kind: what it is, and its model (None when the kind is unknown).

    InvalidMessageError when the body is no JSON object, or a field of a known kind cannot be read.
    """
    data = load(body)
    kind = kind_of(data)
    cls = model_class(kind, data)
    return kind, None if cls is None else _read(cls, data, kind)


def kind_of(data: Mapping[str, Any]) -> MessageKind:
    """The kind of a JSON object, told by its keys."""
    keys = {key.lower(): value for key, value in data.items() if not is_empty(value)}
    schema, name = str(keys.get("$schema")), str(keys.get("resultobjecttype", "")).lower()
    if name in _EVENTS:
        return MessageKind.EVENT
    if "ordercontrolcode" in keys or "order-submission" in schema:
        return MessageKind.ORDER_REQUEST
    if keys.keys() & _RESULT_KEYS or "order-result" in schema:
        return MessageKind.ORDER_RESULT
    if keys.keys() & {"od", "os"} or "grading-submission" in schema:
        return MessageKind.GRADING_SUBMISSION
    if name:
        # an unknown kind of event may hold anything, but a result says so
        return MessageKind.ORDER_RESULT if "result" in name else MessageKind.EVENT
    if keys.keys() & {"order", "patient"}:
        return MessageKind.ORDER_RESULT if "transactionid" in keys else MessageKind.ORDER_REQUEST
    if "resultcode" in keys:
        return MessageKind.ORDER_RESULT
    return MessageKind.EVENT if "transactionid" in keys else MessageKind.UNKNOWN


def model_class(kind: MessageKind, data: Mapping[str, Any]) -> type[WireModel] | None:
    """The model that a JSON object of this kind is read into."""
    if kind is MessageKind.EVENT:
        return event_class(data)
    return _CLASSES.get(kind)


def event_class(data: Mapping[str, Any]) -> type[Event]:
    """The event class that a JSON object is read into."""
    kind = data.get("ResultObjectType")
    if kind is None:
        kind = next((value for key, value in data.items() if key.lower() == "resultobjecttype"), None)
    return _EVENTS.get(kind.lower(), UnknownEvent) if isinstance(kind, str) else UnknownEvent


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError("a number is out of range")
    return number


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_not_json)


def load(body: bytes | str) -> dict[str, Any]:
    """The JSON object in a body: UTF-8 with or without byte-order mark, or JSON text inside a JSON string.

    InvalidMessageError when there is none.
    """
    problem = ""
    data: Any = None
    try:
        data = body if isinstance(body, str) else bytes(body).decode()
        for _ in range(3):
            data = _DECODER.decode(data[1:] if data[:1] == "\ufeff" else data)
            if not isinstance(data, str):
                break
    except UnicodeDecodeError as error:
        problem = f"the body is not UTF-8 (byte {error.start})"
    except json.JSONDecodeError as error:
        problem = f"the body is not JSON: {error.msg.lower()} at line {error.lineno}, column {error.colno}"
    except ValueError:
        problem = "the body is not JSON: it holds NaN, Infinity or a number out of range"
    except RecursionError:
        problem = "the body is nested too deeply"
    if not problem and not isinstance(data, dict):
        problem = "the body is JSON, but not an object"
    # raised out here: the decoder's error holds the body, which may be patient data
    if problem:
        raise InvalidMessageError(f"{problem}; expected an IRIS message, which is one JSON object")
    return data  # type: ignore[no-any-return]


def _read(cls: type[M], data: dict[str, Any], kind: MessageKind) -> M:
    unreadable: list[Unreadable] = []
    model = read_fields(cls, data, unreadable)
    if unreadable:
        listed = "; ".join(f"{path}: {problem}" for path, problem in unreadable[:_MAX_LISTED])
        more = f"; and {len(unreadable) - _MAX_LISTED} more" if len(unreadable) > _MAX_LISTED else ""
        raise InvalidMessageError(f"{kind} cannot be read: {listed}{more}")
    if not model.model_fields_set & _HALLMARKS[kind]:
        _refuse_other_kinds(kind, model, data)
    return model


def _refuse_other_kinds(kind: MessageKind, model: WireModel, data: dict[str, Any]) -> None:
    """Refuse a message that is certainly of another kind: on the wrong queue, it shall not pass as an empty one."""
    found = kind_of(data)
    keys = {key.lower() for key in data}
    if found is kind:
        return
    if found is MessageKind.UNKNOWN:
        refused = not model.model_fields_set and kind is not MessageKind.EVENT
    elif found is MessageKind.EVENT:
        refused = "resultobjecttype" in keys  # a result that failed may look like an event, unless it names itself one
    elif found is MessageKind.ORDER_REQUEST:
        refused = not keys.isdisjoint({"clientguid", "ordercontrolcode"})  # a result has an order and a patient as well
    else:
        refused = True
    if refused:
        raise InvalidMessageError(f"expected the kind {kind}, but the body's kind is {found}")
