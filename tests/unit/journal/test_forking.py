"""Forks: the journal and what is beside it rest first, and go on in both processes."""

from __future__ import annotations

import faulthandler
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from clouddirect.orders.journal import Journal
from unit.journal.conftest import add, notes

if not hasattr(os, "fork"):
    pytest.skip("this system has no fork", allow_module_level=True)


def child_does(work: Callable[[], object]) -> int:
    """Fork; run ``work`` in the child, which then ends with 0, or with 1 if it raised. Returns the child's pid."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            faulthandler.dump_traceback_later(20, exit=True)
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def run(script: str, *arguments: object) -> str:
    """Run a program; returns what it printed. It ends in time, or is ended with all that it has forked."""
    program = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, errors = program.communicate(timeout=60)
    except BaseException:
        os.killpg(program.pid, signal.SIGKILL)
        program.communicate()
        raise
    assert program.returncode == 0, errors
    return output


def test_a_forked_process_has_a_connection_of_its_own(journal: Journal) -> None:
    add(journal, "parent")
    assert os.waitpid(child_does(lambda: add(journal, "child")), 0)[1] == 0
    add(journal, "parent again")
    assert notes(journal) == ["parent", "child", "parent again"]


def test_a_process_that_is_forked_during_a_transaction_is_not_locked_out(journal: Journal) -> None:
    began, go_on = threading.Event(), threading.Event()

    def work() -> None:
        with journal.write() as connection:
            connection.execute("INSERT INTO notes VALUES ('thread')")
            began.set()
            go_on.wait(0.3)

    thread = threading.Thread(target=work)
    thread.start()
    assert began.wait(60)
    child = child_does(lambda: add(journal, "child"))  # waits for the end of the transaction
    go_on.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    add(journal, "parent")
    assert notes(journal) == ["thread", "child", "parent"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_connection_crosses_a_fork(journal: Journal) -> None:
    add(journal, "one")

    def look() -> None:
        opened = [os.path.realpath(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd")]
        assert not any(str(journal.path) in one for one in opened)
        add(journal, "child")

    assert os.waitpid(child_does(look), 0)[1] == 0
    add(journal, "parent")
    assert notes(journal) == ["one", "child", "parent"]


FORKING = """
import os, sys, threading
from pathlib import Path
from clouddirect.orders.journal import Journal

journals = [Journal(Path(sys.argv[1], f"{number}.db")) for number in range(20)]

def fork():
    for _ in range(40):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

def write():
    for _ in range(100):
        with journals[0].write():
            pass

threads = [threading.Thread(target=work) for work in (fork, fork, fork, fork, write)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_that_fork_at_the_same_time_do_not_halt_each_other(tmp_path: Path) -> None:
    run(FORKING, tmp_path)


FORK_OF_A_LOCK = """
import os, sys, threading
from pathlib import Path
from clouddirect.orders.flush_lock import FlushLock

lock, stop = FlushLock(Path(sys.argv[1], "j.db")), threading.Event()

def hold():
    while not stop.is_set():
        with lock.held():
            pass

def tried():
    pause = threading.Event()
    for _ in range(1000):  # now and then the parent holds it
        with lock.held() as alone:
            if alone:
                return True
        pause.wait(0.001)
    return False

thread = threading.Thread(target=hold)
thread.start()
failed = 0
for _ in range(200):
    child = os.fork()
    if child == 0:
        os._exit(0 if tried() else 1)
    failed += os.waitpid(child, 0)[1] != 0
stop.set()
thread.join()
sys.exit(failed != 0)
"""


def test_a_lock_that_another_thread_is_letting_go_of_is_free_in_a_child(tmp_path: Path) -> None:
    """SQLite must not be cut in two by a fork: the child would find the lock taken for ever."""
    run(FORK_OF_A_LOCK, tmp_path)


FORK_WITHIN = """
import os, sys
from pathlib import Path
from clouddirect.errors import UnsupportedError
from clouddirect.orders.journal import Journal

journal, role = Journal(Path(sys.argv[1], "j.db")), "parent"
journal.define("notes", "CREATE TABLE IF NOT EXISTS notes (text TEXT)")
generations, rows = int(sys.argv[2]), int(sys.argv[3])
told = 0
try:
    with journal.write() as connection:
        connection.executemany("INSERT INTO notes VALUES (?)", [["x" * 4000]] * rows)
        for generation in range(generations):
            child = os.fork()
            if child:
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
                break
            role = "child"
        if role == "child" and child:
            sys.exit(7)  # between two generations; ends as any program does
except UnsupportedError as error:
    assert role == "child" and "leave the block before forking" in str(error)
    try:
        with journal.write():
            pass
    except UnsupportedError:
        sys.exit(7)
assert role == "parent"
"""


@pytest.mark.parametrize(("generations", "rows"), [(1, 1), (1, 1500), (2, 1), (2, 1500)])
def test_a_transaction_around_a_fork_is_the_parents_alone(tmp_path: Path, generations: int, rows: int) -> None:
    """Not even the end of the child's interpreter disturbs it; of 1,500 rows a part is in the file before the end."""
    run(FORK_WITHIN, tmp_path, generations, rows)
    found = sqlite3.connect(tmp_path / "j.db")
    assert found.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert found.execute("SELECT count(*) FROM notes").fetchone() == (rows,)
    found.close()


INTERRUPTED = """
import os, sys
from pathlib import Path
from clouddirect.forking import Forked, around_fork
from clouddirect.orders.journal import Journal

class Impatient(Forked):
    rank = int(sys.argv[2])

    def before_fork(self):
        raise KeyboardInterrupt

    def after_fork_in_parent(self):
        print("told all the same")

journals = [Journal(Path(sys.argv[1], f"{number}.db")) for number in range(5)]
impatient = Impatient()
around_fork(impatient)
for turn in range(2):
    child = os.fork()
    if child == 0:
        for journal in [*journals, Journal(Path(sys.argv[1], "child.db"))]:
            with journal.write():
                pass
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    for journal in [*journals, Journal(Path(sys.argv[1], "parent.db"))]:
        with journal.write():
            pass
print("goes on")
"""


@pytest.mark.parametrize("rank", [-1, 1])
def test_who_does_not_come_to_rest_leaves_nothing_locked(tmp_path: Path, rank: int) -> None:
    """Ctrl-C in the middle of the preparation: Python forks all the same."""
    assert run(INTERRUPTED, tmp_path, rank) == "goes on\n"


FORK_BESIDE_A_BROKER = """
import os, sys, threading
from pathlib import Path
from clouddirect import forking
from clouddirect.messaging import Message
from clouddirect.orders.journal import Journal
from clouddirect_local.broker import LocalBroker, LocalBrokerOptions

def broker():
    return LocalBroker(LocalBrokerOptions(path=Path(sys.argv[1], "q.db"), create=True))

opened, journal, inside = broker(), Journal(Path(sys.argv[1], "j.db")), threading.Event()

def work():
    with journal.write():
        inside.set()
        while not forking._forking.locked():
            pass
        for one in (opened, broker()):
            one.send("orders", Message(body=b"x"))

opened.send("orders", Message(body=b"x"))
thread = threading.Thread(target=work)
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    opened.send("orders", Message(body=b"x"))
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
thread.join()
print(len(opened.receive("orders", 10)))
"""


def test_a_local_broker_may_be_used_in_a_transaction_while_another_thread_forks(tmp_path: Path) -> None:
    """The journal rests before the queue that its transaction uses, or is only about to make."""
    assert run(FORK_BESIDE_A_BROKER, tmp_path) == "4\n"
