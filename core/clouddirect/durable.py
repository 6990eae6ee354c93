"""Flushing a file, and the directory that names it, to the disk."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["sync_directory", "sync_file"]


def sync_file(descriptor: int) -> None:
    """Return once the file's content is on the disk itself."""
    if sys.platform == "darwin":
        import fcntl

        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync there leaves it in the drive's cache
            return
        except OSError:
            pass  # a file system that has no such call
    os.fsync(descriptor)


def sync_directory(path: Path | str) -> None:
    """Return once the directory's entries are on the disk. Windows journals a rename by itself and opens no
    directory."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
