"""``clouddirect demo`` and ``clouddirect sandbox``."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clouddirect import open_store, plugins

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
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, encoding="utf-8", timeout=60)
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


@POSIX
def test_published_samples_go_through_from_submit_to_report(run: Run, far: FarSide, shared: Path) -> None:
    samples = shared / "domain" / "samples"
    sample = json.loads((samples / "order-new.json").read_text(encoding="utf-8"))
    named = sample["Camera"]["Images"][0]["AzureBlobStorage"]
    settings = Path("clouddirect.toml")
    text = re.sub('client_guid = ".*"', f'client_guid = "{sample["ClientGuid"]}"', settings.read_text(encoding="utf-8"))
    text = text.replace("stage_delay = 0.5", "stage_delay = 0")
    text = text.replace('container = "images"', f'container = "images"\nwire_container = "{named["Container"]}"')
    settings.write_text(text, encoding="utf-8")
    with open_store("local", path=far.files, container="images", create=True) as store:
        store.put(named["FileName"], samples / "images" / "secondary-capture.dcm")
    images = [
        f"{samples / 'images' / name}:{eye}"
        for name, eye in (("fundus-color.jpg", "OD"), ("secondary-capture.dcm", "OS"))
    ]
    with started("sandbox", "--json") as process:
        sent = run("submit", "--force", samples / "order-new.json", "--image", images[0], "--image", images[1])
        assert sent.code == 0, sent.err
        received = run(
            "results", "--json", "--show-patient-data", "--max", "1", "--save-to", "reports", "--raw", "--wait", "60"
        )
        assert received.code == 0, received.err
        assert (
            run("submit", "--force", samples / "order-cancel.json").code == 0
        )  # matches no open order any more: silence
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    (result,) = received.lines
    assert result["Patient"]["Name"] == sample["Patient"]["Name"]
    assert result["ImageDetails"]["TotalCount"] == 3
    assert Path("reports/ORD1234.pdf").read_bytes().startswith(b"%PDF")
    events = run("events", "--json", "--wait", "0").lines
    assert [event["ResultObjectType"] for event in events].count("ImageReceipt") == 3
    assert run("inspect", "reports/ORD1234.json").code == 0
