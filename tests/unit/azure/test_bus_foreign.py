"""Messages of other programs that azure-servicebus cannot read: they are received, and block none behind them."""

from __future__ import annotations

import pytest

from clouddirect.messaging import Message
from emulators.servicebus import ServiceBusServer
from unit.azure.bus_fixtures import BrokerMaker

_BODY = b"\x00\x53\x75\xa0\x04body"


def _with_property(value: bytes) -> bytes:
    """A message with the body ``body`` and the application property ``k``, whose value is given encoded."""
    pair = b"\xa1\x01k" + value
    return b"\x00\x53\x74\xc1" + bytes([1 + len(pair), 2]) + pair + _BODY


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("73 00000041", "A"),
        ("73 0001f642", "\N{SLIGHTLY SMILING FACE}"),
        ("74 32800001", "1"),
        ("74 b2000007", "-0.7"),
        ("74 6cb8967f", "9999999"),
        ("74 78000000", "Infinity"),
        ("74 f8000000", "-Infinity"),
        ("74 7c000000", "NaN"),
        ("84 31c0000000000001", "1"),
        ("84 b180000000000019", "-0.25"),
        ("84 6c7386f26fc0ffff", "9999999999999999"),
        ("84 7c00000000000000", "NaN"),
    ],
)
def test_types_that_the_sdk_does_not_know(
    bus: ServiceBusServer, bus_brokers: BrokerMaker, value: str, text: str
) -> None:
    bus.put("q", _with_property(bytes.fromhex(value)))
    (delivery,) = bus_brokers().receive("q", wait=10)
    assert (delivery.message.body, dict(delivery.message.attributes)) == (b"body", {"k": text})
    delivery.ack()


@pytest.mark.parametrize("large", [False, True])
def test_a_message_that_cannot_be_read_is_handed_out_as_it_is(
    bus: ServiceBusServer, bus_brokers: BrokerMaker, caplog: pytest.LogCaptureFixture, large: bool
) -> None:
    """A descriptor of eight bytes is allowed (AMQP 1.0 types, 1.2); large ones come in several frames."""
    content = bytes(200_000) if large else b"body"
    raw = b"\x00\x80" + bytes(7) + b"\x75\xb0" + len(content).to_bytes(4, "big") + content
    bus.put("q", raw)
    broker = bus_brokers()
    broker.send("q", Message(body=b"behind"))
    got = {}
    while len(got) < 2:
        for delivery in broker.receive("q", 2, wait=10):
            got[delivery.message.body[-6:]] = delivery.message
            assert delivery.delivery_count == 1
            delivery.ack()
    assert b"behind" in got
    (unread,) = [message for message in got.values() if message.body != b"behind"]
    assert unread.body.endswith(raw)  # behind what the service has put before it
    assert "cannot read" in caplog.text
    assert bus.counts("q").active == 0
