"""A soak: senders and receivers whose connections are cut, closed, detached and stalled at random.

Nothing may be lost, and every repetition must have its reason. Each stored copy of a message has a sequence number of
its own, so the two reasons can be told apart: a send that was made again because its confirmation was lost stores a
second copy; an ack that was not confirmed lets one copy come twice.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from typing import Any

from azure.servicebus import ServiceBusReceivedMessage

from clouddirect.errors import CloudDirectError
from clouddirect.messaging import ConsumerOptions, Delivery, Message, MessageBroker
from clouddirect.observers import MessageEvent, Observers, hookimpl
from clouddirect.retry import RetryPolicy
from emulators.servicebus import QueueSettings, ServiceBusServer
from emulators.tcp_line import TcpLine
from unit.azure.bus_fixtures import open_bus

SENDERS, RECEIVERS = 3, 3
#: Seconds around a disturbance within which a send may have been affected by it.
SLACK = 0.5


class Record:
    """What happened, told by all threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.sent: dict[str, tuple[float, float]] = {}  # confirmed, with when the call began and ended
        self.uncertain: set[str] = set()  # failed, but maybe sent
        self.failed = 0
        self.copies: defaultdict[str, set[int]] = defaultdict(set)  # sequence numbers received
        self.handled: Counter[str] = Counter()
        self.acked: Counter[str] = Counter()
        self.disturbances: list[tuple[float, float]] = []

    @hookimpl
    def clouddirect_message_settled(self, event: MessageEvent) -> None:
        if event.outcome == "ack":
            with self.lock:
                self.acked[event.message_id] += 1

    def handle(self, delivery: Delivery) -> None:
        native = delivery.native
        assert isinstance(native, ServiceBusReceivedMessage)
        number = native.sequence_number
        assert number is not None
        with self.lock:
            self.copies[delivery.message.id].add(number)
            self.handled[delivery.message.id] += 1
        if random.random() < 0.02:
            raise KeyError

    def note_sent(self, began: float, identity: str, error: CloudDirectError | None) -> None:
        with self.lock:
            if error is None:
                self.sent[identity] = (began, time.monotonic())
            elif error.maybe_sent:
                self.uncertain.add(identity)
            else:
                self.failed += 1

    def disturbed(self, began: float, ended: float) -> bool:
        return any(first - SLACK <= ended and began <= last + SLACK for first, last in self.disturbances)


def send_until(stop: threading.Event, broker: MessageBroker, record: Record) -> None:
    while not stop.is_set():
        began = time.monotonic()
        if random.random() < 0.5:
            message = Message(body=b"single")
            try:
                broker.send("q", message)
            except CloudDirectError as error:
                record.note_sent(began, message.id, error)
            else:
                record.note_sent(began, message.id, None)
        else:
            for result in broker.send_many("q", [Message(body=bytes(500)) for _ in range(random.randint(2, 40))]):
                record.note_sent(began, result.message.id, result.error)
        stop.wait(random.uniform(0, 0.02))


def disturb_until(stop: threading.Event, server: ServiceBusServer, line: TcpLine, record: Record) -> None:
    while not stop.wait(random.uniform(0.2, 1.5)):
        began = time.monotonic()
        what = random.choice(["cut", "reset", "close", "detach", "stall"])
        if what == "cut":
            line.cut()
        elif what == "reset":
            server.cut_connections()
        elif what == "close":
            server.close_connections()
        elif what == "detach":
            server.detach_links("q")
        else:
            line.stall()
            stop.wait(random.uniform(0.1, 1.0))
            line.resume()
        record.disturbances.append((began, time.monotonic()))


def test_random_drops_lose_nothing_and_every_repetition_has_its_reason(long_run: bool, tmp_path: Any) -> None:
    record, stop = Record(), threading.Event()
    retry = RetryPolicy(max_attempts=12, base_delay=0.05, max_delay=1.0, deadline=60)
    runtime = {"retry": retry, "observers": Observers([record]), "quarantine": tmp_path, "call_timeout": 5.0}
    with ExitStack() as stack:
        queue = QueueSettings("q", lock=5, max_deliveries=100_000)
        server = stack.enter_context(ServiceBusServer([queue]))
        line = stack.enter_context(TcpLine(server.port))

        def broker() -> MessageBroker:
            return stack.enter_context(open_bus(server, runtime, endpoint=f"127.0.0.1:{line.port}"))

        options = ConsumerOptions(first_retry_delay=0.1, max_retry_delay=1.0)
        consumers = [broker().consume("q", record.handle, 4, options) for _ in range(RECEIVERS)]
        senders = [threading.Thread(target=send_until, args=(stop, broker(), record)) for _ in range(SENDERS)]
        troublemaker = threading.Thread(target=disturb_until, args=(stop, server, line, record))
        for thread in (*senders, troublemaker):
            thread.start()
        threading.Event().wait(240 if long_run else 6)
        stop.set()
        for thread in (*senders, troublemaker):
            thread.join(120)
            assert not thread.is_alive()
        server.wait_for_counts("q", timeout=60, active=0, locked=0)
        assert all(consumer.stop(60) for consumer in consumers)
        assert server.counts("q").dead == 0
    _examine(record)


def _examine(record: Record) -> None:
    assert len(record.sent) > 100
    assert record.disturbances
    lost = set(record.sent) - set(record.handled)
    assert not lost, f"{len(lost)} of {len(record.sent)} confirmed messages were lost"
    unknown = set(record.handled) - set(record.sent) - record.uncertain
    assert not unknown, f"{len(unknown)} messages were delivered whose send said that they were not sent"
    for identity, numbers in record.copies.items():
        # a copy whose ack was confirmed has not come again: else it would have been acked once more
        assert record.acked[identity] <= len(numbers)
        if len(numbers) > 1 and identity in record.sent:
            assert record.disturbed(*record.sent[identity]), "a message was stored twice without a reason"
