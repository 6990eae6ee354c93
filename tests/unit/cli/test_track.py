"""``clouddirect track`` and ``watch``, and ``events --once``."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import CANARY, FarSide, Run
from .test_process import POSIX, started

Write = Callable[[str, Any], Path]


@pytest.fixture
def tracking(far: FarSide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDDIRECT_TRACKING__ENABLED", "true")


@pytest.mark.usefixtures("tracking")
def test_orders_are_tracked_from_submission_to_grading(
    run: Run, far: FarSide, write: Write, order: Any, event: Any
) -> None:
    assert run("track").code == 3
    assert run("submit", write("order.json", order)).code == 0
    (first,) = run("track", "--json").lines
    assert (first["local_id"], first["stage"], first["asked"], first["overdue"]) == ("ORD-1", "submitted", "NW", None)
    refused = event | {"Success": False, "ErrorMessage": f"{CANARY} is unknown"}
    far.send("events", event | {"ResultObjectType": "OrderGradedEvent", "OrderLocalId": "ORD-2"}, refused)
    assert run("events", "--wait", "0").code == 0
    hidden = run("track", "--json")
    assert {one["local_id"]: one["stage"] for one in hidden.lines} == {"ORD-1": "refused", "ORD-2": "graded"}
    assert CANARY not in hidden.out + run("track").out
    assert CANARY in run("track", "ORD-1", "--show-patient-data").out
    assert [one["local_id"] for one in run("track", "ORD-2", "--json").lines] == ["ORD-2"]
    assert all(len(line) <= 80 for line in run("track").out.splitlines())


@pytest.mark.usefixtures("tracking")
def test_what_is_overdue_says_what_that_may_mean(
    run: Run, far: FarSide, write: Write, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("submit", write("order.json", order)).code == 0
    assert run("track", "--overdue").code == 3
    monkeypatch.setenv("CLOUDDIRECT_TRACKING__RECEIPT_WITHIN", "0.000001")
    ran = run("track", "--overdue")
    assert ran.code == 0
    assert "OVERDUE" in ran.out
    assert "is ClientGuid right" in ran.out


def test_without_tracking_it_says_how_to_switch_it_on(run: Run, far: FarSide) -> None:
    ran = run("track")
    assert ran.code == 2
    assert "[tracking]" in ran.err


@POSIX
@pytest.mark.usefixtures("tracking")
def test_watch_shows_changes_until_it_is_interrupted(
    run: Run, far: FarSide, write: Write, order: Any, event: Any
) -> None:
    assert run("submit", write("order.json", order)).code == 0
    with started("watch", "--json", "--every", "0.2") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["stage"] == "submitted"
        far.send("events", event)
        assert run("events", "--wait", "0").code == 0
        assert json.loads(process.stdout.readline())["stage"] == "created"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


@POSIX
@pytest.mark.usefixtures("tracking")
def test_watch_draws_a_table(run: Run, far: FarSide, write: Write, order: Any) -> None:
    assert run("submit", write("order.json", order)).code == 0
    with started("watch", "--every", "0.2") as process:
        far.broker.receive("results", 1, wait=2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert "ORD-1" in out
    assert err == ""


def test_events_once_passes_over_repeats(run: Run, far: FarSide, event: Any) -> None:
    far.send("events", event, event)
    assert len(run("events", "--json", "--once", "--wait", "0").lines) == 1
    far.send("events", event)
    assert run("events", "--json", "--once", "--wait", "0").code == 3
    assert far.take("events") == []


def test_nothing_is_told_as_such(run: Run, far: FarSide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDDIRECT_TRACKING__ENABLED", "true")
    for arguments, told in (
        ((), "no orders are known yet"), (("--overdue",), "nothing is overdue"), (("ORD-9",), "nothing is known of it"),
    ):  # fmt: skip
        shown = run("track", *arguments)
        assert (shown.code, shown.out, shown.err) == (3, "", f"{told}\n")
        assert run("track", *arguments, "--json").err == ""
