"""Both sides of the workflow in one process, on a clock of their own, with a line between them that can fail.

Nothing here waits for real time, and nothing but the client's own outbox works in the background.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import clouddirect
from clouddirect.clock import ManualClock
from clouddirect.errors import UnavailableError
from clouddirect.messaging import BrokerRuntime, Message
from clouddirect.orders import CloudDirect, ImageFile
from clouddirect.orders.models import (
    EyeSideGrading,
    GradingSubmission,
    Name,
    Order,
    OrderRequest,
    Patient,
    PersonGender,
)
from clouddirect.retry import RetryPolicy
from clouddirect.sandbox import Sandbox, demo_image
from clouddirect.settings import FaultSettings, Settings

__all__ = ["World", "transaction_of"]

GUID = "63E3C9EF-66AC-4154-B0C2-494515EB99A7"
#: Leases that outlast every run: a jump of the clock would otherwise race with their renewal.
LEASE = 600_000.0

_pictures: dict[str | None, bytes] = {}


def picture(patient: str | None) -> bytes:
    """The picture of an eye, which names its patient or nobody; drawn once."""
    if patient not in _pictures:
        _pictures[patient] = demo_image(1, "OD", patient_id=patient)
    return _pictures[patient]


def transaction_of(value: Any) -> str:
    return str(value.transaction_id).lower()


class World:
    """What the state machine works on.

    Attributes:
        line: between client and broker: ``up``, ``down``, or ``loses answers``: what is sent arrives, and the client
            does not hear of it.
        accepted: ids of the messages to ``orders`` that the client accepted, in that order.
        arrived: ids of those that the broker took, in the order of their first arrival.
        made: what the sandbox said that it sent, and how often each fault was made.
        handled: TransactionIds of the events and results that were handled, in that order.
        events, results: what was handled, whole.
    """

    def __init__(self, *, auto_grade: bool) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="clouddirect-world-"))
        (self.directory / "files" / "images").mkdir(parents=True)
        self.clock = ManualClock(datetime.now(UTC))
        self.auto_grade = auto_grade
        self.line = "up"
        self.faults = FaultSettings()
        self.accepted: list[str] = []
        self.arrived: list[str] = []
        self.sent: list[Any] = []
        self.made: Counter[str] = Counter()
        self.handled: list[str] = []
        self.events: list[Any] = []
        self.results: list[Any] = []
        self._latest = self.clock.now()
        self._settings = Settings.of(self._values())
        self.client = self._new_client()
        self.sandbox = self._new_sandbox()

    # -- what is done ---------------------------------------------------------------------------------------

    def order(self, local_id: str, patient: str, evaluation: str) -> OrderRequest:
        return OrderRequest(
            order=Order(local_id=local_id, evaluation_types=[evaluation]),
            patient=Patient(
                local_id=patient, name=Name(first="Jane", last="Roe"), dob="1961-12-01",
                genders=[PersonGender(context="BirthGender", gender="F")],
            ),
        )  # fmt: skip

    def submit(self, order: OrderRequest, *, with_image: bool) -> None:
        images = [ImageFile(source=picture(None), laterality="OD", suffix=".jpg")] if with_image else []
        self.accepted.append(self.client.submit(order, images).message_id)

    def change(self, order: OrderRequest) -> None:
        changed = order.model_copy(deep=True)
        assert changed.order is not None
        changed.order.urgent = True
        self.accepted.append(self.client.change(changed).message_id)

    def cancel(self, local_id: str) -> None:
        self.accepted.append(self.client.cancel(local_id).message_id)

    def resend(self, local_id: str) -> None:
        self.accepted.append(self.client.resend_results(local_id).message_id)

    def grade(self, local_id: str) -> None:
        eye = EyeSideGrading(gradable=False, ungradable_reasons=["Too dark"])
        self.client.submit_grading(GradingSubmission(local_id=local_id, od=eye))

    def upload(self, patient: str) -> None:
        """Put an image into the store that names its patient itself; the store has the world's time."""
        if self.line != "up":
            return
        uploaded = self.client.upload_image(ImageFile(source=picture(patient), laterality="OD", suffix=".jpg"))
        at = self._latest.timestamp()
        os.utime(self.directory / "files" / "images" / uploaded.key, (at, at))

    def receive(self, endpoint: str, *, fail: bool = False, most: int = 1000) -> None:
        """Handle what has come; the first one not at the first try, if told so."""
        source, seen = (
            (self.client.events, self.events) if endpoint == "events" else (self.client.results, self.results)
        )
        for incoming in source(timeout=0, once=True):
            try:
                with incoming as value:
                    if fail:
                        fail = False
                        raise KeyError
                    seen.append(value)
                    self.handled.append(transaction_of(value))
            except KeyError:
                pass
            most -= 1
            if most == 0:
                return

    def hold(self) -> None:
        """Take an event and leave it, as a program does that is then ended."""
        next(self.client.events(timeout=0, once=True), None)
        self.restart_client()

    def step(self, turns: int) -> None:
        """Let the sandbox work."""
        for _ in range(turns):
            self.sandbox.step()

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self._latest = max(self._latest, self.clock.now())
        self.flush()

    def flush(self) -> None:
        """Send what waits in the outbox, if the line is up."""
        while self.line == "up" and self.client.flush_outbox().busy:
            pass

    def restart_client(self) -> None:
        self.client.close()
        self.client = self._new_client()

    def restart_sandbox(self) -> None:
        self._close_sandbox()
        self.sandbox = self._new_sandbox()

    def set_faults(self, faults: FaultSettings) -> None:
        self.faults = self.sandbox.faults = faults

    def close(self) -> None:
        self.client.close()
        self._close_sandbox()
        shutil.rmtree(self.directory)

    # -- what is seen ---------------------------------------------------------------------------------------

    def kinds(self, local_id: str) -> list[str]:
        """The kinds of the events of an order, as they were handled."""
        return [str(one.result_object_type) for one in self.events if getattr(one, "order_local_id", None) == local_id]

    def is_finished(self, local_id: str) -> bool:
        kinds = self.kinds(local_id)
        has_result = any(one.order_local_id == local_id for one in self.results)
        return "OrderCancelled" in kinds or ("OrderGradedEvent" in kinds and has_result)

    def dead_letters(self) -> list[Message]:
        """Take what was put aside."""
        found: list[Message] = []
        runtime = BrokerRuntime(clock=self.clock)
        with clouddirect.open_broker("local", runtime=runtime, path=self.directory / "q.db", create=True) as broker:
            for queue in ("orders", "gradings", "events", "results"):
                while deliveries := broker.receive(f"{queue}/$dead", 100):
                    found += [one.message for one in deliveries]
                    broker.ack_many(deliveries)
        return found

    # -- inside ---------------------------------------------------------------------------------------------

    def _values(self) -> dict[str, Any]:
        queue = {"provider": "local", "path": str(self.directory / "q.db"), "create": True, "lease": LEASE,
                 "deduplication_window": LEASE, "max_deliveries": None}  # fmt: skip
        names = ("orders", "gradings", "events", "results")
        store = {"provider": "local", "path": str(self.directory / "files"), "container": "images"}
        sides = {"endpoints": {name: {**queue, "queue": name} for name in names}, "stores": {"images": store}}
        return {
            "client_guid": GUID, "site": "PC1", "data_dir": str(self.directory / "data"), **sides,
            "outbox": {"enabled": True, "wait": 5.0}, "tracking": {"enabled": True},
            "sandbox": {**sides, "stage_delay": 5.0, "auto_grade": self.auto_grade, "image_wait": 5.0},
        }  # fmt: skip

    def _new_client(self) -> CloudDirect:
        client = CloudDirect(self._settings, clock=self.clock, retry=RetryPolicy(max_attempts=1))
        for name in ("orders", "gradings"):
            broker: Any = client._connections.queue(name).broker
            if not hasattr(broker, "_line"):
                broker._line, broker._send = True, self._over_the_line(broker._send)
        return client

    def _over_the_line(self, send: Callable[..., Any]) -> Callable[..., Any]:
        """The provider's own way of sending, over a line that may fail."""

        def over(queue: str, messages: Sequence[Message], timeout: float) -> Any:
            if self.line == "down":
                raise UnavailableError("the line is down")
            receipts = send(queue, messages, timeout)
            if queue == "orders":
                self.arrived += [one.id for one in messages if one.id not in self.arrived]
            if self.line == "loses answers":
                raise UnavailableError("the answer was lost", maybe_sent=True)
            return receipts

        return over

    def _new_sandbox(self) -> Sandbox:
        return Sandbox(self._settings, clock=self.clock, on_sent=self.sent.append, faults=self.faults)

    def _close_sandbox(self) -> None:
        self.made.update(self.sandbox.faults_made)
        self.sandbox.close()
