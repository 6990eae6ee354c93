"""Flushing a file, and the directory that names it, to the disk; and directories for one's own eyes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["make_private_directory", "sync_directory", "sync_file"]


def make_private_directory(path: Path) -> None:
    """Make a directory, and those above it that are missing, for their owner alone where the system knows owners. Names
    may say who a patient is, and ``Path.mkdir`` makes the ones above readable for everybody."""
    missing = []
    for each in path.parents:
        if each.exists():
            break
        missing.append(each)
    for each in [*reversed(missing), path]:
        each.mkdir(mode=0o700, exist_ok=True)


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
