"""Leases: what is not settled comes again, what is kept does not, and a lost lease is told."""

from __future__ import annotations

import threading
import time

import pytest

from clouddirect.conformance.messaging_harness import MessagingHarness
from clouddirect.errors import CloudDirectError, LeaseLostError, UnsupportedError
from clouddirect.messaging import Delivery, MessageBroker

__all__ = ["LeaseCases"]


class LeaseCases(MessagingHarness):
    """Cases on leases, with the shortest ones that the service permits."""

    def _on_short_lease(self, broker: MessageBroker, count: int = 1) -> tuple[str, list[Delivery]]:
        queue = self.new_queue(lease=self.shortest_lease)
        self.send(broker, queue, count)
        return queue, self.collect(broker, queue, count, self.short_lease(broker, queue))

    def test_what_is_not_settled_comes_again(self, broker: MessageBroker) -> None:
        """When a lease ends without settlement, as after a crash, the message comes again, counted; not before."""
        began = time.monotonic()
        queue, (first,) = self._on_short_lease(broker)
        again = self.one(self.open(), queue)
        assert time.monotonic() - began >= self.shortest_lease - self.slack
        assert again.message == first.message
        if broker.capabilities(queue).delivery_count:
            assert again.delivery_count == 2
        again.ack()

    def test_a_lease_of_the_callers_choice(self, broker: MessageBroker, queue: str) -> None:
        """`receive` puts messages on lease for as long as it is asked, whatever the queue's own length is."""
        self.declared(broker, queue, "settable_lease")
        self.send(broker, queue, 1)
        self.one(broker, queue, self.shortest_lease)
        self.one(broker, queue, self.long_lease).ack()

    def test_a_lease_that_cannot_be_had_is_refused(self, broker: MessageBroker, queue: str) -> None:
        """A lease that the broker does not permit is refused with `UnsupportedError`, and nothing is received."""
        can = broker.capabilities(queue)
        if can.settable_lease and can.max_lease is None:
            pytest.skip(f"{broker.provider} permits leases of any length")
        self.send(broker, queue, 1)
        with pytest.raises(UnsupportedError):
            broker.receive(queue, lease=self.long_lease if not can.settable_lease else (can.max_lease or 0) + 1)
        self.one(broker, queue).ack()

    def test_extend_holds_the_message(self, broker: MessageBroker) -> None:
        """An extended lease keeps the message from others beyond the end of the first one."""
        queue, (delivery,) = self._on_short_lease(broker)
        other = self.open()
        first = last = delivery.lease_expires_at
        for _ in range(4):
            last = delivery.extend(self.shortest_lease)
            self.assert_nothing_comes(other, queue, self.shortest_lease / 2)
        assert first is None or last is None or last > first
        delivery.ack()
        self.assert_nothing_comes(broker, queue, self.shortest_lease * 1.5)

    def test_extend_asks_for_as_long_as_it_is_told(self, broker: MessageBroker) -> None:
        """`extend` lets the lease run for the seconds asked from now on, where leases can be chosen."""
        queue, (delivery,) = self._on_short_lease(broker)
        self.declared(broker, queue, "settable_lease")
        delivery.extend(self.shortest_lease * 3)
        self.assert_nothing_comes(self.open(), queue, self.shortest_lease * 1.5)
        delivery.ack()

    def test_settling_after_the_lease_was_lost(self, broker: MessageBroker) -> None:
        """An ack after the message has gone to somebody else raises `LeaseLostError` and leaves them the message."""
        queue, (late,) = self._on_short_lease(broker)
        known = late.lease_expires_at is not None or broker.capabilities(queue).ack_is_checked
        if not known:
            pytest.skip(f"{broker.provider} can tell neither when a lease ends nor whether an ack counted")
        other = self.open()
        current = self.one(other, queue)
        with pytest.raises(LeaseLostError):
            late.ack()
        assert late.lease_lost.is_set()
        current.ack()
        self.assert_nothing_comes(broker, queue)

    def test_extending_a_lost_lease(self, broker: MessageBroker) -> None:
        """`extend` after the message has gone to somebody else raises `LeaseLostError` and takes nothing from them."""
        queue, (late,) = self._on_short_lease(broker)
        self.declared(broker, queue, "ack_is_checked")
        current = self.one(self.open(), queue)
        with pytest.raises(LeaseLostError):
            late.extend(self.shortest_lease)
        assert late.lease_lost.is_set()
        current.ack()
        self.assert_nothing_comes(broker, queue)

    def test_a_late_nack_takes_nothing_from_the_next_receiver(self, broker: MessageBroker) -> None:
        """A nack after the message has gone to somebody else does not hand it to a third one."""
        queue, (late,) = self._on_short_lease(broker)
        self.declared(broker, queue, "ack_is_checked")
        other = self.open()
        current = self.one(other, queue, self.long_lease if broker.capabilities(queue).settable_lease else None)
        try:
            late.nack()
        except LeaseLostError:
            assert late.lease_lost.is_set()
        self.assert_nothing_comes(broker, queue, min(self.quiet, self.shortest_lease / 2))
        current.ack()

    def test_a_long_handler_keeps_its_message(self, broker: MessageBroker) -> None:
        """A handler that runs longer than three leases keeps its message: renewed in time, nobody else is given it."""
        queue = self.new_queue(lease=self.shortest_lease)
        self.send(broker, queue, 1)
        handled: list[str] = []
        begun, done = threading.Event(), threading.Event()

        def work_long(delivery: Delivery) -> None:
            begun.set()
            lost = delivery.lease_lost.wait(self.shortest_lease * 3.3)
            handled.append("lost" if lost else "kept")
            done.set()

        consumer = broker.consume(queue, work_long, 2, self.options(broker, queue))
        assert begun.wait(self.patience)
        self.assert_nothing_comes(self.open(), queue, self.shortest_lease * 3)
        assert done.wait(self.patience)
        assert consumer.stop(self.patience)
        assert handled == ["kept"]
        self.assert_nothing_comes(broker, queue, self.shortest_lease * 1.5)

    def test_a_lost_lease_is_signalled(self, broker: MessageBroker) -> None:
        """A handler learns from ``lease_lost`` that its lease could not be kept; the message comes again."""
        queue = self.new_queue(lease=self.shortest_lease)
        self.send(broker, queue, 1)
        signals: list[bool] = []
        again = threading.Event()

        def handle(delivery: Delivery) -> None:
            if signals:
                again.set()
                return
            signals.append(delivery.lease_lost.wait(self.patience))
            raise KeyError  # returning would ack, which counts if nobody has taken the message yet

        consumer = broker.consume(queue, handle, 1, self.options(broker, queue, max_handling=0.0))
        assert again.wait(self.patience * 2)
        assert consumer.stop(self.patience)
        assert signals == [True]

    def test_what_a_stuck_handler_holds_is_given_back(self, broker: MessageBroker, queue: str) -> None:
        """`Consumer.stop` gives back what its handler does not finish in time, and tells the handler."""
        self.send(broker, queue, 1)
        begun, go, told = threading.Event(), threading.Event(), []

        def hang(delivery: Delivery) -> None:
            begun.set()
            assert go.wait(self.patience)
            told.append(delivery.lease_lost.is_set())
            with pytest.raises(CloudDirectError):
                delivery.ack()

        consumer = broker.consume(queue, hang)
        assert begun.wait(self.patience)
        assert consumer.stop(timeout=0.1) is False
        self.one(self.open(), queue).ack()
        go.set()
        assert consumer.wait(self.patience)
        assert told == [True]
