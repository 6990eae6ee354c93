"""What the tests of the local broker share: a file with the queue ``orders``, and brokers closed at the end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import pytest

from clouddirect.clock import Clock, ManualClock, SystemClock
from clouddirect.messaging import BrokerRuntime
from clouddirect.retry import RetryPolicy
from clouddirect_local.broker import LocalBroker
from clouddirect_local.broker_options import LocalBrokerOptions
from clouddirect_local.queue_admin import create_queue

QUEUE = "orders"


class OpenBroker(Protocol):
    def __call__(
        self, *, clock: Clock | None = None, attempts: int = 1, path: Path | None = None, **options: Any
    ) -> LocalBroker: ...


@pytest.fixture
def queue_file(tmp_path: Path) -> Path:
    """A file with the queue ``orders``, which deduplicates for 300 s and delivers ten times, for 30 s each."""
    path = tmp_path / "queues.db"
    create_queue(path, QUEUE)
    return path


@pytest.fixture
def open_local(queue_file: Path) -> Iterator[OpenBroker]:
    """Opens brokers on ``queue_file``, or on ``path``; they do not retry unless told to."""
    opened: list[LocalBroker] = []

    def open_one(
        *, clock: Clock | None = None, attempts: int = 1, path: Path | None = None, **options: Any
    ) -> LocalBroker:
        runtime = BrokerRuntime(
            clock=clock or SystemClock(), retry=RetryPolicy(max_attempts=attempts), call_timeout=10.0
        )
        opened.append(LocalBroker(LocalBrokerOptions(path=path or queue_file, **options), runtime))
        return opened[-1]

    yield open_one
    for broker in opened:
        broker.close()


@pytest.fixture
def manual_clock() -> ManualClock:
    """A clock that stands at 2026-01-01, a day after the machine was started."""
    clock = ManualClock()
    clock.advance(86_400)
    clock.set_back(86_400)
    return clock


@pytest.fixture
def broker(open_local: OpenBroker, manual_clock: ManualClock) -> LocalBroker:
    """A broker on ``queue_file`` that runs on ``manual_clock``."""
    return open_local(clock=manual_clock)


@pytest.fixture
def run_python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a Python process with a script and arguments; whatever still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", script, *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def in_thread() -> Iterator[Callable[[Callable[[], Any]], Future[Any]]]:
    """Runs a call in a thread of its own and returns its future."""
    with ThreadPoolExecutor(32) as pool:
        yield pool.submit
