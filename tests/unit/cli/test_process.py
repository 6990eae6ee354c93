"""The command line as a process: signals, pipes, and how fast it answers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clouddirect.cli.interruption import run_until_interrupted
from clouddirect.orders.client import CloudDirect

from .conftest import CANARY, FarSide, Run

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows cannot send this signal to one process alone")
COMMAND = [sys.executable, "-m", "clouddirect"]


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command at work; killed at the end if it still is."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    with process:  # waits at its end, so the process must have been ended before
        try:
            yield process
            process.wait(60)
        finally:
            process.kill()


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_events_finish_and_gives_the_rest_back(far: FarSide, event: Any, number: signal.Signals) -> None:
    numbers = list(range(300))
    far.send("events", *[event | {"IrisOrderId": one} for one in numbers])
    with started("events", "--follow", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        printed = [process.stdout.readline() for _ in range(5)]
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    printed += out.splitlines()
    seen = [json.loads(line)["IrisOrderId"] for line in printed]
    assert 5 <= len(seen) < 300
    # what was printed is gone, the rest is there at once: nothing is left on lease
    assert [one["IrisOrderId"] for one in far.take("events")] == numbers[len(seen) :]
    assert seen == numbers[: len(seen)]


@POSIX
def test_a_closed_pipe_ends_quietly_and_loses_nothing(far: FarSide, event: Any) -> None:
    far.send("events", event)
    with started("events", "--follow", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())
        process.stdout.close()
        far.send("events", event | {"IrisOrderId": 2})
        err = process.stderr.read()
        process.wait(60)
    assert (process.returncode, err) == (0, "")
    assert [one["IrisOrderId"] for one in far.take("events", wait=1)] == [2]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_and_loses_nothing(far: FarSide, event: Any) -> None:
    far.send("events", event)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "events", "--json"], stdout=full, stderr=subprocess.PIPE, encoding="utf-8", timeout=60
        )
    assert done.returncode == 1
    assert done.stderr.startswith('{"error": "the output cannot be written')
    assert far.take("events", wait=1) == [event]


@POSIX
@pytest.mark.parametrize(("options", "code"), [(("--wait", "60"), 3), (("--follow",), 0)])
def test_ctrl_c_before_anything_arrived(
    run: Run, far: FarSide, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], code: int
) -> None:
    receive = CloudDirect.events

    def interrupted(client: CloudDirect, **given: Any) -> Any:
        threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()
        return receive(client, **given)

    monkeypatch.setattr(CloudDirect, "events", interrupted)
    assert run("events", *options).code == code


@POSIX
def test_a_second_ctrl_c_does_not_wait() -> None:
    stuck, stopped = threading.Event(), threading.Event()

    def work() -> None:
        signal.raise_signal(signal.SIGINT)
        assert stopped.wait(60)
        signal.raise_signal(signal.SIGINT)
        stuck.wait(60)

    with pytest.raises(KeyboardInterrupt):
        run_until_interrupted(work, stopped.set)
    stuck.set()


def test_what_the_work_raises_is_raised() -> None:
    def work() -> None:
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        run_until_interrupted(work, lambda: None)
    assert run_until_interrupted(lambda: None, lambda: None) is False


@pytest.mark.parametrize(
    ("arguments", "stdin", "code"),
    [
        (["--version"], b"", 0),
        (["schema"], b"", 0),
        (["inspect", "-"], b'{"Patient": {"Name": "Canarysson"}}', 1),
        (["inspect", "nowhere.json"], b"", 2),
        (["events"], b"", 2),
        (["nonsense"], b"", 2),
    ],
)
def test_exit_codes_of_the_process(arguments: list[str], stdin: bytes, code: int) -> None:
    done = subprocess.run([*COMMAND, *arguments], input=stdin, capture_output=True, timeout=60)
    assert done.returncode == code
    assert CANARY.encode() not in done.stdout + done.stderr
    assert b"Traceback" not in done.stderr


def test_the_console_script_is_installed() -> None:
    script = Path(sys.executable).with_name("clouddirect.exe" if os.name == "nt" else "clouddirect")
    done = subprocess.run([str(script), "--version"], capture_output=True, encoding="utf-8", timeout=60)
    assert (done.returncode, done.stdout.split()[0]) == (0, "clouddirect")


def test_help_needs_none_of_the_heavy_modules() -> None:
    source = (
        "import sys\nfrom clouddirect.cli import cli\n"
        "try:\n    cli.main(['--help'], 'clouddirect')\nexcept SystemExit:\n    pass\n"
        "print(sorted({'pydantic', 'rich', 'sqlite3', 'clouddirect.settings'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, encoding="utf-8", timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_characters_that_the_console_lacks_are_escaped(tmp_path: Path, event: Any) -> None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(event | {"ErrorMessage": "Łódź"}), encoding="utf-8")
    for form in ((), ("--json",)):
        done = subprocess.run(
            [*COMMAND, "inspect", "--show-patient-data", *form, str(path)],
            capture_output=True, timeout=60, env=os.environ | {"PYTHONIOENCODING": "cp1252", "COLUMNS": "80"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert b"d" in done.stdout
