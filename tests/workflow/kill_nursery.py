"""Processes that are there at once, to be killed: a prepared process, with everything imported, forks for each.

As a command, with tests/ on PYTHONPATH, ``python -m workflow.kill_nursery`` is the prepared process. With a name and an
argument it does that work itself, which is how Windows, which has no fork, starts each one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Chances", "Nursery", "Worker"]

TESTS = Path(__file__).parents[1]


class Worker:
    """One process at its work."""

    def __init__(self, pid: int, nursery: Nursery, process: subprocess.Popen[str] | None) -> None:
        self.pid = pid
        self._nursery = nursery
        self._process = process

    def kill(self) -> None:
        """kill -9; returns once it is gone. Fails if it ended by itself, with an error or for lack of work."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            return
        os.kill(self.pid, signal.SIGKILL)
        status = self._nursery.ask("wait", self.pid)
        assert os.waitstatus_to_exitcode(status) in (-signal.SIGKILL, 0), "it failed by itself; see its traceback"


class Nursery:
    """Starts processes. A context manager."""

    def __enter__(self) -> Self:
        self._forks = hasattr(os, "fork")
        self._environment = {**os.environ, "PYTHONPATH": str(TESTS), "OPENBLAS_NUM_THREADS": "1"}
        self._command = [sys.executable, "-m", "workflow.kill_nursery"]
        if self._forks:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._forks:
            self._process.communicate()

    @contextmanager
    def start(self, work: str, **arguments: Any) -> Iterator[Worker]:
        """Start a process that does the work of this name in `workflow.kill_workers`; it is killed in the end."""
        if self._forks:
            worker = Worker(self.ask(work, arguments), self, None)
        else:
            command = [*self._command, work, json.dumps(arguments)]
            process = subprocess.Popen(command, env=self._environment, text=True)
            worker = Worker(process.pid, self, process)
        try:
            yield worker
        finally:
            worker.kill()

    def run(self, work: str, **arguments: Any) -> None:
        """Do the work to its end."""
        if not self._forks:
            subprocess.run([*self._command, work, json.dumps(arguments)], env=self._environment, check=True)
            return
        status = self.ask("wait", self.ask(work, arguments))
        assert os.waitstatus_to_exitcode(status) == 0

    def ask(self, what: str, argument: Any) -> int:
        """Have the prepared process do something; returns its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([what, argument]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class Chances:
    """Random moments, the same ones in each run of the tests as far as the machine permits."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._never = threading.Event()

    def wait(self, longest: float) -> None:
        """Let a random part of ``longest`` seconds pass."""
        self._never.wait(self._random.uniform(0, longest))


def _tend() -> None:
    """Fork for each line that comes, and answer with the process id; or wait for one, and answer how it ended."""
    import clouddirect_local.broker
    import clouddirect_local.store  # noqa: F401
    from workflow import kill_workers

    for line in sys.stdin:
        what, argument = json.loads(line)
        if what == "wait":
            print(os.waitpid(argument, 0)[1], flush=True)
            continue
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            continue
        os.dup2(2, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = 1
        try:
            kill_workers.work(what, argument)
            code = 0
        finally:
            if code:
                import traceback

                traceback.print_exc()
            os._exit(code)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        _tend()
    else:
        from workflow import kill_workers

        kill_workers.work(sys.argv[1], json.loads(sys.argv[2]))
