"""Message: what is refused for every broker, and what never shows."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from clouddirect.errors import InvalidMessageError
from clouddirect.messaging import Message, SendResult


def test_each_message_gets_an_id_of_its_own() -> None:
    assert len({Message(body=b"").id for _ in range(100)}) == 100


def test_repr_shows_neither_content_nor_labels() -> None:
    message = Message(
        body=b"MARLOWE", id="m-1", correlation_id="MRN77", subject="MARLOWE", attributes={"name": "MARLOWE"},
        ordering_key="MRN77", content_type="MARLOWE",
    )  # fmt: skip
    for text in (repr(message), str(message), repr(SendResult(message, "failed"))):
        assert "m-1" in text
        assert "MARLOWE" not in text
        assert "MRN77" not in text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("body", "text"), ("body", bytearray(b"x")), ("body", None), ("id", ""), ("id", None), ("correlation_id", ""),
        ("correlation_id", 5), ("subject", ""), ("content_type", b"x"), ("ordering_key", ""), ("attributes", {"": "x"}),
        ("attributes", {"x": 1}), ("attributes", {1: "x"}), ("attributes", None), ("attributes", [("a", "b")]),
        ("delay", -0.1), ("delay", float("nan")), ("delay", float("inf")), ("delay", "5"), ("time_to_live", 0),
        ("time_to_live", -1), ("time_to_live", float("nan")), ("time_to_live", float("inf")), ("time_to_live", "5"),
        ("subject", "\ud800"), ("id", "a\udfffb"), ("attributes", {"k": "\ud800"}), ("attributes", {"\ud800": "v"}),
    ],
)  # fmt: skip
def test_malformed_fields_are_refused_by_name(field: str, value: Any) -> None:
    values: dict[str, Any] = {"body": b"", field: value}
    with pytest.raises(InvalidMessageError, match=field):
        Message(**values).validate()


def test_an_error_names_the_field_and_not_its_value() -> None:
    with pytest.raises(InvalidMessageError) as caught:
        Message(body=b"", attributes={"MARLOWE": "MARLOWE\ud800"}).validate()
    assert "MARLOWE" not in str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        Message(body=b""), Message(body=b"\xff\x00", id="x" * 500, subject="ü", attributes={"k": "", "🙂": "\n\t\x00"}),
        Message(body=b"", delay=0, time_to_live=0.5, ordering_key="k"), Message(body=b"", delay=3.5),
    ],
)  # fmt: skip
def test_well_formed_messages_pass(message: Message) -> None:
    message.validate()


def test_messages_can_be_copied_and_pickled() -> None:
    message = Message(body=b"x", attributes={"a": "b"})
    assert pickle.loads(pickle.dumps(message)) == message
    assert copy.deepcopy(Message(body=b"", id="m")) == Message(body=b"", id="m")
    assert dataclasses.replace(message, subject="s").id == message.id
