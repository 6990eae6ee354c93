"""AMQP 1.0 types on the wire (AMQP 1.0 part 1, "Types").

A value is a constructor byte followed by its data (1.2); the table of primitive encodings is 1.6. Python types stand
for AMQP types where the match is one to one: ``None``, ``bool``, ``int`` (long), ``float`` (double), ``str``,
``bytes``, ``uuid.UUID``, ``list``, ``dict``. The other AMQP types have a class here, so that what is decoded can be
encoded again as the same type. Types of which this server needs no value (decimals and arrays of compound types) stay
bytes: `Encoded`.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Array",
    "Byte",
    "Char",
    "DecodeError",
    "Described",
    "Encoded",
    "Float",
    "Int",
    "Short",
    "Symbol",
    "Timestamp",
    "UByte",
    "UInt",
    "ULong",
    "UShort",
    "decode",
    "decode_fields",
    "encode",
    "skip",
    "split_map",
]

#: Nested deeper than this is refused, so that a hostile frame cannot exhaust the stack.
MAX_DEPTH = 32

#: An array can have any number of items that need no bytes; more than these are refused.
MAX_EMPTY_ITEMS = 1 << 16


class DecodeError(ValueError):
    """The bytes are no AMQP value."""


class Byte(int):
    """Signed, 8 bits."""


class Short(int):
    """Signed, 16 bits."""


class Int(int):
    """Signed, 32 bits. A plain ``int`` is a long of 64."""


class UByte(int):
    """Unsigned, 8 bits."""


class UShort(int):
    """Unsigned, 16 bits."""


class UInt(int):
    """Unsigned, 32 bits."""


class ULong(int):
    """Unsigned, 64 bits."""


class Timestamp(int):
    """Milliseconds since the Unix epoch, UTC."""


class Float(float):
    """IEEE 754, 32 bits. A plain ``float`` is a double."""


class Char(str):
    """One Unicode character."""


class Symbol(str):
    """A name from a constrained domain, in ASCII."""


class Encoded(bytes):
    """A value that is encoded already: constructor and data."""


class Array(list[Any]):
    """Values of one type, which share the constructor byte ``code``."""

    def __init__(self, code: int, items: Iterable[Any]) -> None:
        super().__init__(items)
        self.code = code


@dataclass(frozen=True, slots=True)
class Described:
    """A value with a descriptor that gives it a meaning (1.1.2)."""

    descriptor: Any
    value: Any


# Fixed width: constructor byte -> data layout and the class of the value.
_FIXED: dict[int, tuple[struct.Struct, type[Any]]] = {
    0x50: (struct.Struct(">B"), UByte),
    0x51: (struct.Struct(">b"), Byte),
    0x52: (struct.Struct(">B"), UInt),
    0x53: (struct.Struct(">B"), ULong),
    0x54: (struct.Struct(">b"), Int),
    0x55: (struct.Struct(">b"), int),
    0x56: (struct.Struct(">?"), bool),
    0x60: (struct.Struct(">H"), UShort),
    0x61: (struct.Struct(">h"), Short),
    0x70: (struct.Struct(">I"), UInt),
    0x71: (struct.Struct(">i"), Int),
    0x72: (struct.Struct(">f"), Float),
    0x80: (struct.Struct(">Q"), ULong),
    0x81: (struct.Struct(">q"), int),
    0x82: (struct.Struct(">d"), float),
    0x83: (struct.Struct(">q"), Timestamp),
}
_EMPTY = {0x40: None, 0x41: True, 0x42: False, 0x43: UInt(0), 0x44: ULong(0)}
#: The first hexadecimal digit of a constructor says how wide the data is (1.2).
_WIDTHS = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}
_LENGTH = struct.Struct(">I")

# ---- decoding


def decode(data: bytes, offset: int = 0, depth: int = 0) -> tuple[Any, int]:
    """Return the value that begins at ``offset``, and the offset behind it.

    Raises:
        DecodeError: these bytes are no AMQP value.
    """
    if depth > MAX_DEPTH:
        raise DecodeError(f"AMQP value nested deeper than {MAX_DEPTH}")
    try:
        code = data[offset]
        if code == 0x00:
            descriptor, offset = decode(data, offset + 1, depth + 1)
            value, offset = decode(data, offset, depth + 1)
            return Described(descriptor, value), offset
        return _primitive(code, data, offset + 1, depth)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise DecodeError(f"AMQP value cut short or malformed at byte {offset}") from error


def decode_fields(data: bytes, offset: int = 0) -> tuple[int, list[Any], int]:
    """Return descriptor, fields and end of the described list (a "composite", 1.4) at ``offset``."""
    value, end = decode(data, offset)
    if not isinstance(value, Described) or not isinstance(value.value, list) or not isinstance(value.descriptor, int):
        raise DecodeError("not a described list with a numeric descriptor")
    return int(value.descriptor), value.value, end


def skip(data: bytes, offset: int) -> int:
    """Return the offset behind the value that begins at ``offset``, without building it."""
    try:
        while data[offset] == 0x00:
            offset = skip(data, offset + 1)
        code = data[offset]
        width = _WIDTHS.get(code >> 4)
        if width is not None:
            end = offset + 1 + width
        elif code >> 4 in (0xA, 0xC, 0xE):
            end = offset + 2 + data[offset + 1]
        else:
            end = offset + 5 + int(_LENGTH.unpack_from(data, offset + 1)[0])
    except (IndexError, struct.error, RecursionError) as error:
        raise DecodeError(f"AMQP value cut short at byte {offset}") from error
    if end > len(data):
        raise DecodeError(f"AMQP value at byte {offset} is longer than its container")
    return end


def split_map(data: bytes, offset: int) -> dict[Any, Encoded]:
    """Return a map with its keys decoded and its values as they were, whatever their types."""
    code = data[offset]
    if code not in (0xC1, 0xD1):
        raise DecodeError(f"expected a map, found constructor {code:#04x}")
    count, offset, end = _compound(code, data, offset + 1)
    found = {}
    for _ in range(count // 2):
        key, offset = decode(data, offset)
        after = skip(data, offset)
        found[key] = Encoded(data[offset:after])
        offset = after
    if offset != end:
        raise DecodeError("a map's size does not match its contents")
    return found


def _primitive(code: int, data: bytes, offset: int, depth: int) -> tuple[Any, int]:
    fixed = _FIXED.get(code)
    if fixed is not None:
        layout, kind = fixed
        value = layout.unpack_from(data, offset)[0]
        return (value if kind in (int, bool, float) else kind(value)), offset + layout.size
    if code in _EMPTY:
        return _EMPTY[code], offset
    if code >> 4 in (0xA, 0xB):
        return _variable(code, data, offset)
    if code == 0x45:
        return [], offset
    if code in (0xC0, 0xD0, 0xC1, 0xD1):
        return _list_or_map(code, data, offset, depth)
    if code in (0xE0, 0xF0):
        return _array(code, data, offset, depth)
    if code in (0x73, 0x74, 0x84, 0x94, 0x98):
        return _fixed_bytes(code, data, offset)
    raise DecodeError(f"unknown AMQP constructor {code:#04x}")


def _fixed_bytes(code: int, data: bytes, offset: int) -> tuple[Any, int]:
    end = offset + _WIDTHS[code >> 4]
    if end > len(data):
        raise DecodeError("a uuid, character or decimal is longer than its container")
    if code == 0x98:
        return uuid.UUID(bytes=data[offset:end]), end
    if code == 0x73:
        return Char(data[offset:end].decode("utf-32-be")), end
    return Encoded(data[offset - 1 : end]), end


def _variable(code: int, data: bytes, offset: int) -> tuple[Any, int]:
    if code & 0x10:
        size, offset = int(_LENGTH.unpack_from(data, offset)[0]), offset + 4
    else:
        size, offset = data[offset], offset + 1
    end = offset + size
    if end > len(data):
        raise DecodeError("a binary, string or symbol is longer than its container")
    body, kind = data[offset:end], code & 0x0F
    if kind == 0x0:
        return bytes(body), end
    if kind == 0x1:
        return body.decode(), end
    if kind == 0x3:
        return Symbol(body.decode("ascii")), end
    raise DecodeError(f"unknown AMQP constructor {code:#04x}")


def _compound(code: int, data: bytes, offset: int) -> tuple[int, int, int]:
    """Return count, start of the contents and end of a list, map or array."""
    if code & 0x10:
        size, count = struct.unpack_from(">II", data, offset)
        start, end = offset + 8, offset + 4 + size
    else:
        size, count = data[offset], data[offset + 1]
        start, end = offset + 2, offset + 1 + size
    if end > len(data) or (count > size and code not in (0xE0, 0xF0)):
        raise DecodeError("a list, map or array is longer than its container")
    return count, start, end


def _list_or_map(code: int, data: bytes, offset: int, depth: int) -> tuple[Any, int]:
    count, offset, end = _compound(code, data, offset)
    items = []
    for _ in range(count):
        item, offset = decode(data, offset, depth + 1)
        items.append(item)
    if offset != end:
        raise DecodeError("a list's or map's size does not match its contents")
    if code in (0xC0, 0xD0):
        return items, end
    try:
        return dict(zip(items[::2], items[1::2], strict=True)), end
    except (TypeError, ValueError) as error:
        raise DecodeError("a map needs a value for each key, and keys of a simple type") from error


def _array(code: int, data: bytes, offset: int, depth: int) -> tuple[Any, int]:
    begin = offset - 1
    count, offset, end = _compound(code, data, offset)
    element = data[offset]
    if element == 0x00 or element >> 4 in (0xC, 0xD, 0xE, 0xF) or element == 0x45:
        return Encoded(data[begin:end]), end
    if count > max(end - offset, MAX_EMPTY_ITEMS if element >> 4 == 0x4 else 0):
        raise DecodeError("an array's count does not match its size")
    offset += 1
    items = []
    for _ in range(count):
        item, offset = _primitive(element, data, offset, depth + 1)
        items.append(item)
    if offset != end:
        raise DecodeError("an array's size does not match its contents")
    return Array(element, items), end


# ---- encoding


def encode(value: Any) -> bytes:
    """Return the encoding of ``value``.

    Raises:
        TypeError: no AMQP type stands for this Python type.
    """
    try:
        encoder = _ENCODERS[type(value)]
    except KeyError:
        raise TypeError(f"no AMQP encoding for {type(value).__name__}") from None
    return encoder(value)


def _fixed(code: int) -> Callable[[Any], bytes]:
    layout = struct.Struct(f">B{_FIXED[code][0].format[1:]}")
    return lambda value: layout.pack(code, value)


def _small_or(small: int, large: int, low: int, high: int) -> Callable[[Any], bytes]:
    short, long = _fixed(small), _fixed(large)
    return lambda value: short(value) if low <= value <= high else long(value)


def _sized(code: int, body: bytes) -> bytes:
    if len(body) < 256:
        return bytes((code, len(body))) + body
    return bytes((code | 0x10,)) + _LENGTH.pack(len(body)) + body


def _counted(code: int, count: int, body: bytes) -> bytes:
    if len(body) < 255 and count < 256:
        return bytes((code, len(body) + 1, count)) + body
    return struct.pack(">BII", code | 0x10, len(body) + 4, count) + body


def _encode_list(items: list[Any]) -> bytes:
    return _counted(0xC0, len(items), b"".join(map(encode, items))) if items else b"\x45"


def _encode_map(items: dict[Any, Any]) -> bytes:
    return _counted(0xC1, 2 * len(items), b"".join(encode(part) for item in items.items() for part in item))


def _encode_array(items: Array) -> bytes:
    if items.code in _EMPTY:
        body = b""
    elif items.code in _FIXED:
        layout = _FIXED[items.code][0]
        body = b"".join(layout.pack(item) for item in items)
    elif items.code >> 4 == 0xA:
        body = b"".join(encode(item)[1:] for item in items)
    elif items.code >> 4 == 0xB:
        texts = [item if isinstance(item, bytes) else item.encode() for item in items]
        body = b"".join(_LENGTH.pack(len(text)) + text for text in texts)
    elif items.code == 0x98:
        body = b"".join(item.bytes for item in items)
    else:
        raise TypeError(f"no AMQP array of elements {items.code:#04x}")
    return _counted(0xE0, len(items), bytes((items.code,)) + body)


_ENCODERS: dict[type[Any], Callable[[Any], bytes]] = {
    type(None): lambda value: b"\x40",
    bool: lambda value: b"\x41" if value else b"\x42",
    Byte: _fixed(0x51),
    Short: _fixed(0x61),
    Int: _small_or(0x54, 0x71, -128, 127),
    int: _small_or(0x55, 0x81, -128, 127),
    UByte: _fixed(0x50),
    UShort: _fixed(0x60),
    UInt: _small_or(0x52, 0x70, 0, 255),
    ULong: _small_or(0x53, 0x80, 0, 255),
    Float: _fixed(0x72),
    float: _fixed(0x82),
    Timestamp: _fixed(0x83),
    Char: lambda value: b"\x73" + value.encode("utf-32-be"),
    uuid.UUID: lambda value: b"\x98" + value.bytes,
    bytes: lambda value: _sized(0xA0, value),
    str: lambda value: _sized(0xA1, value.encode()),
    Symbol: lambda value: _sized(0xA3, value.encode("ascii")),
    Encoded: bytes,
    Described: lambda value: b"\x00" + encode(value.descriptor) + encode(value.value),
    list: _encode_list,
    dict: _encode_map,
    Array: _encode_array,
}
