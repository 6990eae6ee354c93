"""The local store: a directory whose files are the objects.

``<path>/<container>/<key>`` holds the bytes, so people can look at them and drop files in; ``.clouddirect`` in the
container holds what is the store's own: temporary files and sidecars.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from clouddirect.checks import CheckResult
from clouddirect.durable import make_private_directory
from clouddirect.errors import (
    ChangedError,
    CloudDirectError,
    ContainerNotFoundError,
    InvalidKeyError,
    NotFoundError,
    PermissionDeniedError,
    TooLargeError,
    UnavailableError,
)
from clouddirect.storage import (
    FileStore,
    ListPage,
    PutRequest,
    RangeRead,
    StoreAccess,
    StoreCapabilities,
    StoredFile,
    StoreRuntime,
    Upload,
)
from clouddirect_local.store_folders import BY_DESCRIPTOR, Folder
from clouddirect_local.store_listing import Listing
from clouddirect_local.store_names import RESERVED, check_names
from clouddirect_local.store_options import LocalStoreOptions
from clouddirect_local.store_sidecar import Sidecar, identity, plain_file
from clouddirect_local.store_upload import TEMPORARY, LocalUpload

__all__ = ["LocalStore"]

_PIECE = 1 << 20
_PAGE = 1000
_STALE = 24 * 3600.0  # an upload that wrote nothing for a day is nobody's any more
_SWEEP_EVERY = 3600.0
_CAPABILITIES = StoreCapabilities(max_concurrency=1, upload_digest="sha256")


class LocalStore(FileStore):
    """A `FileStore` over a directory, safe for many processes and threads at once.

    Files and directories that it makes are for their owner alone. Symbolic links in the container are no objects: they
    are not listed, not read and not written through. What a killed process left unfinished is invisible, and removed by
    an upload a day later.
    """

    provider = "local"
    _folder_type = Folder

    def __init__(self, options: LocalStoreOptions, runtime: StoreRuntime | None = None) -> None:
        """Open the store; no I/O."""
        self.container = options.container
        super().__init__(runtime)
        self._options = options
        self._directory = options.path / options.container
        self._by_descriptor = BY_DESCRIPTOR
        self._folds: bool | None = None
        self._swept: float | None = None

    # -- primitives -----------------------------------------------------------------------------------------

    def _capabilities(self) -> StoreCapabilities:
        return _CAPABILITIES

    def _validate_key(self, key: str) -> None:
        check_names(key)

    def _begin_upload(self, request: PutRequest, timeout: float) -> Upload:
        self._require("write")
        self._sweep()
        return LocalUpload(self, request)

    def _stat(self, key: str, timeout: float) -> StoredFile:
        self._require("read")
        *parents, name = key.split("/")
        with _absent_as_not_found(), self.folders(parents) as folder:
            while True:
                found = folder.stat(name)
                file = self._kept(key, found)
                if file is not None:
                    return file
                if identity(folder.stat(name)) == identity(found):
                    return plain_file(key, found)  # foreign, not just replaced

    def _read(self, key: str, offset: int, length: int | None, version: str | None, timeout: float) -> RangeRead:
        self._require("read")
        descriptor, file = self._open(key)
        if version is not None and file.version != version:
            os.close(descriptor)
            raise ChangedError("the object was replaced while it was being read; read it again")
        chunks = _chunks(descriptor, file, offset, length)
        return RangeRead(file=file, chunks=chunks, close=lambda: os.close(descriptor))

    def _list(self, prefix: str, delimiter: Literal["/"] | None, page: object | None, timeout: float) -> ListPage:
        self._require("read")
        listing = page if isinstance(page, Listing) else Listing(self.folders, prefix, delimiter)
        entries = listing.next_entries(_PAGE)
        return ListPage(entries, listing if len(entries) == _PAGE else None)

    def _delete(self, key: str, timeout: float) -> None:
        self._require("write")
        *parents, name = key.split("/")
        with _absent_as_not_found(), self.folders(parents) as folder:
            folder.stat(name)
            folder.unlink(name)
            folder.sync()
        self.prune(key)
        self._remove_empty(parents)

    def _check(self, access: StoreAccess, timeout: float) -> CheckResult:
        self._require(access)
        if self._options.create and not self._directory.exists():
            return CheckResult(access, "likely", f"{self._directory} does not exist yet and will be made")
        with self.folders(()) as folder:
            mode = os.R_OK | os.X_OK if access == "read" else os.W_OK | os.X_OK
            effective = os.access in os.supports_effective_ids
            if not os.access(folder.path, mode, effective_ids=effective):
                raise PermissionDeniedError(f"this user may not {access} in {folder.path}; change its permissions")
        if access == "read":
            return CheckResult(access, "ok", "the directory can be read")
        return CheckResult(access, "likely", "the directory's permissions let this user write; nothing was written")

    def _classify(self, error: Exception) -> CloudDirectError | None:
        return _translate(error) if isinstance(error, OSError) else None

    def _native(self) -> Path:
        """The container's directory."""
        return self._directory

    # -- what the upload needs as well ----------------------------------------------------------------------

    @contextmanager
    def folders(self, names: Sequence[str], create: bool = False) -> Iterator[Folder]:
        """Walk down from the container, making what is missing if ``create``; raises like `Folder.enter`.

        Raises:
            ContainerNotFoundError: the container itself is missing.
        """
        folder = self._container_folder()
        try:
            for name in names:
                child = folder.enter(name, create)
                folder.close()
                folder = child
            yield folder
        finally:
            folder.close()

    def version_at(self, key: str) -> str | None:
        """Return the version of what is stored under ``key``, or None if nothing is."""
        *parents, name = key.split("/")
        try:
            with self.folders(parents) as folder:
                return identity(folder.stat(name))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def prune(self, key: str) -> None:
        """Remove the sidecars of contents that ``key`` had before.

        The order matters. A sidecar is written after its temporary file and before that file gets its name; so one
        that was seen first, whose file is then not among the temporary ones, belongs to what is visible next or to
        nothing any more. No upload that is under way loses its own.
        """
        place, start = Sidecar.place(key, "")
        start = start.removesuffix(".json")
        try:
            with self.folders(place) as folder, self.folders(TEMPORARY) as temporary:
                seen = [name for name in folder.names() if name.startswith(start)]
                under_way = {f"{found.st_ino:x}" for _, found in temporary.entries()}
                kept = Sidecar.place(key, self.version_at(key) or "")[1]
                for name in seen:
                    if name != kept and name[len(start) :].partition("-")[0] not in under_way:
                        folder.unlink(name)
        except ContainerNotFoundError:
            raise
        except FileNotFoundError:
            pass  # foreign files alone, which have none

    # -- inside ---------------------------------------------------------------------------------------------

    def _require(self, access: StoreAccess) -> None:
        if self._options.access not in (access, "both"):
            raise PermissionDeniedError(f'this store was opened with access = "{self._options.access}"')

    def _container_folder(self) -> Folder:
        try:
            folder = self._folder_type(os.fspath(self._directory), self._by_descriptor)
        except (FileNotFoundError, NotADirectoryError):
            if not self._options.create or self._options.access == "read":
                remedy = "make it, or set create = true"
                if self._options.create:
                    remedy = "make it, or let the writing side do so: a store opened for reading makes nothing"
                raise ContainerNotFoundError(f"the directory {self._directory} does not exist; {remedy}") from None
            make_private_directory(self._directory)
            folder = self._folder_type(os.fspath(self._directory), self._by_descriptor)
        folder.folds = self._names_fold(folder)
        return folder

    def _names_fold(self, container: Folder) -> bool:
        """Whether upper and lower case are the same to the container's file system; asked once there is a name to
        try."""
        if self._folds is None:
            self._folds = container.leads_to_same(RESERVED, RESERVED.upper())
        return os.name == "nt" or sys.platform == "darwin" if self._folds is None else self._folds

    def _open(self, key: str) -> tuple[int, StoredFile]:
        *parents, name = key.split("/")
        with _absent_as_not_found(), self.folders(parents) as folder:
            while True:
                descriptor = folder.open(name)
                try:
                    found = os.fstat(descriptor)
                    file = self._kept(key, found)
                    if file is None and identity(folder.stat(name)) == identity(found):
                        file = plain_file(key, found)  # foreign, not just replaced
                except BaseException:
                    os.close(descriptor)
                    raise
                if file is not None:
                    return descriptor, file
                os.close(descriptor)

    def _kept(self, key: str, found: os.stat_result) -> StoredFile | None:
        """Return what the sidecar of this very content says, or None if there is none."""
        place, name = Sidecar.place(key, identity(found))
        try:
            with self.folders(place) as folder:
                descriptor = folder.open(name)
                with os.fdopen(descriptor, "rb") as file:
                    return Sidecar.from_bytes(file.read(), os.path.join(folder.path, name)).describe(found)
        except ContainerNotFoundError:
            raise
        except FileNotFoundError:
            return None

    def _remove_empty(self, parents: list[str]) -> None:
        """Remove directories that a deletion left empty. A put that needs one meanwhile makes it again."""
        for depth in range(len(parents) - 1, -1, -1):
            try:
                with self.folders(parents[:depth]) as folder:
                    if not folder.rmdir(parents[depth]):
                        return
                    folder.sync()
            except (FileNotFoundError, NotADirectoryError):
                return

    def _sweep(self) -> None:
        """Remove what killed processes left, at most once an hour."""
        now = self.runtime.clock.monotonic()
        if self._swept is not None and now - self._swept < _SWEEP_EVERY:
            return
        self._swept = now
        before = self.runtime.clock.now().timestamp() - _STALE
        with self.folders(TEMPORARY, create=True) as folder:
            for name, found in folder.entries():
                if found.st_mtime < before:
                    folder.unlink(name)


@contextmanager
def _absent_as_not_found() -> Iterator[None]:
    try:
        yield
    except CloudDirectError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError("there is no object of this key") from None


def _chunks(descriptor: int, file: StoredFile, offset: int, length: int | None) -> Iterator[bytes]:
    left = max(0, file.size - offset if length is None else min(length, file.size - offset))
    os.lseek(descriptor, offset, os.SEEK_SET)
    while left:
        chunk = os.read(descriptor, min(_PIECE, left))
        if identity(os.fstat(descriptor)) != file.version:
            raise ChangedError("the file was written to while it was being read; read it again")
        if not chunk:
            return
        left -= len(chunk)
        yield chunk


_RETRYABLE = {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOENT, errno.ESTALE}
_SHARING_VIOLATION = 32  # Windows: another process has the file open; soon it may not


def _translate(error: OSError) -> CloudDirectError:
    code = errno.errorcode.get(error.errno or 0, type(error).__name__)
    what = f"{error.strerror or type(error).__name__}"
    if getattr(error, "winerror", None) == _SHARING_VIOLATION:
        return UnavailableError(f"another process has the file open: {what}", code=code, retryable=True)
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return PermissionDeniedError(f"the file system refuses: {what}; check the directory's permissions", code=code)
    if error.errno == errno.ENAMETOOLONG:
        return InvalidKeyError("the key makes a path that is too long for this file system; shorten it", code=code)
    if error.errno == errno.EFBIG:
        return TooLargeError("the file system holds no file of this size", code=code)
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return UnavailableError(f"the disk is full ({what}); make room", code=code, retryable=False)
    return UnavailableError(f"the file system failed: {what}", code=code, retryable=error.errno in _RETRYABLE)
