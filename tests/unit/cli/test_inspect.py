"""``clouddirect inspect``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from clouddirect.cli import cli

from .conftest import CANARY, GUID, Run

Write = Callable[[str, Any], Path]
KEYS = ["file", "kind", "valid", "problems", "message"]


def test_tells_the_kind_of_each_file(run: Run, write: Write, order: Any, event: Any, result: Any) -> None:
    grading = {"Version": "2.3.1", "ClientGuid": GUID, "LocalId": "ORD-1", "OD": {"Gradable": True}}
    kinds = {"order-request": order, "event": event, "order-result": result, "grading-submission": grading}
    paths = [write(f"{kind}.json", message) for kind, message in kinds.items()]
    ran = run("inspect", "--json", *paths)
    assert ran.code == 0
    assert [line["kind"] for line in ran.lines] == list(kinds)
    assert [line["file"] for line in ran.lines] == [str(path) for path in paths]
    assert all(line["valid"] is True and line["problems"] == [] for line in ran.lines)
    assert all(list(line) == KEYS for line in ran.lines)


def test_masks_patient_data_unless_asked(run: Run, write: Write, order: Any, event: Any, result: Any) -> None:
    paths = [write(f"{number}.json", message) for number, message in enumerate((order, event, result))]
    for output in ((), ("--json",)):
        hidden, shown = run("inspect", *output, *paths), run("inspect", "--show-patient-data", *output, *paths)
        assert CANARY not in hidden.out + hidden.err
        assert CANARY in shown.out
    assert run("inspect", "--json", "--show-patient-data", paths[0]).lines[0]["message"] == order


def test_names_every_problem_by_its_path(run: Run, write: Write, order: Any) -> None:
    del order["Patient"]["Name"]["Last"], order["Site"]
    path = write("order.json", order)
    ran = run("inspect", "--json", path)
    assert ran.code == 1
    assert ran.lines[0]["valid"] is False
    assert {"Patient.Name.Last", "Site.LocalId"} <= {problem["path"] for problem in ran.lines[0]["problems"]}
    assert all(set(problem) == {"path", "message"} for problem in ran.lines[0]["problems"])
    text = run("inspect", path)
    assert text.code == 1
    assert "Patient.Name.Last" in text.out


def test_a_warning_is_told_on_stderr_and_leaves_the_message_valid(run: Run, write: Write) -> None:
    path = write(
        "cancel.json", {"OrderControlCode": "CA", "Version": "2.3.1", "ClientGuid": GUID, "Order": {"LocalId": "1"}}
    )
    ran = run("inspect", "--json", path)
    assert (ran.code, ran.lines[0]["valid"], ran.lines[0]["problems"]) == (0, True, [])
    assert "Site.LocalId" in ran.err
    assert "warning" in run("inspect", path).out


def test_an_event_of_an_unknown_kind_is_a_valid_event(run: Run, write: Write, event: Any) -> None:
    path = write("event.json", event | {"ResultObjectType": "OrderTeleported", "Whither": CANARY})
    ran = run("inspect", "--json", path)
    assert (ran.code, ran.lines[0]["kind"], ran.lines[0]["valid"]) == (0, "event", True)
    assert ran.lines[0]["message"]["ResultObjectType"] == "OrderTeleported"
    assert CANARY not in ran.out
    assert run("inspect", "--json", "--show-patient-data", path).lines[0]["message"]["Whither"] == CANARY


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe\x00",
        b"null",
        b'{"Patient": "Canarysson"} {}',
        b'[{"ResultObjectType": "Canarysson"}]',
    ],
)
def test_what_is_no_message_is_unknown_and_not_valid(run: Run, body: bytes) -> None:
    ran = run("inspect", "--json", "-", stdin=body)
    assert ran.code == 1
    (line,) = ran.lines
    assert (line["file"], line["kind"], line["valid"], line["message"]) == ("-", "unknown", False, None)
    assert line["problems"]
    assert CANARY not in ran.out + ran.err


def test_an_object_of_no_known_kind_is_masked_as_a_whole(run: Run, write: Write) -> None:
    path = write("other.json", {"Name": CANARY, "More": {"Deep": CANARY}})
    ran = run("inspect", "--json", path)
    assert (ran.code, ran.lines[0]["kind"], ran.lines[0]["valid"]) == (1, "unknown", False)
    assert CANARY not in ran.out + ran.err


def test_reads_what_real_messages_look_like_and_prints_the_documented_form(run: Run, event: Any) -> None:
    camel = {key[0].lower() + key[1:]: value for key, value in event.items()} | {
        "ErrorMessage": "",
        "version": "V2.3.1",
    }
    body = json.dumps(json.dumps(camel)).encode("utf-8-sig")
    ran = run("inspect", "--json", "--show-patient-data", "-", stdin=body)
    assert ran.code == 0
    assert ran.lines[0]["message"] == event


def test_one_bad_file_among_good_ones_makes_the_exit_code_1(run: Run, write: Write, event: Any) -> None:
    ran = run("inspect", "--json", write("good.json", event), write("bad.json", {}), write("again.json", event))
    assert ran.code == 1
    assert [line["valid"] for line in ran.lines] == [True, False, True]


@pytest.mark.parametrize("missing", ["nowhere.json", "."])
def test_a_file_that_is_none_is_wrong_use_and_named(run: Run, write: Write, event: Any, missing: str) -> None:
    ran = run("inspect", write("good.json", event), missing)
    assert (ran.code, ran.out) == (2, "")
    assert f"'{missing}'" in ran.err


def test_no_file_is_wrong_use(run: Run) -> None:
    assert run("inspect").code == 2


def test_a_terminal_is_not_obeyed_to(run: Run, write: Write, event: Any) -> None:
    path = write("event.json", event | {"ResultObjectType": None, "\x1b[2J": 1})
    assert "\x1b" not in run("inspect", path).out + run("inspect", "--json", path).out


KEYS_OF_MESSAGES = ["Order", "Patient", "LocalId", "OD", "ResultObjectType", "OrderControlCode", "x"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS_OF_MESSAGES), inner, max_size=4),
    max_leaves=8,
)


@given(st.binary() | VALUES.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_gives_one_line_and_a_documented_exit_code(body: bytes) -> None:
    done = CliRunner().invoke(cli, ["inspect", "--json", "-"], input=body)
    assert done.exit_code in (0, 1)
    (line,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert list(line) == KEYS
    assert line["valid"] is (done.exit_code == 0)


def test_published_samples_are_valid(run: Run, shared: Path) -> None:
    ran = run("inspect", "--json", *sorted((shared / "domain" / "samples").glob("*.json")))
    assert ran.code == 0
    assert [line["kind"] for line in ran.lines] == [
        "event", "event", "grading-submission", "order-request", "order-request",
    ]  # fmt: skip
