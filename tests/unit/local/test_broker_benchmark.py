"""The benchmark of the local broker runs and reports what it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).resolve().parents[3] / "benchmarks" / "bench_local_broker.py"


def test_it_prints_one_json_object(tmp_path: Path) -> None:
    sizes = ["--messages", "1500", "--body-bytes", "64", "--repeats", "1", "--idle-seconds", "0.2", "--arrivals", "3"]
    command = [sys.executable, str(BENCHMARK), "--json", "--dir", str(tmp_path), *sizes]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=120).stdout)
    for part in ("send_many", "receive_ack"):
        assert report[part]["ratio"] == report[part]["broker_s"] / report[part]["bare_s"] > 0
    assert report["messages"] == 1500
    assert report["idle_receiver"]["cpu_percent"] > 0
    assert report["arrival"]["worst_ms"] >= report["arrival"]["median_ms"] > 0
    assert list(tmp_path.iterdir()) == []
