"""Ctrl-C as a way to end properly: what is being done is finished, the rest is given back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["run_until_interrupted"]


def run_until_interrupted(work: Callable[[], object], stop: Callable[[], object]) -> bool:
    """Run ``work`` to its end; on Ctrl-C (or SIGTERM) call ``stop`` and wait for the end. A second one does not wait.

    The work runs in a thread of its own: an interrupt that struck inside a broker's call could lose what that call had
    just taken, and on Windows it would not be noticed before the call returned.

    Returns:
        Whether it was interrupted. What ``work`` raises is raised here.
    """
    failures: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            failures.append(error)
        finally:
            ended.set()

    interrupted = False
    with _terminating_as_interrupt():
        try:
            threading.Thread(target=run, name="clouddirect-command", daemon=True).start()
            _wait(ended)
        except KeyboardInterrupt:
            interrupted = True
            stop()
            _wait(ended)
    if failures:
        raise failures[0]
    return interrupted


def _wait(ended: threading.Event) -> None:
    while not ended.wait(0.2):  # on Windows an interrupt is noticed between waits only
        pass


@contextmanager
def _terminating_as_interrupt() -> Iterator[None]:
    """Let SIGTERM, which service managers send, do what Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
