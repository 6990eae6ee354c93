"""The published samples go through everything."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from clouddirect.orders.models import (
    MessageKind,
    inspect_message,
    problems,
    problems_grading,
    read_event,
    read_grading,
    read_message,
    read_order,
    to_wire,
    to_wire_dict,
)


def given(value: Any) -> Any:
    """A JSON value without what stands for "not given"."""
    if isinstance(value, dict):
        pruned = {key: given(inner) for key, inner in value.items()}
        return {key: inner for key, inner in pruned.items() if inner not in (None, "", {}, [])}
    return [given(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("order-new.json", MessageKind.ORDER_REQUEST),
        ("order-cancel.json", MessageKind.ORDER_REQUEST),
        ("event-image-receipt.json", MessageKind.EVENT),
        ("event-order-creation-receipt.json", MessageKind.EVENT),
        ("grading-normal-dr-amd.json", MessageKind.GRADING_SUBMISSION),
    ],
)
def test_a_sample_is_read_written_and_valid(sample: Callable[[str], bytes], file: str, kind: MessageKind) -> None:
    body = sample(file)
    found, model = read_message(body)
    assert found is kind
    assert model is not None
    assert to_wire_dict(model) == given(json.loads(body))
    assert read_message(to_wire(model)) == (found, model)
    inspection = inspect_message(body)
    assert (inspection.kind, inspection.valid) == (kind, True)
    assert all(problem.severity == "warning" for problem in inspection.problems)


def test_the_new_order(sample: Callable[[str], bytes]) -> None:
    order = read_order(sample("order-new.json"))
    assert [problem.path for problem in problems(order)] == [
        "OrderingProvider.NPI",
        "CameraOperator.NPI",
        "HealthPlan.PrimaryCareProvider.NPI",
    ]
    assert order.camera is not None
    taken = order.camera.images[0].taken
    assert taken is not None
    assert taken.microsecond == 693677
    assert to_wire_dict(order)["Camera"]["Images"][0]["Taken"] == "2022-01-01T17:42:18.6936779+00:00"
    assert to_wire_dict(order)["Patient"]["Dob"] == "1/1/2000"
    assert order.unknown_fields.keys() == {"$schema"}


def test_the_cancellation(sample: Callable[[str], bytes]) -> None:
    found = problems(read_order(sample("order-cancel.json")))
    assert [(problem.path, problem.severity) for problem in found] == [("Site.LocalId", "warning")]


def test_the_events(sample: Callable[[str], bytes]) -> None:
    assert read_event(sample("event-image-receipt.json")).iris_order_id == 1225564
    assert (
        read_event(sample("event-order-creation-receipt.json")).order_local_id == "a52b6bed-5b77-4e42-ad7c-203bc6d2ea16"
    )


def test_the_grading(sample: Callable[[str], bytes]) -> None:
    grading = read_grading(sample("grading-normal-dr-amd.json"))
    assert problems_grading(grading) == []
    assert grading.os is not None
    assert [finding.result for finding in grading.os.findings] == ["None", "None", "No Observable", "No Observable"]
