"""Several processes at one directory, some of them killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from clouddirect.errors import NotFoundError
from clouddirect_local.store import LocalStore
from clouddirect_local.store_options import LocalStoreOptions

OPEN = """
import os, sys
from clouddirect.errors import AlreadyExistsError
from clouddirect_local.store import LocalStore
from clouddirect_local.store_options import LocalStoreOptions
store = LocalStore(LocalStoreOptions(path=sys.argv[1], container="c", create=True))
"""


def start(program: str, directory: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", OPEN + program, str(directory), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(LocalStoreOptions(path=tmp_path, container="c", create=True))


def test_of_two_processes_exactly_one_creates(store: LocalStore, tmp_path: Path) -> None:
    program = """
for number in range(100):
    sys.stdin.readline()
    try:
        store.put(f"raced/{number}", sys.argv[2].encode() * 1000, if_absent=True)
        print("won", flush=True)
    except AlreadyExistsError:
        print("lost", flush=True)
"""
    with start(program, tmp_path, "1") as one, start(program, tmp_path, "2") as two:
        for number in range(100):
            for process in (one, two):
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            said = [process.stdout.readline().strip() for process in (one, two) if process.stdout]
            assert sorted(said) == ["lost", "won"]
            assert store.get(f"raced/{number}") == (b"1" if said[0] == "won" else b"2") * 1000
    assert os.listdir(tmp_path / "c" / ".clouddirect" / "tmp") == []


def test_a_process_killed_in_mid_upload_leaves_nothing_visible(
    store: LocalStore, tmp_path: Path, long_run: bool
) -> None:
    """Killed at any moment, what was there before stays, whole, or the new content is there, whole."""
    program = """
class Source:
    left = 40
    def read(self, size):
        self.left -= 1
        if self.left < 0:
            return b""
        if self.left == int(sys.argv[2]):
            print("here", flush=True)
            if sys.argv[3] == "wait":
                sys.stdin.readline()
        return b"n" * 100_000
store.put("a/key", Source(), content_type="image/new")
print("done", flush=True)
"""
    store.put("a/key", b"old", content_type="image/old")
    for left in range(0, 40, 1 if long_run else 4):
        for wait in ("wait", "run"):
            with start(program, tmp_path, str(left), wait) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == "here\n"
                process.kill()
            found = store.stat("a/key")
            if found.content_type == "image/new":
                assert wait == "run"
                assert store.get("a/key") == b"n" * 4_000_000
                store.put("a/key", b"old", content_type="image/old")
            assert store.get("a/key") in (b"old",)
            assert store.stat("a/key").content_type == "image/old"
            assert [one.key for one in store.list()] == ["a/key"]  # type: ignore[union-attr]


def test_a_process_killed_right_after_a_put_loses_nothing(store: LocalStore, tmp_path: Path) -> None:
    program = """
for number in range(1000):
    store.put(f"key/{number}", str(number).encode() * 1000, metadata={"number": str(number)})
    print(number, flush=True)
"""
    with start(program, tmp_path) as process:
        assert process.stdout is not None
        for number in range(50):
            assert process.stdout.readline() == f"{number}\n"
        process.kill()
        told = 49 + len(process.stdout.readlines())
    for number in range(told + 1):
        assert store.get(f"key/{number}") == str(number).encode() * 1000
        assert store.stat(f"key/{number}").metadata == {"number": str(number)}
    for one in store.list():
        assert store.get(one.key)  # type: ignore[union-attr]  # at most one more, and that one whole


def test_overwriting_by_several_processes_never_mixes(store: LocalStore, tmp_path: Path) -> None:
    """Content, metadata and digest that are read together were written together."""
    program = """
sys.stdin.readline()
for number in range(150):
    letter = sys.argv[2]
    store.put("shared/key", letter.encode() * (1000 + number), metadata={"by": letter})
"""
    writers = [start(program, tmp_path, letter) for letter in "ab"]
    store.put("shared/key", b"a" * 10, metadata={"by": "a"})
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    target = tmp_path / "target"
    while any(writer.poll() is None for writer in writers):
        fetched = store.download("shared/key", target)
        assert fetched.verified == "sha256"
        assert set(target.read_bytes()) == {ord(fetched.metadata["by"])}
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert len(list((tmp_path / "c").glob(".clouddirect/meta/*/*.json"))) == 1


def test_puts_and_deletes_race_for_directories(store: LocalStore) -> None:
    """A put whose directory is removed at the last moment, because a delete left it empty, makes it again."""
    failed: list[BaseException] = []
    done = threading.Event()

    def churn(name: str) -> None:
        try:
            for number in range(150):
                store.put(f"a/b/{name}", str(number).encode(), if_absent=True)
                assert store.get(f"a/b/{name}") == str(number).encode()
                store.delete(f"a/b/{name}")
        except BaseException as error:
            failed.append(error)

    def watch() -> None:
        while not done.is_set():
            for one in store.list():
                try:
                    store.get(one.key)  # type: ignore[union-attr]
                except NotFoundError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    threads = [threading.Thread(target=churn, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    watcher.join()
    assert failed == []
    assert list(store.list()) == []
