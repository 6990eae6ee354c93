"""`FileStore`: the public side of a store, the same for every provider."""

from __future__ import annotations

import builtins
import os
import weakref
from abc import ABC
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Literal, Self, TypeVar, final

from clouddirect.checks import CheckResult
from clouddirect.errors import ClosedError, CloudDirectError, ConfigurationError, NotFoundError, UnsupportedError
from clouddirect.gate import Gate
from clouddirect.observers import FileEvent
from clouddirect.retry import Interrupt
from clouddirect.storage.capabilities import StoreAccess, StoreCapabilities
from clouddirect.storage.download import Downloader
from clouddirect.storage.keys import validate_key, validate_prefix
from clouddirect.storage.metadata import validate_content_type, validate_metadata
from clouddirect.storage.primitives import ListPage, PutRequest, StorePrimitives, StoreRuntime
from clouddirect.storage.ranges import PinnedRange
from clouddirect.storage.reader import FileReader
from clouddirect.storage.sources import Source, open_source
from clouddirect.storage.stored import PresignedUrl, StoredFile, StoredPrefix
from clouddirect.storage.transfer import ProgressCallback, Transfer
from clouddirect.storage.upload import Uploader

__all__ = ["FileStore"]

T = TypeVar("T")


class FileStore(StorePrimitives, ABC):
    """One container or bucket of an object store.

    Opening does no I/O. All methods may be called from any thread. Errors are subclasses of `CloudDirectError`; what
    the caller's own files and streams raise passes through. Close it, or use it as a context manager.
    """

    def __init__(self, runtime: StoreRuntime | None = None) -> None:
        """Providers call this first, with the runtime that their opener was given."""
        self.runtime = runtime or StoreRuntime()
        #: Bytes of one part of a transfer, before the service's own limits; parts of one transfer under way at once.
        self.part_size = self.runtime.part_size or self.preferred_part_size
        self.concurrency = self.runtime.concurrency or self.preferred_concurrency
        #: Entered by each public call; refuses once the store is closed.
        self.inside = Gate(f"this {self.provider} store", self.runtime.clock)
        self._closing = Interrupt(self.runtime.clock)
        self._transfers: weakref.WeakSet[Transfer] = weakref.WeakSet()

    # -- writing --------------------------------------------------------------------------------------------

    @final
    def put(
        self,
        key: str,
        source: Source,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        progress: ProgressCallback | None = None,
        deadline: float | None = None,
    ) -> StoredFile:
        """Store an object; return once the service has confirmed it durably.

        The content becomes visible whole, in one step, or not at all. It is read once, in parts, with constant memory,
        and the service compares its digest. Only write requests are made, so a write-only credential suffices.

        Args:
            key: where to store it; see `validate_key`.
            source: bytes; a path; or a readable binary stream, from where it stands to its end. The stream stays open.
                One that cannot be rewound is read once; should a service drop an upload, it cannot be begun again.
            content_type: media type, such as ``image/jpeg``.
            metadata: text pairs. Names are made of ``a-z``, ``0-9`` and ``_``, beginning with a letter; values hold no
                control characters. 2 KiB in all.
            if_absent: store only if nothing is there. The service decides that at the last moment.
            progress: called in this thread with the bytes confirmed since its last call; over retries, too, they sum up
                to exactly the size. An exception that it raises cancels the upload, unless the object had been stored
                by then.
            deadline: seconds for all of it; None lets it take as long as bytes move.

        Raises:
            AlreadyExistsError: ``if_absent`` found something; ``maybe_own_write`` if that may be this very call's
                unanswered write.
            InvalidKeyError, TooLargeError, ConfigurationError, UnsupportedError: refused.
            IntegrityError: the service received other bytes than were sent.
            TimeoutError: the deadline passed, or no byte moved for the stall timeout, too often.
            CloudDirectError: not confirmed; with ``maybe_own_write`` it may have been stored nevertheless.
        """
        with self.inside:
            transfer = self._transfer("put", key, deadline, progress)
            with open_source(source) as reader:
                request = self._request(key, content_type, metadata, if_absent, reader.size)
                stored = Uploader(self, transfer, request, reader).run()
            self._tell("clouddirect_file_stored", key, stored.size, "stored")
            transfer.progress.tell()
            return stored

    @final
    def delete(self, key: str) -> None:
        """Delete an object. That it is not there is no error.

        Raises:
            ContainerNotFoundError: the container itself is missing.
            PermissionDeniedError: the credential may not delete.
        """
        with self.inside:
            self._admit_key("delete", key)
            try:
                self._call("delete", key, lambda timeout: self._delete(key, timeout))
            except NotFoundError:
                pass
            self._tell("clouddirect_file_stored", key, None, "deleted")

    # -- reading --------------------------------------------------------------------------------------------

    @final
    def open(self, key: str, offset: int = 0, length: int | None = None) -> FileReader:
        """Open an object, or a range of it, as a readable and seekable binary stream.

        Args:
            key: the object's key.
            offset: first byte. At or beyond the end the stream is empty.
            length: bytes; None for all to the end. A range that reaches beyond the end ends with the object.

        Raises:
            NotFoundError: there is no such object.
            PermissionDeniedError: the credential may not read, or (S3, Cloud Storage) may not be told that the key is
                missing.
        """
        if offset < 0 or (length is not None and length < 0):
            raise ConfigurationError("offset and length must not be negative", provider=self.provider, operation="open")
        with self.inside:
            return self._reader(self._transfer("open", key), offset, length)

    @final
    def get(self, key: str, *, deadline: float | None = None) -> bytes:
        """Return an object's whole content, its digest compared where the service has one. For what fits into memory.

        Raises like `open`, and:
            ChangedError: it was replaced while it was read.
            IntegrityError: it was damaged in the store or on the way.
            TimeoutError: see `put`.
        """
        with self.inside, self._reader(self._transfer("get", key, deadline), 0, None) as reader:
            return reader.read()

    @final
    def download(
        self,
        key: str,
        path: str | os.PathLike[str],
        *,
        private: bool = False,
        progress: ProgressCallback | None = None,
        deadline: float | None = None,
    ) -> StoredFile:
        """Write an object's content into a file; return the object, with ``verified`` saying which digest was compared.

        Parallel ranges of one version go into a temporary file beside ``path``, which then replaces it in one step,
        flushed to the disk. On any error ``path`` stays as it was, and the temporary file is removed. Size is always
        verified, the digest wherever the service has one.

        Args:
            key: the object's key.
            path: the file; its directory must exist.
            private: let only its owner read the file, where the system knows owners; by default the umask decides.
            progress: as in `put`; called with the bytes that have arrived.
            deadline: seconds for all of it; None lets it take as long as bytes move.

        Raises like `get`, and OSError if the file cannot be written.
        """
        destination = Path(path)
        if destination.is_dir():
            raise IsADirectoryError(f"{destination} is a directory; name the file to download to")
        with self.inside:
            transfer = self._transfer("download", key, deadline, progress)
            stored = Downloader(transfer, destination, private=private).run()
            self._tell("clouddirect_file_read", key, stored.size, "read")
            return stored

    @final
    def stat(self, key: str) -> StoredFile:
        """Return what the service knows of an object, without its content. Raises like `open`."""
        with self.inside:
            self._admit_key("stat", key)
            return self._call("stat", key, lambda timeout: self._stat(key, timeout))

    @final
    def exists(self, key: str) -> bool:
        """Whether there is such an object.

        Raises:
            PermissionDeniedError: the credential is not told; that never reads as "missing".
            ContainerNotFoundError: the container itself is missing.
        """
        with self.inside:
            self._admit_key("exists", key)
            try:
                self._call("exists", key, lambda timeout: self._stat(key, timeout))
            except NotFoundError:
                return False
            return True

    @final
    def list(self, prefix: str = "", delimiter: Literal["/"] | None = None) -> Iterator[StoredFile | StoredPrefix]:
        """Yield the objects whose keys begin with ``prefix``, in the order of their keys' UTF-8 bytes, page by page as
        they are asked for.

        With ``delimiter="/"`` keys that go on after another ``/`` are represented by one `StoredPrefix` each, as a
        directory listing would. What was there all the time comes exactly once; what is stored or deleted meanwhile may
        come or not. Listings tell key, size, version and time; ask `stat` for the rest.
        """
        if delimiter not in (None, "/"):
            raise UnsupportedError("the only delimiter is '/'", provider=self.provider, operation="list")
        with self.inside:
            self._described("list", None, lambda: validate_prefix(prefix))
        return self._pages(prefix, delimiter)

    @final
    def presign(self, key: str, *, method: Literal["GET", "PUT"] = "GET", expires: float = 3600.0) -> PresignedUrl:
        """Return a URL that lets its holder read (``GET``) or write (``PUT``) this one object for ``expires`` seconds.

        Raises:
            UnsupportedError: this store, or this credential, cannot sign URLs.
        """
        with self.inside:
            self._admit_key("presign", key)
            can = self._capabilities()
            if method not in can.presign:
                raise self._unsupported("presign", key, "presign", f"signed URLs for {method} with this credential")
            if not 0 < expires <= (can.max_presign_seconds or expires):
                limit = "" if can.max_presign_seconds is None else f" and at most {can.max_presign_seconds:g}"
                raise ConfigurationError(f"expires is {expires}; it must be above 0{limit} seconds")
            return self.attempt("presign", key, lambda: self._presign(key, method, expires))

    # -- the rest -------------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> StoreCapabilities:
        """What this store can do; no I/O."""
        return self._capabilities()

    @final
    def check(self, access: StoreAccess) -> CheckResult:
        """Find out whether the credential may read or write, without writing, deleting or creating anything.

        Never raises for what it finds: a failure is in the result, with what to do about it.
        """
        with self.inside:
            try:
                return self.attempt("check", None, lambda: self._check(access, self.runtime.stall_timeout))
            except CloudDirectError as error:
                return CheckResult(access, "failed", str(error), error)

    @property
    def native(self) -> object:
        """The SDK's own client, for what this interface does not cover."""
        with self.inside:
            return self.attempt("native", None, self._native)

    @final
    def close(self, timeout: float = 30.0) -> None:
        """Refuse further calls, let those under way finish within ``timeout`` seconds, end the rest, close the
        connections.

        What is ended raises `ClosedError` and leaves nothing visible. Streams that are still open cannot be read any
        more. Closing again does nothing.
        """
        if not self.inside.close():
            return
        if not self.inside.drain(timeout):
            self._closing.set()
            for transfer in builtins.list(self._transfers):
                transfer.cancel(ClosedError(f"this {self.provider} store was closed", provider=self.provider))
            self.inside.drain(self.runtime.stall_timeout)
        self.attempt("close", None, self._close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what core's other parts call -----------------------------------------------------------------------

    def attempt(self, operation: str, key: str | None, call: Callable[[], T]) -> T:
        """Call a primitive once; translate what it raises and note where it happened."""
        try:
            return call()
        except CloudDirectError as error:
            self._describe(error, operation, key)
            raise
        except Exception as error:
            translated = self._classify(error)
            if translated is None:
                raise
            self._describe(translated, operation, key)
            raise translated from error

    # -- inside ---------------------------------------------------------------------------------------------

    def _transfer(
        self, operation: str, key: str, deadline: float | None = None, progress: ProgressCallback | None = None
    ) -> Transfer:
        self._admit_key(operation, key)
        transfer = Transfer(self, operation, key, deadline=deadline, progress=progress)
        self._transfers.add(transfer)
        return transfer

    def _reader(self, transfer: Transfer, offset: int, length: int | None) -> FileReader:
        key = transfer.key
        opened = PinnedRange(transfer, key, offset, length)
        try:
            return FileReader(
                transfer, opened, lambda file: self._tell("clouddirect_file_read", key, file.size, "read")
            )
        except BaseException:
            opened.close()
            raise

    def _call(self, operation: str, key: str | None, call: Callable[[float], T]) -> T:
        """One short request, with retries."""
        timeout = self.runtime.stall_timeout
        return self.runtime.retry.call(
            lambda: self.attempt(operation, key, lambda: call(timeout)),
            clock=self.runtime.clock, interrupt=self._closing, what=operation,
        )  # fmt: skip

    def _pages(self, prefix: str, delimiter: Literal["/"] | None) -> Iterator[StoredFile | StoredPrefix]:
        page: object | None = None
        while True:
            found = self._page(prefix, delimiter, page)
            yield from found.entries
            page = found.next
            if page is None:
                return

    def _page(self, prefix: str, delimiter: Literal["/"] | None, page: object | None) -> ListPage:
        with self.inside:
            return self._call("list", None, lambda timeout: self._list(prefix, delimiter, page, timeout))

    def _admit_key(self, operation: str, key: str) -> None:
        def check() -> None:
            validate_key(key)
            self._validate_key(key)

        self._described(operation, key if isinstance(key, str) else None, check)

    def _request(
        self, key: str, content_type: str | None, metadata: Mapping[str, str] | None, if_absent: bool, size: int | None
    ) -> PutRequest:
        """Check everything about a put that can be checked before its content is read."""
        can = self._capabilities()
        if if_absent and not can.if_absent:
            raise self._unsupported("put", key, "if_absent", "writing only if nothing is there")
        request = PutRequest(
            key=key, content_type=content_type, metadata=MappingProxyType(dict(metadata or {})),
            if_absent=if_absent, size_hint=size,
        )  # fmt: skip

        def check() -> None:
            validate_content_type(content_type)
            validate_metadata(request.metadata, can.max_metadata_bytes)
            self._validate_put(request)

        self._described("put", key, check)
        return request

    def _unsupported(self, operation: str, key: str, capability: str, what: str) -> UnsupportedError:
        return UnsupportedError(
            f"{self.provider} does not support {what} (capability {capability})",
            provider=self.provider, operation=operation, resource=key, code=capability,
        )  # fmt: skip

    def _described(self, operation: str, key: str | None, check: Callable[[], object]) -> None:
        try:
            check()
        except CloudDirectError as error:
            self._describe(error, operation, key)
            raise

    def _describe(self, error: CloudDirectError, operation: str, key: str | None) -> None:
        error.provider = error.provider or self.provider
        error.operation = error.operation or operation
        error.resource = error.resource or key or self.container

    def _tell(self, hook: str, key: str, size: int | None, outcome: Literal["stored", "read", "deleted"]) -> None:
        observers = self.runtime.observers
        if observers:
            now = self.runtime.clock.now()
            observers.tell(hook, FileEvent(self.provider, self.container, key, size, now, outcome))
