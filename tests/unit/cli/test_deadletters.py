"""``clouddirect deadletters``, and ``--from-dead-letters`` of ``events`` and ``results``."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clouddirect import Message
from clouddirect.messaging import DEAD_LETTER_REASON, Quarantine

from .conftest import CANARY, FarSide, Ran, Run


@pytest.fixture
def far(far: FarSide, tmp_path: Path) -> FarSide:
    """The other side, with a data directory of the test's own, and orders that can be looked at."""
    settings = Path("clouddirect.toml")
    text = settings.read_text(encoding="utf-8")
    path = json.dumps(str(tmp_path / "clouddirect-data" / "queues.db"))
    looking = f'[endpoints.orders]\ndead_letter_receive = {{ path = {path}, access = "receive", create = true }}'
    text = text.replace("[endpoints.orders]", looking, 1)
    own = f"data_dir = {json.dumps(str(tmp_path / 'data'))}"
    settings.write_text(re.sub("data_dir = .*", lambda _: own, text, count=1), encoding="utf-8")
    return far


def bury(far: FarSide, queue: str, *values: Any) -> list[str]:
    """Make dead letters; returns their ids."""
    far.send(queue, *values)
    found = far.broker.receive(queue, 10)
    for delivery in found:
        delivery.dead_letter("unreadable", "no good")
    return [one.message.id for one in found]


def quarantined(tmp_path: Path, queue: str, value: Any, **attributes: str) -> Path:
    """Put a message into the quarantine, three days ago."""
    message = Message(body=json.dumps(value).encode(), id="q-1", attributes={DEAD_LETTER_REASON: "odd"} | attributes)
    at = datetime.now(UTC) - timedelta(days=3, hours=4, minutes=1)
    return Quarantine(tmp_path / "data" / "quarantine").put("local", queue, message, 4, at)


def listed(run: Run, *options: str) -> list[Any]:
    ran = run("deadletters", "list", "--json", *options)
    assert ran.code == 0, ran.err
    return ran.lines


def error(ran: Ran) -> str:
    """The error of a command with ``--json``: the last line on stderr."""
    return str(json.loads(ran.err.splitlines()[-1])["error"])


def test_list_shows_all_but_the_content(run: Run, far: FarSide, tmp_path: Path, result: Any, order: Any) -> None:
    (id,) = bury(far, "results", result)
    (ordered,) = bury(far, "orders", order)
    path = quarantined(tmp_path, "events", {"ResultObjectType": "OrderGradedEvent", "PatientLocalId": CANARY})
    ran = run("deadletters", "list")
    assert ran.code == 0
    for shown in (id, ordered, "q-1", path.stem, "unreadable", "no good", "odd", "3d 4h", "ORD-1", "results/$dead"):
        assert shown in ran.out, shown
    assert CANARY not in ran.out + ran.err
    assert "gradings not looked at" in ran.err
    assert "orders not looked at" not in ran.err
    first, second, third = listed(run)
    assert first["endpoint"] == "orders"
    assert second | {"at": None, "size": None} == {
        "endpoint": "results", "queue": "results/$dead", "id": id, "file": None, "at": None, "delivery_count": 1,
        "reason": "unreadable", "description": "no good", "kind": "order-result", "local_id": "ORD-1", "size": None,
    }  # fmt: skip
    assert third | {"at": None} == {
        "endpoint": "events", "queue": "quarantine", "id": "q-1", "file": path.stem, "at": None, "delivery_count": 4,
        "reason": "odd", "description": None, "kind": "event", "local_id": None, "size": third["size"],
    }  # fmt: skip
    assert [one["id"] for one in listed(run, "--from", "quarantine")] == ["q-1"]


def test_list_of_nothing(run: Run, far: FarSide) -> None:
    assert "no dead letters" in run("deadletters", "list").out
    assert listed(run) == []


def test_list_tells_of_a_limit(run: Run, far: FarSide) -> None:
    bury(far, "results", 1, 2, 3)
    ran = run("deadletters", "list", "--limit", "2", "--from", "results")
    assert (ran.code, ran.out.count("unreadable")) == (0, 2)
    assert "there may be more dead letters of results" in ran.err


def test_list_shows_what_it_can_and_fails_for_the_rest(run: Run, far: FarSide) -> None:
    (id,) = bury(far, "results", 1)
    settings = Path("clouddirect.toml")
    broken = settings.read_text(encoding="utf-8").replace("[endpoints.events]", "[endpoints.events]\nnonsense = 1", 1)
    settings.write_text(broken, encoding="utf-8")
    ran = run("deadletters", "list", "--json")
    assert ran.code == 1
    assert [line["id"] for line in ran.lines] == [id]
    assert "events:" in error(ran)
    assert "nonsense" in error(ran)


def test_show_masks_the_content(run: Run, far: FarSide, tmp_path: Path, result: Any) -> None:
    path = quarantined(tmp_path, "results", result, name=CANARY)
    for id in ("q-1", path.stem):
        ran = run("deadletters", "show", id)
        assert ran.code == 0, ran.err
        assert "ORD-1" in ran.out
        assert "odd" in ran.out
        assert CANARY not in ran.out + ran.err
        (shown,) = run("deadletters", "show", "--json", id).lines
        assert CANARY not in json.dumps(shown)
        assert shown["attributes"] == {DEAD_LETTER_REASON: "odd", "name": "***"}
        assert shown["message"]["Order"]["LocalId"] == "ORD-1"
        assert shown["body"] is None
    (shown,) = run("deadletters", "show", "--json", "--show-patient-data", "q-1").lines
    assert shown["message"]["Patient"]["LocalId"] == f"{CANARY}-MRN"
    assert shown["attributes"]["name"] == CANARY
    assert json.loads(base64.b64decode(shown["body"])) == result
    assert f"{CANARY}-MRN" in run("deadletters", "show", "--show-patient-data", "q-1").out
    assert path.exists()


def test_show_of_what_is_no_json(run: Run, far: FarSide) -> None:
    (id,) = bury(far, "results", f"Canary {CANARY}\x1b[31m".encode())
    ran = run("deadletters", "show", id)
    assert "problem" in ran.out
    assert "not JSON" in ran.out
    assert CANARY not in ran.out
    (shown,) = run("deadletters", "show", "--json", id).lines
    assert (shown["message"], shown["body"], shown["kind"]) == (None, None, "unknown")
    assert shown["problems"][0]["path"] == ""
    shown_whole = run("deadletters", "show", "--show-patient-data", id).out
    assert CANARY in shown_whole
    assert "\x1b" not in shown_whole


def test_an_id_that_is_not_there_fails_and_the_others_are_done(run: Run, far: FarSide) -> None:
    (id,) = bury(far, "orders", 1)
    for command in ("show", "replay", "discard"):
        ran = run("deadletters", command, "--json", "nobody", *([id] if command != "discard" else []))
        assert ran.code == 1
        assert len(ran.lines) == (command != "discard")
        assert "nobody: not found" in error(ran)


def test_replay_sends_under_a_new_id(run: Run, far: FarSide, order: Any) -> None:
    (id,) = bury(far, "orders", order)
    ran = run("deadletters", "replay", "--json", id)
    assert ran.code == 0, ran.err
    (line,) = ran.lines
    (sent,) = far.broker.receive("orders")
    assert line == {
        "id": id, "endpoint": "orders", "queue": "orders/$dead", "file": None, "new_id": sent.message.id, "error": None,
    }  # fmt: skip
    assert sent.message.id != id
    assert sent.message.attributes == {"ReplayOf": id}
    assert listed(run) == []


def test_replay_of_all_is_of_one_endpoint(run: Run, far: FarSide, order: Any) -> None:
    bury(far, "orders", order, order)
    assert run("deadletters", "replay", "--all").code == 2
    assert run("deadletters", "replay").code == 2
    assert run("deadletters", "replay", "--all", "--from", "orders", "x").code == 2
    ran = run("deadletters", "replay", "--all", "--from", "orders")
    assert (ran.code, ran.out.count("replayed")) == (0, 2)
    assert far.take("orders") == [order, order]
    assert "nothing was replayed" in run("deadletters", "replay", "--all", "--from", "orders").out


def test_replay_of_results_names_the_ways(run: Run, far: FarSide, result: Any) -> None:
    (id,) = bury(far, "results", result)
    assert run("deadletters", "replay", "--all", "--from", "results").code == 2
    ran = run("deadletters", "replay", "--json", id)
    assert ran.code == 1
    assert ran.lines[0]["new_id"] is None
    assert "results --from-dead-letters" in ran.lines[0]["error"]
    ran = run("deadletters", "replay", id, "--to", "results")
    assert ran.code == 1
    assert "FAILED" in ran.out
    assert "one that may send" in ran.err
    assert [one["id"] for one in listed(run)] == [id]


def test_discard_wants_to_be_told_twice_for_all(run: Run, far: FarSide, tmp_path: Path) -> None:
    ids = bury(far, "results", 1, 2)
    path = quarantined(tmp_path, "events", 3)
    assert run("deadletters", "discard").code == 2
    assert run("deadletters", "discard", "--all").code == 2
    assert run("deadletters", "discard", "--all", ids[0], "--yes").code == 2
    assert len(listed(run)) == 3
    ran = run("deadletters", "discard", ids[0], path.stem)
    assert (ran.code, ran.out.count("discarded")) == (0, 2)
    assert [one["id"] for one in listed(run)] == [ids[1]]
    assert not path.exists()
    ran = run("deadletters", "discard", "--all", "--yes", "--json")
    assert [line["id"] for line in ran.lines] == [ids[1]]
    assert listed(run) == []


def test_results_from_dead_letters_are_saved_and_removed(run: Run, far: FarSide, tmp_path: Path, result: Any) -> None:
    bury(far, "results", result)
    path = quarantined(tmp_path, "results", result | {"Order": {"LocalId": "ORD-2"}})
    far.send("results", result | {"Order": {"LocalId": "ORD-3"}})
    ran = run("results", "--from-dead-letters", "--save-to", "reports", "--json")
    assert ran.code == 0, ran.err
    assert [line["Order"]["LocalId"] for line in ran.lines] == ["ORD-1", "ORD-2"]
    assert sorted(file.name for file in Path("reports").iterdir()) == ["ORD-1.pdf", "ORD-2.pdf"]
    assert (listed(run), path.exists()) == ([], False)
    assert len(far.take("results")) == 1, "what has just arrived is left alone"
    assert run("results", "--from-dead-letters").code == 3


def test_results_that_fail_again_stay_where_they_are(run: Run, far: FarSide, tmp_path: Path, result: Any) -> None:
    document = {"Type": "PDF", "Encoding": "Base64", "Content": "%%%"}
    ids = bury(far, "results", result | {"ResultsDocument": document}, b"no result")
    ran = run("results", "--from-dead-letters", "--save-to", "reports")
    assert ran.code == 1
    assert "stays where it is" in ran.err
    assert CANARY not in ran.err
    assert {one["id"]: one["queue"] for one in listed(run)} == dict.fromkeys(ids, "results/$dead")
    assert not (tmp_path / "data" / "quarantine").exists()


def test_events_from_dead_letters(run: Run, far: FarSide, event: Any) -> None:
    bury(far, "events", event)
    ran = run("events", "--from-dead-letters", "--json")
    assert (ran.code, [line["OrderLocalId"] for line in ran.lines]) == (0, ["ORD-1"])
    assert listed(run) == []
    assert run("events", "--from-dead-letters", "--follow").code == 2


def test_help_says_which_rights_are_needed_and_what_counts(run: Run) -> None:
    told = run("deadletters", "--help").out
    for word in ("$DeadLetterQueue", "$dead", "dead_letter_receive", "right it needs", "counts as a delivery", "SQS",
                 "Pub/Sub", "Service Bus"):  # fmt: skip
        assert word in told, word
