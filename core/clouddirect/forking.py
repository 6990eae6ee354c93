"""What a fork would leave locked for ever on the child's side: locks of threads that the child does not have.

Who holds such locks registers with `around_fork`, and is told before and after each fork. So does who has files of
SQLite open: neither its locks of files nor the locks in its memory may cross a fork. Windows knows no fork.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref

__all__ = ["Forked", "around_fork"]


class Forked:
    """What is told of a fork; each of these does nothing unless it is overridden."""

    def before_fork(self) -> None:
        """Come to rest: called in the parent, in the thread that forks."""

    def after_fork_in_parent(self) -> None:
        """Go on, in the parent."""

    def after_fork_in_child(self) -> None:
        """Make new locks, in the child, which has no thread but the one that forked."""


_forking = threading.Lock()
_numbers = itertools.count()
#: In the order of their registration.
_held: weakref.WeakValueDictionary[int, Forked] = weakref.WeakValueDictionary()
#: Those that were told before the fork: only they are told after it.
_resting: list[Forked] = []


def around_fork(one: Forked) -> None:
    """Have ``one`` told of each fork, for as long as it lives: before it the latest comes first, after it the earliest.

    So what others need for coming to rest is registered before them.
    """
    with _forking:
        _held[next(_numbers)] = one


def _before() -> None:
    _forking.acquire()  # until the fork is over: another thread's would find these at rest, and leave them so
    _resting[:] = _held.values()
    for one in reversed(_resting):
        one.before_fork()


def _after_in_parent() -> None:
    for one in _resting:
        one.after_fork_in_parent()
    _resting.clear()
    _forking.release()


def _after_in_child() -> None:
    for one in _resting:
        one.after_fork_in_child()
    _resting.clear()
    _forking.release()  # the thread that forked holds it here, too


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
