"""The audit log among the examples, installed beside the built wheel as a distribution of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``clouddirect`` in an environment with the audit log."""
    where = tmp_path_factory.mktemp("audit") / "venv"
    subprocess.run([sys.executable, "-m", "venv", where], check=True)
    python = where / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install = [python, "-m", "pip", "install", "--quiet", ROOT, ROOT / "examples" / "clouddirect-audit"]
    subprocess.run(install, check=True)
    return python.parent / ("clouddirect.exe" if os.name == "nt" else "clouddirect")


def test_every_step_of_an_order_is_in_the_log(command: Path, tmp_path: Path) -> None:
    def run(*arguments: str, **environment: str) -> None:
        subprocess.run(
            [command, *arguments], cwd=tmp_path, env={**os.environ, **environment}, check=True, capture_output=True,
            timeout=120,
        )  # fmt: skip

    run("init", "--provider", "local")
    settings = tmp_path / "clouddirect.toml"
    settings.write_text('observers = ["audit"]\n' + settings.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "order.json").write_text(
        json.dumps(
            {
                "Order": {"LocalId": "ORD-1", "EvaluationTypes": ["DR"]},
                "Patient": {
                    "LocalId": "MRN-1", "Name": {"First": "Canarysson", "Last": "Canarysson"}, "Dob": "1/2/1960",
                    "Genders": [{"Context": "BirthGender", "Gender": "F"}],
                },
            }
        ),
        encoding="utf-8",
    )  # fmt: skip
    (tmp_path / "right.jpg").write_bytes(b"\xff\xd8" + bytes(100))
    run("submit", "order.json", "--image", "right.jpg:OD")
    log = tmp_path / "clouddirect-audit.jsonl"
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert {(line["what"], line.get("queue") or line.get("container")) for line in lines} == {
        ("stored", "images"), ("sent", "orders"),
    }  # fmt: skip
    (sent,) = [line for line in lines if line["what"] == "sent"]
    assert (sent["correlation_id"], sent["provider"]) == ("ORD-1", "local")
    assert sent["at"].endswith("+00:00")
    assert "Canarysson" not in log.read_text(encoding="utf-8")
    if os.name != "nt":
        assert log.stat().st_mode & 0o777 == 0o600
    run("cancel", "ORD-1", "--force", CLOUDDIRECT_AUDIT_LOG="elsewhere.jsonl")
    assert json.loads((tmp_path / "elsewhere.jsonl").read_text(encoding="utf-8"))["what"] == "sent"
