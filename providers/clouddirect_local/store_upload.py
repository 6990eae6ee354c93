"""An upload into a local store: a temporary file, read back, flushed, then given its name in one step."""

from __future__ import annotations

import errno
import hashlib
import os
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from clouddirect.durable import sync_file
from clouddirect.errors import (
    AlreadyExistsError,
    ContainerNotFoundError,
    IntegrityError,
    InvalidKeyError,
    UnavailableError,
    UnsupportedError,
)
from clouddirect.storage import Part, PutRequest, StoredFile, Upload
from clouddirect_local.store_folders import Folder, SpelledOtherwise
from clouddirect_local.store_names import RESERVED
from clouddirect_local.store_sidecar import Sidecar, identity

if TYPE_CHECKING:
    from clouddirect_local.store import LocalStore

__all__ = ["LocalUpload", "TEMPORARY"]

#: Where temporary files are, below the container.
TEMPORARY = (RESERVED, "tmp")

_PIECE = 1 << 20
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_RACES = 100  # each lost race means that somebody else removed an empty directory in the same instant


class LocalUpload(Upload):
    """Parts are written in order. Each is read back at once, out of the page cache, and hashed: what `commit` compares
    with the digest of the source is what the file holds."""

    parallel = False

    def __init__(self, store: LocalStore, request: PutRequest) -> None:
        self._store = store
        self._request = request
        self._name = uuid.uuid4().hex
        self._hasher = hashlib.sha256()
        self._written = 0
        self._hashed = 0
        self._found: os.stat_result | None = None  # the finished file
        self._stored: StoredFile | None = None
        with store.folders(TEMPORARY, create=True) as folder:
            self._file = folder.create(self._name)

    def write_part(self, part: Part, timeout: float) -> None:
        rest = part.data
        os.lseek(self._file, self._written, os.SEEK_SET)
        while rest:
            written = os.write(self._file, rest)
            self._written += written
            rest = rest[written:]
        os.lseek(self._file, self._hashed, os.SEEK_SET)
        while piece := os.read(self._file, _PIECE):
            self._hasher.update(piece)
            self._hashed += len(piece)

    def confirmed(self, timeout: float) -> int:
        return self._written

    def commit(self, size: int, digest: str | None, last: Part | None, timeout: float) -> StoredFile:
        if self._stored is None:
            if self._hashed != size or self._hasher.hexdigest() != digest:
                raise IntegrityError("the file holds other bytes than were written to it; is the disk failing?")
            with self._store.folders(TEMPORARY) as temporary:
                if self._found is None:
                    self._found = self._flush(temporary)
                self._stored = self._publish(temporary, self._found)
            self._close()
        return self._stored

    def abort(self, timeout: float) -> None:
        self._close()
        with self._store.folders(TEMPORARY, create=True) as folder:
            folder.unlink(self._name)

    def _close(self) -> None:
        descriptor, self._file = self._file, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _flush(self, temporary: Folder) -> os.stat_result:
        """Bring the file to the disk; return what it is from now on."""
        if os.name == "nt":  # there an open file is not renamed, and closing it may set its time once more
            sync_file(self._file)
            self._close()
        # the clock's full resolution: with the kernel's own (some ms) two contents could get one identity
        temporary.touch(self._name, time.time_ns())
        if os.name != "nt":
            sync_file(self._file)
        return temporary.stat(self._name)

    def _publish(self, temporary: Folder, found: os.stat_result) -> StoredFile:
        sidecar = Sidecar.of(self._request, self._hasher.hexdigest())
        place, name = Sidecar.place(self._request.key, identity(found))
        with self._store.folders(place, create=True) as folder:
            folder.unlink(name)  # of an attempt before this one
            _write(folder, name, sidecar.to_bytes())
            try:
                self._give_name(temporary)
            except BaseException as error:
                if self._store.version_at(self._request.key) != identity(found):
                    folder.unlink(name)
                    raise
                failure = self._store._classify(error) if isinstance(error, OSError) else None
                if failure is None:
                    raise
                failure.maybe_own_write = True  # it is visible, only not known to be on the disk
                raise failure from error
        if not self._request.if_absent:
            self._store.prune(self._request.key)
        return replace(sidecar.describe(found), verified="sha256")

    def _give_name(self, temporary: Folder) -> None:
        """Make the file visible."""
        *parents, name = self._request.key.split("/")
        for _ in range(_RACES):
            try:
                with self._store.folders(parents, create=True) as folder:
                    self._move(temporary, folder, name)
                    folder.sync()
                    return
            except (ContainerNotFoundError, SpelledOtherwise) as error:
                if isinstance(error, ContainerNotFoundError):
                    raise
                raise InvalidKeyError(
                    "this file system does not tell the key from one that is there and differs in upper and lower case "
                    "or in its Unicode form only"
                ) from None
            except FileNotFoundError:
                continue  # somebody deleted the directory's last file, and with it the directory
            except NotADirectoryError:
                raise InvalidKeyError(
                    "a part of the key is a file or a link in this store, so nothing can be stored behind it"
                ) from None
        raise UnavailableError("the key's directory vanished again and again while it was being written")

    def _move(self, temporary: Folder, folder: Folder, name: str) -> None:
        try:
            if self._request.if_absent:
                temporary.move_if_absent(self._name, folder, name)
            else:
                temporary.move(self._name, folder, name)
        except FileNotFoundError:
            raise
        except OSError as error:
            if _is_directory(folder, name):
                if folder.rmdir(name):  # left empty by a process that was killed
                    raise FileNotFoundError(name) from None
                raise InvalidKeyError(
                    "there are keys that go on behind this one with '/', so it is a directory in this store"
                ) from None
            if isinstance(error, FileExistsError):
                raise AlreadyExistsError("there is an object of this key; nothing was written") from None
            if self._request.if_absent and error.errno in _NO_LINKS:
                raise UnsupportedError(
                    "this file system has no hard links, without which if_absent cannot be decided", code="if_absent"
                ) from error
            raise


def _is_directory(folder: Folder, name: str) -> bool:
    try:
        return folder.is_directory(name)
    except FileNotFoundError:
        return False


def _write(folder: Folder, name: str, content: bytes) -> None:
    descriptor = folder.create(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            sync_file(file.fileno())
        folder.sync()
    except BaseException:
        folder.unlink(name)
        raise
