"""The documents speak the truth: their Python runs, their settings load, their links lead somewhere."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clouddirect.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "plugins.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """The fenced blocks of a language, with the line each begins at."""
    text = page.read_text(encoding="utf-8")
    found = FENCE.finditer(text)
    return [(text.count("\n", 0, one.start()) + 1, one.group(2)) for one in found if one.group(1) == language]


@pytest.fixture
def rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory like a newcomer's: settings by `clouddirect init`, two pictures, and the sandbox at work."""
    from click.testing import CliRunner

    from clouddirect.cli import cli
    from clouddirect.sandbox import Sandbox, demo_image
    from clouddirect.settings import load_settings

    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["init", "--provider", "local"])
    assert done.exit_code == 0, done.output
    for name, laterality in (("right.jpg", "OD"), ("left.jpg", "OS")):
        (tmp_path / name).write_bytes(demo_image(1, laterality))
    with Sandbox(load_settings()) as sandbox:
        sandbox.start()
        yield tmp_path


def run_source(source: str, where: str, line: int = 1) -> None:
    """Run source with the line numbers of the document it stands in."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile("\n" * (line - 1) + source, where, "exec"), namespace)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "plugins.md"], ids=lambda page: page.name)
def test_the_python_of_a_page_runs(page: Path, rehearsal: Path) -> None:
    found = blocks(page, "python")
    if found:
        source = ""
        for line, block in found:
            source += "\n" * (line - source.count("\n")) + block
        # it is all here at once
        run_source(re.sub(r"timeout=[1-9]\d*", "timeout=10", source), str(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_settings_of_a_page_load(page: Path) -> None:
    for line, block in blocks(page, "toml"):
        values = tomllib.loads(block)
        if "project" not in values and "build-system" not in values:
            Settings.of(values)
        assert values, f"an empty block at line {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(example: Path, rehearsal: Path) -> None:
    shutil.copy(example, rehearsal)
    run_source(example.read_text(encoding="utf-8"), str(example))


def test_there_are_examples() -> None:
    assert EXAMPLES


def test_the_readme_opens_with_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    (.+)$", text, re.MULTILINE)
    assert commands[:2] == ["pip install '.[all]' && clouddirect demo", "pip install tox && tox"]
