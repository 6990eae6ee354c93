"""``dead_letter_receive``: a name, or a table; from the file or the environment; never the queue itself."""

from __future__ import annotations

from typing import Any

import pytest

from clouddirect.errors import ConfigurationError
from clouddirect.orders.connections import Connections
from clouddirect.settings import DeadLetterSettings, Settings


def results(given: Any = None, **more: Any) -> Settings:
    endpoint = {"provider": "local", "queue": "results", "path": "q.db", **more}
    if given is not None:
        endpoint["dead_letter_receive"] = given
    return Settings.of({"endpoints": {"results": endpoint}})


def read(settings: Settings) -> DeadLetterSettings:
    found = settings.endpoints.require("results").dead_letter_receive
    assert found is not None
    return found


def test_a_name_alone_or_a_table() -> None:
    assert (read(results("dead")).queue, read(results("dead")).options) == ("dead", {})
    table = read(results({"queue": "dead", "path": "other.db"}))
    assert (table.queue, table.options) == ("dead", {"path": "other.db"})
    assert "other.db" not in repr(results({"path": "other.db"}).endpoints)


@pytest.mark.parametrize("name", ["DEAD_LETTER_RECEIVE", "DEAD_LETTER_RECEIVE__QUEUE"])
def test_from_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"CLOUDDIRECT_ENDPOINTS__RESULTS__{name}", "dead")
    assert read(results()).queue == "dead"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("results", "dead_letter_receive is the queue itself"),
        ({"queue": "results"}, "dead_letter_receive is the queue itself"),
        ({}, "give it a queue, or options of its own"),
        ({"queue": "dead", "provider": "aws"}, "provider belongs to the endpoint itself"),
        (5, "write the name of a queue, or a table"),
    ],
)
def test_what_makes_no_sense_is_refused(given: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=f"results.*: {problem}"):
        results(given)


def test_secrets_of_its_own_are_resolved_and_told_by_their_path(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = results({"path": {"env": "NOT_SET"}})
    connections = Connections(settings.endpoints, settings.stores)
    with pytest.raises(ConfigurationError, match=r"endpoints\.results\.dead_letter_receive\.path"):
        connections.dead_letters("results")
    monkeypatch.setenv("NOT_SET", "dead.db")
    queue = connections.dead_letters("results")
    assert queue is not None
    assert queue.name == "results/$dead"
    assert queue.broker is not connections.queue("results").broker
    connections.close()


def test_with_options_of_its_own_it_takes_none_of_the_endpoint() -> None:
    settings = results({"create": True})
    connections = Connections(settings.endpoints, settings.stores)
    with pytest.raises(ConfigurationError, match="'path' is missing"):
        connections.dead_letters("results")


def test_without_it_dead_letter_send_is_read_where_the_provider_has_no_place() -> None:
    url = "https://sqs.us-east-1.amazonaws.com/123456789012/"
    keys = {"access_key_id": "A", "secret_access_key": "B"}
    endpoint = {"provider": "aws", "queue": f"{url}results", **keys}
    for more, expected in (
        ({}, None),
        ({"dead_letter_send": f"{url}dead"}, f"{url}dead"),
        ({"dead_letter_send": f"{url}results"}, None),  # reading it would take the live messages
        ({"dead_letter_send": f"{url}dead", "dead_letter_receive": f"{url}other"}, f"{url}other"),
    ):
        settings = Settings.of({"endpoints": {"results": {**endpoint, **more}}})
        connections = Connections(settings.endpoints, settings.stores)
        queue = connections.dead_letters("results")
        assert (queue.name if queue else None) == expected
        connections.close()
    local = results(dead_letter_send="dead")
    connections = Connections(local.endpoints, local.stores)
    queue = connections.dead_letters("results")
    assert queue is not None
    assert queue.name == "results/$dead"
    connections.close()
