"""Which keys a file system can hold exactly as given."""

from __future__ import annotations

import os

from clouddirect.errors import InvalidKeyError

__all__ = ["RESERVED", "check_names"]

#: The directory in each container where the store keeps what is its own.
RESERVED = ".clouddirect"

_MAX_NAME = 255  # bytes on POSIX file systems, UTF-16 units on Windows
_WINDOWS_CHARACTERS = frozenset('<>:"|?*\\')
_WINDOWS_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{name}{number}" for name in ("com", "lpt") for number in "123456789¹²³"]
)


def check_names(key: str, windows: bool = os.name == "nt") -> None:
    """Refuse, by `InvalidKeyError`, a valid key that this system's files cannot be named after."""
    segments = key.split("/")
    if segments[0].casefold() == RESERVED:
        raise InvalidKeyError(f"the first segment {RESERVED!r} is reserved for the store's own files")
    for segment in segments:
        if windows:
            _check_windows(segment)
        elif _posix_length(segment) > _MAX_NAME:
            raise InvalidKeyError(f"a segment of the key has over {_MAX_NAME} bytes, which is the longest file name")


def _posix_length(segment: str) -> int:
    try:
        return len(os.fsencode(segment))
    except UnicodeEncodeError:
        raise InvalidKeyError(
            "a segment of the key cannot be written in this system's file name encoding; use a UTF-8 locale"
        ) from None


def _check_windows(segment: str) -> None:
    if len(segment.encode("utf-16-le")) // 2 > _MAX_NAME:
        raise InvalidKeyError(f"a segment of the key has over {_MAX_NAME} characters, which is the longest file name")
    found = _WINDOWS_CHARACTERS.intersection(segment)
    if found:
        raise InvalidKeyError(f"a segment of the key holds {min(found)!r}, which no file name on Windows may hold")
    if segment[-1] in " .":
        raise InvalidKeyError("a segment of the key ends in a blank or a dot, which Windows would cut off")
    if segment.split(".")[0].rstrip(" ").casefold() in _WINDOWS_DEVICES:
        raise InvalidKeyError(f"the segment {segment!r} of the key names a device on Windows")
