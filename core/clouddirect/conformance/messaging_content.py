"""What goes in comes out: bodies, attributes and fields, exactly, up to the limit and not beyond."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from clouddirect.conformance.messaging_harness import MessagingHarness, by_id
from clouddirect.errors import InvalidMessageError, TooLargeError
from clouddirect.messaging import Message, MessageBroker

__all__ = ["ContentCases"]

#: Texts that brokers, JSON, XML and HTTP headers treat in ways of their own.
ODD_TEXTS = {
    "empty": "",
    "spaces": "  between  ",
    "lines": "one\ntwo\r\nthree\ttab",
    "controls": "\x00\x01\x1f\x7f\x85",
    "quotes": "\"'\\</>&;%00",
    "combining": "e\u0301 \u00e9 \u1e9e\u0323",
    "beyond the first plane": "🙂𝔘🇩🇪👩‍⚕️",
    "right to left": "\u202eabc\u202c שלום",
    "no characters": "\ufffe\uffff\ufeff",
    "json": '{"clouddirect": [1, null]}',
}
ODD_NAMES = [
    "Ärger",
    "with space",
    "with.dot",
    "with-dash",
    "UPPER",
    "upper",
    "AWS.name",
    "goog.name",
    "🙂",
    "1",
    "x" * 200,
]


class ContentCases(MessagingHarness):
    """Cases on the content of messages."""

    def test_round_trip(self, broker: MessageBroker, queue: str) -> None:
        """Messages arrive once each, with body, id, correlation id, type, subject and attributes as they were sent."""
        sent = [
            Message(
                body=f'{{"number": {number}, "text": "ä{"x" * number}"}}'.encode(),
                correlation_id=f"order-{number}",
                content_type="application/json",
                subject=f"subject {number}",
                attributes={"number": str(number), "kind": "event"},
            )
            for number in range(self.payload_count)
        ]
        results = broker.send_many(queue, sent)
        assert [result.message for result in results] == sent
        assert all(result.receipt and result.receipt.message_id == result.message.id for result in results)
        got = by_id(self.drain(broker, queue))
        assert len(got) == len(sent)
        for message in sent:
            assert _content(got[message.id].message) == _content(message)

    def test_a_single_send_is_confirmed_and_delivered(self, broker: MessageBroker, queue: str) -> None:
        """`send` returns the broker's confirmation, and what it confirmed is there for another broker at once."""
        message = Message(body=b"confirmed")
        assert broker.send(queue, message).message_id == message.id
        assert self.one(self.open(), queue).message.id == message.id

    def test_odd_texts(self, broker: MessageBroker, queue: str) -> None:
        """Attribute values, subjects, correlation ids and content types of any Unicode arrive exactly."""
        sent = [Message(body=b"{}", attributes=ODD_TEXTS)]
        sent += [
            Message(body=b"", correlation_id=text, subject=text, content_type=text)
            for text in ODD_TEXTS.values()
            if text
        ]
        for message in sent:
            broker.send(queue, message)
        got = by_id(self.drain(broker, queue))
        for message in sent:
            assert _content(got[message.id].message) == _content(message)

    def test_odd_names(self, broker: MessageBroker, queue: str) -> None:
        """Attribute names of any Unicode and case arrive exactly, more of them than a broker has places for."""
        attributes = {name: f"value of {name[:10]}" for name in ODD_NAMES}
        broker.send(queue, Message(body=b"x", attributes=attributes))
        assert self.one(broker, queue).message.attributes == attributes

    def test_an_attribute_named_clouddirect(self, broker: MessageBroker, queue: str) -> None:
        """An attribute with the name that clouddirect itself may use arrives exactly, or is refused before sending."""
        message = Message(body=b"x", attributes={"clouddirect": '{"id": "another"}'}, subject="own")
        try:
            broker.send(queue, message)
        except InvalidMessageError:
            self.assert_nothing_comes(broker, queue)
            return
        assert _content(self.one(broker, queue).message) == _content(message)

    @pytest.mark.parametrize(
        "body",
        [
            bytes(range(256)),
            b"\xff\xfe\x00\x01",
            b"\xc3",
            b"\x00",
            b" ",
            b"\n",
            b"null",
            b'"text"',
            b"e30=",
            "\ufeff{}".encode(),
        ],
        ids=["all bytes", "binary", "cut UTF-8", "zero", "space", "newline", "null", "json text", "base64", "BOM"],
    )
    def test_odd_bodies(self, broker: MessageBroker, queue: str, body: bytes) -> None:
        """Bodies arrive byte by byte, text or not, and whatever they look like."""
        broker.send(queue, Message(body=body))
        assert self.one(broker, queue).message.body == body

    def test_an_empty_body(self, broker: MessageBroker, queue: str) -> None:
        """A message without body, attributes and other fields can be sent and received."""
        message = Message(body=b"")
        broker.send(queue, message)
        assert _content(self.one(broker, queue).message) == _content(message)

    def test_long_ids(self, broker: MessageBroker, queue: str) -> None:
        """Ids beyond a broker's length and alphabet can be used, and arrive exactly."""
        sent = [Message(body=b"x", id=identity) for identity in ("i" * 300, "with/slash #1 ä🙂", " ")]
        for message in sent:
            broker.send(queue, message)
        assert set(by_id(self.drain(broker, queue))) == {message.id for message in sent}

    def test_the_largest_message(self, broker: MessageBroker, queue: str) -> None:
        """A message of exactly the declared size is taken and delivered whole, text or not."""
        for letter in (b"x", b"\xff"):
            message = self._largest(broker, queue, letter)
            broker.send(queue, message)
            delivery = self.one(broker, queue)
            assert delivery.message.body == message.body
            delivery.ack()

    def test_too_large_is_refused_before_sending(self, broker: MessageBroker, queue: str) -> None:
        """A message one byte over the limit is refused with `TooLargeError`, alone, and nothing of it is sent."""
        largest = self._largest(broker, queue, b"x")
        over = dataclasses.replace(largest, body=largest.body + b"x")
        if broker.capabilities(queue).max_message_bytes > self.largest_tested:
            pytest.skip(f"{broker.provider} takes more than {self.largest_tested:,} bytes")
        with pytest.raises(TooLargeError) as caught:
            broker.send(queue, over)
        assert (caught.value.provider, caught.value.resource) == (broker.provider, queue)
        assert not caught.value.maybe_sent
        small = Message(body=b"small")
        assert [result.status for result in broker.send_many(queue, [over, small])] == ["failed", "sent"]
        assert list(by_id(self.drain(broker, queue))) == [small.id]

    def _largest(self, broker: MessageBroker, queue: str, letter: bytes) -> Message:
        """The largest message that core lets through, found by the provider's own measure."""
        limit = min(broker.capabilities(queue).max_message_bytes, self.largest_tested)
        message, low, high = Message(body=b""), 0, limit
        while low < high:
            middle = (low + high + 1) // 2
            if broker._size(queue, dataclasses.replace(message, body=letter * middle)) <= limit:
                low = middle
            else:
                high = middle - 1
        return dataclasses.replace(message, body=letter * low)

    def test_malformed_is_refused_before_sending(self, broker: MessageBroker, queue: str) -> None:
        """What no broker can carry is refused by name: nothing is sent, and the rest of the batch goes through."""
        bad = Message(body=b"x", attributes={"half": "\ud800"})
        with pytest.raises(InvalidMessageError, match="attributes"):
            broker.send(queue, bad)
        good = Message(body=b"x")
        assert [result.status for result in broker.send_many(queue, [bad, good])] == ["failed", "sent"]
        assert list(by_id(self.drain(broker, queue))) == [good.id]

    def test_one_bad_message_among_many(self, broker: MessageBroker, queue: str) -> None:
        """In a large `send_many` a bad message fails alone; all others are sent, with their results in input order."""
        sent = [Message(body=f"{number}".encode()) for number in range(self.bulk_count)]
        bad = self.bulk_count // 2
        over = b"x" * (min(broker.capabilities(queue).max_message_bytes, self.largest_tested) + 1)
        sent[bad] = Message(body=over) if len(over) <= self.largest_tested else Message(body=b"x", subject="")
        results = broker.send_many(queue, sent)
        assert [result.message.id for result in results] == [message.id for message in sent]
        assert [place for place, result in enumerate(results) if not result.ok] == [bad]
        assert isinstance(results[bad].error, TooLargeError | InvalidMessageError)
        got = by_id(self.drain(broker, queue))
        assert set(got) == {message.id for place, message in enumerate(sent) if place != bad}

    def test_a_foreign_message_is_received_whole(self, broker: MessageBroker, queue: str) -> None:
        """A message that another program sent arrives with its body and attributes, and can be settled."""
        attributes = {"origin": "elsewhere", "clouddirect": "not ours"} if self.foreign_attributes else {}
        self.need("foreign_send", queue, b'{"PascalCase": true}', attributes)
        delivery = self.one(broker, queue)
        assert delivery.message.body == b'{"PascalCase": true}'
        assert not attributes or delivery.message.attributes["origin"] == "elsewhere"
        assert delivery.message.id
        delivery.ack()
        self.assert_nothing_comes(broker, queue)

    def test_what_a_delivery_tells(self, broker: MessageBroker, queue: str) -> None:
        """A delivery knows its queue, when it was stored, its lease's end and its count, or says None; times in UTC."""
        can = broker.capabilities(queue)
        self.send(broker, queue, 1)
        delivery, now = self.one(broker, queue), datetime.now(UTC)
        assert delivery.queue == queue
        assert delivery.settled is None
        assert delivery.delivery_count == 1 if can.delivery_count else delivery.delivery_count in (None, 1)
        if delivery.enqueued_at is not None:
            assert delivery.enqueued_at.utcoffset() == timedelta(0)
            assert abs(now - delivery.enqueued_at) < timedelta(seconds=self.patience)
        if delivery.lease_expires_at is not None:
            assert delivery.lease_expires_at.utcoffset() == timedelta(0)
            assert now < delivery.lease_expires_at
        assert not delivery.lease_lost.is_set()


def _content(message: Message) -> tuple[object, ...]:
    labels = (message.id, message.correlation_id, message.content_type, message.subject)
    return (*labels, message.body, dict(message.attributes))
