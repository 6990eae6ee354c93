"""Brokers in memory pass the messaging suite: what core adds where a broker can do little, and where it can do all.

The poor one has no dead-letter queue, no delays, no times to live, fixed leases, immediate nacks only, unchecked acks
and all-or-nothing batches of ten: nearly everything the suite promises is then core's own work.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from clouddirect.conformance import MessagingConformance
from clouddirect.messaging import BrokerRuntime, Capabilities, Message, MessageBroker
from unit.core.memory_broker import POOR, RICH, MemoryBroker
from unit.core.memory_service import MemoryService, SdkError


class MemoryMessaging(MessagingConformance):
    """What both have in common."""

    complete = True
    without = {  # noqa: RUF012 - declared as a class variable by the suite
        "secrets": "its SDK's errors quote a secret on purpose; the unit tests of core look for it in ours",
    }
    can: Capabilities
    load_count = 1000
    shortest_lease = 0.6
    short_delay = 0.5
    quiet = 0.3

    @pytest.fixture(autouse=True)
    def _service(self) -> None:
        self.service = MemoryService()
        self.names = (f"queue-{number}" for number in itertools.count(1))
        self.brokers: list[MemoryBroker] = []

    @pytest.fixture(autouse=True)
    def _rules(self, _service: None, _close_what_was_opened: None) -> Any:
        yield
        assert [broker.violations for broker in self.brokers if broker.violations] == []

    def make_broker(self, **runtime: Any) -> MessageBroker:
        return self._open(("send", "receive"), runtime)

    def send_only_broker(self, queue: str, **runtime: Any) -> MessageBroker:
        return self._open(("send",), runtime)

    def receive_only_broker(self, queue: str, **runtime: Any) -> MessageBroker:
        return self._open(("receive",), runtime)

    def wrong_credential_broker(self, **runtime: Any) -> MessageBroker:
        broker = self._open(("send", "receive"), runtime)
        for name in ("send", "receive"):
            broker.script(name, *[SdkError("BadKey")] * 3)
        return broker

    def _open(self, rights: Any, runtime: dict[str, Any]) -> MemoryBroker:
        self.brokers.append(MemoryBroker(self.service, BrokerRuntime(**runtime), self.can, rights))
        return self.brokers[-1]

    def new_queue(
        self,
        *,
        lease: float | None = None,
        max_deliveries: int | None = None,
        ordered: bool = False,
        deduplicating: bool = False,
    ) -> str:
        name = next(self.names)
        can = self.can if self.can.dead_letter_queue is None else replace(self.can, dead_letter_queue=f"{name}/$dead")
        return self.service.create(name, lease=lease or 30.0, max_deliveries=max_deliveries, can=can)

    def missing_queue(self) -> str:
        return "no-such-queue"

    def dead_letter_queue(self, queue: str) -> str:
        return f"{queue}/$dead"

    def foreign_send(self, queue: str, body: bytes, attributes: Mapping[str, str]) -> None:
        with self.service.changed:
            self.service.put(self.service.queues[queue], Message(body=body, attributes=attributes))

    def cut_connections(self) -> None:
        for broker in self.brokers:
            for name in ("send", "receive", "ack"):
                broker.script(name, SdkError("Down"))


class TestRichMemoryMessaging(MemoryMessaging):
    """A broker that can do everything."""

    can = RICH


class TestPoorMemoryMessaging(MemoryMessaging):
    """A broker that can do next to nothing."""

    can = POOR


class TestCountingMemoryMessaging(MemoryMessaging):
    """A broker that counts deliveries but has no dead-letter queue, and orders by key in batches of one key."""

    can = replace(
        POOR, delivery_count=True, ordering=True, one_key_per_send=True, max_settle_count=1, max_receive_count=3
    )
