"""Directories that are walked one segment at a time, so that no symbolic link can lead out of the container.

On POSIX each step opens the next directory relative to the one before, refusing links (``openat`` with
``O_NOFOLLOW``): what another process changes meanwhile cannot redirect it. Windows has no such calls; there each step
looks whether the next entry is a link or junction before it is used.
"""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from clouddirect.durable import sync_file

__all__ = ["BY_DESCRIPTOR", "Folder", "SpelledOtherwise"]

#: Whether this system can work relative to an open directory.
BY_DESCRIPTOR = os.name == "posix" and {os.open, os.stat, os.mkdir, os.unlink, os.rename, os.link} <= os.supports_dir_fd

_OWNER_FILE, _OWNER_DIRECTORY = 0o600, 0o700  # patient images: for nobody else
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a named pipe must not wait for its other end
_REPARSE_POINT = getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0)


class SpelledOtherwise(FileNotFoundError):
    """The file system takes the name for that of an entry that differs in case or Unicode form."""


class Folder:
    """One directory. Its methods take the plain name of an entry and never follow a link. A context manager.

    Where the file system ``folds`` names (upper and lower case, or Unicode forms, are the same to it), a name that
    leads to an entry of another spelling raises `SpelledOtherwise`.
    """

    def __init__(self, path: str, by_descriptor: bool = BY_DESCRIPTOR, *, within: Folder | None = None) -> None:
        """Open the directory at ``path``, following links in it; or, with ``within``, the entry ``path`` of that
        folder."""
        self.folds: bool = within is not None and within.folds
        self._descriptor: int | None = None
        if within is None:
            self.path = path
            if by_descriptor:
                self._descriptor = os.open(path, os.O_RDONLY | _DIRECTORY)
            elif not os.path.isdir(path):
                raise FileNotFoundError(path)
        else:
            self.path = os.path.join(within.path, path)
            if within._descriptor is not None:
                flags = os.O_RDONLY | _DIRECTORY | _NO_FOLLOW
                self._descriptor = os.open(within._at(path), flags, dir_fd=within._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def enter(self, name: str, create: bool = False) -> Self:
        """Return the directory ``name``.

        Raises:
            FileNotFoundError: it is missing.
            NotADirectoryError: it is a file, or a link.
        """
        self._check_spelling(name)
        if create:
            try:
                os.mkdir(self._at(name), _OWNER_DIRECTORY, dir_fd=self._descriptor)
                self.sync()
            except FileExistsError:
                pass
        if not self.is_directory(name):
            raise NotADirectoryError(errno.ENOTDIR, "a file or a link where a directory is expected", name)
        return type(self)(name, within=self)

    def is_directory(self, name: str) -> bool:
        """Whether the entry is a directory, not a link to one."""
        found = self._stat(name)
        return stat.S_ISDIR(found.st_mode) and not _is_link(found)

    def stat(self, name: str) -> os.stat_result:
        """Look at a regular file; FileNotFoundError if there is none, or something else."""
        self._check_spelling(name)
        found = self._stat(name)
        if not stat.S_ISREG(found.st_mode) or _is_link(found):
            raise FileNotFoundError(name)
        return found

    def open(self, name: str) -> int:
        """Open a regular file for reading; FileNotFoundError if there is none, or something else."""
        self.stat(name)
        flags = os.O_RDONLY | _NO_FOLLOW | _NO_WAIT | _BINARY
        descriptor = os.open(self._at(name), flags, dir_fd=self._descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileNotFoundError(name)
        return descriptor

    def create(self, name: str) -> int:
        """Create a file that was not there, for its owner alone; open it for reading and writing."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _BINARY
        return os.open(self._at(name), flags, _OWNER_FILE, dir_fd=self._descriptor)

    def touch(self, name: str, nanoseconds: int) -> None:
        """Set a file's time of modification."""
        os.utime(self._at(name), ns=(nanoseconds, nanoseconds), dir_fd=self._descriptor)

    def unlink(self, name: str) -> None:
        """Remove a file's entry; that it is gone already is no error."""
        try:
            os.unlink(self._at(name), dir_fd=self._descriptor)
        except FileNotFoundError:
            pass

    def rmdir(self, name: str) -> bool:
        """Remove an empty directory; returns whether that was possible."""
        try:
            os.rmdir(self._at(name), dir_fd=self._descriptor)
        except OSError:
            return False  # not empty, gone already, or in use
        return True

    def move(self, name: str, target: Folder, new_name: str) -> None:
        """Move a file, in one step; it replaces what has the new name."""
        target._check_spelling(new_name)
        os.replace(self._at(name), target._at(new_name), src_dir_fd=self._descriptor, dst_dir_fd=target._descriptor)

    def move_if_absent(self, name: str, target: Folder, new_name: str) -> None:
        """Move a file, in one step, if nothing has the new name, else FileExistsError: the file system decides.

        A hard link cannot replace anything; on Windows neither can a rename.
        """
        target._check_spelling(new_name)
        old, new = self._at(name), target._at(new_name)
        if os.name == "nt":
            os.rename(old, new)
            return
        os.link(old, new, src_dir_fd=self._descriptor, dst_dir_fd=target._descriptor, follow_symlinks=False)
        self.unlink(name)

    def names(self) -> list[str]:
        """Return the names of all entries."""
        return os.listdir(self.path if self._descriptor is None else self._descriptor)

    def entries(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the names of regular files and directories with what they are; what vanishes meanwhile is left out."""
        with os.scandir(self.path if self._descriptor is None else self._descriptor) as found:
            for entry in found:
                try:
                    # on Windows an entry does not know its inode number
                    known = self._stat(entry.name) if os.name == "nt" else entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if not _is_link(known) and (stat.S_ISREG(known.st_mode) or stat.S_ISDIR(known.st_mode)):
                    yield entry.name, known

    def leads_to_same(self, one: str, other: str) -> bool | None:
        """Whether two names lead to one entry; None if the first leads nowhere."""
        try:
            first = self._stat(one)
        except FileNotFoundError:
            return None
        try:
            return os.path.samestat(first, self._stat(other))
        except FileNotFoundError:
            return False

    def sync(self) -> None:
        """Return once the directory's entries are on the disk (Windows journals them by itself)."""
        if self._descriptor is not None:
            sync_file(self._descriptor)

    def _stat(self, name: str) -> os.stat_result:
        return os.stat(self._at(name), dir_fd=self._descriptor, follow_symlinks=False)

    def _check_spelling(self, name: str) -> None:
        if not self.folds:
            return
        try:
            self._stat(name)
        except FileNotFoundError:
            return
        if os.name == "nt":
            spelled = os.path.basename(os.path.realpath(self._at(name)))
        else:
            names = self.names()
            spelled = name if name in names else next((one for one in names if _folded(one) == _folded(name)), name)
        if spelled != name:
            raise SpelledOtherwise(name)

    def _at(self, name: str) -> str:
        return name if self._descriptor is not None else os.path.join(self.path, name)


def _is_link(found: os.stat_result) -> bool:
    return stat.S_ISLNK(found.st_mode) or bool(getattr(found, "st_file_attributes", 0) & _REPARSE_POINT)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
