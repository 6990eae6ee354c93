"""Small distributions, built as wheels and installed by pip, to test discovery as it happens for users."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

#: A complete label module: a provider with options and an opener whose body the test gives.
LABEL = """
from pydantic import BaseModel, ConfigDict, SecretStr
from clouddirect.plugins import Provider, hookimpl

class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    path: str = "x"
    size: int = 1
    password: SecretStr | None = None

def opener(options, runtime):
    {opener}

@hookimpl
def clouddirect_provider():
    return Provider(name={name!r}, title="Test", extra="sdk", sdk_modules=("acme_sdk", "acme.queue"),
                    broker_options=Options, open_broker=opener)
"""


class Site:
    """A directory of installed distributions, and a Python that sees it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.wheels = directory.parent / "wheels"
        self.wheels.mkdir()

    def install(
        self,
        distribution: str,
        modules: dict[str, str],
        entry_points: dict[str, dict[str, str]],
        extras: tuple[str, ...] = (),
    ) -> None:
        """Run a statement that must raise a CloudDirectError; return kind, text, provider and cause."""
        wheel = _build(self.wheels, distribution, modules, entry_points, extras)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
        subprocess.run([*command, str(self.directory), str(wheel)], check=True, capture_output=True, text=True)

    def label(self, distribution: str, name: str, opener: str = "return (options, runtime)", module: str = "") -> None:
        """Install a provider called ``name`` whose opener has the given body."""
        module = module or distribution.replace("-", "_")
        source = LABEL.format(name=name, opener=opener)
        self.install(distribution, {f"{module}.py": source}, {"clouddirect": {name: module}}, extras=("sdk",))

    def run(self, script: str) -> Any:
        """Run a script that prints JSON on its last line; return that."""
        environment = os.environ | {"PYTHONPATH": str(self.directory)}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def error(self, statement: str) -> dict[str, str]:
        """Run a statement that must raise a CloudDirectError; return its kind, text and its cause's type."""
        return self.run(
            f"""
            import json, traceback, clouddirect, clouddirect.plugins
            from clouddirect.errors import CloudDirectError
            try:
                {statement}
                raise SystemExit("nothing was raised")
            except CloudDirectError as error:
                print(json.dumps({{"kind": type(error).__name__, "text": str(error), "provider": error.provider,
                                   "cause": type(error.__cause__).__name__,
                                   "traceback": "".join(traceback.format_exception(error))}}))
            """
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "site").mkdir()
    return Site(tmp_path / "site")


@pytest.fixture(scope="session")
def label_source() -> Callable[..., str]:
    return LABEL.format


def _build(
    folder: Path,
    distribution: str,
    modules: dict[str, str],
    entry_points: dict[str, dict[str, str]],
    extras: tuple[str, ...],
) -> Path:
    stem = f"{distribution.replace('-', '_')}-1.0"
    info = f"{stem}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
    files = dict(modules)
    files[f"{info}/METADATA"] = metadata + "".join(f"Provides-Extra: {extra}\n" for extra in extras)
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = "".join(
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in entry_points.items()
    )
    record = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        record.append(f"{name},sha256={digest},{len(content.encode())}\n")
    files[f"{info}/RECORD"] = "".join(record) + f"{info}/RECORD,,\n"
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path
