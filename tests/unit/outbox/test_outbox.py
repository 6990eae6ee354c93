"""The outbox: kept before it is sent, sent in order, never lost, and doubled only where nobody can tell."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clouddirect.errors import (
    AlreadyExistsError,
    CloudDirectError,
    InvalidMessageError,
    TooLargeError,
    UnavailableError,
)
from clouddirect.messaging import SendReceipt
from clouddirect.orders import ImageFile
from clouddirect.orders import outbox as module
from clouddirect.orders.journal import Journal
from clouddirect.orders.outbox import Destination, Outbox
from clouddirect.orders.outbox_images import StoredImage, WaitingImage

MIB = 1 << 20


class Far(Destination):
    """A destination that notes what arrives, and fails as it is told."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, bytes]] = []
        self.images: dict[str, bytes] = {}
        self.failures: dict[str, CloudDirectError] = {}

    def put_image(self, image: WaitingImage, content: StoredImage) -> None:
        if "images" in self.failures:
            raise self.failures["images"]
        if image.key in self.images:
            raise AlreadyExistsError("it is there")
        self.images[image.key] = content.read()

    def send(self, endpoint: str, message_id: str, body: bytes, local_id: str | None) -> SendReceipt:
        for cause in (endpoint, message_id):
            if cause in self.failures:
                raise self.failures[cause]
        self.sent.append((endpoint, message_id, body))
        return SendReceipt(message_id=message_id)

    @property
    def ids(self) -> list[str]:
        return [message_id for _, message_id, _ in self.sent]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "clouddirect.db")
    yield made
    made.close()


@pytest.fixture
def outbox(journal: Journal) -> Outbox:
    return Outbox(journal)


@pytest.fixture
def far() -> Far:
    return Far()


def accept(outbox: Outbox, message_id: str, local_id: str = "", endpoint: str = "orders", **more: Any) -> int:
    body = f"body of {message_id}".encode()
    return outbox.accept(message_id, endpoint, body, local_id=local_id or message_id, operation="NW", **more)


def image(key: str, source: Any) -> WaitingImage:
    return WaitingImage(key=key, content_type="image/jpeg", file=ImageFile(source=source, laterality="OD"))


def test_what_waits_is_sent_in_order_and_then_gone(outbox: Outbox, far: Far) -> None:
    for number in range(20):
        accept(outbox, f"m{number}")
    receipts: dict[str, SendReceipt] = {}
    report = outbox.flush(far, lambda message_id, receipt: receipts.update({message_id: receipt}))
    assert (report.sent, report.held, report.errors) == (20, [], {})
    assert far.ids == [f"m{number}" for number in range(20)]
    assert far.sent[3] == ("orders", "m3", b"body of m3")
    assert list(receipts) == far.ids
    assert outbox.waiting() == []


def test_it_is_on_the_disk_when_it_is_accepted(outbox: Outbox, journal: Journal, far: Far) -> None:
    accept(outbox, "m1", images=[image("k1", b"one" * MIB)])
    journal.close()
    again = Outbox(Journal(journal.path))
    assert [(one.message_id, one.images) for one in again.waiting()] == [("m1", 1)]
    assert again.flush(far).sent == 1
    assert far.images == {"k1": b"one" * MIB}


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 7])
def test_images_arrive_before_their_order_and_byte_for_byte(
    outbox: Outbox, far: Far, tmp_path: Path, size: int
) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    path = tmp_path / "right.jpg"
    path.write_bytes(content[:size])
    accept(outbox, "m1", images=[image("k1", path), image("k2", b"left")])
    path.unlink()  # its copy counts
    far.failures["orders"] = UnavailableError("away")
    outbox.flush(far)
    assert far.images == {"k1": content[:size], "k2": b"left"}
    assert far.sent == []


def test_an_image_that_is_there_already_is_our_own(outbox: Outbox, far: Far) -> None:
    accept(outbox, "m1", images=[image("k1", b"one")])
    far.images["k1"] = b"one"  # an earlier attempt, whose confirmation was lost
    assert outbox.flush(far).sent == 1


def test_an_image_that_cannot_be_read_leaves_nothing_behind(outbox: Outbox, tmp_path: Path, far: Far) -> None:
    class Broken:
        def read(self, size: int) -> bytes:
            raise OSError(5, "Input/output error", "Canarysson.jpg")

    with pytest.raises(InvalidMessageError, match="Input/output error") as caught:
        accept(outbox, "m1", images=[image("k1", b"one"), image("k2", Broken())])
    assert "Canarysson" not in str(caught.value)
    assert (outbox.count(), outbox.flush(far).sent) == (0, 0)


def test_an_endpoint_that_is_away_keeps_its_order_and_no_other(outbox: Outbox, far: Far) -> None:
    accept(outbox, "o1")
    accept(outbox, "g1", endpoint="gradings")
    accept(outbox, "o2")
    far.failures["o1"] = UnavailableError("the broker is away")
    report = outbox.flush(far)
    assert far.ids == ["g1"]
    assert list(report.errors) == ["orders"]
    (first, second) = outbox.waiting()
    assert (first.attempts, first.held, second.attempts) == (1, False, 0)
    assert "the broker is away" in str(first.error)
    far.failures.clear()
    outbox.flush(far)
    assert far.ids == ["g1", "o1", "o2"]


def test_a_message_that_is_refused_is_put_on_hold_with_what_follows_of_its_order(outbox: Outbox, far: Far) -> None:
    accept(outbox, "new", local_id="ORD-1")
    accept(outbox, "other", local_id="ORD-2")
    accept(outbox, "cancel", local_id="ORD-1")
    far.failures["new"] = TooLargeError("too large")
    report = outbox.flush(far)
    assert [one.message_id for one, _ in report.held] == ["new"]
    assert far.ids == ["other"]
    assert [(one.message_id, one.held) for one in outbox.waiting()] == [("new", True), ("cancel", False)]
    assert outbox.flush(far).sent == 0
    far.failures.clear()
    assert outbox.retry() == 1
    outbox.flush(far)
    assert far.ids == ["other", "new", "cancel"]


def test_what_is_discarded_is_never_sent(outbox: Outbox, far: Far, journal: Journal) -> None:
    first = accept(outbox, "m1", images=[image("k1", b"Canarysson" * 1000)])
    accept(outbox, "m2")
    assert outbox.discard([first, 99]) == 1
    outbox.flush(far)
    assert (far.ids, far.images) == (["m2"], {})
    journal.close()
    assert b"Canarysson" not in journal.path.read_bytes()


def test_the_same_id_is_kept_once(outbox: Outbox, far: Far) -> None:
    assert accept(outbox, "m1") == accept(outbox, "m1")
    outbox.flush(far)
    assert far.ids == ["m1"]


def test_a_send_that_may_have_arrived_is_repeated_under_its_id(outbox: Outbox, far: Far) -> None:
    accept(outbox, "m1")
    far.failures["m1"] = UnavailableError("cut", maybe_sent=True)
    outbox.flush(far)
    far.failures.clear()
    outbox.flush(far)
    assert far.ids == ["m1"]


def test_what_was_sent_is_not_sent_again_when_the_journal_could_not_be_told(
    outbox: Outbox, far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(outbox, "m1")
    accept(outbox, "m2")

    def full(connection: sqlite3.Connection, seq: int) -> int:
        raise UnavailableError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_delete", full)
        with pytest.raises(UnavailableError):
            outbox.flush(far)
    outbox.flush(far)
    assert far.ids == ["m1", "m2"]
    assert outbox.count() == 0


def test_one_flush_at_a_time_in_all_processes(outbox: Outbox, far: Far, journal: Journal) -> None:
    accept(outbox, "m1")
    script = f"""
import sys
from pathlib import Path
from clouddirect.orders.journal import Journal
from clouddirect.orders.outbox import Destination, Outbox
class Waits(Destination):
    def put_image(self, image, content):
        raise AssertionError("there are no images")
    def send(self, *message):
        print("sending", flush=True)
        sys.stdin.read()
Outbox(Journal(Path({str(journal.path)!r}))).flush(Waits())
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"sending\n"
        assert outbox.flush(far).busy
        assert far.sent == []
        other.kill()
    assert outbox.flush(far).sent == 1  # its lock ended with it


def test_it_stops_when_it_is_told(outbox: Outbox, far: Far) -> None:
    for number in range(5):
        accept(outbox, f"m{number}")
    outbox.flush(far, stopping=lambda: len(far.sent) == 2)
    assert far.ids == ["m0", "m1"]


def test_a_body_can_be_looked_at(outbox: Outbox) -> None:
    seq = accept(outbox, "m1")
    assert outbox.body(seq) == b"body of m1"
    assert outbox.body(seq + 1) is None


def test_it_is_told_what_a_message_waits_for(outbox: Outbox, far: Far) -> None:
    first = accept(outbox, "new", local_id="ORD-1")
    accept(outbox, "cancel", local_id="ORD-1")
    accept(outbox, "other", local_id="ORD-2")
    far.failures = {"new": TooLargeError("too large"), "other": UnavailableError("away")}
    outbox.flush(far)
    assert [one.behind for one in outbox.waiting()] == [None, first, None]


def test_looking_for_the_next_one_reads_no_other_that_waits(outbox: Outbox, journal: Journal) -> None:
    """Else an outage with thousands of orders costs minutes for each attempt."""
    with journal.read() as connection:
        plan = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {module._NEXT}", [0, "[]"])]
    assert any("before" in step and "outbox_held (local_id=? AND endpoint=? AND seq<?)" in step for step in plan), plan
