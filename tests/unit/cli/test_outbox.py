"""``clouddirect outbox``, over the local provider, whose queue file comes and goes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clouddirect.orders import CloudDirect
from clouddirect.orders.flusher import ClientDestination
from clouddirect.orders.receiving import ResultReceiver

from .conftest import CANARY, FarSide, Run

Write = Callable[[str, Any], Path]


@pytest.fixture
def away(far: FarSide, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The outbox is on and the broker away; returns what brings it back."""
    monkeypatch.setenv("CLOUDDIRECT_OUTBOX", '{"enabled": true, "wait": 0}')
    monkeypatch.setenv("CLOUDDIRECT_ENDPOINTS__ORDERS__CREATE", "false")
    monkeypatch.setenv("CLOUDDIRECT_ENDPOINTS__ORDERS__PATH", "no/such/queues.db")
    return lambda: monkeypatch.delenv("CLOUDDIRECT_ENDPOINTS__ORDERS__PATH")


def test_orders_wait_are_listed_and_flushed(
    run: Run, far: FarSide, write: Write, order: Any, picture: Path, away: Callable[[], None]
) -> None:
    accepted = run("submit", "--json", write("order.json", order), "--image", f"{picture}:OD")
    assert accepted.code == 0, accepted.err
    assert (accepted.lines[0]["waiting"], accepted.lines[0]["images"]) == (True, [])
    assert "waits in the outbox" in run("cancel", "ORD-1").out
    listed = run("outbox", "list", "--json").lines
    assert [(one["operation"], one["local_id"], one["held"]) for one in listed] == [
        ("NW", "ORD-1", False), ("CA", "ORD-1", False),
    ]  # fmt: skip
    assert listed[0]["message_id"] == accepted.lines[0]["message_id"]
    table = run("outbox", "list").out
    assert "ORD-1" in table
    assert CANARY not in table + str(listed)
    failed = run("outbox", "flush", "--json")
    assert failed.code == 1
    assert (failed.lines[0]["sent"], failed.lines[0]["left"], list(failed.lines[0]["errors"])) == (0, 2, ["orders"])
    assert "orders:" in run("outbox", "flush").out
    assert far.take("orders") == []
    away()
    far.broker.ack_many(far.broker.receive("orders", 1))  # makes the queue
    done = run("outbox", "flush")
    assert (done.code, done.out) == (0, "2 sent, 0 left\n")
    arrived = far.take("orders")
    assert [one["OrderControlCode"] for one in arrived] == ["NW", "CA"]
    assert far.images() == [picture.read_bytes()]


def test_messages_on_hold_are_retried_or_discarded(
    run: Run, far: FarSide, write: Write, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDDIRECT_OUTBOX__ENABLED", "true")
    monkeypatch.setenv("CLOUDDIRECT_ENDPOINTS__ORDERS__MAX_MESSAGE_BYTES", "10")
    refused = run("submit", write("order.json", order))
    assert refused.code == 1
    (held,) = run("outbox", "list", "--json").lines
    assert held["held"]
    assert "TooLargeError" in held["error"]
    assert "on hold" in run("outbox", "list").out
    assert run("outbox", "retry", "--json").lines == [{"retried": 1}]
    assert not run("outbox", "list", "--json").lines[0]["held"]
    assert "is on hold" in run("outbox", "flush").out
    assert run("outbox", "retry", "99999999999999999999").code == 2
    missing = run("outbox", "discard", "99")
    assert missing.code == 2
    assert "has no number 99" in missing.err
    assert run("outbox", "discard").code == 2
    assert run("outbox", "discard", str(held["number"])).out == "1 discarded\n"
    assert run("outbox", "list", "--json").lines == []


def test_an_empty_outbox_is_told_as_such(run: Run, far: FarSide) -> None:
    listed = run("outbox", "list")
    assert (listed.code, listed.out, listed.err) == (0, "", "the outbox is empty\n")
    as_json = run("outbox", "list", "--json")
    assert (as_json.code, as_json.out, as_json.err) == (0, "", "")


def test_an_interrupt_comes_between_two_messages(
    run: Run, far: FarSide, write: Write, order: Any, away: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        order["Order"]["LocalId"] = f"ORD-{number}"
        assert run("submit", write("order.json", order)).code == 0
    away()
    far.broker.ack_many(far.broker.receive("orders", 1))  # makes the queue
    send, told = ClientDestination.send, threading.Event()

    def interrupted(self: ClientDestination, *arguments: Any) -> Any:
        receipt = send(self, *arguments)
        signal.raise_signal(signal.SIGINT)
        assert told.wait(30)
        return receipt

    def stop(client: CloudDirect) -> None:
        ResultReceiver.stop(client)
        told.set()

    with monkeypatch.context() as patch:
        patch.setattr(ClientDestination, "send", interrupted)
        patch.setattr(CloudDirect, "stop", stop)
        stopped = run("outbox", "flush")
    assert stopped.code == 1, stopped.err
    assert "interrupted" in stopped.out
    left = run("outbox", "list", "--json").lines
    assert "1 sent, 2 left" in stopped.out
    assert [one["local_id"] for one in left] == ["ORD-1", "ORD-2"]
    assert run("outbox", "flush").code == 0
    assert [one["Order"]["LocalId"] for one in far.take("orders")] == ["ORD-0", "ORD-1", "ORD-2"]
