"""Dead letters of what is received, handled as if they had just arrived."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime

import pytest

from clouddirect import Message
from clouddirect.errors import AlreadySettledError, NotFoundError
from clouddirect.orders import CloudDirect
from clouddirect.settings import Settings

from .conftest import Desk, result

AT = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


def handle(client: CloudDirect, *, once: bool = False) -> list[str | None]:
    """Handle all results; returns their orders."""
    handled = []
    for incoming in client.dead_letters.results(once=once):
        with incoming as value:
            handled.append(value.order_local_id)
    return handled


def test_each_is_handled_once_and_removed_wherever_it_is(desk: Desk) -> None:
    desk.bury("results", result("ORD-1"), result("ORD-2"))
    path = desk.quarantine.put("local", "results", Message(body=result("ORD-3")), 1, AT)
    other = desk.quarantine.put("local", "events", Message(body=result("ORD-4")), 1, AT)
    client = desk.client()
    assert handle(client) == ["ORD-1", "ORD-2", "ORD-3"]
    assert handle(client) == []
    assert (path.exists(), other.exists()) == (False, True)
    assert desk.waiting("results/$dead") == 0


def test_events_likewise(desk: Desk) -> None:
    desk.bury("events", b'{"ResultObjectType": "OrderGradedEvent", "Success": true, "OrderLocalId": "ORD-1"}')
    client = desk.client()
    for incoming in client.dead_letters.events():
        with incoming as event:
            assert event.result_object_type == "OrderGradedEvent"
    assert client.dead_letters.look().letters == []


def test_what_fails_stays_is_tried_once_and_keeps_nothing_back(desk: Desk) -> None:
    desk.bury("results", result("ORD-1"), result("ORD-2"))
    path = desk.quarantine.put("local", "results", Message(body=result("ORD-3")), 1, AT)
    client, tried = desk.client(), []
    for incoming in client.dead_letters.results():
        tried.append(incoming.value.order_local_id)
        with pytest.raises(KeyError), incoming:
            raise KeyError
    assert tried == ["ORD-1", "ORD-2", "ORD-3"]
    assert desk.waiting("results/$dead") == 2, "they are there at once, whatever their deliveries"
    assert path.exists()
    assert handle(client) == tried


def test_what_a_handler_gives_back_is_not_met_twice(desk: Desk) -> None:
    desk.bury("results", result("ORD-1"))
    desk.quarantine.put("local", "results", Message(body=result("ORD-2")), 1, AT)
    client, met = desk.client(), []
    for incoming in client.dead_letters.results():
        met.append(incoming.value.order_local_id)
        incoming.delivery.nack()
    assert met == ["ORD-1", "ORD-2"]
    assert len(client.dead_letters.look().letters) == 2


def test_what_still_cannot_be_read_stays_and_is_said_without_its_content(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    ids = desk.bury("results", b"Canarysson", result("ORD-1"))
    client = desk.client()
    with caplog.at_level(logging.DEBUG):
        assert handle(client) == ["ORD-1"]
    assert [one.message.id for one in client.dead_letters.look().letters] == [ids[0]]
    assert f"message {ids[0]} still cannot be read" in caplog.text
    assert "Canarysson" not in caplog.text


def test_a_handler_may_dead_letter_again(desk: Desk) -> None:
    path = desk.quarantine.put("local", "results", Message(body=result("ORD-1")), 3, AT)
    client = desk.client()
    for incoming in client.dead_letters.results():
        incoming.delivery.dead_letter("no room")
    (letter,) = client.dead_letters.look().letters
    assert (letter.file, letter.reason, letter.at, letter.delivery_count) == (path.stem, "no room", AT, 3)


def test_its_lease_is_kept_while_it_is_handled_and_while_others_are(desk: Desk) -> None:
    client = desk.client(results={"queue": "short", "lease": 1})
    client._connections.queue("results").broker.send("short", Message(body=result("ORD-1")))
    client._connections.queue("results").broker.send("short", Message(body=b"unreadable"))
    desk.bury("short")
    for incoming in client.dead_letters.results():
        with incoming:
            threading.Event().wait(2.5)
            assert desk.waiting("short/$dead") == 1, "only the one that was not taken yet"
    assert desk.waiting("short/$dead") == 1


def test_those_collected_first_cannot_be_handled_by_mistake(desk: Desk) -> None:
    desk.bury("results", result("ORD-1"))
    client = desk.client()
    collected = list(client.dead_letters.results())
    with pytest.raises(AlreadySettledError), collected[0]:
        pytest.fail("it is not on lease any more")
    assert desk.waiting("results/$dead") == 1


def test_leaving_the_loop_early_gives_the_rest_back(desk: Desk) -> None:
    desk.bury("results", result("ORD-1"), result("ORD-2"))
    client = desk.client()
    for incoming in client.dead_letters.results():
        with incoming:
            break
    assert desk.waiting("results/$dead") == 1


def test_once_removes_what_was_handled_before(desk: Desk) -> None:
    desk.bury("results", result("ORD-1", "T1"), result("ORD-1", "T1"), result("ORD-2", "T2"))
    client = desk.client()
    assert handle(client, once=True) == ["ORD-1", "ORD-2"]
    assert client.dead_letters.look().letters == []


def test_the_ledger_is_told(desk: Desk) -> None:
    settings = desk.settings()
    tracked = Settings.of(settings.model_dump(exclude_unset=True) | {"tracking": {"enabled": True}})
    desk.bury("results", result("ORD-1"))
    with CloudDirect(tracked) as client:
        assert handle(client) == ["ORD-1"]
        assert [one.local_id for one in client.ledger.orders()] == ["ORD-1"]


def test_a_queue_that_cannot_be_received_from_ends_it(desk: Desk) -> None:
    client = desk.client(results={"create": False})
    with pytest.raises(NotFoundError):
        next(client.dead_letters.results())
