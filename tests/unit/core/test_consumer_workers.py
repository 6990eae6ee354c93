"""Workers are woken one by the other: as many as there is work for, however slow their handlers are."""

from __future__ import annotations

import threading

from clouddirect.messaging import Delivery, Message
from unit.core.conftest import OpenBroker, eventually


def test_all_messages_of_one_poll_are_handled_side_by_side(open_broker: OpenBroker) -> None:
    """Ten handlers that wait for each other come together: none waits for another poll, or for another's end."""
    broker, together = open_broker(), threading.Barrier(10)
    consumer = broker.consume("q", lambda delivery: together.wait(10), concurrency=10)
    for _ in range(3):
        assert all(one.ok for one in broker.send_many("q", [Message(body=b"") for _ in range(10)]))
        assert eventually(lambda: broker.service.depth("q") == 0)
    assert not together.broken
    assert consumer.stop(10)


def test_a_worker_that_is_free_again_takes_what_waits(open_broker: OpenBroker) -> None:
    """Fewer workers than messages, and handlers that end in any order: nothing is left lying."""
    broker, turns = open_broker(), threading.Semaphore(0)

    def handle(delivery: Delivery) -> None:
        assert turns.acquire(timeout=30)

    consumer = broker.consume("q", handle, concurrency=3)
    assert all(one.ok for one in broker.send_many("q", [Message(body=b"") for _ in range(20)]))
    assert eventually(lambda: len(consumer._running) == 3)
    for done in range(1, 21):
        turns.release()
        assert eventually(lambda done=done: len(consumer._running) == min(3, 20 - done))  # type: ignore[misc]
    assert eventually(lambda: broker.service.depth("q") == 0)
    assert consumer.stop(10)
