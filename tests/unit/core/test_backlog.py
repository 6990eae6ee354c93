"""Backlog: one delivery at a time for each ordering key, and nothing forgotten."""

from __future__ import annotations

from typing import Any, cast

import pytest

from clouddirect.messaging import Delivery, Message, RawDelivery
from clouddirect.messaging.backlog import Backlog


def delivery(name: str, key: str | None = None) -> Delivery:
    raw = RawDelivery(message=Message(body=b"", id=name, ordering_key=key), handle=None)
    return Delivery(cast(Any, None), "q", raw, None)


def ids(deliveries: list[Delivery]) -> list[str]:
    return [one.message.id for one in deliveries]


@pytest.fixture
def backlog() -> Backlog:
    backlog = Backlog()
    for name, key in [("a1", "a"), ("a2", "a"), ("f1", None), ("b1", "b"), ("a3", "a"), ("f2", None), ("b2", "b")]:
        backlog.add(delivery(name, key))
    return backlog


def take_all(backlog: Backlog) -> list[Delivery]:
    return [backlog.take() for _ in range(backlog.ready)]


def test_one_of_each_key_is_ready(backlog: Backlog) -> None:
    assert ids(take_all(backlog)) == ["a1", "f1", "b1", "f2"]


def test_the_next_of_a_key_follows_when_the_one_before_is_done(backlog: Backlog) -> None:
    a1, f1, b1, _ = take_all(backlog)
    assert backlog.done(f1, True) == []
    assert backlog.ready == 0
    assert backlog.done(a1, True) == []
    (a2,) = take_all(backlog)
    assert backlog.done(b1, True) == []
    (b2,) = take_all(backlog)
    assert ids([a2, b2]) == ["a2", "b2"]
    assert backlog.done(b2, True) == []
    backlog.add(delivery("b3", "b"))
    assert ids(take_all(backlog)) == ["b3"]


def test_those_behind_a_failure_come_out_in_order(backlog: Backlog) -> None:
    a1, *_ = take_all(backlog)
    assert ids(backlog.done(a1, False)) == ["a2", "a3"]
    backlog.add(delivery("a1 again", "a"))
    assert ids(take_all(backlog)) == ["a1 again"]


def test_clear_takes_out_everything_that_no_handler_has_begun(backlog: Backlog) -> None:
    a1 = backlog.take()
    assert sorted(ids(backlog.clear())) == ["a2", "a3", "b1", "b2", "f1", "f2"]
    assert backlog.ready == 0
    assert backlog.clear() == []
    assert backlog.done(a1, True) == []
    assert backlog.ready == 0


def test_clear_keeps_the_order_of_each_key(backlog: Backlog) -> None:
    cleared = ids(backlog.clear())
    for key in "ab":
        own = [name for name in cleared if name.startswith(key)]
        assert own == sorted(own)
