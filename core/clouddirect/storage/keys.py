"""The rules for keys and prefixes, the same for every store, so that a key works on all of them or on none.

A key is text, its segments parted by ``/``. It is stored exactly as given (no normalising, no escaping that shows) or
refused. A provider may refuse more, where its service or file system cannot hold a key; it never changes one.
"""

from __future__ import annotations

import unicodedata

from clouddirect.errors import InvalidKeyError

__all__ = ["MAX_KEY_BYTES", "validate_key", "validate_prefix"]

#: Longest key, in UTF-8 bytes: what S3 and Cloud Storage permit.
MAX_KEY_BYTES = 1024


def validate_key(key: str) -> str:
    """Return ``key`` if it follows the rules.

    Raises:
        InvalidKeyError: it is empty, has an empty, ``.`` or ``..`` segment (so a leading, trailing or doubled ``/``),
            holds a control character or an unpaired surrogate, or is over 1,024 bytes in UTF-8. The text names the
            rule.
    """
    if not isinstance(key, str):
        raise InvalidKeyError(f"a key must be text, not {type(key).__name__}")
    if not key:
        raise InvalidKeyError("a key must not be empty")
    _check_text("key", key)
    if key.startswith("/"):
        raise _refused("key", key, "must not begin with '/'")
    if key.endswith("/"):
        raise _refused("key", key, "must not end with '/'")
    _check_segments("key", key, key.split("/"))
    return key


def validate_prefix(prefix: str) -> str:
    """Return ``prefix`` if a key can begin with it; the empty prefix stands for all keys.

    Unlike a key it may end anywhere: with ``/``, or in the middle of a segment.

    Raises:
        InvalidKeyError: no valid key begins so. The text names the rule.
    """
    if not isinstance(prefix, str):
        raise InvalidKeyError(f"a prefix must be text, not {type(prefix).__name__}")
    _check_text("prefix", prefix)
    if prefix.startswith("/"):
        raise _refused("prefix", prefix, "must not begin with '/'")
    _check_segments("prefix", prefix, prefix.split("/")[:-1])  # the last one may go on in the key
    return prefix


def _check_text(what: str, text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise _refused(what, text, "must not hold an unpaired surrogate, which UTF-8 cannot express") from None
    if size > MAX_KEY_BYTES:
        raise InvalidKeyError(f"the {what} has {size:,} bytes in UTF-8; it must have at most {MAX_KEY_BYTES:,}")
    if text.isascii() and text.isprintable():
        return
    for place, character in enumerate(text):
        if unicodedata.category(character) == "Cc":
            raise _refused(what, text, f"must not hold a control character (U+{ord(character):04X} at {place})")


def _check_segments(what: str, text: str, segments: list[str]) -> None:
    for segment in segments:
        if not segment:
            raise _refused(what, text, "must not hold '//'")
        if segment in (".", ".."):
            raise _refused(what, text, f"must not have a segment {segment!r}")


def _refused(what: str, text: str, rule: str) -> InvalidKeyError:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return InvalidKeyError(f"the {what} {shown!a} {rule}", resource=ascii(shown))
