"""The built wheel, installed as users install it: in clean environments, with and without extras."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROVIDERS = ["aws", "azure", "gcp", "local"]


def run(*command: str | Path, check: bool = True, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CLOUDDIRECT"))}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=environment, timeout=600
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


class Environment:
    """A virtual environment of its own."""

    def __init__(self, directory: Path, *requirements: str) -> None:
        venv.create(directory, with_pip=True)
        self.bin = directory / ("Scripts" if os.name == "nt" else "bin")
        run(self.bin / "python", "-m", "pip", "install", "--quiet", *requirements)

    def command(
        self, *arguments: str | Path, check: bool = True, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        return run(self.bin / "clouddirect", *arguments, check=check, cwd=cwd)

    def python(self, script: str) -> str:
        return run(self.bin / "python", "-c", script).stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the wheel, built from the source distribution, as a packager would."""
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, ROOT)
    return directory


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("bare") / "venv", str(wheel))


@pytest.fixture(scope="session")
def full(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("full") / "venv", f"{wheel}[all]")


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    info = next(top for top in tops if top.endswith(".dist-info"))
    packages = {"clouddirect", *(f"clouddirect_{provider}" for provider in PROVIDERS)}
    assert tops == {*packages, info}
    assert {*(f"{package}/py.typed" for package in packages), f"{info}/licenses/LICENSE"} <= set(names)
    assert not [name for name in names if name.endswith((".pyc", ".db")) or "/tests/" in name]


def test_without_extras_everything_but_the_sandbox_works(bare: Environment, tmp_path: Path) -> None:
    assert bare.command("--version").stdout.strip()
    listed = [json.loads(line) for line in bare.command("providers", "--json").stdout.splitlines()]
    assert [one["name"] for one in listed] == PROVIDERS
    bare.command("init", "--provider", "local", cwd=tmp_path)
    demo = bare.command("demo", check=False, cwd=tmp_path)
    assert demo.returncode == 2
    assert "pip install 'clouddirect[sandbox]'" in demo.stderr
    assert "Traceback" not in demo.stderr


def test_without_extras_the_conformance_suites_say_what_to_install(bare: Environment) -> None:
    script = """
from clouddirect.errors import MissingExtraError
try:
    from clouddirect.conformance import MessagingConformance
except MissingExtraError as error:
    print(error)
"""
    assert "pip install 'clouddirect[conformance]'" in bare.python(script)


def test_a_bare_install_sends_and_receives(bare: Environment, tmp_path: Path) -> None:
    script = f"""
import clouddirect
with clouddirect.open_broker("local", path={str(tmp_path / "q.db")!r}, create=True) as broker:
    broker.send("q", clouddirect.Message(body=b"hello"))
    for delivery in broker.receive("q"):
        with delivery:
            print(delivery.message.body.decode())
"""
    assert bare.python(script).strip() == "hello"


def test_with_all_extras_the_demo_runs(full: Environment, tmp_path: Path) -> None:
    demo = full.command("demo", "--dir", tmp_path / "demo")
    assert str(tmp_path / "demo") in demo.stdout.replace("\n", "")
    assert len(list((tmp_path / "demo").rglob("*.pdf"))) >= 2


def test_no_command_writes_outside_the_directory_it_was_given(full: Environment, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    full.command("demo", "--dir", tmp_path / "work" / "demo", cwd=tmp_path / "work")
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["demo"]
