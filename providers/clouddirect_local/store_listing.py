"""Listing a local store: one walk through the directories, in the order of the keys, that can stop anywhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Literal

from clouddirect.errors import ContainerNotFoundError, InvalidKeyError
from clouddirect.storage import StoredFile, StoredPrefix, validate_key
from clouddirect_local.store_folders import Folder
from clouddirect_local.store_names import RESERVED
from clouddirect_local.store_sidecar import plain_file

__all__ = ["Listing"]

Entry = tuple[str, os.stat_result]


class Listing:
    """A walk that has come to some place. Only the directories on the way down to it are held in memory."""

    def __init__(
        self,
        folders: Callable[[Sequence[str]], AbstractContextManager[Folder]],
        prefix: str,
        delimiter: Literal["/"] | None,
    ) -> None:
        self._folders = folders
        self._prefix = prefix
        self._delimiter = delimiter
        # entries still to come, last first, of each directory on the way
        self._levels: list[list[Entry]] | None = None

    def next_entries(self, count: int) -> list[StoredFile | StoredPrefix]:
        """Return the next ``count`` entries, fewer only at the end."""
        if self._levels is None:
            base = self._prefix.rpartition("/")[0]
            self._levels = [self._read(f"{base}/" if base else "")]
        found: list[StoredFile | StoredPrefix] = []
        while self._levels and len(found) < count:
            level = self._levels[-1]
            if not level:
                self._levels.pop()
                continue
            key, known = level[-1]
            deeper = None
            if not stat.S_ISDIR(known.st_mode):
                found.append(plain_file(key, known))
            elif self._delimiter is None:
                deeper = self._read(key)
            elif self._holds_files(key):
                found.append(StoredPrefix(key))
            level.pop()
            if deeper:
                self._levels.append(deeper)
        return found

    def _read(self, base: str) -> list[Entry]:
        """Return what of a directory matches the prefix, last key first; a directory's key ends in '/'."""
        found: list[Entry] = []
        try:
            with self._folders(base.split("/")[:-1]) as folder:
                for name, known in folder.entries():
                    key = base + name
                    if _is_key(key):
                        found.append((f"{key}/" if stat.S_ISDIR(known.st_mode) else key, known))
        except ContainerNotFoundError:
            raise
        except (FileNotFoundError, NotADirectoryError):
            return []  # nothing begins so, or it has been deleted meanwhile
        found = [(key, known) for key, known in found if key.startswith(self._prefix)]
        found.sort(key=lambda entry: entry[0].encode(), reverse=True)
        return found

    def _holds_files(self, key: str) -> bool:
        waiting = [key]
        while waiting:
            for inner, known in self._read(waiting.pop()):
                if not stat.S_ISDIR(known.st_mode):
                    return True
                waiting.append(inner)
        return False


def _is_key(key: str) -> bool:
    """Whether a file's path is a key: foreign files may have names that no key has, and cannot be read by one."""
    if key.partition("/")[0].casefold() == RESERVED:
        return False
    try:
        validate_key(key)
    except InvalidKeyError:
        return False
    return True
