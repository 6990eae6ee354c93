"""The same orders over every cloud: the demo's timeline is the same as on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from clouddirect.sandbox import DemoOutcome, run_demo
from clouddirect.settings import Settings
from emulators.clouds import CLOUDS, both_sides, to_toml

TESTS = Path(__file__).parents[1]


def timeline(outcome: DemoOutcome) -> dict[str, tuple[list[str], Counter[str]]]:
    """What happened to each order: the stages in their order up to the first event, and how often each came."""
    found = {}
    for order in outcome.orders:
        # ids of other providers' demos are unique, so orders are told apart by what they show
        stages = [step.stage for step in outcome.steps if step.order == order.local_id]
        found[order.title] = (stages[:2], Counter(stages))
    return found


def run_on(provider: str, directory: Path) -> DemoOutcome:
    with CLOUDS[provider]() as cloud:
        settings = Settings.of(both_sides(cloud, data_dir=str(directory / "data")))
        return run_demo(directory / provider, provider=provider, settings=settings)


@pytest.fixture(scope="module")
def on_local(tmp_path_factory: pytest.TempPathFactory) -> DemoOutcome:
    return run_demo(tmp_path_factory.mktemp("demo") / "local")


@pytest.mark.parametrize("provider", sorted(CLOUDS))
def test_the_demo_shows_the_same_timeline_everywhere(provider: str, on_local: DemoOutcome, tmp_path: Path) -> None:
    outcome = run_on(provider, tmp_path)
    assert timeline(outcome) == timeline(on_local)
    assert [order.outcome for order in outcome.orders] == ["graded", "graded", "refused"]
    for order, same in zip(outcome.orders, on_local.orders, strict=True):
        assert (order.report is None) == (same.report is None)
        if order.report is not None:
            assert order.report.read_bytes().startswith(b"%PDF")


def test_the_settings_survive_being_written(tmp_path: Path) -> None:
    with CLOUDS["local"]() as cloud:
        values = both_sides(cloud)
    assert tomllib.loads(to_toml(values)) == values


def test_the_command_starts_a_cloud_that_the_demo_runs_on(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-u", "-m", "emulators.clouds", "gcp", "--settings", "gcp.toml"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as cloud:
        try:
            assert cloud.stdout is not None
            cloud.stdout.readline()
            told = cloud.stdout.readline().split()
            assert told == ["clouddirect", "--config", "gcp.toml", "demo", "--provider", "gcp"]
            done = subprocess.run(
                [sys.executable, "-m", *told], cwd=tmp_path, capture_output=True, text=True, timeout=120
            )
        finally:
            cloud.terminate()
    assert done.returncode == 0, done.stderr
    assert "OrderGradedEvent" in done.stdout
    assert done.stderr == ""
