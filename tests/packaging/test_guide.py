"""The guide for authors of providers: its files make a distribution that installs, works and passes the suite."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(python|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# file: (\S+)\n")


@pytest.fixture(scope="module")
def blocks() -> list[str]:
    return [found.group(2) for found in BLOCK.finditer((ROOT / "plugins.md").read_text(encoding="utf-8"))]


@pytest.fixture(scope="module")
def installed(blocks: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the guide's files, and its distribution installed in ``site``."""
    folder = tmp_path_factory.mktemp("guide")
    for block in blocks:
        if named := FILE.match(block):
            path = folder / named.group(1)
            path.parent.mkdir(exist_ok=True)
            path.write_text(block, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        "site",
        ".",
    ]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=120)
    (folder / "clouddirect_ram").rename(folder / "source")  # what runs below is what was installed
    return folder


def run(folder: Path, *command: str, timeout: float = 300) -> str:
    environment = os.environ | {"PYTHONPATH": str(folder / "site")}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_runs(blocks: list[str], installed: Path) -> None:
    programs = [block for block in blocks if not FILE.match(block)]
    assert programs
    for program in programs:
        assert "b'hello' 1" in run(installed, "-c", program)


def test_the_provider_is_listed_with_its_distribution(installed: Path) -> None:
    listed = run(installed, "-m", "clouddirect", "providers", "--json")
    assert '"ram"' in listed
    assert "clouddirect-ram 1.0" in listed


def test_the_provider_passes_the_suite(installed: Path) -> None:
    told = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_conformance.py")
    passed = re.search(r"(\d+) passed", told)
    assert passed is not None, told
    assert int(passed.group(1)) >= 30, told
