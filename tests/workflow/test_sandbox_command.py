"""`clouddirect sandbox --fault`: faults from the command line, on top of those in the settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from clouddirect.cli import cli
from clouddirect.orders import CloudDirect
from clouddirect.sandbox import Sandbox
from clouddirect.settings import FaultSettings, load_settings
from workflow.sandbox_messages import NewOrder, image_file


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings as `clouddirect init` writes them, with a fault of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOUDDIRECT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CLOUDDIRECT_SANDBOX__FAULTS__UNKNOWN_KINDS", "1")
    assert CliRunner().invoke(cli, ["init", "--provider", "local"]).exit_code == 0
    return tmp_path


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send this signal to one process alone")
@pytest.mark.usefixtures("settings")
def test_faults_are_made_on_top_of_the_settings_and_told_in_the_end(
    new_order: NewOrder, pictures: dict[str, bytes]
) -> None:
    configured = load_settings()
    order = new_order()
    order.client_guid = configured.client_guid
    with CloudDirect(configured) as client:
        client.submit(order, [image_file(pictures["OD"])])
    command = [sys.executable, "-m", "clouddirect", "sandbox", "--fault", "duplicates=1", "--fault", "malformed=1.0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    try:
        assert process.stdout is not None
        printed: list[str] = []
        while sum("OrderResult" in line for line in printed) < 2:
            printed.append(process.stdout.readline())
            assert printed[-1], "it has ended"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "Faults made on purpose: duplicates 6, malformed 6, unknown_kinds 5." in err
    text = "".join(printed)
    assert (text.count("OrderGradedEvent"), text.count("Sandbox")) == (2, 5)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("losses=1", ["'losses' is not a fault", "duplicates, delays, reordering"]),
        ("duplicates", ["duplicates:", "duplicates=0.2"]),
        ("duplicates=often", ["duplicates:", "duplicates=0.2"]),
        ("delays=2", ["delays:", "less than or equal to 1"]),
        ("longest_delay=0", ["longest_delay:", "greater than 0"]),
    ],
)
@pytest.mark.usefixtures("settings")
def test_a_wrong_fault_is_wrong_use(fault: str, words: list[str]) -> None:
    ran = CliRunner().invoke(cli, ["sandbox", "--fault", fault])
    assert ran.exit_code == 2
    text = " ".join(ran.stderr.split())
    assert "--fault" in text
    for word in words:
        assert word in text


def test_the_help_names_every_fault() -> None:
    text = CliRunner().invoke(cli, ["sandbox", "--help"]).stdout
    for name in FaultSettings.model_fields:
        assert name in text


@pytest.mark.usefixtures("settings")
def test_what_the_sandbox_remembers_is_in_the_data_directory(new_order: NewOrder) -> None:
    configured = load_settings()
    order = new_order()
    order.client_guid = configured.client_guid
    with CloudDirect(configured) as client, Sandbox(configured) as sandbox:
        client.submit(order)
        sandbox.step()
    assert configured.data_dir is not None
    file = configured.data_dir / "sandbox.db"
    assert file.exists()
    if os.name != "nt":
        assert file.stat().st_mode & 0o077 == 0
