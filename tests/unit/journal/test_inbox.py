"""The inbox: each message once, across threads, restarts and processes, within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from clouddirect.clock import ManualClock
from clouddirect.orders import inbox as module
from clouddirect.orders.inbox import Inbox, inbox_key
from clouddirect.orders.journal import Journal
from clouddirect.orders.models import read_event


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "clouddirect.db")
    yield made
    made.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def inbox(journal: Journal, clock: ManualClock) -> Inbox:
    return Inbox(journal, clock)


def test_what_was_handled_is_known_after_a_restart(inbox: Inbox, journal: Journal) -> None:
    assert inbox.begin("a", "m1") == "new"
    assert not inbox.knows("a")
    inbox.finish("a")
    journal.close()
    again = Inbox(Journal(journal.path))
    assert again.begin("a", "m1") == "done"
    assert again.begin("a", "m2") == "done"
    assert again.knows("a")


def test_what_could_not_be_handled_is_new_again(inbox: Inbox) -> None:
    inbox.begin("a", "m1")
    inbox.give_up("a")
    assert inbox.begin("a", "m2") == "new"
    inbox.finish("a")
    inbox.give_up("a")
    assert inbox.knows("a")


def test_a_copy_waits_while_the_other_is_handled(inbox: Inbox, journal: Journal) -> None:
    other = Inbox(journal)
    inbox.begin("a", "m1")
    assert inbox.begin("a", "m2") == "elsewhere"
    assert other.begin("a", "m2") in ("elsewhere", "new")
    assert inbox.begin("b", "m3") == "new"


def test_another_process_s_message_is_taken_over_when_it_comes_again_itself(inbox: Inbox, journal: Journal) -> None:
    inbox.begin("a", "m1")
    survivor = Inbox(journal, ManualClock())
    assert survivor.begin("a", "m2") == "elsewhere"
    assert survivor.begin("a", "m1") == "new"


@pytest.mark.parametrize(("passed", "told"), [(599, "elsewhere"), (601, "new"), (-3600, "new")])
def test_a_copy_is_taken_over_when_the_other_process_is_believed_dead(
    inbox: Inbox, journal: Journal, clock: ManualClock, passed: float, told: str
) -> None:
    inbox.begin("a", "m1")
    clock.advance(passed) if passed > 0 else clock.set_back(-passed)
    assert Inbox(journal, clock).begin("a", "m2") == told
    if told == "elsewhere":
        assert inbox.begin("a", "m2") == "elsewhere", "its own process knows better"


def test_a_copy_with_the_same_message_id_waits_while_the_other_is_handled(inbox: Inbox, journal: Journal) -> None:
    assert inbox.begin("a", "m1", hold=True) == "new"
    assert inbox.begin("a", "m1", hold=True) == "elsewhere"
    inbox.give_up("a")
    assert inbox.begin("a", "m1") == "new"
    assert inbox.begin("a", "m1") == "new", "handed over and never entered: it has come again"
    inbox.hold("a")
    assert inbox.begin("a", "m1") == "elsewhere"
    inbox.finish("a")
    assert inbox.begin("a", "m1") == "done"


def test_a_handler_s_own_work_and_the_note_are_one_transaction(inbox: Inbox, journal: Journal) -> None:
    journal.define("theirs", "CREATE TABLE IF NOT EXISTS theirs (text TEXT)")

    def handle(fails: bool) -> bool:
        with inbox.transaction("a") as connection:
            if connection is None:
                return False
            connection.execute("INSERT INTO theirs VALUES ('x')")
            if fails:
                raise KeyError
            return True

    with pytest.raises(KeyError):
        handle(fails=True)
    assert not inbox.knows("a")
    assert handle(fails=False)
    assert not handle(fails=False)
    with journal.read() as connection:
        assert connection.execute("SELECT count(*) FROM theirs").fetchone() == (1,)


def test_it_is_bounded(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PRUNE_EVERY", 10)
    inbox = Inbox(journal, capacity=25)
    inbox.begin("unfinished", "m0")
    for number in range(100):
        inbox.begin(str(number), "m")
        inbox.finish(str(number))
    with journal.read() as connection:
        assert 25 <= connection.execute("SELECT count(*) FROM inbox").fetchone()[0] <= 36
    assert inbox.knows("99")
    assert inbox.knows("75")
    assert not inbox.knows("1")
    assert inbox.begin("unfinished", "m1") == "elsewhere"


def test_what_was_begun_and_never_finished_is_forgotten_in_the_end(
    journal: Journal, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PRUNE_EVERY", 10)
    for number in range(20):  # each in a process of its own, that dies
        Inbox(journal, clock).begin(str(number), "m")
    clock.advance(8 * 24 * 3600)
    for number in range(20, 30):
        Inbox(journal, clock).begin(str(number), "m")
    with journal.read() as connection:
        assert connection.execute("SELECT count(*), min(seq) FROM inbox").fetchone() == (10, 21)


def test_it_is_pruned_by_age(inbox: Inbox, clock: ManualClock) -> None:
    for number in range(4):
        inbox.begin(str(number), "m")
        inbox.finish(str(number))
        clock.advance(60)
    assert inbox.prune(timedelta(seconds=150)) == 2
    assert [inbox.knows(str(number)) for number in range(4)] == [False, False, True, True]


def test_a_message_is_identified_by_its_transaction() -> None:
    one = read_event('{"ResultObjectType": "X", "TransactionId": "DB816B37-07EC-43D0-9848-70BEC36F4024"}')
    assert inbox_key(one, b"any") == "db816b37-07ec-43d0-9848-70bec36f4024"
    bare = read_event('{"ResultObjectType": "X"}')
    assert inbox_key(bare, b"one") == inbox_key(bare, b"one") != inbox_key(bare, b"two")


@pytest.mark.parametrize(
    "unset", ["00000000-0000-0000-0000-000000000000", "{00000000-0000-0000-0000-000000000000}", " "]
)
def test_an_unset_transaction_makes_no_repeats(unset: str) -> None:
    bodies = [f'{{"TransactionId": "{unset}", "OrderLocalId": "{order}"}}'.encode() for order in "ab"]
    assert len({inbox_key(read_event(body), body) for body in bodies}) == 2


def test_what_was_handled_is_noted_though_another_took_it_over_and_gave_it_up(inbox: Inbox, journal: Journal) -> None:
    other = Inbox(journal)
    inbox.begin("a", "m1")
    assert other.begin("a", "m1") == "new"
    other.give_up("a")
    inbox.finish("a")
    assert other.begin("a", "m1") == "done"
