"""``clouddirect check``: all is checked, nothing is touched, and each failure says where to look and what to do."""

from __future__ import annotations

import json
import os
import re
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clouddirect.errors import UnavailableError
from clouddirect.messaging import Quarantine
from clouddirect.orders.checkup import check_up
from clouddirect.settings import Settings, load_settings
from clouddirect_local.broker import LocalBroker
from clouddirect_local.queue_admin import list_queues

from .conftest import FarSide, Run

SECRET = "top-secret-value"


@pytest.fixture
def far(far: FarSide, tmp_path: Path) -> FarSide:
    """The other side, with a data directory of the test's own."""
    change("data_dir = .*", f"data_dir = {json.dumps(str(tmp_path / 'data'))}")
    return far


def change(pattern: str, replacement: str) -> None:
    """Change the settings file."""
    settings = Path("clouddirect.toml")
    text = re.sub(pattern, lambda _: replacement, settings.read_text(encoding="utf-8"), count=1)
    settings.write_text(text, encoding="utf-8")


def states(run: Run, *options: str, code: int = 0) -> dict[str, dict[str, Any]]:
    ran = run("check", "--json", *options)
    assert ran.code == code, ran.out + ran.err
    return {line["name"]: line for line in ran.lines}


def everything(directory: Path) -> dict[str, bytes]:
    """All files below a directory, the SQLite ones by what they hold."""
    found = {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.suffix != ".toml"}
    return {name: content for name, content in found.items() if "queues.db" not in name}


def test_every_endpoint_and_store_and_this_machine(run: Run, far: FarSide) -> None:
    found = states(run)
    assert {name: (line["access"], line["state"]) for name, line in found.items()} == {
        "client_guid": (None, "unverified"),
        "endpoints.orders": ("send", "likely"),
        "endpoints.gradings": ("send", "likely"),
        "endpoints.events": ("receive", "likely"),
        "endpoints.results": ("receive", "likely"),
        "stores.images": ("write", "likely"),
        "stores.shared_images": ("read", "likely"),
        "data_dir": ("write", "likely"),
        "quarantine": (None, "ok"),
        "clock": (None, "unverified"),
    }
    assert all(line["detail"] for line in found.values())
    assert all(line[key] is None for line in found.values() for key in ("part", "remedy", "error"))
    ran = run("check")
    assert ran.code == 0
    assert "endpoints.gradings" in ran.out
    assert "nothing failed" in ran.out


def test_the_sandbox_is_checked_when_asked(run: Run, far: FarSide) -> None:
    found = states(run, "--sandbox")
    assert {name: line["access"] for name, line in found.items() if name.startswith("sandbox.")} == {
        "sandbox.endpoints.orders": "receive",
        "sandbox.endpoints.gradings": "receive",
        "sandbox.endpoints.events": "send",
        "sandbox.endpoints.results": "send",
        "sandbox.stores.images": "read",
    }


def test_nothing_is_sent_taken_or_made(run: Run, far: FarSide, tmp_path: Path) -> None:
    far.send("results", {"a": 1})
    (tmp_path / "data").mkdir()
    before = everything(tmp_path), [(one.name, one.messages) for one in list_queues(far.broker.native.path)]  # type: ignore[attr-defined]
    states(run, "--sandbox")
    after = everything(tmp_path), [(one.name, one.messages) for one in list_queues(far.broker.native.path)]  # type: ignore[attr-defined]
    assert after == before == ({}, [("results", 1)])
    assert list((tmp_path / "data").iterdir()) == []
    (delivery,) = far.broker.receive("results")
    assert delivery.delivery_count == 1


def test_all_are_checked_when_some_fail(run: Run, far: FarSide, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of each kind: an option, a provider, a right, a queue, a secret."""
    monkeypatch.setenv("A_SECRET", SECRET)
    change(r'(?<=\[endpoints.orders\]\nprovider = )"local"', '"lokal"')
    change(r'(?<=\[endpoints.gradings\]\nprovider = "local")', '\nnonsense = { env = "A_SECRET" }')
    change(r'access = "receive"\n\n# graded', 'access = "send"\n\n# graded')
    change(r'(?s)(?<=\[endpoints.results\]\n)provider.*?create = true', 'provider = "local"\nqueue = "results"\n'
           'path = { file = "/nowhere/at-all" }')  # fmt: skip
    found = states(run, code=1)
    assert [(name, line["part"], line["error"]) for name, line in found.items() if line["state"] == "failed"] == [
        ("endpoints.orders", "installation", "ProviderNotFoundError"),
        ("endpoints.gradings", "settings", "ConfigurationError"),
        ("endpoints.events", "credential", "PermissionDeniedError"),
        ("endpoints.results", "settings", "ConfigurationError"),
    ]
    assert "did you mean 'local'" in found["endpoints.orders"]["detail"]
    assert "nonsense" in found["endpoints.gradings"]["detail"]
    assert "right to receive" in found["endpoints.events"]["remedy"]
    assert "/nowhere/at-all" in found["endpoints.results"]["detail"]
    assert found["stores.images"]["state"] == "likely"
    ran = run("-vv", "check")
    assert (ran.code, ran.out.count("FAILED")) == (1, 4)
    assert "What to do: have the owner grant this credential the right to receive" in " ".join(ran.out.split())
    assert "4 failed" in ran.out
    assert SECRET not in ran.out + ran.err


def test_a_queue_that_is_not_there(run: Run, far: FarSide) -> None:
    change("create = true", "create = false")
    line = states(run, code=1)["endpoints.orders"]
    assert (line["state"], line["part"], line["error"]) == ("failed", "resource", "NotFoundError")
    assert "creates nothing" in line["remedy"]


def test_an_sdk_that_is_not_installed(run: Run, far: FarSide, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for module in [name for name in sys.modules if name.startswith(("clouddirect_aws.", "boto3", "botocore"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "boto3", None)
    change(r'(?s)\[endpoints.orders\].*?access = "send"', '[endpoints.orders]\nprovider = "aws"\n'
           'queue = "https://sqs.us-east-1.amazonaws.com/123456789012/orders"')  # fmt: skip
    line = states(run, code=1)["endpoints.orders"]
    assert (line["part"], line["error"]) == ("installation", "MissingExtraError")
    assert "pip install 'clouddirect[aws]'" in line["detail"]


def test_what_does_not_answer_has_failed_and_holds_up_nothing(run: Run, far: FarSide) -> None:
    """A port that takes connections and says nothing, as a firewall may make it look."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        change(r'(?s)\[endpoints.orders\].*?access = "send"', '[endpoints.orders]\nprovider = "aws"\n'
               f'queue = "http://127.0.0.1:{port}/123456789012/orders"\nregion = "us-east-1"\n'
               'access_key_id = "A"\nsecret_access_key = "B"')  # fmt: skip
        began = datetime.now(UTC)
        found = states(run, "--timeout", "2", code=1)
        assert datetime.now(UTC) - began < timedelta(seconds=12)
    assert found["endpoints.orders"] | {"remedy": None} == {
        "name": "endpoints.orders", "access": "send", "state": "failed",
        "detail": "there was no answer within 2 s", "part": "connection", "remedy": None, "error": None,
    }  # fmt: skip
    assert "firewall" in found["endpoints.orders"]["remedy"]
    assert found["endpoints.results"]["state"] == "likely"


def test_they_are_checked_at_the_same_time(far: FarSide, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    meeting, check = threading.Barrier(4, timeout=20), LocalBroker._check

    def met(self: LocalBroker, *arguments: Any) -> Any:
        meeting.wait()  # breaks unless all four are at it
        return check(self, *arguments)

    monkeypatch.setattr(LocalBroker, "_check", met)
    assert not [one for one in check_up(load_settings()) if one.state == "failed"]


def test_a_bug_in_a_provider_is_one_failure_without_its_text(far: FarSide, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: LocalBroker, queue: str, *arguments: Any) -> Any:
        if queue == "orders":
            raise RuntimeError(SECRET)
        raise UnavailableError("the line is down")

    monkeypatch.setattr(LocalBroker, "_check", fails)
    found = {one.name: one for one in check_up(load_settings())}
    assert found["endpoints.orders"].part == "bug"
    assert found["endpoints.events"].part == "connection"
    assert SECRET not in repr(found)


def test_dead_letter_settings_are_checked(run: Run, far: FarSide) -> None:
    change(r"\[endpoints.results\]", '[endpoints.results]\ndead_letter_send = "dead"\n'
           'dead_letter_receive = { path = "nothing.db" }')  # fmt: skip
    found = states(run, code=1)
    assert found["endpoints.results.dead_letter_send"]["state"] == "ok"
    assert "not needed" in found["endpoints.results.dead_letter_send"]["detail"]
    assert found["endpoints.results.dead_letter_receive"]["part"] == "resource"
    assert found["endpoints.results"]["state"] == "likely"


@pytest.mark.parametrize(("guid", "code", "state"), [("nonsense", 1, "failed"), (None, 0, "unverified")])
def test_the_client_guid(run: Run, far: FarSide, guid: str | None, code: int, state: str) -> None:
    change("client_guid = .*", f'client_guid = "{guid}"' if guid else "")
    assert states(run, code=code)["client_guid"]["state"] == state


def test_the_client_guid_matters_to_those_who_order_only() -> None:
    settings = Settings.of({"endpoints": {"results": {"provider": "local", "queue": "r", "path": "q.db"}}})
    assert "client_guid" not in {one.name for one in check_up(settings)}


def test_settings_with_nothing_in_them() -> None:
    (found,) = [one for one in check_up(Settings.of({"client_guid": "x"})) if one.state == "failed"]
    assert (found.name, found.part) == ("settings", "settings")


def test_the_quarantine_is_counted(run: Run, far: FarSide, tmp_path: Path) -> None:
    from clouddirect import Message

    quarantine = Quarantine(tmp_path / "data" / "quarantine")
    for body in (b"1", b"2"):
        quarantine.put("local", "results", Message(body=body), 1, datetime.now(UTC))
    line = states(run)["quarantine"]
    assert line["state"] == "ok"
    assert line["detail"].startswith("2 messages are in it")


def test_a_data_directory_that_cannot_be_used(run: Run, far: FarSide, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the directory should be", encoding="utf-8")
    found = states(run, code=1)
    assert (found["data_dir"]["state"], found["data_dir"]["part"]) == ("failed", "machine")
    assert "data_dir" in found["data_dir"]["remedy"]
    assert (found["quarantine"]["state"], found["quarantine"]["part"]) == ("failed", "machine")
    change("data_dir = .*", f"data_dir = {json.dumps(str(tmp_path / 'data' / 'deeper'))}")
    assert states(run, code=1)["data_dir"]["state"] == "failed"


def test_a_full_disk(run: Run, far: FarSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    assert states(run)["data_dir"]["state"] == "ok"

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clouddirect.orders.checkup.os.fsync", full)
    line = states(run, code=1)["data_dir"]
    assert "No space left" in line["detail"]
    assert list((tmp_path / "data").iterdir()) == []


def test_a_clock_that_is_years_behind(run: Run, far: FarSide) -> None:
    import clouddirect.orders.checkup as checkup

    path = Path(checkup.__file__)
    was = path.stat()
    try:
        ahead = datetime.now(UTC).timestamp() + 400 * 86400
        os.utime(path, (ahead, ahead))
        line = states(run, code=1)["clock"]
    finally:
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert (line["state"], line["part"]) == ("failed", "machine")
    assert "before clouddirect was installed" in line["detail"]
