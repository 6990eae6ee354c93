"""The queue file: what is there, what is made, what is refused."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from clouddirect.errors import (
    CloudDirectError,
    ConfigurationError,
    IntegrityError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from clouddirect.messaging import Message
from clouddirect_local.broker import LocalBroker, LocalNative
from clouddirect_local.queue_admin import create_queue, list_queues
from clouddirect_local.queue_file import QueueFile

Start = Callable[..., "subprocess.Popen[str]"]

USES = {
    "send": lambda broker: broker.send("orders", Message(body=b"x")),
    "receive": lambda broker: broker.receive("orders"),
    "waiting": lambda broker: broker.receive("orders", wait=5),
    "native": lambda broker: broker.native.connect(),
}


@pytest.fixture(params=sorted(USES))
def use(request: pytest.FixtureRequest) -> Callable[[LocalBroker], object]:
    return USES[request.param]


def test_a_missing_file_is_not_found_and_not_made(open_local, tmp_path: Path, use) -> None:
    path = tmp_path / "sub" / "missing.db"
    broker = open_local(path=path)
    with pytest.raises(NotFoundError, match="create_queue") as caught:
        use(broker)
    assert str(path) in str(caught.value)
    assert caught.value.provider == "local"
    assert not path.parent.exists()


def test_a_missing_queue_is_not_found_and_not_made(open_local, queue_file: Path) -> None:
    broker = open_local()
    for use in (lambda: broker.send("nothing", Message(body=b"x")), lambda: broker.receive("nothing", wait=5)):
        with pytest.raises(NotFoundError, match=r"no queue 'nothing'.*create_queue"):
            use()
    assert [queue.name for queue in list_queues(queue_file)] == ["orders"]


def test_an_empty_file_is_not_found_and_stays_empty(open_local, tmp_path: Path, use) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    with pytest.raises(NotFoundError, match="empty"):
        use(open_local(path=path))
    assert path.read_bytes() == b""


def test_opening_and_closing_touches_nothing(open_local, tmp_path: Path) -> None:
    broker = open_local(path=tmp_path / "missing.db", create=True)
    broker.capabilities("orders")
    broker.close()
    assert sorted(os.listdir(tmp_path)) == ["queues.db"]


def test_create_makes_directory_file_and_queue_on_first_use(open_local, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "new.db"
    broker = open_local(path=path, create=True, lease=7, max_deliveries=3, deduplication_window=9)
    broker.send("made/by use", Message(body=b"x"))
    assert broker.receive("other") == []
    assert broker.receive("third/$dead") == []
    first = list_queues(path)[0]
    assert [queue.name for queue in list_queues(path)] == ["made/by use", "other", "third"]
    assert (first.settings.lease, first.settings.max_deliveries, first.settings.deduplication_window) == (7, 3, 9)
    assert first.messages == 1


def test_create_keeps_the_settings_of_a_queue_that_exists(open_local, queue_file: Path) -> None:
    create_queue(queue_file, "short", lease=5, max_deliveries=2)
    broker = open_local(create=True, lease=100, max_deliveries=99)
    broker.send("short", Message(body=b"x"))
    delivery = broker.receive("short")[0]
    left = delivery.lease_expires_at - delivery.enqueued_at
    assert left.total_seconds() <= 6
    assert broker.capabilities("short").max_delivery_count == 2


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")
def test_a_new_file_belongs_to_its_owner_alone(open_local, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        broker = open_local(path=tmp_path / "new.db", create=True)
        broker.send("orders", Message(body=b"x"))
        modes = {name: stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)}
    finally:
        os.umask(before)
    assert {name: oct(mode) for name, mode in modes.items() if name.startswith("new.db")} == {
        "new.db": "0o600", "new.db-shm": "0o600", "new.db-wal": "0o600",
    }  # fmt: skip


def test_the_side_files_are_gone_after_closing(open_local, tmp_path: Path) -> None:
    broker = open_local()
    broker.send("orders", Message(body=b"x"))
    broker.close()
    assert os.listdir(tmp_path) == ["queues.db"]


def test_the_database_of_another_application_is_refused_and_left_alone(open_local, tmp_path: Path, use) -> None:
    path = tmp_path / "photos.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE photo (id INTEGER)")
    before = path.read_bytes()
    for create in (False, True):
        with pytest.raises(ConfigurationError, match="another application"):
            use(open_local(path=path, create=create))
    with pytest.raises(ConfigurationError, match="another application"):
        create_queue(path, "orders")
    assert path.read_bytes() == before


def test_a_file_of_another_format_is_refused_by_version(open_local, queue_file: Path, use) -> None:
    with closing(sqlite3.connect(queue_file)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(ConfigurationError, match=r"format 2.*reads format 1"):
        use(open_local())


def test_a_file_that_is_no_database_is_refused_and_left_alone(open_local, tmp_path: Path, use) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database at all, but long enough to be read as a header " * 30)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="not a queue file"):
        use(open_local(path=path, create=True))
    assert path.read_bytes() == before


def test_a_directory_is_refused(open_local, tmp_path: Path, use) -> None:
    with pytest.raises(PermissionDeniedError, match="cannot be opened"):
        use(open_local(path=tmp_path, create=True))


def test_a_damaged_file_is_told_from_an_absent_one(open_local, queue_file: Path) -> None:
    data = bytearray(queue_file.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 64] = b"\xff" * 64
    queue_file.write_bytes(data)
    with pytest.raises(IntegrityError, match="damaged"):
        open_local().send("orders", Message(body=b"x"))


def test_a_locked_file_is_unavailable_for_now(open_local, queue_file: Path, monkeypatch) -> None:
    monkeypatch.setattr("clouddirect_local.queue_file._BUSY", 0.2)
    broker = open_local()
    with closing(sqlite3.connect(queue_file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="locked") as caught:
            broker.send("orders", Message(body=b"x"))
        assert caught.value.retryable
        assert not caught.value.maybe_sent
        assert caught.value.code == "SQLITE_BUSY"
        assert broker.receive("orders") == []  # looking for messages takes no lock
        other.execute("ROLLBACK")
    assert broker.send("orders", Message(body=b"x"))


def test_threads_and_programs_that_are_waited_for_share_one_patience(queue_file: Path) -> None:
    file, began = QueueFile(queue_file, create=True), threading.Event()
    left = []

    def write() -> None:
        began.set()
        with file.write(5.0) as connection:
            left.append(connection.execute("PRAGMA busy_timeout").fetchone()[0])

    with file.shared.turn:
        thread = threading.Thread(target=write)
        thread.start()
        assert began.wait(60)
        threading.Event().wait(0.5)  # another thread has its turn for so long
    thread.join()
    file.close()
    assert 0 < left[0] <= 4_600


def test_a_lock_that_passes_is_waited_for(open_local, queue_file: Path) -> None:
    broker = open_local()
    with closing(sqlite3.connect(queue_file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.2, lambda: other.execute("ROLLBACK"))
        timer.start()
        broker.send("orders", Message(body=b"x"))
        timer.join()
    assert len(broker.receive("orders")) == 1


def test_a_full_disk_is_reported_as_such_and_passes(open_local, queue_file: Path) -> None:
    broker = open_local()
    native = broker.native
    assert isinstance(native, LocalNative)
    broker.send("orders", Message(body=b"before"))
    with broker._file.write(1.0) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(UnavailableError, match="disk is full") as caught:
        broker.send("orders", Message(body=b"x" * 100_000))
    assert caught.value.retryable
    assert not caught.value.maybe_sent
    with broker._file.write(1.0) as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    broker.send("orders", Message(body=b"after"))
    assert [delivery.message.body for delivery in broker.receive("orders", 9)] == [b"before", b"after"]


DISK_FAILS = """
import os, resource, sys
from clouddirect.errors import UnavailableError
from clouddirect.messaging import BrokerRuntime, Message
from clouddirect.retry import RetryPolicy
from clouddirect_local.broker import LocalBroker
from clouddirect_local.broker_options import LocalBrokerOptions

runtime = BrokerRuntime(retry=RetryPolicy(max_attempts=1))
with LocalBroker(LocalBrokerOptions(path=sys.argv[1]), runtime) as broker:
    broker.send("orders", Message(body=b"first"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(sys.argv[1] + "-wal") + 5000, limits[1]))
    message = Message(body=b"x" * 20_000)
    try:
        broker.send("orders", message)
    except UnavailableError as error:
        assert error.retryable and error.maybe_sent, repr(error)
    else:
        raise SystemExit("the message was written past the limit")
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [one.message.body for one in broker.receive("orders", 9)] == [b"first"]
    broker.send("orders", message)
    broker.send("orders", message)
    assert [one.message.id for one in broker.receive("orders", 9)] == [message.id]
print("done")
"""


@pytest.mark.skipif(os.name != "posix", reason="only POSIX can limit the size of files")
def test_a_commit_that_fails_on_the_disk_is_uncertain_and_can_be_repeated(queue_file: Path, run_python: Start) -> None:
    assert run_python(DISK_FAILS, queue_file).communicate(timeout=60)[0] == "done\n"


READ_ONLY = """
import os
import sys
from pathlib import Path
from clouddirect.errors import PermissionDeniedError
from clouddirect.messaging import Message
from clouddirect_local.broker import LocalBroker
from clouddirect_local.broker_options import LocalBrokerOptions

Path(sys.argv[1]).as_uri()  # imports what somebody else may not be able to read
if os.geteuid() == 0:  # the superuser may write everywhere, so somebody else tries
    os.setegid(65534)
    os.seteuid(65534)
with LocalBroker(LocalBrokerOptions(path=sys.argv[1])) as broker:
    for use in (lambda: broker.send("orders", Message(body=b"x")), lambda: broker.receive("orders")):
        try:
            use()
        except PermissionDeniedError as error:
            assert "this user needs" in str(error), error
            assert not error.retryable
        else:
            raise SystemExit("the read-only file was used")
    for access in ("send", "receive"):
        result = broker.check("orders", access)
        assert result.status == "failed", result
print("refused")
"""


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")
@pytest.mark.parametrize("side_files", [False, True], ids=["closed", "in use"])
def test_a_read_only_file_is_a_denied_permission(open_local, run_python: Start, side_files: bool) -> None:
    with tempfile.TemporaryDirectory() as name:  # not below pytest's own directory, which only its owner may enter
        path = Path(name) / "queues.db"
        create_queue(path, "orders")
        broker = open_local(path=path)
        if side_files:
            broker.send("orders", Message(body=b"x"))
        for each in Path(name).iterdir():
            each.chmod(0o444)
        Path(name).chmod(0o555)
        try:
            process = run_python(READ_ONLY, path)
            assert process.communicate(timeout=60)[0] == "refused\n"
        finally:
            Path(name).chmod(0o755)
            broker.close()


def test_a_file_replaced_while_in_use_takes_no_messages_unseen(open_local, queue_file: Path) -> None:
    broker = open_local()
    broker.send("orders", Message(body=b"old"))
    for name in os.listdir(queue_file.parent):
        (queue_file.parent / name).unlink()
    with pytest.raises(NotFoundError):
        broker.send("orders", Message(body=b"lost"))
    create_queue(queue_file, "orders")
    broker.send("orders", Message(body=b"new"))
    assert [delivery.message.body for delivery in broker.receive("orders", 9, wait=1)] == [b"new"]


CREATE = """
import sys
from clouddirect.messaging import Message
from clouddirect_local.broker import LocalBroker
from clouddirect_local.broker_options import LocalBrokerOptions

print("ready", flush=True)
sys.stdin.readline()
with LocalBroker(LocalBrokerOptions(path=sys.argv[1], create=True)) as broker:
    print(broker.send("orders", Message(body=b"x")).broker_id)
"""


def test_eight_processes_make_the_same_file_at_once(open_local, tmp_path: Path, run_python: Start) -> None:
    path = tmp_path / "raced.db"
    processes = [run_python(CREATE, path, stdin=subprocess.PIPE) for _ in range(8)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    numbers = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert sorted(map(int, numbers)) == list(range(1, 9))
    assert len(open_local(path=path).receive("orders", 100)) == 8


def test_no_error_carries_a_message(open_local, queue_file: Path) -> None:
    with closing(sqlite3.connect(queue_file)) as connection:
        connection.execute("DROP TABLE content")
    secret = "Name.Last=Doe"
    with pytest.raises((CloudDirectError, sqlite3.Error)) as caught:
        open_local().send("orders", Message(body=secret.encode(), subject=secret, attributes={"a": secret}))
    assert secret not in str(caught.value)


def test_the_native_connection_is_durable_and_the_callers(open_local) -> None:
    broker = open_local()
    broker.send("orders", Message(body=b"x"))
    with closing(broker.native.connect()) as connection:
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (1,)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
