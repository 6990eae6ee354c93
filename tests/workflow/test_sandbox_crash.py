"""The sandbox is killed in the middle of an order: the order comes again, and every message keeps its TransactionId."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
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


def test_kill_9_in_the_middle_of_an_order(
    rehearse: Callable[..., Any], new_order: Callable[..., OrderRequest], pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(local={"lease": 1.0, "max_deliveries": None}, stage_delay=0.25)
    rehearsal.client().submit(new_order(), [ImageFile(source=pictures["OD"], laterality="OD", suffix=".jpg")])
    values = json.dumps(rehearsal.settings.model_dump(mode="json", exclude_none=True))
    seen: list[dict[str, Any]] = []

    def wait_for(kind: str) -> None:
        ends = time.monotonic() + 30.0
        target = rehearsal.queue("events")
        while time.monotonic() < ends:
            for delivery in target.broker.receive(target.name, 10, wait=1.0):
                with delivery:
                    seen.append(json.loads(delivery.message.body))
            if any(event["ResultObjectType"] == kind for event in seen):
                return
        raise AssertionError(f"{kind} did not come; seen {[event['ResultObjectType'] for event in seen]}")

    for kind in ("OrderCreationReceipt", "ReadyForGradingEvent"):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, values])
        try:
            wait_for(kind)
        finally:
            process.kill()
            process.wait()
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, values])
    try:
        target = rehearsal.queue("results")
        (delivery,) = target.broker.receive(target.name, 1, wait=30.0)
        with delivery:
            result = read_result(delivery.message.body)
    finally:
        process.terminate()
        process.wait()
    wait_for("OrderGradedEvent")

    assert result.order_local_id == "ORD1"
    by_kind: dict[str, set[str]] = {}
    for event in seen:
        by_kind.setdefault(event["ResultObjectType"], set()).add(event["TransactionId"])
    assert {kind: len(ids) for kind, ids in by_kind.items()} == dict.fromkeys(
        ["OrderCreationReceipt", "ImageReceipt", "ReadyForGradingEvent", "GradingReceipt", "OrderGradedEvent"], 1
    )
    assert len(seen) > 5  # something was indeed sent again
