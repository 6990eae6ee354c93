"""Single values: what each kind takes, what it makes of it, and what it writes."""

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from clouddirect.orders.models import Image, Order, OrderCreationReceipt, Patient, WireDate, WireDateTime, to_wire_dict
from clouddirect.orders.models.values import DATE, DATE_OR_TIME, DATE_TIME, FLAG, GUID, INTEGER, TEXT, TEXTS, VERSION

SEVEN_DIGITS = "2022-01-01T17:42:18.6936779+00:00"


@pytest.mark.parametrize("kind", [TEXT, GUID, VERSION, INTEGER, FLAG, DATE, DATE_TIME, DATE_OR_TIME])
@pytest.mark.parametrize("nothing", [None, "", {}, []])
def test_nothing_is_nothing(kind: Any, nothing: object) -> None:
    assert kind.read(nothing) is None


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        (TEXT, "x", "x"),
        (TEXT, 1234, "1234"),
        (TEXT, 1.5, "1.5"),
        (GUID, UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (VERSION, "2.3.1", "2.3.1"),
        (VERSION, "V2.3.1", "2.3.1"),
        (VERSION, "version", "version"),
        (INTEGER, 7, 7),
        (INTEGER, "7", 7),
        (INTEGER, " -7 ", -7),
        (INTEGER, 7.0, 7),
        (FLAG, True, True),
        (FLAG, "False", False),
        (FLAG, 1, True),
        (FLAG, "0", False),
        (TEXTS, ["a", "", None, 1], ["a", "1"]),
        (TEXTS, "a", ["a"]),
        (TEXTS, None, []),
        (DATE, "12/1/1961", date(1961, 12, 1)),
        (DATE, "1961-12-01", date(1961, 12, 1)),
        (DATE, "1961-12-01T00:00:00", date(1961, 12, 1)),
        (DATE, datetime(1961, 12, 1, 8), date(1961, 12, 1)),
        (DATE_TIME, SEVEN_DIGITS, datetime(2022, 1, 1, 17, 42, 18, 693677, UTC)),
        (DATE_TIME, "2022-01-01T17:42:18Z", datetime(2022, 1, 1, 17, 42, 18, tzinfo=UTC)),
        (DATE_TIME, "1/2/2022", datetime(2022, 1, 2)),
        (DATE_TIME, "1/2/2022 12:05 AM", datetime(2022, 1, 2, 0, 5)),
        (DATE_TIME, "1/2/2022 12:05:06 pm", datetime(2022, 1, 2, 12, 5, 6)),
        (DATE_TIME, "1/2/2022 15:05:06.5", datetime(2022, 1, 2, 15, 5, 6, 500_000)),
        (DATE_TIME, date(2022, 1, 2), datetime(2022, 1, 2)),
        (DATE_OR_TIME, "1/1/2025", date(2025, 1, 1)),
        (DATE_OR_TIME, "2025-01-01T10", datetime(2025, 1, 1, 10)),
    ],
)
def test_what_is_taken(kind: Any, raw: object, value: object) -> None:
    assert kind.read(raw) == value
    assert kind.read(kind.read(raw)) == value


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (TEXT, True),
        (TEXT, ["x"]),
        (TEXTS, [["x"]]),
        (INTEGER, "seven"),
        (INTEGER, 7.5),
        (INTEGER, True),
        (INTEGER, "9" * 30),
        (FLAG, "yes"),
        (FLAG, 2),
        (FLAG, 1.0),
        (DATE, "13/1/1961"),
        (DATE, "1961-02-30"),
        (DATE, 19611201),
        (DATE, "SECRET"),
        (DATE_TIME, "1/1/2022 25:00"),
        (DATE_TIME, 5),
        (DATE_OR_TIME, {"SECRET": 1}),
    ],
)
def test_what_is_not_taken_is_not_repeated(kind: Any, raw: object) -> None:
    with pytest.raises(ValueError, match=r"^is ") as caught:
        kind.read(raw)
    assert str(raw) not in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_a_date_only_has_no_time() -> None:
    assert type(DATE_OR_TIME.read("1/1/2025")) is WireDate
    assert type(DATE_OR_TIME.read("1/1/2025 9:30 AM")) is WireDateTime


@pytest.mark.parametrize("text", [SEVEN_DIGITS, "2022-01-01T17:42:18Z", "01/02/2022 3:04 PM"])
def test_a_date_time_that_nobody_changed_keeps_its_text(text: str) -> None:
    assert to_wire_dict(Image(taken=DATE_TIME.read(text))) == {"Taken": text}


@pytest.mark.parametrize("text", ["12/1/1961", "12/01/1961", "1961-12-01", "1961-12-01T00:00:00"])
def test_a_date_that_nobody_changed_keeps_its_text(text: str) -> None:
    assert to_wire_dict(Patient(dob=DATE.read(text))) == {"Dob": text}


@pytest.mark.parametrize(
    "change",
    [
        lambda moment: moment + timedelta(hours=1),
        lambda moment: moment.replace(minute=0),
        lambda moment: moment.astimezone(timezone(timedelta(hours=-5))),
    ],
)
def test_a_date_time_that_was_changed_is_written_anew(change: Callable[[datetime], datetime]) -> None:
    moment = change(DATE_TIME.read(SEVEN_DIGITS))
    assert to_wire_dict(Image(taken=moment)) == {"Taken": moment.isoformat()}


def test_what_python_sets_is_written_in_the_documented_form() -> None:
    paris = timezone(timedelta(hours=1))
    assert to_wire_dict(Image(taken=datetime(2025, 3, 4, 9, 15, tzinfo=paris))) == {
        "Taken": "2025-03-04T09:15:00+01:00"
    }
    assert to_wire_dict(Patient(dob=date(1961, 12, 1))) == {"Dob": "12/1/1961"}
    assert to_wire_dict(Order(scheduled_time=date(2025, 1, 1)))["ScheduledTime"] == "1/1/2025"
    assert to_wire_dict(Order(scheduled_time=datetime(2025, 1, 1, 9, 30)))["ScheduledTime"] == "2025-01-01T09:30:00"
    receipt = OrderCreationReceipt(timestamp=datetime(2025, 3, 4, tzinfo=UTC))
    assert to_wire_dict(receipt)["Timestamp"] == "2025-03-04T00:00:00+00:00"


@pytest.mark.parametrize(
    "value", [DATE.read("12/1/1961"), DATE_TIME.read(SEVEN_DIGITS), DATE_TIME.read("1/2/2022 3:04 PM")]
)
def test_the_text_survives_copying_and_pickling(value: Any) -> None:
    for twin in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert twin == value
        assert type(twin) is type(value)
        assert twin.text == value.text
    changed = value + timedelta(days=1)
    assert pickle.loads(pickle.dumps(changed)) == changed
    assert getattr(pickle.loads(pickle.dumps(changed)), "text", None) is None
