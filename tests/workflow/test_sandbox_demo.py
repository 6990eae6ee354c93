"""The demo: three orders, offline, in a few seconds, with all their files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clouddirect.errors import ConfigurationError
from clouddirect.orders.models import read_order, read_result
from clouddirect.sandbox import DemoOutcome, DemoStep, run_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoOutcome, list[DemoStep]]:
    seen: list[DemoStep] = []
    return run_demo(tmp_path_factory.mktemp("demo") / "here", observer=seen.append), seen


def stages(outcome: DemoOutcome, order: str) -> list[str]:
    return [step.stage for step in outcome.steps if step.order == order]


def test_its_timeline(demo: tuple[DemoOutcome, list[DemoStep]]) -> None:
    outcome, seen = demo
    assert seen == list(outcome.steps)
    assert [(order.local_id, order.outcome) for order in outcome.orders] == [
        ("DEMO-1", "graded"), ("DEMO-2", "graded"), ("DEMO-3", "refused"),
    ]  # fmt: skip
    for order in ("DEMO-1", "DEMO-2"):
        assert sorted(stages(outcome, order)) == sorted(
            ["Uploaded", "Submitted", "OrderCreationReceipt", "ImageReceipt", "ImageReceipt", "ReadyForGradingEvent",
             "GradingReceipt", "OrderGradedEvent", "OrderResult", "Report"]
        )  # fmt: skip
        assert stages(outcome, order)[:4] == ["Uploaded", "Submitted", "OrderCreationReceipt", "ImageReceipt"]
    assert stages(outcome, "DEMO-3") == ["Uploaded", "Submitted", "OrderCreationReceipt"]
    refusals = [step for step in outcome.steps if not step.ok]
    assert [step.order for step in refusals] == ["DEMO-3"]
    assert "DEMO-3-OS" in refusals[0].detail
    assert [step.at for step in outcome.steps] == sorted(step.at for step in outcome.steps)
    assert any("not gradable" in step.detail for step in outcome.steps if step.order == "DEMO-2")


def test_its_files(demo: tuple[DemoOutcome, list[DemoStep]]) -> None:
    outcome, _ = demo
    for order in outcome.orders:
        assert order.directory.parent == outcome.directory
        assert read_order((order.directory / "order.json").read_bytes()).order_local_id == order.local_id
        assert (order.directory / "images" / "OD.jpg").read_bytes().startswith(b"\xff\xd8")
        names = sorted(path.name for path in (order.directory / "events").iterdir())
        assert names[0] == "01-OrderCreationReceipt.json"
        assert all(json.loads((order.directory / "events" / name).read_text("utf-8")) for name in names)
        if order.outcome == "refused":
            assert order.report is None
            assert not (order.directory / "result.json").exists()
        else:
            assert order.report is not None
            result = read_result((order.directory / "result.json").read_bytes())
            report = result.report()
            assert report is not None
            assert order.report.read_bytes() == report.data
    dark = outcome.orders[1].result
    assert dark is not None
    assert dark.gradings is not None
    assert [eye.gradable for _, eye in dark.gradings.eyes()] == [True, False]


def test_it_takes_a_few_seconds(demo: tuple[DemoOutcome, list[DemoStep]]) -> None:
    assert demo[0].seconds < 30


def test_a_directory_in_use_is_left_alone(tmp_path: Path, demo: tuple[DemoOutcome, list[DemoStep]]) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    outcome = run_demo(tmp_path / "taken")
    assert outcome.directory == tmp_path / "taken-2"
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["mine.txt"]
    # the same seed: the same gradings as the other demo's
    for one, other in zip(outcome.orders, demo[0].orders, strict=True):
        assert (one.result and one.result.gradings and one.result.gradings.od) == (
            other.result and other.result.gradings and other.result.gradings.od
        )


def test_the_environment_s_endpoints_are_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDDIRECT_ENDPOINTS__ORDERS__PROVIDER", "somebody-s-production")
    monkeypatch.setenv("CLOUDDIRECT_CLIENT_GUID", "not a guid")
    assert [order.outcome for order in run_demo(tmp_path / "here").orders] == ["graded", "graded", "refused"]


def test_another_provider_needs_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="needs settings for both sides"):
        run_demo(tmp_path / "here", provider="azure")
    assert list(tmp_path.iterdir()) == []


def test_with_settings_of_ones_own(tmp_path: Path, rehearse: object) -> None:
    rehearsal = rehearse(image_wait=0.2)  # type: ignore[operator]
    rehearsal.settings.stores.images.access = "both"  # the client may look, and refuses the third order itself
    outcome = run_demo(tmp_path / "here", provider="local", settings=rehearsal.settings)
    assert [order.outcome for order in outcome.orders] == ["graded", "graded", "refused"]
    assert stages(outcome, outcome.orders[2].local_id) == ["Refused"]
