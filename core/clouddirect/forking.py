"""What a fork would leave locked for ever on the child's side: locks of threads that the child does not have.

Who holds such locks registers with `around_fork`, and is told before and after each fork. So does who has files of
SQLite open: neither its locks of files nor the locks in its memory may cross a fork. Windows knows no fork.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable

__all__ = ["Forked", "around_fork"]

log = logging.getLogger("clouddirect")


class Forked:
    """What is told of a fork; each of these does nothing unless it is overridden."""

    #: Those with a smaller rank come to rest earlier, and go on later: they may be using those with a greater one.
    rank = 0

    def before_fork(self) -> None:
        """Come to rest: called in the parent, in the thread that forks."""

    def after_fork_in_parent(self) -> None:
        """Go on, in the parent; called only if `before_fork` has returned."""

    def after_fork_in_child(self) -> None:
        """Make new locks, in the child, which has no thread but the one that forked; likewise."""


#: Held by the thread that forks, until the fork is over: another's would find all at rest, and leave them so.
_forking = threading.Lock()
_forker: int | None = None
#: Held while somebody registers, and from when all are at rest.
_registering = threading.Lock()
_all_at_rest = False
_held: weakref.WeakSet[Forked] = weakref.WeakSet()
#: Those that have come to rest: only they are told after the fork.
_resting: list[Forked] = []


def around_fork(one: Forked) -> None:
    """Have ``one`` told of each fork, for as long as it lives."""
    with _registering:
        _held.add(one)


def _before() -> None:
    global _forker, _all_at_rest
    _forking.acquire()
    _forker = threading.get_ident()
    while True:
        _registering.acquire()
        known = set(map(id, _resting))
        coming = sorted((one for one in _held if id(one) not in known), key=lambda one: one.rank)
        if not coming:
            _all_at_rest = True  # nobody else registers before the fork is over
            return
        _registering.release()
        for one in coming:
            one.before_fork()
            _resting.append(one)


def _after_in_parent() -> None:
    global _forker, _all_at_rest
    if _forker != threading.get_ident():  # interrupted while it waited for another thread's fork
        return
    _go_on(lambda one: one.after_fork_in_parent())
    if _all_at_rest:
        _registering.release()
    _forker, _all_at_rest = None, False
    _forking.release()


def _after_in_child() -> None:
    global _forking, _forker, _registering, _all_at_rest
    if _forker == threading.get_ident():
        _go_on(lambda one: one.after_fork_in_child())
    _forking, _forker, _registering, _all_at_rest = threading.Lock(), None, threading.Lock(), False


def _go_on(go_on: Callable[[Forked], None]) -> None:
    """Tell all that are at rest. Python ignores what a handler raises, such as Ctrl-C, and has forked all the same."""
    rested = sorted(_resting, key=lambda one: one.rank, reverse=True)
    _resting.clear()
    for one in rested:
        try:
            go_on(one)
        except BaseException as error:  # noqa: BLE001 - the others must not stay locked
            log.error("something did not go on after a fork (%s)", type(error).__name__)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
