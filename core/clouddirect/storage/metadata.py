"""The rules for what is kept beside an object's content: its content type and its metadata."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from clouddirect.errors import ConfigurationError, TooLargeError

__all__ = ["validate_content_type", "validate_metadata"]

_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")


def validate_content_type(value: str | None) -> None:
    """Refuse, by `ConfigurationError`, what cannot be a content type on the wire: anything but printable ASCII, or
    None."""
    if value is None:
        return
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        raise ConfigurationError("content_type must be printable ASCII text, such as 'image/jpeg', or None")


def validate_metadata(metadata: Mapping[str, str], limit: int) -> None:
    """Refuse what not every service keeps as it is.

    Raises:
        ConfigurationError: a name is not made of ``a-z``, ``0-9`` and ``_`` with a letter first (Azure's names are
            identifiers, S3's are not told apart by case), or a value is not text without control characters.
        TooLargeError: names and values together have more than ``limit`` bytes in UTF-8.
    """
    size = 0
    for name, value in metadata.items():
        if not isinstance(name, str) or not _NAME.issuperset(name) or not name[:1].isalpha():
            raise ConfigurationError("a name in metadata must be made of a-z, 0-9 and _, with a letter first")
        if not isinstance(value, str):
            raise ConfigurationError(f"the metadata {name!r} must be text, not {type(value).__name__}")
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
            raise ConfigurationError(
                f"the metadata {name!r} holds a control character or an unpaired surrogate; remove it"
            )
        size += len(name) + len(value.encode())
    if size > limit:
        raise TooLargeError(f"the metadata has {size:,} bytes, at most {limit:,} are kept; put more into the content")
