"""The journal: durable, private, shared by threads and processes, and clear about what is wrong."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import pytest

from clouddirect.errors import (
    ClosedError,
    ConfigurationError,
    IntegrityError,
    PermissionDeniedError,
    UnavailableError,
    UnsupportedError,
)
from clouddirect.orders import journal as module
from clouddirect.orders.journal import Journal, journal_path
from unit.journal.conftest import SCHEMA, add, notes


def test_what_was_written_is_there_when_it_is_opened_again(journal: Journal) -> None:
    add(journal, "one")
    journal.close()
    again = Journal(journal.path)
    again.define("notes", SCHEMA)
    assert notes(again) == ["one"]
    again.close()


def test_an_exception_undoes_all_of_it(journal: Journal) -> None:
    def fails() -> None:
        with journal.write() as connection:
            connection.execute("INSERT INTO notes VALUES ('half')")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert notes(journal) == []


def test_only_its_owner_can_read_it(journal: Journal) -> None:
    add(journal, "one")
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700
    for file in journal.path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


def test_what_was_deleted_is_not_in_the_file_any_more(journal: Journal) -> None:
    add(journal, "Canarysson" * 500)
    with journal.write() as connection:
        connection.execute("DELETE FROM notes")
    journal.close()
    assert b"Canarysson" not in journal.path.read_bytes()


def test_threads_share_it(journal: Journal) -> None:
    threads = [threading.Thread(target=add, args=(journal, str(number))) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(notes(journal), key=int) == [str(number) for number in range(20)]


def test_processes_share_it(journal: Journal) -> None:
    script = f"""
from pathlib import Path
from clouddirect.orders.journal import Journal
journal = Journal(Path({str(journal.path)!r}))
journal.define("notes", {SCHEMA!r})
for number in range(20):
    with journal.write() as connection:
        connection.execute("INSERT INTO notes VALUES ('x')")
"""
    processes = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert len(notes(journal)) == 60


@pytest.mark.parametrize(("path", "uri"), [
    (PurePosixPath("/data/a b/x.db"), "file:///data/a%20b/x.db"),
    (PureWindowsPath(r"C:\data\x.db"), "file:///C:/data/x.db"),
    (PureWindowsPath(r"\\server\share\a b\x.db"), "file:////server/share/a%20b/x.db"),
])  # fmt: skip
def test_sqlite_is_told_of_no_host(path: PurePath, uri: str) -> None:
    assert module._uri(path) == uri


def test_tables_may_be_added_later(journal: Journal) -> None:
    add(journal, "one")
    journal.define("more", "CREATE TABLE IF NOT EXISTS more (text TEXT); CREATE INDEX IF NOT EXISTS i ON more (text)")
    with journal.write() as connection:
        connection.execute("INSERT INTO more VALUES ('two')")
    assert notes(journal) == ["one"]


def test_a_lock_that_lasts_is_told(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUSY", 0.05)
    add(journal, "one")
    journal.define("again", "")  # so that it is opened again, with less patience
    other = sqlite3.connect(journal.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match="keeping it locked") as caught:
        add(journal, "two")
    assert caught.value.retryable
    other.close()
    add(journal, "three")
    assert notes(journal) == ["one", "three"]


def test_a_full_disk_is_told_and_loses_nothing(journal: Journal) -> None:
    add(journal, "one")
    with journal.read() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(UnavailableError, match="the disk is full"):
        add(journal, "x" * 100_000)
    assert notes(journal) == ["one"]


def test_what_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.db"
    other = sqlite3.connect(theirs)
    other.execute("CREATE TABLE customers (name TEXT)")
    other.close()
    with pytest.raises(ConfigurationError, match="another program"), Journal(theirs).read():
        pass
    text = tmp_path / "text.db"
    text.write_bytes(b"no database" * 500)
    with pytest.raises(ConfigurationError, match="it is no journal"), Journal(text).read():
        pass
    assert text.read_bytes() == b"no database" * 500


def test_a_damaged_file_is_told(journal: Journal) -> None:
    for number in range(50):
        add(journal, str(number) * 1000)
    journal.close()
    content = bytearray(journal.path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    journal.path.write_bytes(content)
    again = Journal(journal.path)
    with pytest.raises(IntegrityError, match="damaged"):
        notes(again)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no directory that denies everybody")
def test_a_directory_that_cannot_be_written_is_told() -> None:
    with pytest.raises(PermissionDeniedError, match="data_dir"), Journal(Path("/sys/clouddirect/j.db")).read():
        pass


def test_a_file_where_the_directory_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(UnavailableError, match="data_dir"), Journal(tmp_path / "data" / "j.db").read():
        pass


def test_closed_is_closed(journal: Journal) -> None:
    journal.close()
    with pytest.raises(ClosedError):
        add(journal, "late")


def test_it_lies_in_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert journal_path(tmp_path) == tmp_path / "clouddirect.db"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert journal_path(None) == tmp_path / "clouddirect" / "clouddirect.db"


def test_a_transaction_within_a_transaction_is_refused_and_disturbs_the_outer_one_not(journal: Journal) -> None:
    with journal.write() as connection:
        connection.execute("INSERT INTO notes VALUES ('outer')")
        with pytest.raises(UnsupportedError, match="leave its block first"):
            add(journal, "inner")
    assert notes(journal) == ["outer"]


def test_many_processes_may_make_it_at_once(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from clouddirect.orders.journal import Journal
for number in range(20):
    sys.stdin.readline()
    journal = Journal(Path({str(tmp_path)!r}, str(number), "clouddirect.db"))
    journal.define("notes", "{SCHEMA}")
    with journal.write() as connection:
        connection.execute("INSERT INTO notes VALUES ('one')")
    print("done", flush=True)
"""
    made = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for _ in range(20):
        for process in made:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert [process.stdout and process.stdout.readline() for process in made] == ["done\n"] * 6
    for process in made:
        process.communicate()
        assert process.returncode == 0
