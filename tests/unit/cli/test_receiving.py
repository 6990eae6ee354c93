"""``clouddirect events`` and ``clouddirect results``, over the local provider."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from clouddirect.errors import UnavailableError

from .conftest import CANARY, FarSide, Run


def test_prints_events_in_their_documented_form_and_acknowledges_them(run: Run, far: FarSide, event: Any) -> None:
    far.send("events", event, event | {"ResultObjectType": "OrderTeleported", "Extra": 1})
    ran = run("events", "--json", "--show-patient-data", "--wait", "0")
    assert ran.code == 0, ran.err
    assert ran.lines == [event, event | {"ResultObjectType": "OrderTeleported", "Extra": 1}]
    assert far.take("events") == []


def test_events_are_masked_in_every_form_unless_asked(run: Run, far: FarSide, event: Any) -> None:
    refused = event | {"Success": False, "ErrorMessage": f"no image of {CANARY}"}
    for output in ((), ("--json",)):
        far.send("events", event, refused)
        hidden = run("events", "--wait", "0", *output)
        far.send("events", event, refused)
        shown = run("events", "--wait", "0", "--show-patient-data", *output)
        assert CANARY not in hidden.out + hidden.err
        assert f"no image of {CANARY}" in shown.out
        assert "ORD-1" in hidden.out


def test_an_event_is_a_row(run: Run, far: FarSide, event: Any) -> None:
    order = "c448bd5c-d70a-44f7-ab2e-7396c39813db"
    far.send(
        "events",
        event | {"OrderLocalId": order},
        event | {"Success": False, "ResultObjectType": "ReadyForGradingEvent"},
    )
    lines = run("events", "--wait", "0").out.splitlines()
    assert lines[0].split() == ["Time", "Event", "Order", "OK"]
    assert lines[1].split()[2:] == ["OrderCreationReceipt", order, "yes"]
    assert lines[2].split()[2:] == ["ReadyForGradingEvent", "ORD-1", "NO"]
    assert all(len(line) <= 80 for line in lines)


def test_nothing_in_time_has_an_exit_code_of_its_own(run: Run, far: FarSide, event: Any) -> None:
    for command in ("events", "results"):
        assert (run(command, "--wait", "0").code, run(command, "--wait", "0", "--json").out) == (3, "")
    far.send("events", event)
    assert run("events", "--wait", "0").code == 0


def test_max_leaves_the_rest_in_the_queue(run: Run, far: FarSide, event: Any) -> None:
    far.send("events", *[event | {"IrisOrderId": number} for number in range(5)])
    ran = run("events", "--json", "--max", "2")
    assert [line["IrisOrderId"] for line in ran.lines] == [0, 1]
    assert [one["IrisOrderId"] for one in far.take("events")] == [2, 3, 4]


def test_an_unreadable_event_is_put_aside_and_logged(run: Run, far: FarSide, event: Any) -> None:
    far.send("events", f'{{"{CANARY}'.encode(), event)
    ran = run("events", "--json", "--wait", "0")
    assert (ran.code, len(ran.lines)) == (0, 1)
    assert "dead-lettered" in ran.err
    assert CANARY not in ran.out + ran.err
    assert far.bodies("events/$dead") == [f'{{"{CANARY}'.encode()]


def test_what_cannot_be_printed_is_given_back(
    run: Run, far: FarSide, event: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.send("events", event)

    def fail(value: Any) -> None:
        raise UnavailableError("the output cannot be written", retryable=False)

    monkeypatch.setattr("clouddirect.cli.events.emit_json", fail)
    ran = run("events", "--json")
    assert ran.code == 1
    assert far.take("events", wait=1) == [event]


def test_a_result_is_saved_before_it_is_acknowledged(run: Run, far: FarSide, result: Any, tmp_path: Path) -> None:
    far.send("results", result)
    ran = run("results", "--json", "--wait", "0", "--save-to", "reports", "--show-patient-data")
    assert ran.code == 0, ran.err
    report = Path("reports", "ORD-1.pdf")
    assert ran.lines == [result | {"saved": {"report": str(report), "raw": None}}]
    assert report.read_bytes() == base64.b64decode(result["ResultsDocument"]["Content"])
    if os.name != "nt":
        assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert sorted(path.name for path in Path("reports").iterdir()) == ["ORD-1.pdf"]
    assert far.take("results") == []


def test_raw_saves_the_message_as_it_came(run: Run, far: FarSide, result: Any) -> None:
    body = json.dumps(result, indent=7).encode("utf-8-sig")
    far.send("results", body)
    ran = run("results", "--json", "--wait", "0", "--save-to", "reports", "--raw")
    assert ran.lines[0]["saved"] == {"report": str(Path("reports/ORD-1.pdf")), "raw": str(Path("reports/ORD-1.json"))}
    assert Path("reports/ORD-1.json").read_bytes() == body
    assert run("results", "--raw").code == 2


def test_a_report_that_cannot_be_saved_keeps_its_result_in_the_queue(run: Run, far: FarSide, result: Any) -> None:
    Path("reports").write_bytes(b"in the way")
    far.send("results", result)
    assert run("results", "--wait", "0", "--save-to", "reports").code == 2
    ran = run("results", "--wait", "0", "--save-to", "reports/deeper")
    assert (ran.code, ran.out) == (1, "")
    assert "cannot be saved" in ran.err
    assert far.take("results", wait=1) == [result]


def test_a_report_that_cannot_be_decoded_is_put_aside(run: Run, far: FarSide, result: Any) -> None:
    broken = result | {"ResultsDocument": {"Type": "PDF", "Encoding": "Base64", "Content": f"{CANARY}!"}}
    far.send("results", broken, result)
    ran = run("results", "--json", "--wait", "0", "--save-to", "reports")
    assert ran.code == 1
    assert len(ran.lines) == 1
    assert "is not valid Base64" in ran.err
    assert CANARY not in ran.out + ran.err
    assert far.take("results/$dead") == [broken]


def test_a_result_without_a_report_is_printed(run: Run, far: FarSide, result: Any) -> None:
    del result["ResultsDocument"]
    far.send("results", result)
    ran = run("results", "--json", "--wait", "0", "--save-to", "reports")
    assert ran.lines[0]["saved"] == {"report": None, "raw": None}


def test_results_are_masked_in_every_form_unless_asked(run: Run, far: FarSide, result: Any) -> None:
    for output in ((), ("--json",)):
        far.send("results", result)
        hidden = run("results", "--wait", "0", "--save-to", "reports", *output)
        assert hidden.code == 0
        far.send("results", result)
        shown = run("results", "--wait", "0", "--show-patient-data", *output)
        assert CANARY not in hidden.out + hidden.err
        assert CANARY in shown.out
        assert "Mild" in shown.out


def test_a_result_is_a_row(run: Run, far: FarSide, result: Any) -> None:
    failed = {"TransactionId": result["TransactionId"], "ResultCode": "F", "Success": False, "ErrorMessage": CANARY}
    far.send("results", result, failed | {"Order": {"LocalId": "ORD-2"}})
    lines = run("results", "--wait", "0").out.splitlines()
    assert lines[0].split() == ["Time", "Order", "Code", "OD", "OS"]
    assert lines[1].split()[2:] == ["ORD-1", "F", "gradable", "ungradable"]
    assert lines[2].split() == ["ORD-2", "F", "missing", "missing"]
    assert "failed" in lines[3]


@pytest.mark.parametrize("options", [("--wait", "-1"), ("--max", "0"), ("--wait", "soon")])
def test_impossible_limits_are_wrong_use(run: Run, far: FarSide, options: tuple[str, ...]) -> None:
    assert run("events", *options).code == 2


def test_verbose_logs_ids_and_no_patient_data(run: Run, far: FarSide, event: Any) -> None:
    far.send("events", event)
    ran = run("-vv", "events", "--json", "--wait", "0", "--show-patient-data")
    assert len(ran.lines) == 1
    assert "received message" in ran.err
    assert "clouddirect.toml" in ran.err
    assert CANARY not in ran.err
