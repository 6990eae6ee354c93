"""``clouddirect results``: names of the files, and the table."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from .conftest import CANARY, FarSide, Run


def test_files_are_named_by_the_template(run: Run, far: FarSide, result: Any) -> None:
    far.send("results", result)
    ran = run("results", "--json", "--wait", "0", "--save-to", "out", "--raw", "--name", "day/{orderLocalId}")
    assert (ran.code, ran.err) == (0, "")
    saved = ran.lines[0]["saved"]
    assert {name: Path(path).parts for name, path in saved.items()} == {
        "report": ("out", "day", "ORD-1.pdf"),
        "raw": ("out", "day", "ORD-1.json"),
    }
    far.send("results", result | {"ResultCode": "C"})
    again = run(
        "results", "--json", "--wait", "0", "--save-to", "out", "--raw", "--name", "day/{orderLocalId}", "--replace"
    )
    assert again.lines[0]["saved"] == saved


def test_a_result_without_what_the_name_needs_is_put_aside(run: Run, far: FarSide, result: Any) -> None:
    far.send("results", result)
    ran = run("results", "--json", "--wait", "0", "--save-to", "out", "--name", "{departmentLocalId}")
    assert (ran.code, ran.out) == (1, "")
    assert "{departmentLocalId}" in ran.err
    assert CANARY not in ran.err
    assert far.take("results/$dead") == [result]


@pytest.mark.parametrize("options", [("--name", "{dd}"), ("--replace",), ("--save-to", "out", "--name", "{day}")])
def test_wrong_use(run: Run, far: FarSide, result: Any, options: tuple[str, ...]) -> None:
    far.send("results", result)
    ran = run("results", *options)
    assert ran.code == 2
    assert far.take("results") == [result]


def test_the_table_gets_a_row_for_each_result(run: Run, far: FarSide, result: Any) -> None:
    far.send("results", result, result)
    assert run("results", "--wait", "0", "--csv", "results.csv").code == 0
    with open("results.csv", newline="", encoding="utf-8") as file:
        assert [row["Order Id"] for row in csv.DictReader(file)] == ["ORD-1", "ORD-1"]
