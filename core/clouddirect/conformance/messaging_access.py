"""Who may do what: missing queues, least-privilege credentials, closed brokers, and secrets that show nowhere."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

import pytest

from clouddirect.conformance.messaging_harness import MessagingHarness
from clouddirect.errors import (
    AuthenticationError,
    ClosedError,
    CloudDirectError,
    NotFoundError,
    PermissionDeniedError,
    UnsupportedError,
)
from clouddirect.messaging import Message, MessageBroker

__all__ = ["AccessCases"]

#: What stands for patient data in the cases.
PRIVATE = "MARLOWE-1962-03-04"


class AccessCases(MessagingHarness):
    """Cases on rights, and on what is refused."""

    def test_a_missing_queue(self, broker: MessageBroker) -> None:
        """A queue that does not exist is a `NotFoundError` that names it, when it is used, not before; none is made."""
        self.new_queue()  # another queue is there, so it is not the service that is missing
        queue = self.need("missing_queue")
        for _ in range(2):
            with pytest.raises(NotFoundError) as caught:
                broker.send(queue, Message(body=b"x"))
            assert (caught.value.provider, caught.value.operation) == (broker.provider, "send")
            assert queue in str(caught.value) or caught.value.resource == queue
            assert not caught.value.retryable
            with pytest.raises(NotFoundError):
                broker.receive(queue)
            (result,) = broker.send_many(queue, [Message(body=b"x")])
            assert isinstance(result.error, NotFoundError)
        with pytest.raises(NotFoundError):
            broker.consume(queue, print).wait(self.patience)
        for access in ("send", "receive"):
            assert broker.check(queue, access).status in ("failed", "unverified")

    def test_a_credential_that_may_only_send(self, broker: MessageBroker, queue: str) -> None:
        """Sending needs the right to send and no other; receiving with it is refused, and that is no missing queue."""
        sender = self.need("send_only_broker", queue)
        sender.send(queue, Message(body=b"1"))
        assert all(result.ok for result in sender.send_many(queue, [Message(body=b"2") for _ in range(20)]))
        assert len(self.collect(broker, queue, 21)) == 21
        with pytest.raises((PermissionDeniedError, AuthenticationError)):
            sender.receive(queue)
        assert sender.check(queue, "send").status in ("ok", "likely", "unverified")
        assert sender.check(queue, "receive").status in ("failed", "unverified")

    def test_a_credential_that_may_only_receive(self, broker: MessageBroker, queue: str) -> None:
        """Receiving, settling and consuming need the right to receive and no other; sending with it is refused."""
        receiver = self.need("receive_only_broker", queue)
        self.send(broker, queue, 6)
        first, second, third = self.collect(receiver, queue, 3)
        first.ack()
        second.nack(self.short_delay)
        third.extend(self.long_lease if receiver.capabilities(queue).settable_lease else self.shortest_lease)
        third.dead_letter("test")
        handled: list[str] = []
        consumer = receiver.consume(queue, lambda delivery: handled.append(delivery.message.id))
        self.until(lambda: len(handled) == 4, "the rest was handled")
        assert consumer.stop(self.patience)
        with pytest.raises((PermissionDeniedError, AuthenticationError)):
            receiver.send(queue, Message(body=b"x"))
        assert receiver.check(queue, "receive").status in ("ok", "likely", "unverified")
        assert receiver.check(queue, "send").status in ("failed", "unverified")
        self.assert_nothing_comes(broker, queue)

    def test_check_takes_sends_and_creates_nothing(self, broker: MessageBroker, queue: str) -> None:
        """`check` says what it found out and what not, and leaves the queue as it was."""
        self.send(broker, queue, 1)
        for access in ("send", "receive"):
            result = broker.check(queue, access)
            assert result.status in ("ok", "likely", "unverified")
            assert result.access == access
            assert result.detail
            assert result.error is None
        delivery = self.one(broker, queue)
        if broker.capabilities(queue).delivery_count:
            assert delivery.delivery_count == 1
        delivery.ack()
        self.assert_nothing_comes(broker, queue)

    def test_a_wrong_credential_fails_at_once(self, queue: str) -> None:
        """A credential that the service does not accept is an `AuthenticationError`, without retries."""
        broker = self.need("wrong_credential_broker")
        uses: list[Callable[[], object]] = [
            lambda: broker.send(queue, Message(body=b"x")),
            lambda: broker.receive(queue),
        ]
        for use in uses:
            with pytest.raises(CloudDirectError) as caught:
                use()
            assert isinstance(caught.value, AuthenticationError | PermissionDeniedError)
            assert not caught.value.retryable

    def test_a_closed_broker_refuses(self, broker: MessageBroker, queue: str) -> None:
        """After `close` every call, settling included, raises `ClosedError`, and the messages are there for others."""
        self.send(broker, queue, 1)
        delivery = self.one(broker, queue)
        broker.close()
        uses: list[Callable[[], object]] = [
            lambda: broker.send(queue, Message(body=b"x")),
            lambda: broker.send_many(queue, [Message(body=b"x")]),
            lambda: broker.receive(queue),
            lambda: broker.consume(queue, print),
            lambda: broker.check(queue, "send"),
            lambda: broker.native,
            lambda: broker.ack_many([delivery]),
            delivery.ack,
            delivery.nack,
            lambda: delivery.dead_letter("test"),
            lambda: delivery.extend(10),
        ]
        for use in uses:
            with pytest.raises(ClosedError):
                use()
        broker.close()
        self.one(self.open(), queue).ack()

    def test_a_broker_that_was_never_used_can_be_closed(self) -> None:
        """Opening does no I/O, so closing has nothing to do."""
        self.open().close()

    def test_the_native_objects_can_be_reached(self, broker: MessageBroker, queue: str) -> None:
        """What this interface does not cover is there: the SDK's client, and its object for each message."""
        self.send(broker, queue, 1)
        assert broker.native is not None
        assert self.one(broker, queue).native is not None

    def test_no_secret_and_no_content_shows(
        self, broker: MessageBroker, queue: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Errors, their traces, reprs and logs hold neither a secret of the credential nor anything of a message."""
        caplog.set_level(logging.DEBUG, "clouddirect")
        private = Message(
            body=PRIVATE.encode(),
            subject=PRIVATE,
            correlation_id=PRIVATE,
            content_type=PRIVATE,
            attributes={PRIVATE: PRIVATE},
        )
        errors = [*self._provoke(broker, queue, private)]
        shown = [repr(broker), str(broker), repr(broker.runtime), repr(broker.capabilities(queue)), caplog.text]
        for error in errors:
            shown += [str(error), repr(error), repr(vars(error)), "".join(traceback.format_exception(error))]
        for text in shown:
            assert PRIVATE not in text
        secrets = self.need("secrets")
        for text in shown:
            for secret in secrets:
                assert secret not in text, "a secret shows"

    def _provoke(self, broker: MessageBroker, queue: str, private: Message) -> list[CloudDirectError]:
        """Cause whatever errors can be caused, with private content at hand."""
        broker.send(queue, private)
        delivery = self.one(broker, queue)
        shown = [repr(delivery), repr(delivery.message), str(delivery)]
        assert all(PRIVATE not in text for text in shown)
        delivery.ack()
        missing, can = self.missing_queue(), broker.capabilities(queue)
        uses: list[Callable[[], object]] = [
            delivery.nack,
            lambda: broker.send(queue, Message(body=PRIVATE.encode(), attributes={PRIVATE: PRIVATE + "\ud800"})),
            lambda: broker.receive(queue, lease=(can.max_lease or 1e9) * 2),
        ]
        if missing is not NotImplemented:
            uses += [lambda: broker.send(missing, private), lambda: broker.receive(missing)]
        for method in ("send_only_broker", "receive_only_broker", "wrong_credential_broker"):
            other = getattr(self, method)(*([] if method.startswith("wrong") else [queue]))
            if other is NotImplemented:
                continue
            self._opened.append(other)
            if method != "send_only_broker":
                uses.append(lambda other=other: other.send(queue, private))  # type: ignore[misc]
            if method != "receive_only_broker":
                uses.append(lambda other=other: other.receive(queue))  # type: ignore[misc]
        errors: list[CloudDirectError] = []
        for use in uses:
            try:
                use()
            except CloudDirectError as error:
                errors.append(error)
        assert missing is NotImplemented or any(isinstance(error, NotFoundError) for error in errors)
        assert not any(isinstance(error, UnsupportedError) and error.maybe_sent for error in errors)
        return errors
