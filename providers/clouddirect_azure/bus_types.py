"""Types of AMQP that other programs may send and the SDK cannot read (checked: 7.15), and messages that stay unread.

One character in a property, which .NET sends as it is, makes the SDK give the connection up; the message comes again
with the next one, for ever, and none behind it is ever received.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from azure.servicebus._pyamqp import _decode
from azure.servicebus._pyamqp.message import Message

__all__ = ["learn_types", "unread"]

_Decoder = Callable[..., tuple[memoryview, object]]


def learn_types() -> None:
    """Let the SDK read characters and the smaller decimals; what it can read by itself stays as it is."""
    for constructor, decoder in _DECODERS.items():
        if _decode._DECODE_BY_CONSTRUCTOR[constructor] is None:
            _decode._DECODE_BY_CONSTRUCTOR[constructor] = decoder


def unread(payload: bytes) -> Message:
    """Return a message that the SDK cannot read as one whose body is all of it, encoded as it came."""
    return Message(data=[payload])


def _character(buffer: memoryview, _depth: int = 0) -> tuple[memoryview, str]:
    """AMQP 1.0 types, 1.6.16: UTF-32BE."""
    return buffer[4:], bytes(buffer[:4]).decode("utf-32-be", "replace")


def _decimal(width: int, exponent_bits: int, bias: int) -> _Decoder:
    """AMQP 1.0 types, 1.6.13 and 1.6.14: IEEE 754-2008, binary integer decimal, ``width`` bytes wide."""
    size = 8 * width - 1 - exponent_bits  # of the coefficient, in bits

    def decode(buffer: memoryview, _depth: int = 0) -> tuple[memoryview, Decimal]:
        bits = int.from_bytes(buffer[:width], "big")
        sign, rest = divmod(bits, 1 << (8 * width - 1))
        combination = rest >> (8 * width - 6)  # the five bits behind the sign
        if combination >= 0b11110:
            return buffer[width:], Decimal("NaN" if combination == 0b11111 else "-Infinity" if sign else "Infinity")
        if combination >= 0b11000:  # two more bits before the exponent, and a coefficient that begins with 100
            exponent, low = divmod(rest & ((1 << (8 * width - 3)) - 1), 1 << (size - 2))
            coefficient = (0b100 << (size - 2)) | low
        else:
            exponent, coefficient = divmod(rest, 1 << size)
        digits = tuple(map(int, str(coefficient)))
        return buffer[width:], Decimal((sign, digits, exponent - bias))

    return decode


_DECODERS: dict[int, _Decoder] = {
    0x73: _character,
    0x74: _decimal(4, 8, 101),
    0x84: _decimal(8, 10, 398),
}
