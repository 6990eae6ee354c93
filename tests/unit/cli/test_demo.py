"""``clouddirect demo`` and ``clouddirect sandbox``."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clouddirect import plugins

from .conftest import CANARY, FarSide, Run
from .test_process import POSIX, started


def test_the_demo_shows_three_orders_and_leaves_their_files(run: Run, tmp_path: Path) -> None:
    ran = run("demo", "--json", "--dir", "rehearsal")
    assert ran.code == 0, ran.err
    *steps, last = ran.lines
    assert [list(step) for step in steps] == [["order", "at", "stage", "detail", "ok"]] * len(steps)
    outcomes = [order["outcome"] for order in last["orders"]]
    assert outcomes == ["graded", "graded", "refused"]
    assert Path(last["directory"]) == tmp_path / "rehearsal"
    for order in last["orders"]:
        stages = [step["stage"] for step in steps if step["order"] == order["local_id"]]
        assert "OrderCreationReceipt" in stages
        assert any(path.name == "order.json" for path in Path(order["directory"]).iterdir())
        if order["outcome"] == "graded":
            assert "OrderGradedEvent" in stages
            assert Path(order["report"]).read_bytes().startswith(b"%PDF")


def test_the_demo_tells_people_where_the_files_are(run: Run, tmp_path: Path) -> None:
    ran = run("demo")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[-1] == f"The files of these orders are in {tmp_path / 'clouddirect-demo'}"
    assert "refused" in ran.out
    assert all(len(line) <= 80 for line in ran.out.splitlines()[:-1])


def test_the_demo_on_another_provider_needs_settings(run: Run) -> None:
    ran = run("demo", "--provider", "nobody")
    assert ran.code == 2
    assert "no installed provider" in ran.err


def test_the_demo_on_another_provider_takes_no_settings_of_a_third(run: Run, far: FarSide, monkeypatch: Any) -> None:
    monkeypatch.setattr(plugins, "load_provider", lambda name: None)
    ran = run("demo", "--provider", "acme")
    assert ran.code == 2
    assert "'local', not 'acme'" in ran.err
    Path("clouddirect.toml").unlink()
    assert "clouddirect init" in run("demo", "--provider", "acme").err


def test_a_place_that_cannot_be_written_to_is_named(run: Run) -> None:
    Path("file").write_bytes(b"")
    ran = run("demo", "--dir", "file/deeper")
    assert ran.code == 2
    assert "--dir" in ran.err


@pytest.mark.parametrize("command", ["demo", "sandbox"])
def test_without_the_extra_the_pip_command_is_told(far: FarSide, command: str) -> None:
    source = (
        "import sys\nfor name in ('PIL', 'fpdf', 'numpy', 'pydicom'):\n    sys.modules[name] = None\n"
        f"sys.argv = ['clouddirect', {command!r}]\nfrom clouddirect.cli import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert "pip install 'clouddirect[sandbox]'" in done.stderr


@POSIX
def test_the_sandbox_plays_the_other_side_until_ctrl_c(run: Run, far: FarSide, order: Any) -> None:
    settings = Path("clouddirect.toml").read_text(encoding="utf-8").replace("stage_delay = 0.5", "stage_delay = 0")
    Path("clouddirect.toml").write_text(settings, encoding="utf-8")
    assert run("demo", "--dir", "rehearsal").code == 0  # its pictures can be graded
    picture = next(Path("rehearsal").rglob("OD.jpg"))
    del order["ClientGuid"]
    with started("sandbox", "--json") as process:
        sent = run("submit", "-", "--image", f"{picture}:OD", stdin=json.dumps(order).encode())
        assert sent.code == 0, sent.err
        results = run("results", "--json", "--max", "1", "--save-to", "reports", "--wait", "60")
        assert results.code == 0, results.err
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert Path("reports/ORD-1.pdf").read_bytes().startswith(b"%PDF")
    lines = [json.loads(line) for line in out.splitlines()]
    assert {line["kind"] for line in lines} == {"event", "order-result"}
    assert CANARY not in out + err + results.out
    events = run("events", "--json", "--wait", "0").lines
    assert [line["message"] for line in lines if line["kind"] == "event"] == events
    assert events[0]["ResultObjectType"] == "OrderCreationReceipt"
    assert far.take("orders") == []


@POSIX
def test_the_sandbox_tells_people_what_it_does(run: Run, far: FarSide, order: Any) -> None:
    order["Camera"] = {
        "Images": [{"Laterality": "OD", "AzureBlobStorage": {"Container": "elsewhere", "FileName": "x"}}]
    }
    del order["ClientGuid"]
    assert run("submit", "-", stdin=json.dumps(order).encode()).code == 0
    with started("sandbox") as process:
        assert process.stdout is not None
        assert process.stdout.readline().split() == ["Time", "Event", "Order", "OK"]
        assert "ORD-1" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Ctrl-C ends it" in err
    assert CANARY not in out + err
