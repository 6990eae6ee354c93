"""The MD5 digests by which SQS tells what it has stored; the SDK does not compare them, so we do.

Method: "Calculating the MD5 message digest for message attributes" in the SQS developer guide.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
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
        binary = kind.startswith("Binary")
        content = (
            value.get("BinaryValue", b"") if binary else value.get("StringValue", "").encode(errors="surrogatepass")
        )
        for text in (name.encode(), kind.encode()):
            parts += (_LENGTH.pack(len(text)), text)
        parts += (b"\2" if binary else b"\1", _LENGTH.pack(len(content)), content)
    return hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()
