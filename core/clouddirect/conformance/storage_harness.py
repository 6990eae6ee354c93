"""`StorageHarness`: what a provider's test class offers to the storage cases."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, ClassVar, Literal

import pytest

from clouddirect.retry import RetryPolicy
from clouddirect.storage import FileStore

__all__ = ["AT_ONCE", "Fault", "KIB", "MIB", "StorageHarness", "content"]

KIB, MIB = 1 << 10, 1 << 20

#: Retries without waiting, for cases with faults.
AT_ONCE = RetryPolicy(max_attempts=4, base_delay=0.0, max_delay=0.0)

#: The faults of `StorageHarness.faulty_store`.
Fault = Literal["cut", "slow", "stall", "refuse", "lost-reply"]


def content(size: int, seed: object = 0) -> bytes:
    """Return ``size`` bytes that look random and are the same for the same seed."""
    block = random.Random(f"{size}/{seed}").randbytes(min(size, MIB))
    # no two blocks are equal, or an exchange of parts would go unnoticed
    starts = (hashlib.sha256(f"{seed}/{number}".encode()).digest() for number in range(-(-size // MIB)))
    return b"".join(start + block[32:] for start in starts)[:size]


class StorageHarness:
    """Override `make_store`, and as many of the other methods as the provider can be tested with.

    A method that returns NotImplemented skips the cases that need it. With ``complete = True`` that is a failure
    instead, unless ``without`` names the method and says why: so a provider's own suite cannot lose cases unnoticed.
    """

    #: Whether every method must offer something, those in ``without`` excepted.
    complete: ClassVar[bool] = False
    #: Names of methods that offer nothing, each with the reason.
    without: ClassVar[Mapping[str, str]] = {}
    #: Bytes of the content that goes over a slow line.
    slow_size: ClassVar[int] = 10 * MIB

    def make_store(self, **runtime: Any) -> FileStore:
        """Open a store that may do everything, with these fields of `StoreRuntime`.

        Its container is empty when a test begins; called again in the same test, it opens the same container again.
        """
        pytest.fail(f"{type(self).__name__} must override make_store()")

    def write_only_store(self, **runtime: Any) -> Any:
        """Open the same container with a credential that may only write."""
        return NotImplemented

    def read_only_store(self, **runtime: Any) -> Any:
        """Open the same container with a credential that may only read and list."""
        return NotImplemented

    def store_with_missing_container(self) -> Any:
        """Open a container that does not exist, with a credential that would be good for it."""
        return NotImplemented

    def corrupt_stored(self, key: str) -> Any:
        """Flip one byte of what is stored under ``key``, at rest or on its way to the reader; return the store to read
        with."""
        return NotImplemented

    def corrupting_upload_store(self) -> Any:
        """Open the same container so that one byte of every part that is uploaded flips after it has left core."""
        return NotImplemented

    def faulty_store(self, fault: Fault, **runtime: Any) -> Any:
        """Open the same container behind a line or service with a fault.

        - ``cut``: the connection breaks once in the middle of an upload, and once in the middle of a download.
        - ``slow``: about 1 MiB passes a second, by the store's clock.
        - ``stall``: after the first bytes of a download, or the first part of an upload, nothing moves any more,
          however often it is tried.
        - ``refuse``: after the first part of an upload the service fails every request of it for good.
        - ``lost-reply``: the first request that makes an object visible is carried out, but its answer never arrives.
        """
        return NotImplemented

    def requests_seen(self) -> Any:
        """Return the kinds of requests that the service got since the last call: ``write``, ``read``, ``list``,
        ``other``."""
        return NotImplemented

    def opening_program(self) -> Any:
        """Return Python statements that open the same container in another process, as ``store``."""
        return NotImplemented

    def secrets(self) -> Any:
        """Return texts of the credential in use, none of which may show anywhere."""
        return NotImplemented

    # -- for the cases --------------------------------------------------------------------------------------

    @pytest.fixture(autouse=True)
    def _close_what_was_opened(self) -> Iterator[None]:
        with ExitStack() as opened:
            self._opened = opened
            yield

    @pytest.fixture
    def store(self) -> FileStore:
        """The store that may do everything."""
        return self.open()

    def open(self, **runtime: Any) -> FileStore:
        """`make_store`, closed when the test ends."""
        return self._opened.enter_context(self.make_store(**runtime))

    def need(self, method: str, *arguments: Any, **runtime: Any) -> Any:
        """Call a method of the harness; skip the case if it offers nothing. Stores are closed when the test ends."""
        offered = getattr(self, method)(*arguments, **runtime)
        if offered is NotImplemented:
            reason = self.without.get(method)
            if reason is None and self.complete:
                pytest.fail(f"{type(self).__name__} is complete, but its {method}() offers nothing")
            pytest.skip(reason or f"{type(self).__name__} does not override {method}()")
        if isinstance(offered, FileStore):
            self._opened.enter_context(offered)
        return offered

    def part_size(self, store: FileStore) -> int:
        """A part as small as the service takes it, so that a few parts are little content."""
        can = store.capabilities
        size = max(64 * KIB, can.min_part_bytes)
        return -(-size // can.part_multiple) * can.part_multiple

    def small_parts(self) -> dict[str, int]:
        """The runtime override for `part_size`."""
        with self.make_store() as store:
            return {"part_size": self.part_size(store)}
