"""What a provider implements: the small, underscore-prefixed side of a file store.

The rules for every primitive:

- **Never retry.** Make one attempt and report; core retries what is ``retryable``, with one policy for all providers.
  Switch the SDK's own retries off.
- **Raise classified errors**, or let the SDK's exceptions fly and translate them in ``_classify``: core passes every
  exception that is not a `CloudDirectError` to it, and keeps the original as ``__cause__``. A 403 is never "missing".
- **Any thread.** Core calls primitives from several threads at once, at most `FileStore.concurrency` for each
  transfer.
- **Bounded by standstill, not by length.** ``timeout`` is how many seconds a call may go on without a byte moving,
  never how long a body may take. Give the SDK a part as a stream (`Part.open`), not as bytes: `socket.sendall` counts
  its timeout for the whole of what it is given, so that one call with 8 MiB fails on a slow line that works.
- **Only what the caller asked for.** A ``put`` sends write requests and nothing else, so that a write-only credential
  suffices.
- **Lazy.** Opening a store does no I/O.
- **Confirmed.** Return only what the service has confirmed durably.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from clouddirect.checks import CheckResult
from clouddirect.clock import Clock, SystemClock
from clouddirect.errors import CloudDirectError, ConfigurationError, UnsupportedError
from clouddirect.observers import Observers
from clouddirect.retry import RetryPolicy
from clouddirect.storage.capabilities import StoreAccess, StoreCapabilities
from clouddirect.storage.digests import Hasher, new_hasher
from clouddirect.storage.parts import Part
from clouddirect.storage.stored import PresignedUrl, StoredFile, StoredPrefix

__all__ = ["ListPage", "PutRequest", "RangeRead", "StorePrimitives", "StoreRuntime", "Upload"]

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRuntime:
    """What core hands to a provider's opener, and the provider to ``FileStore.__init__``.

    Attributes:
        clock: the clock that waits and deadlines run on.
        retry: the policy for failed calls. Its deadline holds for short calls; a transfer may take as long as bytes
            move, so there only the attempts in a row without any progress are bounded.
        observers: who is told of what happened.
        part_size: bytes of one part of a transfer, raised to what the service requires; None for what suits the
            provider.
        concurrency: most parts of one transfer under way at once; None for what suits the provider.
        stall_timeout: seconds without a byte of progress after which an attempt has failed.
    """

    clock: Clock = field(default_factory=SystemClock)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    observers: Observers = field(default_factory=Observers)
    part_size: int | None = None
    concurrency: int | None = None
    stall_timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.part_size is not None and self.part_size < 1:
            raise ConfigurationError(f"part_size is {self.part_size}; it must be at least 1 byte")
        if self.concurrency is not None and self.concurrency < 1:
            raise ConfigurationError(f"concurrency is {self.concurrency}; it must be at least 1")
        if not self.stall_timeout > 0:
            raise ConfigurationError(f"stall_timeout is {self.stall_timeout}; it must be a positive number of seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class PutRequest:
    """What is to be written; the same for one request and for an upload in parts.

    Attributes:
        key: the key, already validated.
        content_type: media type, or None for the service's default.
        metadata: text pairs; names are lower-case letters, digits and ``_``, values any text without control
            characters. A service that takes less gets an encoding that its ``_stat`` undoes.
        if_absent: write only if nothing is there; decided by the service in ``_put_whole`` or ``Upload.commit``.
        size_hint: the size in bytes as far as the source could tell beforehand, or None. The size that counts goes to
            ``commit``.
    """

    key: str
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    if_absent: bool = False
    size_hint: int | None = None


class Upload(ABC):
    """One upload in parts. Nothing of it is visible before ``commit``, and nothing remains after ``abort``.

    Attributes:
        parallel: parts may be written in any order, several at once (S3 parts, Azure blocks). If false, core writes
            them one after another in order and, after a failure, asks ``confirmed`` where to go on (resumable uploads,
            a file).
        last_with_commit: the request that carries the last part is the commit (resumable uploads). Core then hands the
            last part to ``commit`` instead of ``write_part``.

    Should the service have dropped the upload, so that nothing is left to go on with (an expired session; S3's 409 at
    the commit), raise `PreconditionFailedError` with ``retryable=True`` from any method: core begins a new upload with
    the first byte where the source can be read again.
    """

    parallel: bool = True
    last_with_commit: bool = False

    @abstractmethod
    def write_part(self, part: Part, timeout: float) -> None:
        """Write one part; return once the service has confirmed all of it.

        Writing a part again, whole, replaces it. In a sequential upload ``part`` may be the rest of one, as told by
        ``confirmed``. Send a digest of the part where the service compares one, and raise `IntegrityError` with
        ``retryable=True`` when it says that bytes were damaged on the way.
        """

    def confirmed(self, timeout: float) -> int:
        """Return how many bytes from the start the service holds. Called only for sequential uploads, after a
        failure."""
        raise UnsupportedError("this upload is not parallel, so its provider must implement confirmed()")

    @abstractmethod
    def commit(self, size: int, digest: str | None, last: Part | None, timeout: float) -> StoredFile:
        """Make the object visible, whole, in one step; return what the service said of it.

        Args:
            size: bytes in all.
            digest: the whole content's digest in hexadecimal, by the algorithm that the capabilities name, for the
                service to compare.
            last: the last part, if ``last_with_commit``, else None. After a failure this is the rest that ``confirmed``
                left.
            timeout: see the module's rules.

        Raises:
            AlreadyExistsError: ``if_absent`` was asked for and something is there.
            IntegrityError: the content does not have this digest; it must not become visible.
            UnavailableError, TimeoutError: if ``retryable``, core takes it that the object may have become visible
                nevertheless; set ``maybe_own_write`` on any other error after which that is so.
        """

    @abstractmethod
    def abort(self, timeout: float) -> None:
        """Discard the upload and what it holds in the service; harmless after a ``commit`` that did succeed."""


@dataclass(slots=True, kw_only=True)
class RangeRead:
    """A range that is being read, as ``_read`` returns it.

    Attributes:
        file: the object that the range is of, as told by the response; its size is that of the whole object.
        chunks: the bytes in order, in pieces of any size that memory can bear (1 MiB is plenty).
        close: called exactly once, after the last chunk or earlier; drops the connection if it cannot be used again.
        verified: set where every chunk was compared with a digest from the service before it was handed out: the
            algorithm's name with ``-ranges`` behind it.
    """

    file: StoredFile
    chunks: Iterator[bytes]
    close: Callable[[], None]
    verified: str | None = None


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of a listing: its entries in order, and what to pass for the next one (None after the last)."""

    entries: Sequence[StoredFile | StoredPrefix]
    next: object | None = None


class StorePrimitives(ABC):
    """The primitives that each provider implements; see the module's rules. Users call `FileStore`."""

    #: The provider's name; it appears in every error.
    provider: str
    #: The container or bucket; it appears in errors and events.
    container: str
    #: Bytes of one part of a transfer, and parts under way at once, unless the user says otherwise. Their product is
    #: the memory that an upload takes: keep it below about 48 MiB.
    preferred_part_size: int = 8 * MIB
    preferred_concurrency: int = 4

    @abstractmethod
    def _capabilities(self) -> StoreCapabilities:
        """Say what this store can do. No I/O; called often, so return a constant."""

    def _validate_key(self, key: str) -> None:  # noqa: B027 - most services take every key that core permits
        """Refuse, by `InvalidKeyError`, a key that this store cannot hold exactly as given. No I/O."""

    def _validate_put(self, request: PutRequest) -> None:  # noqa: B027 - most providers have nothing to add
        """Refuse what this store cannot keep (metadata over the limit once encoded). No I/O."""

    def _hasher(self, algorithm: str) -> Hasher | None:
        """Return a hasher for a digest that this provider reports or takes; None where it cannot be computed here.

        The standard library's are there; a provider adds its own (``crc32c``), composite ones included: the name may
        hold what the hasher needs to know, such as the size of the parts.
        """
        return new_hasher(algorithm)

    def _put_whole(self, request: PutRequest, content: Part, digest: str | None, timeout: float) -> StoredFile:
        """Write a small object in one request, at most ``max_whole_bytes``; otherwise as `Upload.commit`."""
        raise UnsupportedError(f"{self.provider} declares max_whole_bytes but does not implement _put_whole")

    @abstractmethod
    def _begin_upload(self, request: PutRequest, timeout: float) -> Upload:
        """Begin an upload in parts."""

    @abstractmethod
    def _stat(self, key: str, timeout: float) -> StoredFile:
        """Return what is known of an object: `NotFoundError` if it is not there, `ContainerNotFoundError` if the
        container is not."""

    @abstractmethod
    def _read(self, key: str, offset: int, length: int | None, version: str | None, timeout: float) -> RangeRead:
        """Begin to read ``length`` bytes (None: all to the end) from ``offset``.

        Return once the response has begun. A range that reaches beyond the end ends with the object; one that begins
        there, or is empty, yields no bytes; neither is an error, and ``file`` is told all the same. With ``version``,
        `ChangedError` if the object is no longer of that version. What the connection's end cuts off raises, or simply
        ends: core counts.
        """

    @abstractmethod
    def _list(self, prefix: str, delimiter: Literal["/"] | None, page: object | None, timeout: float) -> ListPage:
        """Return one page of the keys that begin with ``prefix``, in the order of their UTF-8 bytes.

        With ``delimiter``, keys that have it after the prefix are represented by one `StoredPrefix` each, up to and
        including it. ``page`` is None for the first page, then ``ListPage.next``; the same page may be asked for again.
        """

    @abstractmethod
    def _delete(self, key: str, timeout: float) -> None:
        """Delete an object; that it is not there is no error, or `NotFoundError`."""

    def _presign(self, key: str, method: Literal["GET", "PUT"], expires: float) -> PresignedUrl:
        """Sign a URL. Called only for methods declared in ``presign``."""
        raise UnsupportedError(f"{self.provider} declares presign but does not implement it", resource=key)

    @abstractmethod
    def _check(self, access: StoreAccess, timeout: float) -> CheckResult:
        """Find out whether the credential does its side, without writing, deleting or creating anything; raise what
        fails."""

    def _classify(self, error: Exception) -> CloudDirectError | None:
        """Translate an SDK's exception, from one table; None for what is not the service's doing (a bug)."""
        return None

    @abstractmethod
    def _native(self) -> object:
        """Return the SDK's own client, opened if need be, for what the portable interface does not cover."""

    def _close(self) -> None:  # noqa: B027 - a provider without connections has nothing to close
        """Close connections. No other primitive runs or will run when core calls this."""
