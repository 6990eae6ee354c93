"""The table tells what is lost: a table that could not would be worth nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clouddirect.orders.models import Event, OrderResult
from faults.rehearsal import Figures, Program, platform
from faults.table import ROWS, Cell, as_json, as_markdown
from faults.verdict import broken_promises

TESTS = Path(__file__).parents[1]
GOOD = Figures(orders=4, receipts=2, results=4, messages=24, shown=Counter(ThrottledError=1))


@pytest.mark.parametrize(
    ("fault", "wrong", "told"),
    [
        ("broker_throttles", {"missing": 1}, "1 messages or results were never handled"),
        ("broker_throttles", {"given_up": 1}, "an order was not confirmed even when the fault was over"),
        ("broker_throttles", {"results": 3}, "of 4 orders only 3 have their result"),
        ("broker_throttles", {"twice": 1}, "1 messages were handled twice"),
        ("broker_throttles", {"messages": 27}, "the platform sent 27 messages about 4 orders, not 6 about each"),
        ("store_throttles", {"messages_again": 2}, "0 orders and 2 messages came again, and nothing explains it"),
        ("store_throttles", {"orders_again": 1}, "1 orders and 0 messages came again, and nothing explains it"),
        ("broker_throttles", {"run_errors": Counter(UnavailableError=1)},
         "the caller saw ['ThrottledError', 'UnavailableError'], not only ['ThrottledError']"),
        ("broker_throttles", {"shown": Counter()}, "no error told the caller of the fault"),
        ("broker_throttles", {"not_retryable": Counter(ThrottledError=1)},
         "['ThrottledError'] say the wrong thing of whether to try again"),
        ("broker_revoked", {"shown": Counter(AuthenticationError=1)},
         "['AuthenticationError'] say the wrong thing of whether to try again"),
        ("broker_throttles", {"longest": 100.0}, "submit took 100 s"),
    ],
)  # fmt: skip
def test_each_broken_promise_is_told(fault: str, wrong: dict[str, Any], told: str) -> None:
    assert broken_promises("broker_throttles", GOOD) == []
    figures = replace(GOOD, **wrong)
    assert broken_promises(fault, figures) == [told]
    cell = Cell(fault, "azure", figures, [told])
    assert f"**BROKEN: {told}**" in as_markdown([cell])
    assert json.loads(as_json(cell))["broken"] == [told]


class Forgetful(Program):
    """Acknowledges events without handling them."""

    def _on_event(self, event: Event) -> None:
        pass


class Careless(Program):
    """Acknowledges results without saving them."""

    def _on_result(self, result: OrderResult) -> None:
        pass


class Hasty(Program):
    """Does the work twice."""

    def _on_event(self, event: Event) -> None:
        super()._on_event(event)
        super()._on_event(event)


@pytest.mark.parametrize(
    ("kind", "missing", "twice"), [(Program, 0, 0), (Forgetful, 5, 0), (Careless, 2, 0), (Hasty, 0, 5)]
)
def test_a_loss_shows(kind: type[Program], missing: int, twice: int, tmp_path: Path) -> None:
    with platform("local", tmp_path / "platform") as at, kind(at, tmp_path) as program:
        local_id = program.submit()
        at.wait_for_the_result(local_id, 30)
        program.wait_for_all(1.0 if missing else 30.0)
        figures = program.settle()
    assert (figures.missing, figures.twice) == (missing, twice)
    assert bool(broken_promises("nothing", figures)) is bool(missing or twice)


def test_the_command_writes_the_table() -> None:
    command = [sys.executable, "-m", "faults", "--provider", "local", "--fault", "nothing", "broker_away"]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert [row.split(" | ")[:3] for row in rows[2:]] == [
        [f"| {ROWS['nothing']}", "local", "4"], [f"| {ROWS['broker_away']}", "local", "4"],
    ]  # fmt: skip
    assert "UnavailableError" in rows[3]
