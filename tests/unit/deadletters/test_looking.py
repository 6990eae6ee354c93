"""Looking at dead letters: all places, nothing lost, nothing counted, and what could not be seen is said."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from clouddirect import Message
from clouddirect.errors import ConfigurationError, NotFoundError, PermissionDeniedError, UnavailableError
from clouddirect.messaging import DEAD_LETTER_QUEUE, DEAD_LETTER_REASON

from .conftest import Desk, result

AT = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


def test_every_place_is_looked_at(desk: Desk) -> None:
    ids = desk.bury("orders", b"o") + desk.bury("events", b"e") + desk.bury("results", b"r")
    dead = Message(body=b"q", attributes={DEAD_LETTER_REASON: "odd"})
    path = desk.quarantine.put("local", "results", dead, 4, AT)
    found = desk.client().dead_letters.look()
    assert [one.message.id for one in found.letters] == [*ids, dead.id]
    assert [one.endpoint for one in found.letters] == ["orders", "events", "results", "results"]
    assert [one.queue for one in found.letters] == ["orders/$dead", "events/$dead", "results/$dead", "quarantine"]
    last = found.letters[-1]
    assert (last.file, last.at, last.delivery_count, last.reason) == (path.stem, AT, 4, "odd")
    assert last.ids == {dead.id, path.stem}
    assert (found.unread, found.more) == ([], [])


def test_looking_counts_nothing_and_gives_all_back(desk: Desk) -> None:
    desk.bury("results", *[b"%d" % number for number in range(250)])
    client = desk.client()
    for _ in range(3):
        letters = client.dead_letters.look(where=["results"], limit=1000).letters
        assert len({one.message.id for one in letters}) == 250
        assert {one.delivery_count for one in letters} == {1}
    assert desk.waiting("results/$dead") == 100


def test_an_error_while_looking_gives_all_back(desk: Desk) -> None:
    desk.bury("results", b"1", b"2")

    class Stopped(Exception):
        pass

    def stopping() -> bool:
        if desk.waiting("results/$dead") == 0:  # both are on lease
            raise Stopped
        return False

    client = desk.client()
    client.dead_letters._stopping = stopping
    with pytest.raises(Stopped):
        client.dead_letters.look(where=["results"])
    assert desk.waiting("results/$dead") == 2


def test_the_search_for_an_id_ends_where_it_is_found(desk: Desk) -> None:
    ids = desk.bury("orders", b"o")
    client = desk.client(results={"queue": "results", "create": False})  # would be an error if it was looked at
    found = client.dead_letters.look(ids)
    assert [one.message.id for one in found.letters] == ids
    assert found.unread == []
    (unread,) = client.dead_letters.look([*ids, "nobody"]).unread
    assert (unread.name, unread.expected) == ("results", False)
    assert isinstance(unread.error, NotFoundError)


def test_a_limit_is_told(desk: Desk) -> None:
    desk.bury("events", b"1", b"2", b"3")
    client = desk.client()
    found = client.dead_letters.look(limit=2)
    assert (len(found.letters), found.more) == (2, ["events"])
    assert client.dead_letters.look(limit=4).more == []


def test_only_the_places_asked_for(desk: Desk) -> None:
    desk.bury("events", b"e")
    (id,) = desk.bury("results", b"r")
    for queue in ("results", "events", "elsewhere"):
        desk.quarantine.put("local", queue, Message(body=b"q", id=queue), 1, AT)
    look = desk.client().dead_letters.look
    assert [one.message.id for one in look(where=["results"]).letters] == [id, "results"]
    assert {(one.message.id, one.endpoint) for one in look(where=["quarantine"]).letters} == {
        ("results", "results"),
        ("events", "events"),
        ("elsewhere", None),
    }


@pytest.mark.parametrize("where", ["nowhere", "gradings"])
def test_an_endpoint_that_is_not_there_is_an_error(desk: Desk, where: str) -> None:
    with pytest.raises(ConfigurationError, match=where):
        desk.client().dead_letters.look(where=[where])


def test_a_send_only_credential_is_no_failure_unless_it_was_asked_for(desk: Desk) -> None:
    desk.bury("orders", b"o")
    look = desk.client(orders={"access": "send"}).dead_letters.look
    (unread,) = look().unread
    assert (unread.name, unread.expected) == ("orders", True)
    assert isinstance(unread.error, PermissionDeniedError)
    assert not look(where=["orders"]).unread[0].expected
    named = desk.client(orders={"access": "send", "dead_letter_receive": "orders/$dead"})
    assert not named.dead_letters.look().unread[0].expected, "the settings say that it can be read"


def test_a_receiver_that_cannot_look_is_a_failure_and_the_rest_is_shown(desk: Desk) -> None:
    ids = desk.bury("events", b"e")
    found = desk.client(results={"access": "send"}).dead_letters.look()
    assert [one.message.id for one in found.letters] == ids
    assert [(one.name, one.expected) for one in found.unread] == [("results", False)]


def test_wrong_options_of_one_place_do_not_hide_the_others(desk: Desk) -> None:
    ids = desk.bury("events", b"e")
    found = desk.client(results={"dead_letter_receive": {"pth": "x"}}).dead_letters.look()
    assert [one.message.id for one in found.letters] == ids
    assert isinstance(found.unread[0].error, ConfigurationError)


def test_a_queue_shared_by_endpoints_is_looked_at_once(desk: Desk) -> None:
    event = b'{"ResultObjectType": "OrderGradedEvent", "Success": true}'
    for id, body, queue in (
        ("1", result(), "events"),
        ("2", result(), "results"),
        ("3", result(), None),
        ("4", event, None),
        ("5", b"anything", None),
    ):
        desk.broker.send("shared", Message(body=body, id=id, attributes={DEAD_LETTER_QUEUE: queue} if queue else {}))
    shared = {"dead_letter_receive": "shared"}
    client = desk.client(events=shared, results=shared)
    found = client.dead_letters.look().letters
    assert sorted((one.message.id, one.endpoint) for one in found) == [
        ("1", "events"),
        ("2", "results"),
        ("3", "results"),
        ("4", "events"),
        ("5", None),
    ]
    handled = []
    for incoming in client.dead_letters.results():
        with incoming:
            handled.append(incoming.delivery.message.id)
    assert handled == ["2", "3"]
    discarded = client.dead_letters.discard(None, where=["events"]).outcomes
    assert [one.id for one in discarded] == ["1", "4", "5"]


def test_the_settings_say_where(desk: Desk, tmp_path: Path) -> None:
    """A name, a table with a credential of its own, the provider's own place, and where dead letters are sent."""
    desk.broker.send("elsewhere", Message(body=b"x", id="named"))
    client = desk.client(results={"dead_letter_receive": "elsewhere"})
    assert [one.message.id for one in client.dead_letters.look(where=["results"]).letters] == ["named"]
    (id,) = desk.bury("orders", b"o")
    client = desk.client(
        orders={"access": "send", "dead_letter_receive": {"path": str(desk.path), "access": "receive"}}
    )
    assert [one.message.id for one in client.dead_letters.look(where=["orders"]).letters] == [id]


def test_after_stop_nothing_more_is_taken(desk: Desk) -> None:
    desk.bury("results", b"r")
    client = desk.client()
    client.stop()
    assert client.dead_letters.look().letters == []


def test_a_quarantine_that_cannot_be_read_is_said(desk: Desk) -> None:
    ids = desk.bury("results", b"r")
    (desk.directory / "data").mkdir()
    (desk.directory / "data" / "quarantine").write_text("a file where the directory should be", encoding="utf-8")
    found = desk.client().dead_letters.look()
    assert [one.message.id for one in found.letters] == ids
    assert [(one.name, type(one.error)) for one in found.unread] == [("quarantine", UnavailableError)]


def test_no_repr_shows_a_body(desk: Desk) -> None:
    desk.bury("results", b"Canarysson", subject="Canarysson", attributes={"name": "Canarysson"})
    looked = desk.client().dead_letters.look()
    assert "Canarysson" not in repr(looked)
    assert len(looked.letters) == 1
