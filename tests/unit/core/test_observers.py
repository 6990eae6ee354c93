"""Observers are told what happened, by identifiers only, and can disturb nothing."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pluggy
import pytest

from clouddirect.errors import LeaseLostError
from clouddirect.messaging import Message
from clouddirect.observers import FileEvent, MessageEvent, Observers, hookimpl
from unit.core.conftest import OpenBroker
from unit.core.memory_broker import POOR


class Notebook:
    """Notes every message event."""

    def __init__(self) -> None:
        self.events: list[tuple[str, MessageEvent]] = []

    @hookimpl
    def clouddirect_message_sent(self, event: MessageEvent) -> None:
        self.events.append(("sent", event))

    @hookimpl
    def clouddirect_message_received(self, event: MessageEvent) -> None:
        self.events.append(("received", event))

    @hookimpl
    def clouddirect_message_settled(self, event: MessageEvent) -> None:
        self.events.append((event.outcome, event))

    @property
    def outcomes(self) -> list[str]:
        return [name for name, _ in self.events]


class Failing:
    """Fails in every hook, with patient data in the error's text."""

    @hookimpl
    def clouddirect_message_sent(self) -> None:
        raise RuntimeError("patient MARLOWE")

    @hookimpl
    def clouddirect_message_settled(self, event: MessageEvent) -> None:
        raise RuntimeError("patient MARLOWE")


class Misspelt:
    @hookimpl
    def clouddirect_message_snet(self, event: MessageEvent) -> None: ...


class WrongArgument:
    @hookimpl
    def clouddirect_message_sent(self, message: Any) -> None: ...


class FilesOnly:
    def __init__(self) -> None:
        self.keys: list[str] = []

    @hookimpl
    def clouddirect_file_stored(self, event: FileEvent) -> None:
        self.keys.append(event.key)


def test_every_settlement_is_told(open_broker: OpenBroker) -> None:
    notebook = Notebook()
    broker = open_broker(observers=Observers([notebook]))
    for _ in range(3):
        broker.send("q", Message(body=b"12345", correlation_id="c-1"))
    first, second, third = broker.receive("q", 3)
    first.ack()
    first.ack()  # a repetition is nothing new
    second.nack(60)
    third.dead_letter("unreadable", "no JSON")
    assert notebook.outcomes == ["sent"] * 3 + ["received"] * 3 + ["ack", "nack", "dead_letter"]
    event = notebook.events[-1][1]
    assert (event.provider, event.queue, event.size, event.correlation_id) == ("memory", "q", 5, "c-1")
    assert (event.delivery_count, event.reason, event.at.tzinfo) == (1, "unreadable", UTC)


def test_send_many_tells_confirmed_messages_only(open_broker: OpenBroker) -> None:
    notebook = Notebook()
    broker = open_broker(observers=Observers([notebook]))
    broker.refuse = lambda message: message.id == "bad"
    broker.send_many("q", [Message(body=b"1"), Message(body=b"2", id="bad"), Message(body=b"3")])
    assert notebook.outcomes == ["sent", "sent"]


def test_close_tells_of_releases(open_broker: OpenBroker) -> None:
    notebook = Notebook()
    broker = open_broker(observers=Observers([notebook]))
    broker.send("q", Message(body=b"1"))
    kept = broker.receive("q")
    broker.close()
    assert notebook.outcomes == ["sent", "received", "release"]
    assert kept[0].settled == "release"


def test_a_lost_lease_is_told_once(open_broker: OpenBroker, clock: Any) -> None:
    notebook = Notebook()
    broker = open_broker(POOR, clock=clock, observers=Observers([notebook]))
    broker.send("q", Message(body=b"1"))
    (delivery,) = broker.receive("q")
    clock.advance(31)
    for _ in range(2):
        with pytest.raises(LeaseLostError):
            delivery.ack()
    assert notebook.outcomes == ["sent", "received", "lease_lost"]


def test_a_failing_observer_disturbs_neither_the_operation_nor_the_next_observer(
    open_broker: OpenBroker, caplog: pytest.LogCaptureFixture
) -> None:
    notebook = Notebook()
    broker = open_broker(observers=Observers([Failing(), notebook]))
    with caplog.at_level(logging.ERROR):
        broker.send("q", Message(body=b"1"))
        broker.receive("q")[0].ack()
    assert notebook.outcomes == ["sent", "received", "ack"]
    assert len(broker.named("send")) == 1
    assert caplog.text.count("an observer failed") == 2
    assert "MARLOWE" not in caplog.text


@pytest.mark.parametrize("observer", [Misspelt(), WrongArgument()])
def test_a_hook_that_does_not_exist_is_an_error(observer: object) -> None:
    with pytest.raises(pluggy.PluginValidationError):
        Observers([observer])


def test_an_observer_implements_what_it_likes() -> None:
    files = FilesOnly()
    observers = Observers([files])
    event = FileEvent("p", "c", "a/b", 3, datetime.now(UTC), "stored")
    observers.tell("clouddirect_file_stored", event)
    observers.tell("clouddirect_file_read", event)
    assert files.keys == ["a/b"]


def test_without_observers_there_is_nothing_to_tell() -> None:
    assert not Observers()
    assert not Observers([object()])
