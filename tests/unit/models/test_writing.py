"""Writing: the documented form only, and it shares nothing with the model."""

import json
from typing import Any

import pytest

from clouddirect.errors import InvalidMessageError
from clouddirect.orders.models import Camera, Image, Order, OrderRequest, Patient, read_order, to_wire, to_wire_dict


def test_compact_utf8_without_escapes() -> None:
    order = OrderRequest(order=Order(local_id="Ä1", additional_info="line\nfeed"))
    assert to_wire(order) == '{"Version":"2.3.1","Order":{"LocalId":"Ä1","AdditionalInfo":"line\\nfeed"}}'.encode()


def test_unset_parts_and_lists_are_left_out() -> None:
    order = OrderRequest(order=Order(), patient=Patient(), camera=Camera(images=[Image()]))
    assert to_wire_dict(order) == {"Version": "2.3.1"}


def test_irregular_keys() -> None:
    order = OrderRequest(camera=Camera(ip_address="a", mac_address="b"), order=Order(cpt_code="c"))
    assert to_wire_dict(order)["Camera"] == {"IPAddress": "a", "MACAddress": "b"}
    assert to_wire_dict(order)["Order"] == {"CPTCode": "c"}


def test_plain_text_added_to_a_list_of_codes() -> None:
    order = Order(evaluation_types=["DR"])
    order.evaluation_types.append("AMD")
    written = to_wire_dict(order)["EvaluationTypes"]
    assert written == ["DR", "AMD"]
    assert all(type(code) is str for code in written)


def test_the_dict_is_independent_of_the_model() -> None:
    order = read_order(b'{"OrderControlCode":"CA","New":{"a":[1]}}')
    wire = to_wire_dict(order)
    wire["New"]["a"].append(2)
    assert to_wire_dict(order)["New"] == {"a": [1]}


def test_an_undocumented_field_set_from_python() -> None:
    order = OrderRequest()
    order.unknown_fields["New"] = {"a": 1}
    order.unknown_fields["Version"] = "cannot replace a documented one"
    assert to_wire_dict(order) == {"Version": "2.3.1", "New": {"a": 1}}


@pytest.mark.parametrize("change", ["list", "unknown", "nan"])
def test_what_cannot_be_written_is_refused_without_the_value(change: str) -> None:
    order = OrderRequest(camera=Camera())
    if change == "list":
        assert order.camera is not None
        order.camera.images.append("SECRET")  # type: ignore[arg-type]
    else:
        order.unknown_fields["New"] = {"SECRET"} if change == "unknown" else float("nan")
    with pytest.raises(InvalidMessageError, match="cannot be written") as caught:
        to_wire(order)
    assert "SECRET" not in str(caught.value)


def test_what_was_read_is_written_in_the_documented_order(new_order: dict[str, Any]) -> None:
    shuffled = dict(reversed(new_order.items()))
    assert list(to_wire_dict(read_order(json.dumps(shuffled)))) == [
        "Version",
        "ClientGuid",
        "OrderControlCode",
        "Site",
        "Camera",
        "Order",
        "Patient",
        "OrderingProvider",
    ]
