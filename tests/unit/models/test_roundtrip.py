"""Properties of reading and writing, on generated messages."""

import contextlib
import json
import string
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clouddirect.errors import InvalidMessageError
from clouddirect.orders.models import (
    EVENT_KINDS,
    GradingSubmission,
    OrderRequest,
    OrderResult,
    WireModel,
    inspect_message,
    masked,
    read_event,
    read_grading,
    read_message,
    read_order,
    read_result,
    to_wire,
    to_wire_dict,
)
from clouddirect.orders.models.reader import read_fields
from clouddirect.orders.models.tables import WireField, table_of
from clouddirect.orders.models.values import DATE, DATE_OR_TIME, DATE_TIME, FLAG, INTEGER

ROOTS: list[type[WireModel]] = [OrderRequest, OrderResult, GradingSubmission, *EVENT_KINDS.values()]
READERS = [read_order, read_result, read_grading, read_event, read_message]

texts = st.text(min_size=1, max_size=12)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False), texts
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
date_texts = st.one_of(
    st.dates().map(lambda day: day.isoformat()),
    st.dates().map(lambda day: f"{day.month}/{day.day}/{day.year:04d}"),
    st.dates().map(lambda day: f"{day.month:02d}/{day.day:02d}/{day.year:04d}"),
)
moment_texts = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.datetimes().map(lambda moment: moment.isoformat(timespec="microseconds") + "7+00:00"),
    st.datetimes().map(lambda moment: moment.isoformat(timespec="seconds") + "-05:00"),
    st.datetimes().map(
        lambda moment: f"{moment.month}/{moment.day}/{moment.year:04d} {moment.hour}:{moment.minute:02d}"
    ),
)
undocumented = st.dictionaries(texts.map(lambda text: f"X-{text}"), anything, max_size=2)


def one_value(field: WireField) -> st.SearchStrategy[Any]:
    assert field.kind is not None
    if field.kind.option is not None:
        spellings = [spelling for spelling, _ in field.kind.option.spellings()]
        return st.one_of(st.sampled_from(spellings), texts, st.integers(50, 99))
    by_kind: dict[Any, st.SearchStrategy[Any]] = {
        FLAG: st.sampled_from([True, False, "true", "False", 0, 1]),
        INTEGER: st.one_of(st.integers(-(2**53), 2**53), st.integers(0, 999).map(str)),
        DATE: date_texts,
        DATE_TIME: st.one_of(date_texts, moment_texts),
        DATE_OR_TIME: st.one_of(date_texts, moment_texts),
    }
    return by_kind.get(field.kind, st.one_of(texts, st.integers(0, 10**9)))


@st.composite
def wires(draw: st.DrawFn, cls: type[WireModel], depth: int = 0) -> dict[str, Any]:
    """A JSON object for a model: some of its fields, each under some spelling of its key, and undocumented ones."""
    wire: dict[str, Any] = {}
    for field in draw(st.lists(st.sampled_from(table_of(cls).fields), unique=True, max_size=6 if depth else 12)):
        if field.attribute == "result_object_type" and cls.__name__ in EVENT_KINDS:
            continue
        keys = [field.wire, field.wire[0].lower() + field.wire[1:], field.wire.lower(), field.wire.upper()]
        keys += [other for other, attribute in cls.also_read.items() if attribute == field.attribute]
        value = one_value(field) if field.kind else wires(field.part, depth + 1)  # type: ignore[arg-type]
        if field.many:
            value = st.lists(value, max_size=3)
        wire[draw(st.sampled_from(keys))] = draw(st.one_of(value, value, value, st.sampled_from([None, "", {}, []])))
    return wire | draw(undocumented)


@st.composite
def messages(draw: st.DrawFn) -> tuple[type[WireModel], dict[str, Any]]:
    cls = draw(st.sampled_from(ROOTS))
    return cls, draw(wires(cls))


def read(cls: type[WireModel], wire: dict[str, Any]) -> WireModel:
    """Read as this class, whatever the kind of the generated object may look like."""
    unreadable: list[tuple[str, str]] = []
    model = read_fields(cls, json.loads(json.dumps(wire)), unreadable)
    assert unreadable == []
    return model


def undocumented_in(wire: Any) -> list[Any]:
    """All fields whose key starts with X-, at any level of the documented ones, empty parts left out."""
    if isinstance(wire, list):
        return [found for item in wire for found in undocumented_in(item)]
    if not isinstance(wire, dict):
        return []
    own = [(key, value) for key, value in wire.items() if key.startswith("X-")]
    return own + [found for key, value in wire.items() if not key.startswith("X-") for found in undocumented_in(value)]


@given(messages())
def test_what_is_written_reads_as_the_same(message: tuple[type[WireModel], dict[str, Any]]) -> None:
    cls, wire = message
    model = read(cls, wire)
    again = read(cls, json.loads(to_wire(model)))
    assert again == model
    assert to_wire(again) == to_wire(model)


@given(messages())
def test_undocumented_fields_survive_at_every_level(message: tuple[type[WireModel], dict[str, Any]]) -> None:
    cls, wire = message
    written = to_wire_dict(read(cls, wire))
    key = json.dumps
    assert sorted(map(key, undocumented_in(written))) == sorted(map(key, undocumented_in(wire)))


@given(messages())
def test_only_the_documented_form_is_written(message: tuple[type[WireModel], dict[str, Any]]) -> None:
    cls, wire = message
    check_form(cls, to_wire_dict(read(cls, wire)))


def check_form(cls: type[WireModel], wire: dict[str, Any]) -> None:
    documented = {field.wire: field for field in table_of(cls).fields}
    for key, value in wire.items():
        if key.startswith("X-"):
            continue
        field = documented[key]
        assert value not in (None, "", [], {})
        items = value if field.many else [value]
        for item in items:
            if field.part is not None:
                check_form(field.part, item)
            elif field.kind is FLAG:
                assert type(item) is bool
            elif field.kind is INTEGER:
                assert type(item) is int
            else:
                assert type(item) is str


@given(messages(), st.randoms())
def test_any_mix_of_key_cases_means_the_same(message: tuple[type[WireModel], dict[str, Any]], random: Any) -> None:
    cls, wire = message
    model = read(cls, wire)

    def respelled(part: type[WireModel], data: dict[str, Any]) -> dict[str, Any]:
        documented = {field.wire: field for field in table_of(part).fields}
        mixed = {}
        for key, value in data.items():
            field = documented.get(key)
            if field is None:
                mixed[key] = value
                continue
            if field.part is not None:
                value = [respelled(field.part, item) for item in value] if field.many else respelled(field.part, value)
            mixed["".join(random.choice((char.lower(), char.upper())) for char in key)] = value
        return mixed

    assert read(cls, respelled(cls, to_wire_dict(model))) == model


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused(body: bytes) -> None:
    check_never_fails_otherwise(body)


@given(anything)
def test_arbitrary_json_is_read_or_refused(value: Any) -> None:
    check_never_fails_otherwise(json.dumps(value))


known_keys = st.sampled_from(
    sorted({key for cls in ROOTS for field in table_of(cls).fields for key in (field.wire, field.wire.lower())})
)


@given(st.dictionaries(known_keys, st.one_of(anything, st.dictionaries(known_keys, anything, max_size=4)), max_size=8))
def test_documented_keys_with_arbitrary_values_are_read_or_refused(wire: dict[str, Any]) -> None:
    check_never_fails_otherwise(json.dumps(wire))


def check_never_fails_otherwise(body: bytes | str) -> None:
    for reader in READERS:
        model: Any = None
        with contextlib.suppress(InvalidMessageError):
            model = reader(body)
        model = model[1] if isinstance(model, tuple) else model
        if model is not None:
            json.loads(to_wire(model))
            json.dumps(masked(model))
            assert repr(model) == str(model)
    inspection = inspect_message(body)
    json.dumps([inspection.message(), inspection.message(show_patient_data=True)])
    for problem in inspection.problems:
        assert problem.message


@given(st.text(alphabet=string.digits, min_size=1, max_size=6))
def test_numbers_and_codes_of_options_are_the_same(digits: str) -> None:
    by_text = read_order(json.dumps({"OrderControlCode": "NW", "Patient": {"MaritalStatus": digits}}))
    by_number = read_order(json.dumps({"OrderControlCode": "NW", "Patient": {"MaritalStatus": int(digits)}}))
    if digits == str(int(digits)):
        assert by_text == by_number
