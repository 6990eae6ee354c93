"""The sandbox is killed in the middle of an order: the order comes again, and every message keeps its TransactionId."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from clouddirect.orders import ImageFile
from clouddirect.orders.models import OrderRequest, read_result

SCRIPT = """
import json, sys
from clouddirect.sandbox import Sandbox
from clouddirect.settings import Settings

with Sandbox(Settings.of(json.loads(sys.argv[1]))) as sandbox:
    sandbox.run()
"""


@contextmanager
def sandbox_process(rehearsal: Any) -> Iterator[None]:
    """A sandbox in a process of its own, killed in the end."""
    values = json.dumps(rehearsal.settings.model_dump(mode="json", exclude_none=True))
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, values])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def wait_for(kind: str, rehearsal: Any, seen: list[dict[str, Any]]) -> None:
    """Take events into ``seen`` until there is one of this kind."""
    ends = time.monotonic() + 30.0
    target = rehearsal.queue("events")
    while time.monotonic() < ends:
        for delivery in target.broker.receive(target.name, 10, wait=1.0):
            with delivery:
                seen.append(json.loads(delivery.message.body))
        if any(event["ResultObjectType"] == kind for event in seen):
            return
    raise AssertionError(f"{kind} did not come; seen {[event['ResultObjectType'] for event in seen]}")


def test_kill_9_in_the_middle_of_an_order(
    rehearse: Callable[..., Any], new_order: Callable[..., OrderRequest], pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(local={"lease": 1.0, "max_deliveries": None}, stage_delay=0.25)
    rehearsal.client().submit(new_order(), [ImageFile(source=pictures["OD"], laterality="OD", suffix=".jpg")])
    seen: list[dict[str, Any]] = []
    for kind in ("OrderCreationReceipt", "ReadyForGradingEvent"):
        with sandbox_process(rehearsal):
            wait_for(kind, rehearsal, seen)
    with sandbox_process(rehearsal):
        target = rehearsal.queue("results")
        (delivery,) = target.broker.receive(target.name, 1, wait=30.0)
        with delivery:
            result = read_result(delivery.message.body)
    wait_for("OrderGradedEvent", rehearsal, seen)

    assert result.order_local_id == "ORD1"
    by_kind: dict[str, set[str]] = {}
    for event in seen:
        by_kind.setdefault(event["ResultObjectType"], set()).add(event["TransactionId"])
    assert {kind: len(ids) for kind, ids in by_kind.items()} == dict.fromkeys(
        ["OrderCreationReceipt", "ImageReceipt", "ReadyForGradingEvent", "GradingReceipt", "OrderGradedEvent"], 1
    )
    assert len(seen) > 5  # something was indeed sent again


def test_a_cancellation_right_after_a_kill_9_is_not_lost(
    rehearse: Callable[..., Any], new_order: Callable[..., OrderRequest], pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(local={"lease": 3.0, "max_deliveries": None}, stage_delay=3.0)
    order = new_order()
    rehearsal.client().submit(order, [ImageFile(source=pictures["OD"], laterality="OD", suffix=".jpg")])
    seen: list[dict[str, Any]] = []
    with sandbox_process(rehearsal):
        wait_for("ImageReceipt", rehearsal, seen)
    rehearsal.client().cancel("ORD1")  # the lease of its order is still running
    with sandbox_process(rehearsal):
        wait_for("OrderCancelled", rehearsal, seen)
    assert {event["ResultObjectType"] for event in seen} >= {"OrderCreationReceipt", "OrderCancelled"}
    assert seen[-1]["ResultObjectType"] == "OrderCancelled"
    assert rehearsal.drain("results") == []
