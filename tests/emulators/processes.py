"""Servers as processes of their own: started, awaited, and ended by their process id."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event
from types import TracebackType

__all__ = ["Server", "accepts", "answers", "free_port"]


#: Below the ports that systems give to outgoing connections, so that none of those takes one before its server does.
_PORTS = range(20_000, 32_000)


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens at the moment, for a server that is started next."""
    for _ in range(1000):
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError(f"no free port among {_PORTS.start} to {_PORTS.stop} of 127.0.0.1")


def accepts(port: int) -> bool:
    """Whether somebody accepts connections on this port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def answers(url: str) -> bool:
    """Whether an HTTP GET of ``url`` gives 200."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


class Server:
    """A server process, for use in a ``with`` statement.

    Args:
        command: program and arguments.
        ready: tells whether the server can be used; asked until it says yes.
        environment: variables added to this process's own.
        patience: seconds to wait for ``ready``.
        directory: where the process runs; None for this process's own.

    What the server prints goes to a file, for a pipe that nobody reads would fill and halt it.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
        patience: float = 60.0,
        directory: Path | None = None,
    ) -> None:
        self._command = [str(part) for part in command]
        self._ready = ready
        self._environment = {**os.environ, **(environment or {})}
        self._patience = patience
        self._directory = directory

    def __enter__(self) -> Server:
        self._log = tempfile.TemporaryFile()  # closed in __exit__
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def output(self) -> str:
        """Return what the server has printed so far."""
        self._log.flush()
        return os.pread(self._log.fileno(), 1 << 20, 0).decode(errors="replace") if sys.platform != "win32" else ""

    def _wait_until_ready(self) -> None:
        ends, tick = time.monotonic() + self._patience, Event()
        while not self._ready():
            if self._process.poll() is not None:
                raise RuntimeError(f"{self._command[0]} ended with {self._process.returncode}:\n{self.output()}")
            if time.monotonic() > ends:
                raise RuntimeError(f"{self._command[0]} was not ready within {self._patience} s:\n{self.output()}")
            tick.wait(0.05)
