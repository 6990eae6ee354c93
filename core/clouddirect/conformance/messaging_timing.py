"""Order, delays, times to live and deduplication where declared; refused, before anything is sent, where not."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from clouddirect.conformance.messaging_harness import MessagingHarness
from clouddirect.errors import UnsupportedError
from clouddirect.messaging import Delivery, Message, MessageBroker

__all__ = ["TimingCases"]


class TimingCases(MessagingHarness):
    """Cases on when, and in which order, messages come."""

    # -- ordering keys --------------------------------------------------------------------------------------

    def _ordered_queue(self, broker: MessageBroker) -> str:
        queue = self.new_queue(lease=self.long_lease, ordered=True)
        self.declared(broker, queue, "ordering")
        return queue

    def _send_keys(self, broker: MessageBroker, queue: str, keys: str, turns: int) -> None:
        sent = [Message(body=f"{key}{turn:03}".encode(), ordering_key=key) for turn in range(turns) for key in keys]
        assert [result.error for result in broker.send_many(queue, sent) if not result.ok] == []

    def test_order_by_key(self, broker: MessageBroker) -> None:
        """Messages of one ordering key are received in the order they were sent, single or in bulk; the key arrives."""
        queue = self._ordered_queue(broker)
        for turn in range(3):
            broker.send(queue, Message(body=f"s{turn:03}".encode(), ordering_key="s"))
        self._send_keys(broker, queue, "abc", 10)
        seen: dict[str, list[str]] = {}
        for _ in range(33):
            delivery = self.one(broker, queue)
            seen.setdefault(delivery.message.ordering_key or "", []).append(delivery.message.body.decode())
            delivery.ack()
        assert {key: len(bodies) for key, bodies in seen.items()} == {"s": 3, "a": 10, "b": 10, "c": 10}
        for bodies in seen.values():
            assert bodies == sorted(bodies)

    def test_a_key_is_with_one_receiver_at_a_time(self, broker: MessageBroker) -> None:
        """A later message of a key goes to nobody while an earlier one is on lease, or waits after a nack."""
        queue, other = self._ordered_queue(broker), self.open()
        self._send_keys(broker, queue, "a", 3)
        first = self.one(broker, queue)
        assert first.message.body == b"a000"
        self.assert_nothing_comes(other, queue)
        first.nack(self.short_delay)
        again = self.one(other, queue)
        assert again.message.body == b"a000"
        again.ack()
        for body in (b"a001", b"a002"):
            delivery = self.one(other, queue)
            assert delivery.message.body == body
            delivery.ack()

    def test_one_handler_at_a_time_for_each_key(self, broker: MessageBroker) -> None:
        """A consumer with many threads handles each key's messages one at a time and in order."""
        queue = self._ordered_queue(broker)
        self._send_keys(broker, queue, "abcd", 15)
        handled, overlaps, at_work = [], [], set[str]()
        lock = threading.Lock()

        def handle(delivery: Delivery) -> None:
            key = delivery.message.ordering_key or ""
            with lock:
                overlaps.extend([key] if key in at_work else [])
                at_work.add(key)
                handled.append(delivery.message.body.decode())
            with lock:
                at_work.discard(key)

        consumer = broker.consume(queue, handle, 8)
        self.until(lambda: len(handled) >= 60, "all messages were handled")
        assert consumer.stop(self.patience)
        assert overlaps == []
        for key in "abcd":
            assert [body for body in handled if body[0] == key] == [f"{key}{turn:03}" for turn in range(15)]

    def test_nothing_overtakes_a_message_that_failed(self, broker: MessageBroker) -> None:
        """When a handler fails, the later messages of its key wait until it has succeeded."""
        queue = self._ordered_queue(broker)
        self._send_keys(broker, queue, "ab", 8)
        handled: list[str] = []
        failed = threading.Event()

        def fail_once(delivery: Delivery) -> None:
            body = delivery.message.body.decode()
            if body == "a003" and not failed.is_set():
                failed.set()
                raise KeyError
            handled.append(body)

        consumer = broker.consume(queue, fail_once, 4, self.options(broker, queue))
        self.until(lambda: len(handled) >= 16, "all messages were handled")
        assert consumer.stop(self.patience)
        assert failed.is_set()
        for key in "ab":
            assert list(dict.fromkeys(body for body in handled if body[0] == key)) == [
                f"{key}{turn:03}" for turn in range(8)
            ]

    def test_a_failure_in_sending_holds_its_key_back(self, broker: MessageBroker) -> None:
        """After a message that cannot be sent the later ones of its key are ``not_sent``; other keys go on."""
        queue = self._ordered_queue(broker)
        sent = [Message(body=f"{key}{turn}".encode(), ordering_key=key, subject="" if (key, turn) == ("a", 1) else None)
                for turn in range(4) for key in "ab"]  # fmt: skip
        results = broker.send_many(queue, sent)
        assert [result.status for result in results if result.message.ordering_key == "b"] == ["sent"] * 4
        assert [result.status for result in results if result.message.ordering_key == "a"] == [
            "sent", "failed", "not_sent", "not_sent",
        ]  # fmt: skip
        assert sorted(delivery.message.body for delivery in self.drain(broker, queue)) == [
            b"a0",
            b"b0",
            b"b1",
            b"b2",
            b"b3",
        ]

    # -- delay and time to live -----------------------------------------------------------------------------

    def test_delay(self, broker: MessageBroker, queue: str) -> None:
        """A delayed message does not come before its time, and then does; one without a delay is not held up by it."""
        can = broker.capabilities(queue)
        if can.max_delay < self.short_delay:
            pytest.skip(f"{broker.provider} does not declare a max_delay of {self.short_delay:g} s")
        began = time.monotonic()
        broker.send(queue, Message(body=b"late", delay=self.short_delay))
        broker.send(queue, Message(body=b"now"))
        first = self.one(broker, queue)
        assert first.message.body == b"now"
        first.ack()
        assert self.one(broker, queue).message.body == b"late"
        assert time.monotonic() - began >= self.short_delay - self.slack

    def test_time_to_live(self, broker: MessageBroker, queue: str) -> None:
        """A message that nobody receives in its time is not delivered any more; one with more time is."""
        self.declared(broker, queue, "time_to_live")
        results = broker.send_many(
            queue, [Message(body=b"brief", time_to_live=self.short_delay), Message(body=b"lasting", time_to_live=3600)]
        )
        assert all(result.ok for result in results)
        self.pass_time(self.short_delay + self.slack)
        assert [delivery.message.body for delivery in self.drain(broker, queue)] == [b"lasting"]

    # -- deduplication --------------------------------------------------------------------------------------

    def test_a_repeated_id_is_dropped(self, broker: MessageBroker) -> None:
        """Within the broker's window a message with an id that was sent before is confirmed and not delivered again."""
        queue = self.new_queue(lease=self.long_lease, deduplicating=True)
        self.declared(broker, queue, "deduplication")
        message, other = Message(body=b"once"), Message(body=b"once")
        broker.send(queue, message)
        assert broker.send(queue, message).message_id == message.id
        assert all(result.ok for result in broker.send_many(queue, [message, other]))
        got = [delivery.message.id for delivery in self.drain(broker, queue)]
        assert sorted(got) == sorted([message.id, other.id])
        broker.send(queue, message)
        self.assert_nothing_comes(broker, queue)

    def test_equal_messages_are_not_one(self, broker: MessageBroker, queue: str) -> None:
        """Messages with the same content and ids of their own are all delivered, on every broker."""
        for _ in range(3):
            broker.send(queue, Message(body=b"same", correlation_id="same"))
        assert len(self.drain(broker, queue)) == 3

    # -- what is not declared -------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("capability", "fields"),
        [
            ("ordering", {"ordering_key": "k"}),
            ("max_delay", {"delay": 1.0}),
            ("time_to_live", {"time_to_live": 3600.0}),
        ],
    )
    def test_what_is_not_declared_is_refused(
        self, broker: MessageBroker, queue: str, capability: str, fields: dict[str, Any]
    ) -> None:
        """A message that needs what the queue does not declare is refused by name; nothing of it is sent."""
        can = broker.capabilities(queue)
        if getattr(can, capability):
            pytest.skip(f"{broker.provider} declares {capability}")
        bad = Message(body=b"x", **fields)
        with pytest.raises(UnsupportedError, match=capability) as caught:
            broker.send(queue, bad)
        assert broker.provider in str(caught.value)
        assert [result.status for result in broker.send_many(queue, [bad])] == ["failed"]
        self.assert_nothing_comes(broker, queue)

    def test_a_delay_beyond_the_limit_is_refused(self, broker: MessageBroker, queue: str) -> None:
        """A delay longer than the declared one is refused, not cut short."""
        can = self.declared(broker, queue, "max_delay")
        if can.max_delay == float("inf"):
            pytest.skip(f"{broker.provider} permits delays of any length")
        with pytest.raises(UnsupportedError, match="max_delay"):
            broker.send(queue, Message(body=b"x", delay=can.max_delay + 1))
        self.assert_nothing_comes(broker, queue)

    # -- waiting --------------------------------------------------------------------------------------------

    def test_receiving_from_an_empty_queue(self, broker: MessageBroker, queue: str) -> None:
        """Nothing there is an empty list, neither an error nor a long wait, whatever wait was asked for."""
        for wait in (0.0, 0.2, 1.0):
            began = time.monotonic()
            assert broker.receive(queue, 10, wait=wait) == []
            took = time.monotonic() - began
            assert took >= wait - self.slack
            assert took < max(wait, broker.capabilities(queue).min_receive_wait) + self.patience / 4

    def test_a_message_ends_the_wait(self, broker: MessageBroker, queue: str) -> None:
        """A receiver that waits is given a message when it comes, not when its wait is over."""
        got: list[Delivery] = []
        receiver = threading.Thread(target=lambda: got.extend(broker.receive(queue, 10, wait=self.patience)))
        began = time.monotonic()
        receiver.start()
        (sent,) = self.send(self.open(), queue, 1)
        receiver.join(self.patience * 2)
        assert [delivery.message.id for delivery in got] == [sent]
        assert time.monotonic() - began < self.patience

    def test_receive_brings_at_most_what_was_asked(self, broker: MessageBroker, queue: str) -> None:
        """`receive` never returns more than ``max_messages``, and what it leaves is there for the next call."""
        self.send(broker, queue, 7)
        sizes = [len(broker.receive(queue, 2, wait=self.quiet)) for _ in range(3)]
        assert max(sizes) <= 2
        self.collect(broker, queue, 7 - sum(sizes))
