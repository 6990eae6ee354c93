"""``clouddirect providers``."""

from __future__ import annotations

from pathlib import Path

import pytest

from clouddirect import plugins
from clouddirect.errors import ProviderConflictError
from clouddirect.plugins import InstalledProvider, Provider

from .conftest import Run


def test_lists_what_is_installed(run: Run) -> None:
    ran = run("providers", "--json")
    assert ran.code == 0
    (local,) = [line for line in ran.lines if line["name"] == "local"]
    assert (local["queues"], local["files"], local["usable"], local["problem"]) == (True, True, True, None)
    assert local["distributions"][0].startswith("clouddirect ")
    text = run("providers").out
    assert "local" in text
    assert "ready" in text


def test_says_what_is_wrong_with_each(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def opener(options: object, runtime: object) -> None:
        raise AssertionError("nothing is opened")

    half = Provider(name="half", title="Half", extra="half", sdk_modules=("half_sdk",), open_store=opener)  # type: ignore[arg-type]
    found = [
        InstalledProvider("half", ("half-pack 2.0",), half, missing=("half_sdk",)),
        InstalledProvider("twice", ("a 1", "b 1"), error=ProviderConflictError("registered by a 1 and b 1")),
    ]
    monkeypatch.setattr(plugins, "installed_providers", lambda: found)
    half_line, twice_line = run("providers", "--json").lines
    assert (half_line["queues"], half_line["files"], half_line["missing"]) == (False, True, ["half_sdk"])
    assert half_line["problem"] == "not installed: half_sdk; pip install 'half-pack[half]'"
    assert (twice_line["usable"], twice_line["distributions"]) == (False, ["a 1", "b 1"])
    assert twice_line["problem"] == "registered by a 1 and b 1"
    text = run("providers")
    assert text.code == 0
    assert "missing" in text.out
    assert "registered by" in text.out


def test_tells_all_of_one(run: Run) -> None:
    assert run("init", "--provider", "local").code == 0
    text = run("providers", "local").out
    assert text.startswith("local: SQLite file and directory on this machine\nfrom clouddirect ")
    assert "* path" in text
    assert "[endpoints" not in text
    assert "endpoints.orders (orders) can do" in text
    assert "largest message" in text
    assert "stores.images (images) can do" in text
    (told,) = run("providers", "local", "--json").lines
    assert [option["key"] for option in told["options"]["container"]] == ["path", "create", "access"]
    (orders,) = [place for place in told["settings"] if place["name"] == "endpoints.orders"]
    assert orders["can"]["largest message"] == "1 MiB"
    assert orders["problem"] is None


def test_tells_options_without_settings(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("providers", "aws")
    assert ran.code == 0
    assert "  secret_access_key" in ran.out
    assert "with settings that use it, this command tells" in ran.out


def test_an_unknown_name_is_said_to_be_one(run: Run) -> None:
    ran = run("providers", "locl")
    assert ran.code != 0
    assert "no installed provider is called 'locl'" in ran.err
