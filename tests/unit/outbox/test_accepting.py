"""Accepting keeps nobody else waiting, leaves nothing behind, and a message that is submitted again is tried again."""

from __future__ import annotations

import io
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import IntegrityError, InvalidMessageError, NotFoundError, TooLargeError, UnavailableError
from clouddirect.messaging import SendReceipt
from clouddirect.orders import ImageFile
from clouddirect.orders.journal import Journal
from clouddirect.orders.outbox import Destination, Outbox
from clouddirect.orders.outbox_images import StoredImage, WaitingImage

MIB = 1 << 20


class Far(Destination):
    """A destination that notes what arrives; ``now`` is called in the middle of each image and each message."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.images: dict[str, bytes] = {}
        self.refuse = False
        self.now: Any = lambda: None

    def put_image(self, image: WaitingImage, content: StoredImage) -> None:
        begin = content.read(10)
        self.now()
        self.images[image.key] = begin + content.read()

    def send(self, endpoint: str, message_id: str, body: bytes, local_id: str | None) -> SendReceipt:
        self.now()
        if self.refuse:
            raise TooLargeError("it is too large")
        self.sent.append(message_id)
        return SendReceipt(message_id=message_id)


class Slow(io.RawIOBase):
    """A source that holds on after its first bytes until it is told to go on."""

    def __init__(self, size: int) -> None:
        self.held, self.go_on = threading.Event(), threading.Event()
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self._left)
        if self._left < 3 * MIB:
            self.held.set()
            assert self.go_on.wait(60)
        buffer[:size] = bytes(size)
        self._left -= size
        return size


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "clouddirect.db")
    yield made
    made.close()


def accept(outbox: Outbox, message_id: str, *sources: Any) -> int:
    images = [WaitingImage(key=f"{message_id}-{number}.jpg", content_type="image/jpeg",
                           file=ImageFile(source=source, laterality="OD"))
              for number, source in enumerate(sources)]  # fmt: skip
    return outbox.accept(message_id, "orders", b"body", local_id=message_id, operation="NW", images=images)


def pieces(journal: Journal) -> tuple[int, int]:
    with journal.read() as connection:
        return tuple(
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("outbox_pieces", "outbox_begun")
        )  # type: ignore[return-value]


def test_a_slow_image_keeps_nobody_waiting(journal: Journal) -> None:
    outbox, slow, far = Outbox(journal), Slow(8 * MIB), Far()
    thread = threading.Thread(target=accept, args=(outbox, "slow", slow))
    thread.start()
    assert slow.held.wait(60)
    done = threading.Event()

    def others() -> None:
        accept(outbox, "quick", b"one")
        outbox.flush(far)
        done.set()

    threading.Thread(target=others, daemon=True).start()
    try:
        assert done.wait(30), "others wait for an image that is not theirs"
        assert far.sent == ["quick"], "not half of what is being accepted"
    finally:
        slow.go_on.set()
        thread.join()
    outbox.flush(far)
    assert far.sent == ["quick", "slow"]
    assert far.images["slow-0.jpg"] == bytes(8 * MIB)
    assert pieces(journal) == (0, 0)


def test_what_cannot_be_read_leaves_no_copies(journal: Journal, tmp_path: Path) -> None:
    outbox = Outbox(journal)
    with pytest.raises(InvalidMessageError):
        accept(outbox, "m1", b"one" * 5 * MIB, tmp_path / "none.jpg")
    assert outbox.count() == 0
    assert pieces(journal) == (0, 0)


def test_copies_of_a_process_that_died_are_forgotten_a_day_later(tmp_path: Path) -> None:
    clock = ManualClock()
    journal = Journal(tmp_path / "clouddirect.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Outbox, "_undo", lambda self, seq: None)
        with pytest.raises(InvalidMessageError):
            accept(Outbox(journal, clock), "m1", b"one", tmp_path / "none.jpg")
    assert pieces(journal) == (1, 1)
    outbox = Outbox(journal, clock)
    accept(outbox, "m2", b"two")
    assert pieces(journal) == (2, 1), "it may be at it still"
    clock.advance(25 * 3600)
    accept(outbox, "m3", b"three")
    assert pieces(journal) == (2, 0)
    far = Far()
    assert outbox.flush(far).sent == 2
    assert far.images == {"m2-0.jpg": b"two", "m3-0.jpg": b"three"}
    journal.close()


def test_copies_that_were_forgotten_are_not_taken_for_whole(tmp_path: Path) -> None:
    clock = ManualClock()
    journal = Journal(tmp_path / "clouddirect.db")
    slow = Slow(8 * MIB)
    failures: list[BaseException] = []

    def submit() -> None:
        try:
            accept(Outbox(journal, clock), "slow", slow)
        except UnavailableError as error:
            failures.append(error)

    thread = threading.Thread(target=submit)
    thread.start()
    assert slow.held.wait(60)
    clock.advance(25 * 3600)
    accept(Outbox(journal, clock), "m2", b"two")
    slow.go_on.set()
    thread.join()
    assert "try again" in str(failures[0])
    assert Outbox(journal).count() == 1
    assert pieces(journal) == (1, 0)
    journal.close()


def test_what_is_on_hold_is_tried_again_when_it_is_submitted_again(journal: Journal) -> None:
    outbox, far = Outbox(journal), Far()
    place = accept(outbox, "m1", b"one")
    far.refuse = True
    outbox.flush(far)
    assert [one.held for one in outbox.waiting()] == [True]
    assert accept(outbox, "m1", b"one") == place
    far.refuse = False
    assert outbox.flush(far).sent == 1
    assert far.sent == ["m1"]
    assert pieces(journal) == (0, 0)


def test_the_same_id_from_many_threads_is_kept_once(journal: Journal) -> None:
    outbox, places = Outbox(journal), []
    barrier = threading.Barrier(8)

    def submit(number: int) -> None:
        barrier.wait()
        places.append(accept(outbox, "m1", *([b"one"] * (number % 2))))

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 8
    assert len(set(places)) == 1
    assert outbox.count() == 1


@pytest.mark.parametrize("moment", ["image", "message"])
def test_what_is_discarded_meanwhile_does_not_count_as_sent(journal: Journal, moment: str) -> None:
    outbox, far = Outbox(journal), Far()
    place = accept(outbox, "m1", *([b"one" * MIB] if moment == "image" else []), b"")
    accept(outbox, "m2")
    far.now = lambda: outbox.discard([place])
    if moment == "message":
        asked = iter([False, outbox.discard])
        report = outbox.flush(far, stopping=lambda: bool((step := next(asked, None)) and step([place]) is None))
    else:
        report = outbox.flush(far)
    assert report.errors == {}
    assert "m2" in far.sent
    assert report.sent == len(far.sent)
    assert outbox.count() == 0


def test_an_image_is_read_while_a_transaction_is_open(journal: Journal) -> None:
    outbox, found = Outbox(journal), list[bytes]()
    seq = accept(outbox, "m1", b"one" * MIB)
    with StoredImage(journal, seq, 0, 3 * MIB) as content, journal.write():
        reader = threading.Thread(target=lambda: found.append(content.read(3)), daemon=True)
        reader.start()
        reader.join(20)
        assert found == [b"one"]


def test_an_image_in_a_journal_that_cannot_be_read_is_an_error_of_ours(journal: Journal) -> None:
    outbox = Outbox(journal)
    seq = accept(outbox, "m1", b"one" * MIB)
    with StoredImage(journal, seq, 0, 3 * MIB) as content:
        assert content.read(3) == b"one"
        with journal.write() as connection:
            connection.execute("DELETE FROM outbox_pieces WHERE piece = 1")
        content.seek(MIB)
        with pytest.raises(NotFoundError):
            content.read(1)
        other = sqlite3.connect(journal.path, isolation_level=None)
        (version,) = other.execute("PRAGMA schema_version").fetchone()
        other.execute("PRAGMA writable_schema = ON")
        other.execute("UPDATE sqlite_master SET rootpage = 99999 WHERE name = 'outbox_pieces'")
        other.execute(f"PRAGMA schema_version = {version + 1}")
        other.close()
        content.seek(0)
        with pytest.raises(IntegrityError):
            content.read(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_is_forked_during_a_flush_can_flush(journal: Journal) -> None:
    outbox, far = Outbox(journal), Far()
    accept(outbox, "m1")
    began, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        assert go_on.wait(60)

    far.now = wait
    thread = threading.Thread(target=outbox.flush, args=(far,))
    thread.start()
    assert began.wait(60)
    looked, tells = os.pipe()
    child = os.fork()
    if child == 0:
        far.now = lambda: None
        busy = outbox.flush(far).busy  # the parent is at it
        os.write(tells, b".")
        os._exit(7 if not busy else _child_alone(outbox, far))
    try:
        os.close(tells)
        os.read(looked, 1)
        assert outbox.flush(Far()).busy
    finally:
        go_on.set()
        thread.join()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert outbox.count() == 0


def _child_alone(outbox: Outbox, far: Far) -> int:
    """Flush once the parent has ended its own flush; 0 if that goes well."""
    moment = threading.Event()
    for _ in range(600):
        if not outbox.flush(far).busy:
            outbox.accept("m2", "orders", b"body", local_id="m2", operation="NW")
            return 0 if outbox.flush(far).sent == 1 else 8
        moment.wait(0.1)
    return 9
