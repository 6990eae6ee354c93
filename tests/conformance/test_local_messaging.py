"""The local broker passes the messaging suite."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from clouddirect.conformance import MessagingConformance
from clouddirect.messaging import BrokerRuntime, MessageBroker
from clouddirect_local.broker import LocalBroker
from clouddirect_local.broker_options import LocalBrokerOptions
from clouddirect_local.queue_admin import create_queue


class TestLocalMessaging(MessagingConformance):
    """Queues in one file; the sides of a queue are told apart by the broker's ``access`` option."""

    complete = True
    without = {  # noqa: RUF012 - declared as a class variable by the suite
        "wrong_credential_broker": "a file knows no credential",
        "cut_connections": "a file has no connections",
        "foreign_send": "no other program writes the file",
    }

    @pytest.fixture(autouse=True)
    def _queue_file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "queues.db"
        self.names = (f"queue-{number}" for number in itertools.count(1))

    def make_broker(self, **runtime: Any) -> MessageBroker:
        return self._open("both", runtime)

    def send_only_broker(self, queue: str, **runtime: Any) -> MessageBroker:
        return self._open("send", runtime)

    def receive_only_broker(self, queue: str, **runtime: Any) -> MessageBroker:
        return self._open("receive", runtime)

    def _open(self, access: Any, runtime: dict[str, Any]) -> MessageBroker:
        return LocalBroker(LocalBrokerOptions(path=self.path, access=access), BrokerRuntime(**runtime))

    def new_queue(
        self,
        *,
        lease: float | None = None,
        max_deliveries: int | None = None,
        ordered: bool = False,
        deduplicating: bool = False,
    ) -> str:
        name = next(self.names)
        create_queue(self.path, name, lease=lease or 30.0, max_deliveries=max_deliveries)
        return name

    def missing_queue(self) -> str:
        return "no-such-queue"

    def dead_letter_queue(self, queue: str) -> str:
        return f"{queue}/$dead"

    def secrets(self) -> list[str]:
        return []  # a file needs none
