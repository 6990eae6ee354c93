"""What Azure permits in a blob's name and metadata, and how text that it does not permit is kept all the same."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from clouddirect.errors import InvalidKeyError, TooLargeError

__all__ = ["check_key", "check_metadata", "decode_metadata", "encode_metadata"]

# https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
_MAX_SEGMENTS = 254
_MAX_METADATA_BYTES = 8 * 1024
#: A response with more than 100 headers cannot be read by Python's http.client; Azure sends about 30 of its own.
_MAX_METADATA_PAIRS = 50

# RFC 2047, section 2, as mail headers have it: other tools can at least tell what it is
_ENCODED = re.compile(r"=\?utf-8\?b\?([A-Za-z0-9+/=]*)\?=", re.IGNORECASE)


def check_key(key: str) -> None:
    """Refuse what Azure would not store exactly as given.

    Raises:
        InvalidKeyError: a segment ends with a dot (which the service drops), there is a backslash (which it takes for a
            slash), there are more than 254 segments, or a character that is none in Unicode.
    """
    segments = key.split("/")
    if any(segment.endswith(".") for segment in segments):
        raise InvalidKeyError(f"the key {_shown(key)} has a segment that ends with '.', which Azure would drop")
    if "\\" in key:
        raise InvalidKeyError(f"the key {_shown(key)} holds a backslash, which Azure takes for '/'")
    if len(segments) > _MAX_SEGMENTS:
        raise InvalidKeyError(f"the key {_shown(key)} has {len(segments)} segments; Azure takes {_MAX_SEGMENTS}")
    if any(ord(character) & 0xFFFE == 0xFFFE for character in key):
        raise InvalidKeyError(f"the key {_shown(key)} holds a code point that is no character, such as U+FFFF")


def _shown(key: str) -> str:
    return ascii(key if len(key) <= 80 else key[:77] + "...")


def encode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the values as they go into headers: plain where that is possible, else as RFC 2047 encoded words.

    Azure permits ASCII alone, HTTP drops blanks at either end, and an empty header may get lost.
    """
    return {name: value if _is_plain(value) else _encode(value) for name, value in metadata.items()}


def decode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Undo `encode_metadata`; what others have stored is left as it is."""
    return {name: _decode(value) for name, value in metadata.items()}


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Refuse, by `TooLargeError`, more than Azure keeps once it is encoded."""
    size = sum(len(name) + len(value) for name, value in encode_metadata(metadata).items())
    if size > _MAX_METADATA_BYTES:
        raise TooLargeError(f"the metadata comes to {size:,} bytes for Azure, which keeps {_MAX_METADATA_BYTES:,}")
    if len(metadata) > _MAX_METADATA_PAIRS:
        raise TooLargeError(f"the metadata has {len(metadata)} pairs; at most {_MAX_METADATA_PAIRS} can be read back")


def _is_plain(value: str) -> bool:
    if not value or not value.isascii() or not value.isprintable() or value != value.strip():
        return False
    return _ENCODED.fullmatch(value) is None


def _encode(value: str) -> str:
    return f"=?utf-8?B?{base64.b64encode(value.encode()).decode()}?="


def _decode(value: str) -> str:
    found = _ENCODED.fullmatch(value)
    if found is None:
        return value
    try:
        return base64.b64decode(found[1], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return value
