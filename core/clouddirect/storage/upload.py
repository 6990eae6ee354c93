"""`put`: read once, send in one request or in parts, commit with the digest, or leave nothing behind."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from clouddirect.errors import (
    AlreadyExistsError,
    CloudDirectError,
    PreconditionFailedError,
    TimeoutError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from clouddirect.storage.capabilities import StoreCapabilities
from clouddirect.storage.crew import Crew
from clouddirect.storage.digests import Hasher
from clouddirect.storage.parts import Part
from clouddirect.storage.primitives import PutRequest, StorePrimitives, Upload
from clouddirect.storage.sources import SourceReader
from clouddirect.storage.stored import StoredFile
from clouddirect.storage.transfer import Transfer

__all__ = ["Uploader", "part_size"]

T = TypeVar("T")
log = logging.getLogger("clouddirect.storage")

#: Bytes that go in one request if the service permits, unless the user has set the size of parts: most images do, and
#: some credentials permit no more than that.
_IN_ONE = 8 << 20


def part_size(can: StoreCapabilities, wished: int, size: int | None) -> int:
    """Return the bytes of a part: what was wished for, raised to what the service requires for content of ``size``."""
    if size is not None and can.max_parts is not None:
        wished = max(wished, -(-size // can.max_parts))
    if can.max_part_bytes is not None:
        wished = min(wished, can.max_part_bytes)
    wished = max(wished, can.min_part_bytes)
    return -(-wished // can.part_multiple) * can.part_multiple


class Uploader:
    """Carries out one ``put``."""

    def __init__(self, store: StorePrimitives, transfer: Transfer, request: PutRequest, source: SourceReader) -> None:
        self._store = store
        self._can = store._capabilities()
        self._transfer = transfer
        self._request = request
        self._source = source
        self._part_size = part_size(self._can, transfer.store.part_size, request.size_hint)
        size, in_one = request.size_hint, min(self._can.max_whole_bytes, _IN_ONE)
        if transfer.runtime.part_size is None and size is not None and size <= in_one:
            self._part_size = max(self._part_size, size)
        self._hasher: Hasher | None = None
        self._offset = 0
        self._index = 0
        self._dropped = False  # the service has nothing left of this upload
        self._undecided = False  # a commit was sent and never answered

    def run(self) -> StoredFile:
        """Store the content; begin again from its first byte when the service dropped the upload."""
        self._admit(self._request.size_hint or 0)
        attempts = 0
        while True:
            attempts += 1
            try:
                return self._run_once()
            except CloudDirectError as error:
                # whatever ended it, a commit before it may have been carried out
                error.maybe_own_write = error.maybe_own_write or self._undecided
                if not (self._dropped and isinstance(error, PreconditionFailedError)):
                    raise
                if attempts >= self._transfer.runtime.retry.max_attempts or not self._source.rewind():
                    error.retryable = True
                    raise
                log.info("%s dropped the upload; it begins again", self._store.provider)
            self._dropped = False
            self._transfer.begin_again()

    def _run_once(self) -> StoredFile:
        self._offset = self._index = 0
        self._hasher = self._new_hasher()
        first = self._next_part()
        if first.last and self._can.max_whole_bytes and len(first) <= self._can.max_whole_bytes:
            return self._put_whole(first)
        request, transfer = self._request, self._transfer
        upload = transfer.retry(lambda: transfer.attempt(lambda timeout: self._store._begin_upload(request, timeout)))
        try:
            return self._in_parts(upload, first)
        except BaseException:
            self._abort(upload)
            raise

    # -- sending --------------------------------------------------------------------------------------------

    def _put_whole(self, content: Part) -> StoredFile:
        digest = self._digest()
        stored = self._decide(
            lambda: self._transfer.attempt(
                lambda timeout: self._store._put_whole(self._request, content, digest, timeout)
            )
        )
        self._transfer.progress.add(len(content))
        return stored

    def _in_parts(self, upload: Upload, part: Part) -> StoredFile:
        size = min(self._transfer.store.concurrency, self._can.max_concurrency) if upload.parallel else 1
        with Crew(self._transfer, size) as crew:
            while not (part.last and upload.last_with_commit):
                crew.give(lambda part=part: self._send(crew, upload, part))  # type: ignore[misc]
                if part.last:
                    break
                part = self._next_part()
            crew.finish()
        return self._commit(upload, part if upload.last_with_commit else None)

    def _send(self, crew: Crew, upload: Upload, part: Part) -> None:
        if upload.parallel:
            self._transfer.retry(lambda: self._attempt(lambda timeout: upload.write_part(part, timeout)))
            self._transfer.progress.add(len(part))
        else:
            self._send_in_order(upload, part)
        self._source.recycle(part.data)
        crew.moved()

    def _send_in_order(self, upload: Upload, part: Part) -> None:
        rest, failed = part, False

        def step() -> None:
            nonlocal rest, failed
            if failed:
                rest = self._rest(upload, rest)
            failed = True
            if len(rest) or not len(part):
                self._attempt(lambda timeout: upload.write_part(rest, timeout))
                self._transfer.progress.add(len(rest))

        while True:
            before = rest.offset
            try:
                return self._transfer.retry(step)
            except CloudDirectError as error:
                if not error.retryable or rest.offset == before:
                    raise  # attempts are bounded only as long as nothing moves

    def _rest(self, upload: Upload, part: Part) -> Part:
        """Ask a sequential upload what it holds; return what of ``part`` it lacks."""
        held = self._attempt(upload.confirmed)
        if not part.offset <= held <= part.offset + len(part):
            self._dropped = True
            raise PreconditionFailedError(
                f"{self._store.provider} holds {held:,} bytes of an upload that had come to {part.offset:,}; put again",
                provider=self._store.provider, operation="put", resource=self._request.key,
            )  # fmt: skip
        self._transfer.progress.add(held - part.offset)
        return part.rest(held)

    def _attempt(self, call: Callable[[float], T]) -> T:
        try:
            return self._transfer.attempt(call)
        except PreconditionFailedError as error:
            # not this request but the whole upload is to be made again
            self._dropped = self._dropped or error.retryable
            error.retryable = False
            raise

    # -- committing -----------------------------------------------------------------------------------------

    def _commit(self, upload: Upload, last: Part | None) -> StoredFile:
        digest, size, rest, failed = self._digest(), self._offset, last, False

        def step() -> StoredFile:
            nonlocal rest, failed
            if failed and rest is not None:
                rest = self._rest(upload, rest)
            failed = True
            return self._attempt(lambda timeout: upload.commit(size, digest, rest, timeout))

        stored = self._decide(step)
        if rest is not None:
            self._transfer.progress.add(len(rest))
        return stored

    def _decide(self, commit: Callable[[], StoredFile]) -> StoredFile:
        """Make the request that makes the object visible, and keep in mind when one was never answered."""

        def step() -> StoredFile:
            self._transfer.check()
            try:
                return commit()
            except AlreadyExistsError as error:
                error.maybe_own_write = error.maybe_own_write or self._undecided
                raise
            except (UnavailableError, TimeoutError) as error:
                # what may pass was no answer; what is final is one, unless the provider says otherwise
                error.maybe_own_write = error.maybe_own_write or error.retryable
                self._undecided = self._undecided or error.maybe_own_write
                raise

        return self._transfer.retry(step)

    def _abort(self, upload: Upload) -> None:
        """Discard what was uploaded; the transfer is over by now, so this runs on a short patience of its own."""
        runtime, store = self._transfer.runtime, self._transfer.store
        patience = replace(runtime.retry, max_attempts=min(3, runtime.retry.max_attempts), deadline=10.0)
        timeout = min(10.0, runtime.stall_timeout)
        try:
            patience.call(
                lambda: store.attempt("put", self._request.key, lambda: upload.abort(timeout)),
                clock=runtime.clock, what="abort",
            )  # fmt: skip
        except CloudDirectError as error:
            log.warning("an upload to %s could not be discarded (%s); what was sent is invisible, but stays until the "
                        "service clears it away", self._store.provider, type(error).__name__)  # fmt: skip

    # -- reading --------------------------------------------------------------------------------------------

    def _next_part(self) -> Part:
        self._transfer.check()
        if self._can.max_parts is not None and self._index >= self._can.max_parts:
            raise self._too_large(f"{self._can.max_parts:,} parts of {self._part_size:,} bytes; use a larger part_size")
        data, last = self._source.read_part(self._part_size)
        if self._hasher is not None:
            self._hasher.update(data)
        part = Part(self._index, self._offset, data, last, self._transfer.check)
        self._index += 1
        self._offset += len(data)
        self._admit(self._offset)
        return part

    def _admit(self, size: int) -> None:
        if self._can.max_object_bytes is not None and size > self._can.max_object_bytes:
            raise self._too_large(f"{self._can.max_object_bytes:,} bytes")

    def _new_hasher(self) -> Hasher | None:
        algorithm = self._can.upload_digest
        if algorithm is None:
            return None
        hasher = self._store._hasher(algorithm)
        if hasher is None:
            raise UnsupportedError(f"the digest {algorithm} that {self._store.provider} takes cannot be computed here")
        return hasher

    def _digest(self) -> str | None:
        return None if self._hasher is None else self._hasher.digest().hex()

    def _too_large(self, limit: str) -> TooLargeError:
        return TooLargeError(
            f"the content is too large: {self._store.provider} takes at most {limit}",
            provider=self._store.provider, operation="put", resource=self._request.key,
        )  # fmt: skip
