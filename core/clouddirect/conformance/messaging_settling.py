"""Settling: what is acked is gone, what is given back comes again, and what is dead-lettered is never lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import pytest

from clouddirect.conformance.messaging_harness import MessagingHarness, by_id
from clouddirect.errors import AlreadySettledError
from clouddirect.messaging import (
    DEAD_LETTER_DESCRIPTION,
    DEAD_LETTER_QUEUE,
    DEAD_LETTER_REASON,
    Delivery,
    MessageBroker,
)

__all__ = ["SettlingCases"]


class SettlingCases(MessagingHarness):
    """Cases on ack, nack and dead_letter."""

    def test_what_is_acked_is_gone(self, broker: MessageBroker) -> None:
        """Acked messages, one by one or many at once, do not come again when their leases would have ended."""
        queue = self.new_queue(lease=self.shortest_lease)
        self.send(broker, queue, 30)
        got = self.collect(broker, queue, 30, self.short_lease(broker, queue))
        for delivery in got[:5]:
            delivery.ack()
        assert [(result.delivery, result.ok) for result in broker.ack_many(got[5:])] == [(one, True) for one in got[5:]]
        self.assert_nothing_comes(broker, queue, self.shortest_lease * 2)

    def test_a_message_on_lease_is_nobody_elses(self, broker: MessageBroker, queue: str) -> None:
        """While a message is on lease, no other receiver is given it."""
        self.send(broker, queue, 1)
        delivery = self.one(broker, queue)
        self.assert_nothing_comes(self.open(), queue)
        delivery.ack()

    def test_nack_redelivers(self, broker: MessageBroker, queue: str) -> None:
        """Messages that are given back all come again, counted."""
        ids = self.send(broker, queue, self.nack_count)
        for delivery in self.collect(broker, queue, self.nack_count):
            delivery.nack()
        again = self.collect(broker, queue, self.nack_count)
        assert sorted(by_id(again)) == sorted(ids)
        if broker.capabilities(queue).delivery_count:
            assert {delivery.delivery_count for delivery in again} == {2}
        assert all(result.ok for result in broker.ack_many(again))

    def test_nack_delay_is_honoured(self, broker: MessageBroker) -> None:
        """A message given back with a delay does not come before it has passed, and comes then.

        Where the broker cannot delay, core holds the lease and renews it, so the delay here is longer than a lease.
        """
        queue = self.new_queue(lease=self.shortest_lease)
        self.send(broker, queue, 1)
        delay = self.shortest_lease * 1.5 + self.short_delay
        self.one(broker, queue, self.short_lease(broker, queue)).nack(delay)
        given_back = time.monotonic()
        self.one(self.open(), queue).ack()
        assert time.monotonic() - given_back >= delay - self.slack

    def test_leaving_a_with_block_settles(self, broker: MessageBroker, queue: str) -> None:
        """As a context manager a delivery is acked when all went well and given back when not."""
        self.send(broker, queue, 2)
        first, second = self.collect(broker, queue, 2)
        with first:
            pass
        with pytest.raises(KeyError), second:
            raise KeyError
        assert self.one(broker, queue).message.id == second.message.id
        self.assert_nothing_comes(broker, queue)

    def test_settling_twice(self, broker: MessageBroker, queue: str) -> None:
        """Settling again the same way does nothing, another way raises `AlreadySettledError`; the first one stands."""
        self.send(broker, queue, 2)
        acked, nacked = self.collect(broker, queue, 2)
        acked.ack()
        acked.ack()
        with pytest.raises(AlreadySettledError):
            acked.nack()
        nacked.nack(self.long_lease)
        nacked.nack()
        others: list[Callable[[], object]] = [
            nacked.ack,
            lambda: nacked.dead_letter("test"),
            lambda: nacked.extend(self.long_lease),
        ]
        for other in others:
            with pytest.raises(AlreadySettledError):
                other()
        self.assert_nothing_comes(broker, queue)

    # -- dead letters ---------------------------------------------------------------------------------------

    def test_dead_letter_with_a_readable_reason(self, broker: MessageBroker) -> None:
        """A dead-lettered message leaves its queue and is found, whole and with the reason, in the broker's own."""
        queue = self.new_queue(lease=self.shortest_lease)
        can = self.declared(broker, queue, "native_dead_letter", "dead_letter_queue")
        assert can.dead_letter_queue is not None
        (sent,) = self.send(broker, queue, 1, attributes={"own": "kept"}, correlation_id="c", subject="s")
        self.one(broker, queue, self.short_lease(broker, queue)).dead_letter("unreadable", "not JSON at byte 7")
        dead = self.one(broker, can.dead_letter_queue)
        assert dead.message.id == sent
        assert dead.message.body == b"message 0"
        assert (dead.message.correlation_id, dead.message.subject) == ("c", "s")
        assert dead.message.attributes["own"] == "kept"
        assert dead.message.attributes[DEAD_LETTER_REASON] == "unreadable"
        assert dead.message.attributes[DEAD_LETTER_DESCRIPTION] == "not JSON at byte 7"
        dead.ack()
        self.assert_nothing_comes(broker, queue, self.shortest_lease * 1.5)
        self.assert_nothing_comes(broker, can.dead_letter_queue)

    def test_dead_letter_to_a_configured_target(self) -> None:
        """Where the broker has no dead-letter queue of its own, the message goes, whole, to the configured target."""
        queue, target = self.new_queue(lease=self.shortest_lease), self.new_queue()
        broker = self.open(dead_letter_send={queue: target})
        self._not_native(broker, queue)
        (sent,) = self.send(broker, queue, 1, attributes={"own": "kept"})
        self.one(broker, queue, self.short_lease(broker, queue)).dead_letter("unreadable", "not JSON")
        dead = self.one(broker, target)
        assert dead.message.id == sent
        assert dead.message.body == b"message 0"
        told = {DEAD_LETTER_REASON: "unreadable", DEAD_LETTER_DESCRIPTION: "not JSON", DEAD_LETTER_QUEUE: queue}
        assert dead.message.attributes == {"own": "kept", **told}
        self.assert_nothing_comes(broker, queue, self.shortest_lease * 1.5)
        assert list(broker.quarantine) == []

    def test_dead_letter_into_the_quarantine(self, broker: MessageBroker) -> None:
        """With no dead-letter queue and no target the message is kept, whole, in the local quarantine."""
        queue = self.new_queue(lease=self.shortest_lease)
        self._not_native(broker, queue)
        (sent,) = self.send(broker, queue, 1, attributes={"own": "kept"})
        self.one(broker, queue, self.short_lease(broker, queue)).dead_letter("unreadable", "not JSON")
        self.assert_nothing_comes(broker, queue, self.shortest_lease * 1.5)
        (kept,) = self.open().quarantine
        assert (kept.message.id, kept.message.body, kept.queue) == (sent, b"message 0", queue)
        assert (kept.reason, kept.description, kept.message.attributes["own"]) == ("unreadable", "not JSON", "kept")

    def test_a_receive_only_credential_dead_letters_into_the_quarantine(
        self, broker: MessageBroker, queue: str
    ) -> None:
        """Where the credential may not send to the target either, the message is kept in the local quarantine."""
        self._not_native(broker, queue)
        receiver = self.need("receive_only_broker", queue, dead_letter_send={queue: self.new_queue()})
        (sent,) = self.send(broker, queue, 1)
        self.one(receiver, queue).dead_letter("unreadable")
        assert [kept.message.id for kept in receiver.quarantine] == [sent]
        self.assert_nothing_comes(broker, queue)

    def _not_native(self, broker: MessageBroker, queue: str) -> None:
        if broker.capabilities(queue).native_dead_letter:
            pytest.skip(f"{broker.provider} has dead-letter queues of its own")

    def test_dead_letter_by_limit(self, broker: MessageBroker) -> None:
        """A message that is given back too often is put into the dead-letter queue by the broker, and no other is."""
        queue = self.new_queue(lease=self.long_lease, max_deliveries=3)
        dead_queue = self.need("dead_letter_queue", queue)
        (poison,) = self.send(broker, queue, 1, attributes={"own": "kept"})
        for count in (1, 2, 3):
            delivery = self.one(broker, queue)
            if broker.capabilities(queue).delivery_count:
                assert delivery.delivery_count == count
            delivery.nack()
        (good,) = self.send(broker, queue, 1)
        delivery = self.one(broker, queue)
        assert delivery.message.id == good
        delivery.ack()
        dead = self.one(broker, dead_queue)
        assert dead.message.id == poison
        assert dead.message.attributes["own"] == "kept"
        if broker.capabilities(queue).native_dead_letter:
            assert dead.message.attributes[DEAD_LETTER_REASON]
        dead.ack()
        self.assert_nothing_comes(broker, queue)

    def test_poison_does_not_reach_the_handler(self, broker: MessageBroker, queue: str) -> None:
        """A consumer dead-letters what was delivered too often without calling its handler; others are handled."""
        self.declared(broker, queue, "delivery_count")
        (poison,) = self.send(broker, queue, 1)
        for _ in range(2):
            self.one(broker, queue).nack()
        (good,) = self.send(broker, queue, 1)
        handled: list[str] = []
        consumer = broker.consume(
            queue,
            lambda delivery: handled.append(delivery.message.id),
            2,
            self.options(broker, queue, max_deliveries=2),
        )
        self.until(lambda: handled and self._buried(broker, queue), "the poison was put aside")
        assert consumer.stop(self.patience)
        assert handled == [good]
        assert self._buried(broker, queue) == [poison]
        self.assert_nothing_comes(broker, queue)

    def test_a_handler_that_always_fails_leads_to_the_dead_letter_queue(
        self, broker: MessageBroker, queue: str
    ) -> None:
        """A message whose handler fails on every delivery is dead-lettered at the limit, after so many calls."""
        self.declared(broker, queue, "delivery_count")
        (poison,) = self.send(broker, queue, 1)
        calls: Counter[str] = Counter()

        def fail(delivery: Delivery) -> None:
            calls[delivery.message.id] += 1
            raise KeyError

        consumer = broker.consume(queue, fail, 2, self.options(broker, queue, max_deliveries=3))
        self.until(lambda: self._buried(broker, queue), "the message was put aside")
        assert consumer.stop(self.patience)
        assert calls == {poison: 3}
        self.assert_nothing_comes(broker, queue)

    def _buried(self, broker: MessageBroker, queue: str) -> list[str]:
        """The ids of what was dead-lettered from ``queue``, wherever it went."""
        dead_queue = broker.capabilities(queue).dead_letter_queue
        if not broker.capabilities(queue).native_dead_letter or dead_queue is None:
            return [kept.message.id for kept in broker.quarantine]
        found = broker.receive(dead_queue, 10, wait=0)
        for delivery in found:
            delivery.nack()
        return [delivery.message.id for delivery in found]
