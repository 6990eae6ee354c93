"""The quarantine as a queue: settled like any other, and each settlement what it should be for a file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clouddirect import Message
from clouddirect.errors import UnavailableError, UnsupportedError
from clouddirect.messaging import DEAD_LETTER_DESCRIPTION, DEAD_LETTER_REASON, Quarantine, QuarantineQueue

AT = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
DEAD = {DEAD_LETTER_REASON: "odd", DEAD_LETTER_DESCRIPTION: "very"}


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    made = Quarantine(tmp_path / "quarantine")
    for number in (2, 1, 3):
        message = Message(body=b"%d" % number, id=str(number), attributes=DEAD)
        made.put("memory", "q", message, number, AT + timedelta(hours=number))
    return made


@pytest.fixture
def queue(quarantine: Quarantine) -> Iterator[QuarantineQueue]:
    with QuarantineQueue(quarantine) as made:
        yield made


def test_each_is_received_once_oldest_first(queue: QuarantineQueue) -> None:
    found = [*queue.receive("q", 2), *queue.receive("q", 2)]
    assert [one.message.id for one in found] == ["1", "2", "3"]
    assert (found[0].delivery_count, found[0].enqueued_at) == (1, AT + timedelta(hours=1))
    assert found[0].lease_expires_at is None
    assert queue.receive("q", 10) == []


def test_an_ack_removes_the_file(queue: QuarantineQueue, quarantine: Quarantine) -> None:
    found = queue.receive("q", 10)
    found[0].ack()
    assert [result.ok for result in queue.ack_many(found[1:2])] == [True]
    found[2].nack(delay=86400.0)
    assert [one.message.id for one in quarantine] == ["3"]


def test_what_is_given_back_by_closing_stays(queue: QuarantineQueue, quarantine: Quarantine) -> None:
    queue.receive("q", 10)
    queue.close()
    assert len(list(quarantine)) == 3


def test_one_that_somebody_else_removed_is_acked_all_the_same(queue: QuarantineQueue, quarantine: Quarantine) -> None:
    (first,) = queue.receive("q", 1)
    for one in quarantine:
        assert quarantine.remove(one)
        assert not quarantine.remove(one)
    first.ack()
    assert queue.receive("q", 10) == [], "they were gone before they were handed out"


def test_dead_lettering_again_renews_the_reason_only(queue: QuarantineQueue, quarantine: Quarantine) -> None:
    (first,) = queue.receive("q", 1)
    first.dead_letter("worse")
    kept = next(iter(quarantine))
    assert (kept.reason, kept.description, kept.at, kept.delivery_count) == ("worse", None, AT + timedelta(hours=1), 1)
    assert len(list(quarantine)) == 3


def test_nothing_can_be_sent_there(queue: QuarantineQueue) -> None:
    with pytest.raises(UnsupportedError):
        queue.send("q", Message(body=b"x"))
    assert queue.check("q", "send").status == "failed"
    assert queue.check("q", "receive").status == "ok"


def test_a_directory_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        QuarantineQueue(Quarantine(tmp_path / "file")) as queue,
        pytest.raises(UnavailableError, match="cannot be read"),
    ):
        queue.receive("q")
    with QuarantineQueue(Quarantine(tmp_path / "nothing")) as queue:
        assert queue.receive("q") == []


def test_a_removal_is_on_the_disk(quarantine: Quarantine, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr("clouddirect.messaging.quarantine.sync_directory", synced.append)
    quarantine.remove(next(iter(quarantine)))
    assert synced == [quarantine.directory]


def test_a_home_directory_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert Quarantine(Path("~/kept")).directory == tmp_path / "kept"
