"""``clouddirect submit --csv``, over the local provider."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clouddirect.orders.client import CloudDirect

from .conftest import CANARY, GUID, FarSide, Run

ROW = {
    "Version": "2.3.1", "ClientGuid": GUID, "OrderControlCode": "NW", "SiteLocalId": "SITE1", "OrderLocalId": "ORD-1",
    "EvaluationType": "DR", "PatientLocalId": f"{CANARY}-MRN", "PatientFirstName": f"{CANARY} Jane",
    "PatientLastName": CANARY, "PatientDob": "12/1/1961", "PatientBirthGender": "F",
}  # fmt: skip


def row(number: int, **cells: str) -> dict[str, str]:
    return ROW | {"OrderLocalId": f"ORD-{number}", "PatientLocalId": f"{CANARY}-{number}"} | cells


@pytest.fixture
def save(tmp_path: Path) -> Any:
    def write(*rows: dict[str, str], name: str = "orders.csv", delimiter: str = ",") -> Path:
        path = tmp_path / name
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


def test_each_row_is_sent_and_told(run: Run, far: FarSide, save: Any) -> None:
    path = save(row(1), row(2, OrderLocalId=""))
    ran = run("submit", "--csv", path)
    assert ran.code == 0, ran.err
    assert ran.err == ""
    assert CANARY not in ran.out
    orders = far.take("orders")
    assert [order["Patient"]["LocalId"] for order in orders] == [f"{CANARY}-1", f"{CANARY}-2"]
    for order in orders:
        assert order["Order"]["LocalId"] in ran.out


def test_a_json_line_for_each_row_and_again_when_it_was_sent_before(run: Run, far: FarSide, save: Any) -> None:
    path = save(row(1), row(2))
    first = run("submit", "--csv", path, "--json")
    assert first.code == 0, first.err
    (one, two) = far.broker.receive("orders", 2)
    assert first.lines == [
        {
            "file": str(path), "line": line, "local_id": f"ORD-{line - 1}", "message_id": delivery.message.id,
            "waiting": False, "sent_before": False, "warnings": [],
        }
        for line, delivery in ((2, one), (3, two))
    ]  # fmt: skip
    again = run("submit", "--csv", path, "--json")
    assert again.lines == [line | {"sent_before": True} for line in first.lines]
    table = run("submit", "--csv", path)
    assert (again.code, table.code) == (0, 0)
    assert "sent by an earlier run" in table.out
    far.broker.ack_many([one, two])
    assert far.take("orders") == []


def test_problems_are_told_by_line_and_column_and_nothing_is_sent(run: Run, far: FarSide, save: Any) -> None:
    path = save(row(1), row(2, PatientDob=f"{CANARY} 1"), row(3, PatientLastName=""), row(1))
    for form in ((), ("--json",)):
        ran = run("submit", "--csv", path, "--force", *form)
        assert (ran.code, ran.out) == (2, "")
        for place in ("line 3, PatientDob: is not a date", "line 4, PatientLastName: is required",
                      "line 5, OrderLocalId: is that of line 2"):  # fmt: skip
            assert f"{path}: {place}" in ran.err
        assert "nothing was sent" in ran.err
        assert CANARY not in ran.err
    assert far.take("orders") == []
    assert not Path(f"{path}.progress").exists()


def test_warnings_need_force(run: Run, far: FarSide, save: Any) -> None:
    path = save(row(1), row(2) | {"PatientBirthGender": "?"})
    ran = run("submit", "--csv", path)
    assert (ran.code, ran.out) == (2, "")
    assert "line 3, PatientBirthGender: is not a code" in ran.err
    assert "--force" in ran.err
    assert far.take("orders") == []
    ran = run("submit", "--csv", path, "--force", "--json")
    assert ran.code == 0, ran.err
    assert [line["warnings"] for line in ran.lines] == [
        [], [{"path": "PatientBirthGender", "message": "is not a code of the published list"}],
    ]  # fmt: skip
    assert len(far.take("orders")) == 2
    again = save(row(1) | {"PatientBirthGender": "?"}, name="again.csv")
    assert "warning: PatientBirthGender: is not a code" in run("submit", "--csv", again, "--force").out


def test_of_very_many_problems_the_rest_is_counted(run: Run, far: FarSide, save: Any) -> None:
    ran = run("submit", "--csv", save(*[row(number, PatientDob="never") for number in range(1003)]))
    assert ran.code == 2
    assert ran.err.splitlines()[-1].strip() == "and 3 more"
    assert len(ran.err.splitlines()) == 1002


def test_a_dry_run_checks_and_sends_nothing(run: Run, far: FarSide, save: Any) -> None:
    path = save(row(1), row(2, OrderLocalId=""))
    ran = run("submit", "--csv", path, "--dry-run", "--json")
    assert ran.code == 0, ran.err
    assert [(line["local_id"], line["message_id"]) for line in ran.lines] == [("ORD-1", None), (None, None)]
    assert "not sent" in run("submit", "--csv", path, "--dry-run").out
    assert run("submit", "--csv", save(row(1, PatientDob="never"), name="bad.csv"), "--dry-run").code == 2
    assert far.take("orders") == []
    assert not Path(f"{path}.progress").exists()


def test_mapping_delimiter_and_progress_are_taken(run: Run, far: FarSide, save: Any, tmp_path: Path) -> None:
    path = save({"MRN": "7", "Sex": "female", "Remarks, free; as you like": "x"} | {
        name: text for name, text in row(1).items() if name not in ("PatientLocalId", "PatientBirthGender", "Version")
    }, delimiter="\t")  # fmt: skip
    mapping, progress = tmp_path / "mapping.toml", tmp_path / "kept"
    mapping.write_text(
        'ignore = ["Remarks, free; as you like"]\n[columns]\nPatientLocalId = "MRN"\nPatientBirthGender = "Sex"\n'
        '[constants]\nVersion = "2.3.1"\n[values.PatientBirthGender]\nFemale = "F"\n'
    )
    options = ("--mapping", mapping, "--delimiter", "tab", "--progress", progress)
    ran = run("submit", "--csv", path, *options)
    assert ran.code == 0, ran.err
    (order,) = far.take("orders")
    assert (order["Patient"]["LocalId"], order["Patient"]["Genders"][0]["Gender"]) == ("7", "F")
    assert progress.exists()
    assert not Path(f"{path}.progress").exists()
    mapping.write_text("[columns]\nPatientDOBirth = 'x'\n")
    ran = run("submit", "--csv", path, *options)
    assert ran.code == 2
    assert "did you mean PatientDob?" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("orders.csv", "--csv", "orders.csv"), "--csv does not go with FILE"),
        (("--csv", "orders.csv", "--image", "right.jpg:OD"), "--csv does not go with --image"),
        (("--csv", "nowhere.csv"), "does not exist"),
        (("--csv", "-"), "does not exist"),
        (("--csv", "orders.csv", "--mapping", "nowhere.toml"), "does not exist"),
        (("--csv", "orders.csv", "--delimiter", "|"), "'|' is not one of"),
        (("orders.csv", "--mapping", "orders.csv"), "--mapping goes with --csv"),
        (("orders.csv", "--progress", "p"), "--progress goes with --csv"),
        (("orders.csv", "--delimiter", "tab"), "--delimiter goes with --csv"),
        ((), "name the files to send"),
    ],
)
def test_wrong_use(run: Run, far: FarSide, save: Any, arguments: tuple[str, ...], said: str) -> None:
    save(row(1))
    Path("right.jpg").write_bytes(b"\xff\xd8")
    ran = run("submit", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert far.take("orders") == []


def test_a_failure_tells_the_line_and_how_to_go_on(
    run: Run, far: FarSide, save: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDDIRECT_ENDPOINTS__ORDERS__MAX_MESSAGE_BYTES", "1000")
    path = save(row(1, OrderAdditionalInfo=""), row(2, OrderAdditionalInfo="x" * 2000), row(3, OrderAdditionalInfo=""))
    ran = run("submit", "--csv", path, "--json")
    assert ran.code == 1
    assert [line["local_id"] for line in ran.lines] == ["ORD-1"]
    assert "line 3" in ran.err
    assert "1 of 3 rows were sent before it" in ran.err
    monkeypatch.delenv("CLOUDDIRECT_ENDPOINTS__ORDERS__MAX_MESSAGE_BYTES")
    ran = run("submit", "--csv", path, "--json")
    assert [(line["local_id"], line["sent_before"]) for line in ran.lines] == [
        ("ORD-1", True), ("ORD-2", False), ("ORD-3", False),
    ]  # fmt: skip
    assert [order["Order"]["LocalId"] for order in far.take("orders")] == ["ORD-1", "ORD-2", "ORD-3"]


def test_no_progress_file_in_place_of_another_file(run: Run, far: FarSide, save: Any) -> None:
    path = save(row(1))
    ran = run("submit", "--csv", path, "--progress", path)
    assert ran.code == 2
    assert "progress file" in ran.err
    assert far.take("orders") == []


def test_ctrl_c_tells_how_to_go_on(run: Run, far: FarSide, save: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = CloudDirect.submit

    def interrupted(client: CloudDirect, order: Any, **options: Any) -> Any:
        if order.order_local_id == "ORD-2":
            raise KeyboardInterrupt
        return submit(client, order, **options)

    monkeypatch.setattr(CloudDirect, "submit", interrupted)
    path = save(row(1), row(2), row(3))
    ran = run("submit", "--csv", path)
    assert ran.code == 1
    assert "run the same command again" in ran.err
    monkeypatch.setattr(CloudDirect, "submit", submit)
    assert run("submit", "--csv", path).code == 0
    assert [order["Order"]["LocalId"] for order in far.take("orders")] == ["ORD-1", "ORD-2", "ORD-3"]


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process in another way")
def test_the_command_killed_and_run_again(far: FarSide, save: Any) -> None:
    path = save(*[row(number) for number in range(60)])
    command = [sys.executable, "-m", "clouddirect", "submit", "--json", "--csv", str(path)]
    seen = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        for line in process.stdout:
            seen.append(json.loads(line))
            if len(seen) == 10:
                process.send_signal(signal.SIGKILL)
                break
        with contextlib.suppress(json.JSONDecodeError):  # a line may be cut
            seen += [json.loads(line) for line in process.stdout]
    assert process.returncode == -signal.SIGKILL
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=120)
    rest = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["line"] for line in rest] == list(range(2, 62))
    assert [line["message_id"] for line in rest[: len(seen)]] == [line["message_id"] for line in seen]
    assert sum(line["sent_before"] for line in rest) >= 10
    assert sorted(order["Order"]["LocalId"] for order in far.take("orders")) == sorted(f"ORD-{n}" for n in range(60))
