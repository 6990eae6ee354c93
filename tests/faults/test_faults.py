"""Every fault with every provider: nothing is lost, and errors say what happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from faults.providers import PROVIDERS
from faults.rehearsal import Platform, platform
from faults.running import CUT_AT_EACH, run_cell, run_cuts
from faults.scenarios import FAULTS, cells
from faults.verdict import broken_promises


@pytest.fixture(scope="module")
def platform_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Platform]]:
    """Start a provider's servers, and the platform at work on them, when first asked for."""
    started: dict[str, Platform] = {}
    with ExitStack() as running:

        def start(provider: str) -> Platform:
            if provider not in started:
                directory = tmp_path_factory.mktemp(provider)
                started[provider] = running.enter_context(platform(provider, directory))
            return started[provider]

        yield start


@pytest.mark.parametrize(("provider", "fault"), cells())
def test_a_fault(
    provider: str, fault: str, platform_of: Callable[[str], Platform], tmp_path: Path, long_run: bool
) -> None:
    figures = run_cell(platform_of(provider), fault, tmp_path, long=long_run)
    assert broken_promises(fault, figures, lasts=FAULTS[fault].long) == []


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("provider", [name for name, one in PROVIDERS.items() if one.lines])
def test_a_cut_at_each_turn(
    provider: str, platform_of: Callable[[str], Platform], tmp_path: Path, long_run: bool
) -> None:
    figures = run_cuts(platform_of(provider), tmp_path, long=long_run)
    assert broken_promises(CUT_AT_EACH, figures) == []
    assert figures.cuts >= 5
