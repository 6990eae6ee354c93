"""What every test may use: where the shared material is, and whether to run at full length."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[1] / ".." / "shared"

#: The material that lies beside a maintainer's checkout (samples, emulators), or None where there is none.
SHARED: Path | None = _BESIDE.resolve() if _BESIDE.is_dir() else None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--long``; the environment variable CLOUDDIRECT_TEST_LONG=1 means the same."""
    parser.addoption("--long", action="store_true", help="run kills, soaks and slow lines at full length")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what runs at full length only."""
    if not _is_long(config):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="runs at full length only: pytest --long"))


def _is_long(config: pytest.Config) -> bool:
    return bool(config.getoption("--long")) or os.environ.get("CLOUDDIRECT_TEST_LONG", "") not in ("", "0")


@pytest.fixture(scope="session")
def long_run(pytestconfig: pytest.Config) -> bool:
    """Whether kills, soaks and slow lines run at full length."""
    return _is_long(pytestconfig)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared material beside the checkout; skips where it is absent."""
    if SHARED is None:
        pytest.skip(f"needs the shared material at {_BESIDE}")
    return SHARED


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """What a command has set up for its own output does not reach into other tests."""
    logger = logging.getLogger("clouddirect")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers
