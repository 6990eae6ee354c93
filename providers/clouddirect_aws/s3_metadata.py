"""Metadata in headers: S3 takes US-ASCII, and HTTP keeps no blanks at the ends and not every blank between.

What would not come back as it is goes as an encoded word of RFC 2047 (``=?UTF-8?B?…?=``), the encoding in which S3
itself returns what it cannot put into a header ("Working with object metadata", S3 User Guide). Reading undoes it,
whoever wrote it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from email.errors import HeaderParseError
from email.header import decode_header

__all__ = ["PART_SIZE", "decode_metadata", "encode_metadata", "metadata_size"]

#: Our own entry on objects written in parts: bytes of each part but the last. Users' names hold no ``-``.
PART_SIZE = "clouddirect-part-size"

_PLAIN = re.compile(r"[!-~]+(?: [!-~]+)*|")
_WORD = re.compile(r"=\?[!->@-~]+\?[BbQq]\?[!->@-~]*\?=")


def encode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata as it goes into headers."""
    return {name: _encoded(value) for name, value in metadata.items()}


def metadata_size(encoded: Mapping[str, str]) -> int:
    """Return the bytes that count towards S3's limit of 2 KB: names and values, without the headers' prefix."""
    return sum(len(name) + len(value) for name, value in encoded.items())


def decode_metadata(headers: Mapping[str, str]) -> dict[str, str]:
    """Return metadata as it was given, without our own entry."""
    return {name.lower(): _decoded(value) for name, value in headers.items() if name.lower() != PART_SIZE}


def _encoded(value: str) -> str:
    if _PLAIN.fullmatch(value) and not _WORD.search(value):
        return value
    return f"=?UTF-8?B?{base64.b64encode(value.encode()).decode('ascii')}?="


def _decoded(value: str) -> str:
    if not _WORD.search(value):
        return value
    try:
        pieces = decode_header(value)
        return "".join(
            piece if isinstance(piece, str) else piece.decode(charset or "latin-1") for piece, charset in pieces
        )
    except (HeaderParseError, LookupError, UnicodeDecodeError, ValueError):
        return value  # somebody else's text that only looks like an encoded word
