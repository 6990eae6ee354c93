"""Under load, with consumers that come and go, threads by the dozen and cut connections: nothing is lost."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from clouddirect.conformance.messaging_harness import MessagingHarness, by_id
from clouddirect.errors import CloudDirectError
from clouddirect.messaging import Delivery, Message, MessageBroker

__all__ = ["LoadCases"]


class LoadCases(MessagingHarness):
    """Cases with many messages."""

    #: Times that the consumers of a case are closed and opened again.
    reopenings = 6

    def test_many_messages_by_many_consumers(self, broker: MessageBroker, queue: str) -> None:
        """Thousands of messages, sent while several consumers are at work, are all handled, and each by one of them."""
        handled: list[str] = []  # appending is atomic
        brokers = [self.open() for _ in range(self.load_consumers)]
        consumers = [one.consume(queue, lambda delivery: handled.append(delivery.message.id), 2) for one in brokers]
        ids = self.send(broker, queue, self.load_count)
        self.until(lambda: len(handled) >= len(ids), f"{self.load_count} messages were handled")
        assert all(consumer.stop(self.patience) for consumer in consumers)
        assert sorted(handled) == sorted(ids)
        self.assert_nothing_comes(broker, queue)

    def test_consumers_closed_and_reopened_lose_nothing(self, broker: MessageBroker, queue: str) -> None:
        """Brokers that are closed in the middle of their work, again and again, lose no message and keep none back."""
        ids = set(self.send(broker, queue, self.load_count // 4))
        handled: Counter[str] = Counter()
        lock = threading.Lock()
        for turn in range(self.reopenings):
            closing, reached = self.open(), threading.Event()
            goal = len(ids) * (turn + 1) // (self.reopenings + 1)

            def handle(delivery: Delivery, reached: threading.Event = reached, goal: int = goal) -> None:
                with lock:
                    handled[delivery.message.id] += 1
                if len(handled) >= goal:
                    reached.set()
                    self.pass_time(0.05)  # so that closing finds work begun, and work that waits

            closing.consume(queue, handle, 4)
            assert reached.wait(self.patience)
            closing.close(timeout=self.patience)
        # the leases outlast the case: what closing did not give back would be missing here
        rest = self.collect(broker, queue, len(ids - set(handled)))
        assert set(by_id(rest)) == ids - set(handled)
        self.assert_nothing_comes(broker, queue)
        assert set(handled.values()) == {1}

    @pytest.mark.parametrize("ending", ["close", "stop"])
    def test_ending_flushes_acks_and_releases_the_rest(self, broker: MessageBroker, queue: str, ending: str) -> None:
        """Closing a broker, or stopping a consumer, acks what was handled and gives back at once what was not begun."""
        can = broker.capabilities(queue)
        ids = self.send(broker, queue, 60)
        handled: list[str] = []
        enough, closing = threading.Event(), self.open()

        def handle(delivery: Delivery) -> None:
            handled.append(delivery.message.id)
            if len(handled) >= 10:
                enough.set()
                self.pass_time(0.2)  # so that closing finds work begun, and work that waits

        consumer = closing.consume(queue, handle, 2)
        assert enough.wait(self.patience)
        held: list[Delivery] = []
        if ending == "stop":
            assert consumer.stop(self.patience)
        else:
            held += closing.receive(queue, 5, wait=0)
            closing.close(timeout=self.patience)
        assert len(handled) < len(ids)
        rest = self.collect(broker, queue, len(ids) - len(handled), patience=self.long_lease / 2)
        assert sorted([*handled, *by_id(rest)]) == sorted(ids)
        assert all(delivery.settled in (None, "release") for delivery in held)
        if can.free_release and can.delivery_count:
            assert {delivery.delivery_count for delivery in rest} == {1}
        self.assert_nothing_comes(broker, queue)

    def test_a_held_nack_survives_closing(self, broker: MessageBroker, queue: str) -> None:
        """A message that waits for the delay of its nack when the broker is closed is not lost."""
        closing = self.open()
        (sent,) = self.send(broker, queue, 1)
        self.one(closing, queue).nack(self.short_delay)
        closing.close()
        assert self.one(broker, queue).message.id == sent

    def test_many_threads_at_once(self, broker: MessageBroker, queue: str) -> None:
        """One broker serves many threads at once: all that was confirmed is received, once, and can be settled."""
        share = max(4, self.load_count // 200)
        received: list[str] = []

        def work(number: int) -> list[str]:
            single = [broker.send(queue, Message(body=b"single")).message_id for _ in range(share // 4)]
            bulk = [Message(body=b"bulk") for _ in range(share - len(single))]
            assert all(result.ok for result in broker.send_many(queue, bulk))
            for place in range(3):
                batch = broker.receive(queue, 5, wait=self.quiet)
                if place == number % 3:
                    for delivery in batch:
                        delivery.nack()
                    continue
                assert all(result.ok for result in broker.ack_many(batch))
                received.extend(by_id(batch))
            return single + [message.id for message in bulk]

        with ThreadPoolExecutor(self.thread_count) as pool:
            sent = [identity for ids in pool.map(work, range(self.thread_count)) for identity in ids]
        received += by_id(self.drain(broker, queue))
        assert sorted(received) == sorted(sent)

    def test_a_hundred_failures(self, broker: MessageBroker, queue: str) -> None:
        """Messages whose handler fails the first time are all handled the second time."""
        ids = self.send(broker, queue, self.nack_count)
        seen: Counter[str] = Counter()
        lock = threading.Lock()

        def fail_first(delivery: Delivery) -> None:
            with lock:
                seen[delivery.message.id] += 1
                first = seen[delivery.message.id] == 1
            if first:
                raise KeyError

        consumer = broker.consume(queue, fail_first, 8, self.options(broker, queue))
        self.until(lambda: len(seen) == len(ids) and min(seen.values()) == 2, "every message was handled twice")
        assert consumer.stop(self.patience)
        assert set(seen) == set(ids)
        self.assert_nothing_comes(broker, queue)

    def test_cut_connections(self, broker: MessageBroker, queue: str) -> None:
        """After its connections were cut a broker sends, receives and consumes again, without being reopened."""
        handled: set[str] = set()
        consumer = broker.consume(queue, lambda delivery: handled.add(delivery.message.id), 2)
        ids = self.send(broker, queue, 20)
        self.until(lambda: len(handled) >= 20, "the first messages were handled")
        for _ in range(3):
            self.need("cut_connections")
            results = broker.send_many(queue, [Message(body=b"after the cut") for _ in range(20)])
            errors = [result.error for result in results if isinstance(result.error, CloudDirectError)]
            assert errors == []
            ids += [result.message.id for result in results]
            self.until(partial(handled.issuperset, list(ids)), "what was sent after the cut was handled")
        assert consumer.stop(self.patience)
        # what was handled when its ack was cut off may come once more
        assert {delivery.message.id for delivery in self.drain(broker, queue)} <= set(ids)
