"""Replaying and discarding: new ids, removed only when that is safe, and each failure told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clouddirect import Message
from clouddirect.errors import LeaseLostError, PermissionDeniedError, UnavailableError, UnsupportedError
from clouddirect.orders.dead_letters import REPLAY_OF
from clouddirect_local.broker import LocalBroker

from .conftest import Desk

AT = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


def there(desk: Desk) -> list[str]:
    return [one.message.id for one in desk.client().dead_letters.look(limit=1000).letters]


def test_a_replay_is_a_new_message_with_all_that_the_old_one_had(desk: Desk) -> None:
    fields: dict[str, Any] = {
        "correlation_id": "ORD-1", "content_type": "application/json", "subject": "s", "ordering_key": "k",
        "attributes": {"mine": "kept"},
    }  # fmt: skip
    (old,) = desk.bury("orders", b"o", **fields)
    (outcome,) = desk.client().dead_letters.replay(None, where=["orders"]).outcomes
    (sent,) = desk.take("orders")
    assert outcome.new_id == sent.id != old
    assert {name: getattr(sent, name) for name in fields} == fields | {"attributes": {"mine": "kept", REPLAY_OF: old}}
    assert there(desk) == []


def test_a_second_replay_names_the_id_it_had_last(desk: Desk) -> None:
    desk.bury("orders", b"o")
    client = desk.client()
    (first,) = client.dead_letters.replay(None, where=["orders"]).outcomes
    desk.bury("orders")
    client.dead_letters.replay(None, where=["orders"])
    assert [one.attributes[REPLAY_OF] for one in desk.take("orders")] == [first.new_id]


def test_only_those_named_are_replayed(desk: Desk) -> None:
    ids = desk.bury("orders", b"1", b"2", b"3")
    handled = desk.client().dead_letters.replay([ids[1], "nobody"])
    assert [one.id for one in handled.outcomes] == [ids[1]]
    assert handled.missing == ["nobody"]
    assert [one.body for one in desk.take("orders")] == [b"2"]
    assert there(desk) == [ids[0], ids[2]]


def test_what_cannot_be_sent_stays(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = desk.bury("orders", b"1", b"2")
    send = LocalBroker._send

    def fails(self: LocalBroker, queue: str, messages: Any, timeout: float) -> Any:
        if messages[0].body == b"1":
            raise UnavailableError("the line is down")
        return send(self, queue, messages, timeout)

    monkeypatch.setattr(LocalBroker, "_send", fails)
    handled = desk.client().dead_letters.replay(ids)
    assert [(one.id, one.ok, one.new_id is None) for one in handled.outcomes] == [
        (ids[0], False, True),
        (ids[1], True, False),
    ]
    assert isinstance(handled.outcomes[0].error, UnavailableError)
    assert there(desk) == [ids[0]]


def test_sent_but_not_removed_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (old,) = desk.bury("orders", b"1")

    def lost(self: LocalBroker, queue: str, deliveries: Any, timeout: float) -> Any:
        return [LeaseLostError("the lease had ended") for _ in deliveries]

    client = desk.client()
    with monkeypatch.context() as patch:
        patch.setattr(LocalBroker, "_ack", lost)
        (outcome,) = client.dead_letters.replay([old]).outcomes
        assert isinstance(outcome.error, LeaseLostError)
        (kept,) = client.dead_letters.discard([old]).outcomes or [None]
        assert kept is None or isinstance(kept.error, LeaseLostError)
    assert [one.id for one in desk.take("orders")] == [outcome.new_id]


def test_what_is_dead_lettered_again_meanwhile_is_not_sent_for_ever(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.bury("orders", b"1")
    send = LocalBroker._send

    def refused_at_once(self: LocalBroker, queue: str, messages: Any, timeout: float) -> Any:
        receipts = send(self, queue, messages, timeout)
        desk.bury("orders")
        return receipts

    monkeypatch.setattr(LocalBroker, "_send", refused_at_once)
    (outcome,) = desk.client().dead_letters.replay(None, where=["orders"]).outcomes
    assert there(desk) == [outcome.new_id]


def test_results_need_a_target_to_be_replayed(desk: Desk) -> None:
    (old,) = desk.bury("results", b"r")
    letters = desk.client().dead_letters
    for where in (["results"], ["orders", "results"], None):
        with pytest.raises(UnsupportedError, match=r"(results|events) --from-dead-letters"):
            letters.replay(None, where=where)
    (outcome,) = letters.replay([old]).outcomes
    assert isinstance(outcome.error, UnsupportedError)
    assert desk.take("results") == []
    (outcome,) = letters.replay([old], to="elsewhere").outcomes
    assert outcome.ok
    assert [one.id for one in desk.take("elsewhere")] == [outcome.new_id]
    assert there(desk) == []


def test_a_receive_only_credential_cannot_replay_and_is_told_why(desk: Desk) -> None:
    (old,) = desk.bury("results", b"r")
    (outcome,) = desk.client(results={"access": "receive"}).dead_letters.replay([old], to="results").outcomes
    assert isinstance(outcome.error, PermissionDeniedError)
    assert "endpoints.results must be one that may send" in str(outcome.error)
    assert there(desk) == [old]


def test_a_quarantined_order_is_replayed_and_its_file_removed(desk: Desk) -> None:
    path = desk.quarantine.put("local", "orders", Message(body=b"o", id="old"), 1, AT)
    (outcome,) = desk.client().dead_letters.replay([path.stem]).outcomes
    assert outcome.ok
    assert (outcome.file, outcome.queue) == (path.stem, "quarantine")
    (sent,) = desk.take("orders")
    assert (sent.body, sent.attributes[REPLAY_OF]) == (b"o", "old")
    assert not path.exists()


def test_what_belongs_to_no_endpoint_is_refused(desk: Desk) -> None:
    path = desk.quarantine.put("aws", "orders", Message(body=b"o", id="old"), 1, AT)
    (outcome,) = desk.client().dead_letters.replay(["old"], to="orders").outcomes
    assert isinstance(outcome.error, UnsupportedError)
    assert path.exists()
    assert desk.client().dead_letters.discard(["old"]).outcomes[0].ok
    assert not path.exists()


@pytest.mark.parametrize("all_of_it", [True, False])
def test_discarding_removes_what_is_named_and_nothing_else(desk: Desk, all_of_it: bool) -> None:
    ids = desk.bury("results", *[b"%d" % number for number in range(150)])
    (event,) = desk.bury("events", b"e")
    handled = desk.client().dead_letters.discard(None if all_of_it else ids[3:7], where=["results"])
    assert {one.id for one in handled.outcomes} == set(ids if all_of_it else ids[3:7])
    assert all(one.ok for one in handled.outcomes)
    assert set(there(desk)) == {event, *([] if all_of_it else [*ids[:3], *ids[7:]])}


def _unlink_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def unlink(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", unlink)


def test_a_file_that_the_system_does_not_let_go_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    path = desk.quarantine.put("local", "results", Message(body=b"q", id="q"), 1, AT)
    letters = desk.client().dead_letters
    with monkeypatch.context() as patch:
        _unlink_fails(patch)
        (outcome,) = letters.discard(["q"]).outcomes
    assert isinstance(outcome.error, UnavailableError)
    assert "Permission denied" in str(outcome.error)
    assert path.exists()


def test_the_file_tells_two_of_one_id_apart(desk: Desk) -> None:
    """Foreign senders repeat their ids."""
    paths = [desk.quarantine.put("local", "results", Message(body=body, id="same"), 1, AT) for body in (b"1", b"2")]
    letters = desk.client().dead_letters
    assert letters.discard([paths[1].stem]).outcomes[0].ok
    assert (paths[0].exists(), paths[1].exists()) == (True, False)
    assert letters.discard(["same"]).outcomes[0].ok
    assert not paths[0].exists()
