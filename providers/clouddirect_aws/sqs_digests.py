"""The MD5 digests by which SQS tells what it has stored; the SDK does not compare them, so we do.

Method: "Calculating the MD5 message digest for message attributes" in the SQS developer guide.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

__all__ = ["attributes_md5", "body_md5"]

_LENGTH = struct.Struct(">I")


def body_md5(body: str) -> str:
    """Return the digest of a body, in hexadecimal."""
    return hashlib.md5(body.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest()


def attributes_md5(attributes: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the digest of typed attributes, as boto3 takes and returns them, in hexadecimal."""
    parts: list[bytes] = []
    for name in sorted(attributes):
        value = attributes[name]
        kind: str = value["DataType"]
        if kind.startswith("Binary"):
            content = value.get("BinaryValue", b"")
        else:
            content = value.get("StringValue", "").encode(errors="surrogatepass")
        parts += (_head(name, kind), _LENGTH.pack(len(content)), content)
    return hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()


@lru_cache(maxsize=1024)  # the same few names come again and again
def _head(name: str, kind: str) -> bytes:
    """What stands before a value: name and type, each with its length, and whether it is text or binary."""
    texts = b"".join(_LENGTH.pack(len(text)) + text for text in (name.encode(), kind.encode()))
    return texts + (b"\2" if kind.startswith("Binary") else b"\1")
