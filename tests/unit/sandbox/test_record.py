"""What the sandbox remembers of its messages, on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import ConfigurationError
from clouddirect.sandbox.record import Fate, OrderRecord

KEY, OTHER = ("guid", "ORD-1"), ("guid", "ORD-2")
DAY = 86_400.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_fates_outlive_the_process(tmp_path: Path, clock: ManualClock) -> None:
    before: Fate | None = None
    for fate in Fate:
        record = OrderRecord(tmp_path / "new" / "sandbox.db", clock)
        assert record.fate("m-1") == before
        record.note("m-1", KEY, fate)
        record.close()
        before = fate


@pytest.mark.parametrize("fate", list(Fate))
def test_only_what_was_begun_and_not_finished_is_under_way(fate: Fate, tmp_path: Path, clock: ManualClock) -> None:
    record = OrderRecord(tmp_path / "sandbox.db", clock)
    record.note("m-1", KEY, fate)
    assert record.is_under_way(KEY) is (fate in (Fate.OPEN, Fate.GRADED))
    assert not record.is_under_way(OTHER)
    record.close()


def test_what_was_taken_ends_with_its_order(tmp_path: Path, clock: ManualClock) -> None:
    record = OrderRecord(tmp_path / "sandbox.db", clock)
    for message, key, fate in (("m-1", KEY, Fate.OPEN), ("c-1", KEY, Fate.TAKEN), ("c-2", KEY, Fate.TAKEN),
                               ("d-1", OTHER, Fate.TAKEN)):  # fmt: skip
        record.note(message, key, fate)
    assert record.taken(KEY) == {"c-1", "c-2"}
    record.note_finished("m-1", KEY)
    assert (record.taken(KEY), record.taken(OTHER)) == (set(), {"d-1"})
    assert (record.fate("m-1"), record.fate("c-1")) == (Fate.FINISHED, None)
    record.forget("m-1", KEY)
    assert record.fate("m-1") is None
    record.close()


def test_it_forgets_in_the_end(tmp_path: Path, clock: ManualClock) -> None:
    for message, days in (("old", 10.0), ("newer", 6.0), ("newest", 0.0)):
        record = OrderRecord(tmp_path / "sandbox.db", clock)
        record.note(message, KEY, Fate.FINISHED)
        clock.advance(days * DAY)
        record.close()
    record = OrderRecord(tmp_path / "sandbox.db", clock)
    assert [record.fate(message) for message in ("old", "newer", "newest")] == [None, Fate.FINISHED, Fate.FINISHED]
    record.close()


def test_any_text_can_be_an_order_s_id(tmp_path: Path, clock: ManualClock) -> None:
    record = OrderRecord(tmp_path / "sandbox.db", clock)
    for number, local_id in enumerate(["\ud800", "", None, "ORD'; DROP TABLE sandbox_message; --"]):
        record.note(f"m-{number}", ("guid", local_id), Fate.OPEN)
        assert record.is_under_way(("guid", local_id))
    record.close()


def test_a_file_of_another_program_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "sandbox.db").write_bytes(b"this is not a database" * 100)
    record = OrderRecord(tmp_path / "sandbox.db", clock)
    with pytest.raises(ConfigurationError, match=r"sandbox\.db"):
        record.fate("m-1")
    record.close()
