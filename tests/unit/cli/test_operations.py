"""``clouddirect change``, ``cancel``, ``resend``, ``grade`` and ``images``, over the local provider."""

from __future__ import annotations

import copy
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clouddirect import open_store

from .conftest import CANARY, GUID, FarSide, Run

Write = Callable[[str, Any], Path]


def test_change_sends_the_whole_order_as_a_change(run: Run, far: FarSide, write: Write, order: Any) -> None:
    ran = run("change", "--json", write("order.json", order))
    assert ran.code == 0, ran.err
    assert far.take("orders") == [order | {"OrderControlCode": "XO"}]
    assert ran.lines[0]["local_id"] == "ORD-1"


@pytest.mark.parametrize(
    ("path", "value"),
    [("Order.EvaluationTypes", ["AMD"]), ("Order.LocalId", "ORD-2"), ("Patient.LocalId", "another")],
)
def test_change_refuses_what_cannot_change(
    run: Run, far: FarSide, write: Write, order: Any, path: str, value: Any
) -> None:
    changed = copy.deepcopy(order)
    part, field = path.split(".")
    changed[part][field] = value
    original, wanted = write("original.json", order), write("wanted.json", changed)
    ran = run("change", "--original", original, "--force", wanted)
    assert ran.code == 2
    assert f"{path}: cannot be changed" in ran.err
    assert CANARY not in ran.err
    assert far.take("orders") == []
    changed["Patient"]["Phone"] = "555"
    changed[part][field] = order[part][field]
    assert run("change", "--original", original, write("wanted.json", changed)).code == 0


def test_change_of_a_cancellation_is_refused(run: Run, far: FarSide, write: Write, order: Any) -> None:
    ran = run("change", write("order.json", order | {"OrderControlCode": "CA"}))
    assert (ran.code, far.take("orders")) == (2, [])
    assert "OrderControlCode" in ran.err


@pytest.mark.parametrize(("command", "code"), [("cancel", "CA"), ("resend", "ResendResult")])
def test_requests_by_id_carry_what_identifies_the_order(run: Run, far: FarSide, command: str, code: str) -> None:
    ran = run(command, "--json", "ORD-1", "ORD-2", "--site", "S9")
    assert ran.code == 0, ran.err
    assert far.take("orders") == [
        {"Version": "2.3.1", "ClientGuid": GUID, "OrderControlCode": code, "Site": {"LocalId": "S9"},
         "Order": {"LocalId": local_id}}
        for local_id in ("ORD-1", "ORD-2")
    ]  # fmt: skip
    assert [line["local_id"] for line in ran.lines] == ["ORD-1", "ORD-2"]


def test_an_empty_id_is_refused_before_anything_is_sent(run: Run, far: FarSide) -> None:
    ran = run("cancel", "ORD-1", "")
    assert (ran.code, far.take("orders")) == (2, [])
    assert "Order.LocalId" in ran.err


def test_the_same_order_twice_in_one_command_is_refused(run: Run, far: FarSide, write: Write, order: Any) -> None:
    path = write("order.json", order)
    for ran in (run("submit", path, path), run("cancel", "ORD-1", "ORD-1")):
        assert ran.code == 2
        assert "name the same order: ORD-1" in ran.err
    assert far.take("orders") == []
    assert run("submit", path, write("cancel.json", order | {"OrderControlCode": "CA"})).code == 0


def test_warnings_refuse_unless_forced_and_errors_always(run: Run, far: FarSide, write: Write, order: Any) -> None:
    doubtful = order | {"OrderingProvider": {"NPI": "1234567890"}}
    path = write("doubtful.json", doubtful)
    ran = run("submit", path)
    assert ran.code == 2
    assert "--force" in ran.err
    assert "OrderingProvider.NPI" in ran.err
    forced = run("submit", "--json", "--force", path)
    assert forced.code == 0
    assert [one["path"] for one in forced.lines[0]["warnings"]] == ["OrderingProvider.NPI"]
    assert far.take("orders") == [doubtful]
    another = write("another.json", order | {"ClientGuid": "11111111-2222-3333-4444-555555555555"})
    refused = run("submit", "--force", another)
    assert refused.code == 2
    assert "no event would ever come to us" in refused.err
    assert far.take("orders") == []


def test_mobile_work_needs_a_state(
    run: Run, far: FarSide, write: Write, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDDIRECT_MOBILE", "true")
    ran = run("submit", "--force", write("order.json", order))
    assert ran.code == 2
    assert "Order.State" in ran.err
    order["Order"]["State"] = "WA"
    assert run("submit", write("order.json", order)).code == 0
    assert run("cancel", "ORD-1").code == 0


def test_grade_checks_all_and_sends(run: Run, far: FarSide, write: Write) -> None:
    good = {"LocalId": "ORD-1", "OD": {"Gradable": True, "Findings": [{"Finding": "Wet AMD", "Result": "Positive"}]}}
    bad = {"LocalId": "ORD-2", "OS": {"Gradable": False}}
    refused = run("grade", "--force", write("good.json", good), write("bad.json", bad))
    assert refused.code == 2
    assert "exactly one reason" in refused.err
    assert far.take("gradings") == []
    assert run("grade", "--dry-run", write("good.json", good)).code == 0
    assert far.take("gradings") == []
    ran = run("grade", "--json", write("good.json", good))
    assert ran.code == 0, ran.err
    (sent,) = far.take("gradings")
    assert sent == {"Version": "2.3.1", "ClientGuid": GUID, "Site": sent["Site"]} | good
    assert ran.lines[0]["local_id"] == "ORD-1"


def test_grade_takes_no_order(run: Run, far: FarSide, write: Write, order: Any) -> None:
    ran = run("grade", write("order.json", order))
    assert ran.code == 2
    assert "not a grading submission" in ran.err


def test_shared_images_are_listed_and_fetched_with_their_metadata(run: Run, far: FarSide) -> None:
    with open_store("local", path=far.files, container="shared-images", create=True) as store:
        store.put("a/one.jpg", b"one", content_type="image/jpeg", metadata={"patient": CANARY})
        store.put("b.jpg", b"two")
    hidden = run("images", "list", "--json")
    assert [line["key"] for line in hidden.lines] == ["a/one.jpg", "b.jpg"]
    assert hidden.lines[0]["metadata"] == {"patient": "…"}
    assert CANARY not in hidden.out + run("images", "list").out
    assert run("images", "list", "a/", "--json", "--show-patient-data").lines[0]["metadata"] == {"patient": CANARY}
    ran = run("images", "fetch", "a/one.jpg", "--to", "got", "--json")
    assert ran.code == 0, ran.err
    path, beside = Path(ran.lines[0]["path"]), Path(ran.lines[0]["metadata_path"])
    assert path.read_bytes() == b"one"
    assert json.loads(beside.read_text()) == {
        "key": "a/one.jpg", "content_type": "image/jpeg", "metadata": {"patient": CANARY},
    }  # fmt: skip
    assert {stat.S_IMODE(one.stat().st_mode) for one in (path, beside)} == {0o600}
    again = run("images", "fetch", "a/one.jpg", "--to", "got")
    assert again.code == 1
    assert "fetched before" in again.err
    rest = run("images", "fetch", "--prefix", "", "--to", "got", "--json")
    assert [line["path"] for line in rest.lines] == [None, str(Path("got") / "b.jpg")]
    assert run("images", "fetch", "a/one.jpg", "--to", "got", "--replace").code == 0


@pytest.mark.parametrize("arguments", [(), ("key", "--prefix", "")])
def test_fetch_takes_keys_or_a_prefix(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("images", "fetch", *arguments).code == 2


def test_a_key_leads_nowhere_else(run: Run, far: FarSide) -> None:
    with open_store("local", path=far.files, container="shared-images", create=True) as store:
        store.put("con/x:y.jpg", b"one")
    ran = run("images", "fetch", "con/x:y.jpg", "--to", "got", "--json")
    assert Path(ran.lines[0]["path"]).parts == ("got", "_con", "x_y.jpg")


def test_images_whose_names_would_be_the_same_are_all_fetched(run: Run, far: FarSide) -> None:
    keys = ["a.jpg", "a.jpg.json", "a:b.jpg", "a?b.jpg", "a_b.jpg", "z.json", "z.json.json"]
    with open_store("local", path=far.files, container="shared-images", create=True) as store:
        for key in keys:
            store.put(key, f"content of {key}".encode())
    for order in (keys, keys[::-1]):
        for key in order:
            run("images", "fetch", key, "--to", f"got-{order[0]}")
        places = {}
        for beside in Path(f"got-{order[0]}").glob("*.json"):
            try:
                key = json.loads(beside.read_text())["key"]
            except ValueError:
                continue  # an image
            places[key] = beside.with_suffix("").read_bytes()
        assert places == {key: f"content of {key}".encode() for key in keys}
        again = run("images", "fetch", "--prefix", "", "--to", f"got-{order[0]}", "--json")
        assert [line["path"] for line in again.lines] == [None] * len(keys), "each is known to be there"
        replaced = run("images", "fetch", "--prefix", "", "--replace", "--to", f"got-{order[0]}", "--json")
        assert len({line["path"] for line in replaced.lines}) == len(keys)
        assert len(list(Path(f"got-{order[0]}").iterdir())) == 2 * len(keys)


def test_no_images_are_told_as_such(run: Run, far: FarSide) -> None:
    with open_store("local", path=far.files, container="shared-images", create=True):
        pass
    listed = run("images", "list")
    assert (listed.code, listed.out, listed.err) == (0, "", "no images are shared\n")
    assert "under this prefix" in run("images", "list", "a/").err
    assert run("images", "list", "--json").err == ""
