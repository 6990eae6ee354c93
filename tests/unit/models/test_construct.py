"""Making and changing models from Python."""

import copy
import json
import pickle
import subprocess
import sys
from datetime import date

import pytest

from clouddirect.errors import InvalidMessageError
from clouddirect.orders import models
from clouddirect.orders.models import (
    EvaluationType,
    ImageReceipt,
    Name,
    Order,
    OrderRequest,
    Patient,
    PersonGender,
    Site,
    problems,
    read_order,
    to_wire,
    to_wire_dict,
)


def make_order() -> OrderRequest:
    return OrderRequest(
        client_guid="63e3c9ef-66ac-4154-b0c2-494515eb99a7",
        order_control_code="NW",
        site=Site(local_id="PC1"),
        order=Order(local_id="ORD-1", evaluation_types=["DR"]),
        patient=Patient(
            local_id="MRN-1",
            name=Name(first="Jane", last="Roe"),
            dob=date(1961, 12, 1),
            genders=[PersonGender(context="BirthGender", gender="F")],
        ),
    )


def test_a_short_program_builds_a_whole_order() -> None:
    order = make_order()
    assert problems(order) == []
    assert to_wire_dict(order) == {
        "Version": "2.3.1",
        "ClientGuid": "63e3c9ef-66ac-4154-b0c2-494515eb99a7",
        "OrderControlCode": "NW",
        "Site": {"LocalId": "PC1"},
        "Order": {"EvaluationTypes": ["DR"], "LocalId": "ORD-1"},
        "Patient": {
            "LocalId": "MRN-1",
            "Name": {"First": "Jane", "Last": "Roe"},
            "Dob": "12/1/1961",
            "Genders": [{"Context": "BirthGender", "Gender": "F"}],
        },
    }
    assert read_order(to_wire(order)) == order


def test_a_misspelt_field_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InvalidMessageError, match="Order: there is no field 'locl_id'; did you mean 'local_id'"):
        Order(locl_id="1")  # type: ignore[call-arg]
    with pytest.raises(InvalidMessageError, match="there is no field 'zzz'; fields are first, last"):
        Name(zzz="1")  # type: ignore[call-arg]
    with pytest.raises(InvalidMessageError, match="name: Name: there is no field 'frist'; did you mean 'first'"):
        Patient(name={"frist": "Jane"})  # type: ignore[arg-type]
    order = make_order()
    with pytest.raises(InvalidMessageError, match="did you mean 'local_id'"):
        order.order.lokal_id = "1"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("cls", "field", "value", "problem"),
    [
        (Patient, "dob", "SECRET", "dob: is not a date"),
        (Patient, "name", "SECRET", "name: Input should be"),
        (Patient, "email", ["SECRET"], "email: is not text"),
        (Order, "urgent", "SECRET", "urgent: is neither true nor false"),
        (Order, "evaluation_types", [["SECRET"]], "evaluation_types: is not an option code"),
        (ImageReceipt, "iris_image_id", "SECRET", "iris_image_id: is not a whole number"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_without_repeating_it(
    cls: type[models.WireModel], field: str, value: object, problem: str
) -> None:
    with pytest.raises(InvalidMessageError, match=problem) as made:
        cls(**{field: value})
    model = cls()
    with pytest.raises(InvalidMessageError, match=problem) as assigned:
        setattr(model, field, value)
    for error in (made.value, assigned.value):
        assert "SECRET" not in f"{error!s}{error!r}{error.__cause__!r}{error.__context__!r}"


def test_all_that_does_not_fit_is_said_at_once() -> None:
    with pytest.raises(InvalidMessageError, match=r"dob: .*; phone: ") as caught:
        Patient(dob="x", phone=True)  # type: ignore[arg-type]
    assert str(caught.value).startswith("Patient: ")


def test_assigning_turns_values_into_what_the_field_holds() -> None:
    order = make_order()
    assert order.order is not None
    order.order.evaluation_types = ["AMD", 1]  # type: ignore[list-item]
    assert order.order.evaluation_types == [EvaluationType.AMD, EvaluationType.DR]
    assert all(isinstance(code, EvaluationType) for code in order.order.evaluation_types)
    order.order.local_id = 1234  # type: ignore[assignment]
    assert order.order.local_id == "1234"


def test_events_know_their_kind() -> None:
    assert to_wire_dict(ImageReceipt(iris_image_id=1)) == {
        "ResultObjectType": "ImageReceipt",
        "Version": "2.3.1",
        "IrisImageId": 1,
    }


def test_lists_are_not_shared() -> None:
    first, second = Order(), Order()
    first.evaluation_types.append("DR")
    assert second.evaluation_types == []
    assert read_order(b'{"Order": {"LocalId": "1"}, "ClientGuid": "g"}').order.evaluation_types == []  # type: ignore[union-attr]


def test_models_survive_copying_and_pickling(new_order: dict[str, object]) -> None:
    order = read_order(json.dumps(new_order | {"New": 1}))
    for twin in (copy.deepcopy(order), pickle.loads(pickle.dumps(order)), order.model_copy(deep=True)):
        assert twin == order
        assert to_wire(twin) == to_wire(order)
        assert twin.unknown_fields == {"New": 1}


def test_sixteen_threads_make_their_first_models_at_once() -> None:
    # in a fresh process: pydantic builds a class's validator when it is first used
    program = """
import sys, threading
from clouddirect.orders.models import Name, Order, OrderRequest, Patient, PersonGender
sys.setswitchinterval(1e-6)
failures, start = [], threading.Barrier(16)
def work():
    start.wait()
    try:
        order = OrderRequest(order=Order(local_id="1"), patient=Patient(genders=[PersonGender(gender="F")]))
        order.patient.name = Name(first="x")
    except BaseException as error:
        failures.append(repr(error))
threads = [threading.Thread(target=work) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(failures)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_public_names_are_sorted_and_there() -> None:
    assert models.__all__ == sorted(models.__all__)
    assert all(hasattr(models, name) for name in models.__all__)
