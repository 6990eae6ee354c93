"""Dead letters: at the broker, at a target, or in the quarantine, and only then away from the queue."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import (
    LeaseLostError,
    PermissionDeniedError,
    UnavailableError,
)
from clouddirect.messaging import DEAD_LETTER_QUEUE, DEAD_LETTER_REASON, Message
from unit.core.conftest import NO_WAIT, OpenBroker, receive
from unit.core.memory_broker import POOR, RICH
from unit.core.memory_service import MemoryService, SdkError

NO_DEAD = replace(RICH, native_dead_letter=False, dead_letter_queue=None)


def test_native_dead_letter_is_retried_and_carries_the_reason(open_broker: OpenBroker) -> None:
    broker = open_broker()
    (delivery,) = receive(broker, attributes={"own": "kept"})
    broker.script("dead_letter", SdkError("Down"))
    delivery.dead_letter("unreadable", "no JSON")
    (dead,) = broker.receive("q/$dead")
    assert dead.message.attributes == {
        "own": "kept", "DeadLetterReason": "unreadable", "DeadLetterErrorDescription": "no JSON"
    }  # fmt: skip
    assert broker.service.depth("q") == 0


def test_without_a_native_queue_it_goes_to_the_target_and_is_then_removed(open_broker: OpenBroker) -> None:
    broker = open_broker(NO_DEAD, dead_letter_send={"q": "graveyard"})
    broker.service.create("graveyard")
    (delivery,) = receive(broker, ordering_key="k", time_to_live=60.0, attributes={"own": "kept"})
    delivery.dead_letter("unreadable", "no JSON")
    assert [call.name for call in broker.calls[-2:]] == ["send", "ack"]
    (dead,) = broker.receive("graveyard")
    assert dead.message.id == "m0"
    assert dead.message.ordering_key == "k"
    assert dead.message.attributes["own"] == "kept"
    assert dead.message.attributes[DEAD_LETTER_REASON] == "unreadable"
    assert dead.message.attributes[DEAD_LETTER_QUEUE] == "q"
    assert dead.message.time_to_live is None
    assert list(broker.quarantine) == []


def test_a_target_without_ordering_gets_the_message_without_its_key(open_broker: OpenBroker) -> None:
    broker = open_broker(NO_DEAD, dead_letter_send={"q": "plain"})
    broker.service.create("plain", can=POOR)
    (delivery,) = receive(broker, ordering_key="k")
    delivery.dead_letter("unreadable")
    assert broker.receive("plain")[0].message.ordering_key is None


def test_a_target_that_cannot_be_reached_leaves_the_message_where_it_is(open_broker: OpenBroker) -> None:
    broker = open_broker(NO_DEAD, dead_letter_send={"q": "graveyard"})
    broker.service.create("graveyard")
    (delivery,) = receive(broker)
    broker.script("send", *[SdkError("Down")] * NO_WAIT.max_attempts)
    with pytest.raises(UnavailableError):
        delivery.dead_letter("unreadable")
    assert delivery.settled is None
    assert broker.named("ack") == []
    assert list(broker.quarantine) == []


@pytest.mark.parametrize("why", ["no rights", "missing", "too large", "refused"])
def test_a_target_that_does_not_take_it_means_the_quarantine(
    open_broker: OpenBroker, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = MemoryService()
    service.create("q")
    if why != "missing":
        tiny = replace(RICH, max_message_bytes=20)
        service.create("graveyard", can=tiny if why == "too large" else None)
    sender = open_broker(service=service)
    sender.send("q", Message(body=b"whole", id="m0"))
    rights = ("receive",) if why == "no rights" else ("send", "receive")
    broker = open_broker(NO_DEAD, service=service, rights=rights, dead_letter_send={"q": "graveyard"})
    broker.refuse = lambda message: why == "refused"
    broker.receive("q")[0].dead_letter("unreadable", "no JSON")
    (kept,) = broker.quarantine
    assert (kept.message.id, kept.message.body, kept.reason, kept.queue) == ("m0", b"whole", "unreadable", "q")
    assert service.depth("q") == 0
    assert "'graveyard' does not take a message" in caplog.text


def test_with_nothing_else_possible_it_goes_to_the_quarantine_before_it_is_acked(open_broker: OpenBroker) -> None:
    broker = open_broker(POOR)
    (delivery,) = receive(broker)
    broker.script("ack", PermissionDeniedError("no"))
    with pytest.raises(PermissionDeniedError):
        delivery.dead_letter("unreadable")
    assert [one.message.id for one in broker.quarantine] == ["m0"]  # twice is better than never
    assert delivery.settled is None
    delivery.dead_letter("unreadable")
    assert delivery.settled == "dead_letter"
    assert len(list(broker.quarantine)) == 1
    assert broker.service.depth("q") == 0


def test_a_quarantine_that_cannot_be_written_leaves_the_message_in_its_queue(
    open_broker: OpenBroker, tmp_path: Any
) -> None:
    (tmp_path / "file").write_text("in the way")
    broker = open_broker(POOR, quarantine=tmp_path / "file" / "quarantine")
    (delivery,) = receive(broker)
    with pytest.raises(UnavailableError, match="stays in its queue"):
        delivery.dead_letter("unreadable")
    assert broker.named("ack") == []
    assert broker.service.depth("q") == 1


def test_a_late_dead_letter_tells_that_the_message_may_come_again(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(POOR, clock=clock)
    (delivery,) = receive(broker)
    clock.advance(31)
    with pytest.raises(LeaseLostError):
        delivery.dead_letter("unreadable")
    assert [one.message.id for one in broker.quarantine] == ["m0"]
