"""``clouddirect init``."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest

from clouddirect.settings import load_settings

from .conftest import Run


def test_writes_settings_that_load_and_only_their_owner_reads(run: Run) -> None:
    ran = run("init", "--provider", "local")
    assert ran.code == 0, ran.err
    assert "clouddirect sandbox" in ran.out
    path = Path("clouddirect.toml")
    assert load_settings().site == "SITE1"
    if os.name != "nt":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_writes_over_nothing_without_force(run: Run) -> None:
    Path("clouddirect.toml").write_text("mine", encoding="utf-8")
    ran = run("init", "--provider", "local")
    assert (ran.code, ran.out) == (2, "")
    assert "--force" in ran.err
    assert Path("clouddirect.toml").read_text(encoding="utf-8") == "mine"
    assert run("init", "--provider", "local", "--force").code == 0
    assert tomllib.loads(Path("clouddirect.toml").read_text(encoding="utf-8"))["client_guid"]
    assert sorted(path.name for path in Path().iterdir() if path.is_file()) == ["clouddirect.toml"]


@pytest.mark.parametrize("options", [("--path",), ("--config",)])
def test_writes_where_it_is_told_to(run: Run, options: tuple[str, ...]) -> None:
    target = Path("deep", "er", "my settings.toml")
    before = ["--config", target] if options == ("--config",) else []
    after = ["--path", target] if options == ("--path",) else []
    ran = run(*before, "init", "--provider", "local", "--json", *after)
    assert ran.code == 0, ran.err
    assert ran.lines == [{"path": str(target), "provider": "local"}]
    assert load_settings(target).client_guid


def test_says_how_to_use_a_file_elsewhere(run: Run) -> None:
    assert (
        "clouddirect --config 'my settings.toml' sandbox"
        in run("init", "--provider", "local", "--path", "my settings.toml").out
    )


def test_without_a_provider_it_names_those_there_are(run: Run) -> None:
    ran = run("init")
    assert ran.code == 2
    assert "--provider NAME" in ran.err
    assert "local" in ran.err
    assert not Path("clouddirect.toml").exists()


def test_an_unknown_provider_is_wrong_use(run: Run) -> None:
    ran = run("init", "--provider", "locl")
    assert ran.code == 2
    assert "did you mean 'local'" in ran.err
    assert not Path("clouddirect.toml").exists()


def test_a_place_that_cannot_be_written_to_is_named(run: Run) -> None:
    Path("file").write_bytes(b"")
    ran = run("init", "--provider", "local", "--path", "file/clouddirect.toml")
    assert ran.code == 2
    assert "cannot be written" in ran.err
