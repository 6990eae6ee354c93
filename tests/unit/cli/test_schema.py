"""``clouddirect schema``."""

from __future__ import annotations

import json

import pytest

from clouddirect.orders.models import SCHEMA_NAMES

from .conftest import Run


def test_lists_the_names(run: Run) -> None:
    assert run("schema").out.split() == list(SCHEMA_NAMES)
    assert [line["name"] for line in run("schema", "--json").lines] == list(SCHEMA_NAMES)


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_prints_a_schema_and_as_one_line_with_json(run: Run, name: str) -> None:
    ran = run("schema", name)
    assert ran.code == 0
    assert json.loads(ran.out)["title"] == name
    assert run("schema", name, "--json").lines == [json.loads(ran.out)]


def test_an_unknown_name_is_wrong_use(run: Run) -> None:
    ran = run("schema", "order")
    assert ran.code == 2
    assert "order-request" in ran.err
