"""`MessagingHarness`: what a provider's test class offers to the messaging cases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from clouddirect.messaging import Capabilities, ConsumerOptions, Delivery, Message, MessageBroker

__all__ = ["MessagingHarness", "by_id"]


class MessagingHarness:
    """Override `make_broker`, `new_queue` and `missing_queue`, and as many of the other methods as the provider can be
    tested with.

    A method that returns NotImplemented skips the cases that need it. With ``complete = True`` that is a failure
    instead, unless ``without`` names the method and says why: so a provider's own suite cannot lose cases unnoticed.
    Slow services may lower the counts and must set the times that suit them.
    """

    #: Whether every method must offer something, those in ``without`` excepted.
    complete: ClassVar[bool] = False
    #: Names of methods that offer nothing, each with the reason.
    without: ClassVar[Mapping[str, str]] = {}

    #: Whether messages of other programs carry attributes.
    foreign_attributes: ClassVar[bool] = True

    #: Messages of the round trip.
    payload_count: ClassVar[int] = 100
    #: Messages that are given back once each.
    nack_count: ClassVar[int] = 100
    #: Messages of a `send_many` with a bad one among them.
    bulk_count: ClassVar[int] = 250
    #: Messages of the cases under load, and the consumers that share them.
    load_count: ClassVar[int] = 5000
    load_consumers: ClassVar[int] = 8
    #: Threads that use one broker at once.
    thread_count: ClassVar[int] = 16
    #: Bytes; the largest message of a queue is tested up to this size.
    largest_tested: ClassVar[int] = 16 * 1024 * 1024

    #: Seconds; the shortest lease that the service permits and that can be kept on a busy machine.
    shortest_lease: ClassVar[float] = 1.0
    #: Seconds; a lease that does not end while a case runs.
    long_lease: ClassVar[float] = 120.0
    #: Seconds of the delays and times to live in the cases; at least the service's shortest.
    short_delay: ClassVar[float] = 1.0
    #: Seconds without a message after which none is believed to come.
    quiet: ClassVar[float] = 0.5
    #: Seconds after which something that must happen has surely happened.
    patience: ClassVar[float] = 60.0
    #: Seconds by which the service's clocks may be off.
    slack: ClassVar[float] = 0.25

    def make_broker(self, **runtime: Any) -> MessageBroker:
        """Open a broker that may use every queue of `new_queue`, with these fields of `BrokerRuntime`."""
        pytest.fail(f"{type(self).__name__} must override make_broker()")

    def new_queue(
        self,
        *,
        lease: float | None = None,
        max_deliveries: int | None = None,
        ordered: bool = False,
        deduplicating: bool = False,
    ) -> str:
        """Make an empty queue by the provider's own means; return its name as the broker's methods take it.

        Args:
            lease: seconds; the length of lease that the queue is to have, where queues fix it.
            max_deliveries: deliveries after which the broker dead-letters a message itself, where it can; None for no
                limit, or one of at least 20.
            ordered: ordering keys are to be honoured, where the provider has such queues.
            deduplicating: repeated ids are to be dropped, where the provider has such queues.
        """
        pytest.fail(f"{type(self).__name__} must override new_queue()")

    def missing_queue(self) -> Any:
        """Return the well-formed name of a queue that does not exist; NotImplemented where naming a queue makes it."""
        pytest.fail(f"{type(self).__name__} must override missing_queue()")

    def send_only_broker(self, queue: str, **runtime: Any) -> Any:
        """Open a broker with a credential that may do nothing but send to ``queue``."""
        return NotImplemented

    def receive_only_broker(self, queue: str, **runtime: Any) -> Any:
        """Open a broker with a credential that may do nothing but receive from ``queue`` and settle."""
        return NotImplemented

    def wrong_credential_broker(self, **runtime: Any) -> Any:
        """Open a broker with a credential that the service does not accept."""
        return NotImplemented

    def dead_letter_queue(self, queue: str) -> Any:
        """Return the name of the queue where the broker itself puts what it dead-letters from ``queue``."""
        return NotImplemented

    def foreign_send(self, queue: str, body: bytes, attributes: Mapping[str, str]) -> Any:
        """Send a message as a program would that knows nothing of clouddirect; return None."""
        return NotImplemented

    def cut_connections(self) -> Any:
        """Cut every connection to the service, which accepts new ones at once; return None."""
        return NotImplemented

    def secrets(self) -> Any:
        """Return texts of the credentials in use, none of which may show anywhere."""
        return NotImplemented

    # -- for the cases --------------------------------------------------------------------------------------

    @pytest.fixture(autouse=True)
    def _close_what_was_opened(self, tmp_path: Path) -> Iterator[None]:
        self._opened: list[MessageBroker] = []
        self._quarantine = tmp_path / "quarantine"
        yield
        for broker in self._opened:
            broker.close(timeout=10)

    @pytest.fixture
    def broker(self) -> MessageBroker:
        """The broker that may do everything."""
        return self.open()

    @pytest.fixture
    def queue(self) -> str:
        """An empty queue whose leases do not end while a case runs."""
        return self.new_queue(lease=self.long_lease)

    def open(self, **runtime: Any) -> MessageBroker:
        """`make_broker` with a quarantine of the case's own, closed when the test ends."""
        broker = self.make_broker(**{"quarantine": self._quarantine, **runtime})
        self._opened.append(broker)
        return broker

    def need(self, method: str, *arguments: Any, **runtime: Any) -> Any:
        """Call a method of the harness; skip the case if it offers nothing. Brokers are closed when the test ends."""
        if method.endswith("_broker"):
            runtime = {"quarantine": self._quarantine, **runtime}
        offered = getattr(self, method)(*arguments, **runtime)
        if offered is NotImplemented:
            reason = self.without.get(method)
            if reason is None and self.complete:
                pytest.fail(f"{type(self).__name__} is complete, but its {method}() offers nothing")
            pytest.skip(reason or f"{type(self).__name__} does not override {method}()")
        if isinstance(offered, MessageBroker):
            self._opened.append(offered)
        return offered

    def declared(self, broker: MessageBroker, queue: str, *names: str) -> Capabilities:
        """Skip the case unless ``queue`` has these capabilities; return all of them."""
        can = broker.capabilities(queue)
        for name in names:
            if not getattr(can, name):
                pytest.skip(f"{broker.provider} does not declare {name}")
        return can

    def short_lease(self, broker: MessageBroker, queue: str) -> float | None:
        """What to ask for so that leases are short: None where the queue fixes them."""
        return self.shortest_lease if broker.capabilities(queue).settable_lease else None

    def options(self, broker: MessageBroker, queue: str, **limits: Any) -> ConsumerOptions:
        """Consumer options with short leases, and failed messages that come again soon."""
        return ConsumerOptions(lease=self.short_lease(broker, queue), first_retry_delay=0.05, **limits)

    def send(self, broker: MessageBroker, queue: str, count: int, **fields: Any) -> list[str]:
        """Send ``count`` messages, all of which must be confirmed; return their ids."""
        sent = [Message(body=f"message {number}".encode(), **fields) for number in range(count)]
        errors = [result.error for result in broker.send_many(queue, sent) if not result.ok]
        assert not errors, f"{len(errors)} of {count} messages were not sent, the first for {errors[0]!r}"
        return [message.id for message in sent]

    def collect(
        self, broker: MessageBroker, queue: str, count: int, lease: float | None = None, patience: float | None = None
    ) -> list[Delivery]:
        """Receive until ``count`` deliveries have come."""
        got: list[Delivery] = []
        ends = time.monotonic() + (patience or self.patience)
        while len(got) < count and (left := ends - time.monotonic()) > 0:
            got += broker.receive(queue, count - len(got), wait=min(left, 5.0), lease=lease)
        assert len(got) == count, f"{len(got)} of {count} messages came"
        return got

    def one(self, broker: MessageBroker, queue: str, lease: float | None = None) -> Delivery:
        """Receive the message that must come."""
        return self.collect(broker, queue, 1, lease)[0]

    def drain(self, broker: MessageBroker, queue: str) -> list[Delivery]:
        """Receive and ack until nothing comes any more."""
        got: list[Delivery] = []
        while batch := broker.receive(queue, 100, wait=self.quiet):
            assert all(result.ok for result in broker.ack_many(batch))
            got += batch
        return got

    def assert_nothing_comes(self, broker: MessageBroker, queue: str, wait: float | None = None) -> None:
        """Check that no message comes for a while."""
        found = broker.receive(queue, 1, wait=self.quiet if wait is None else wait)
        assert found == [], "a message came that must not"

    def pass_time(self, seconds: float) -> None:
        """Let time pass for the service, where no event tells that it has."""
        threading.Event().wait(seconds)

    def until(self, predicate: Callable[[], object], what: str) -> None:
        """Wait until ``predicate`` holds; fail when patience is at its end."""
        ends, tick = time.monotonic() + self.patience, threading.Event()
        while not predicate():
            assert time.monotonic() < ends, f"not within {self.patience:g} s: {what}"
            tick.wait(0.02)


def by_id(deliveries: Iterable[Delivery]) -> dict[str, Delivery]:
    """Return deliveries by the id of their message."""
    return {delivery.message.id: delivery for delivery in deliveries}
