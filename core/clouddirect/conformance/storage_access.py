"""Cases about who may do what, and about what a transfer costs: credentials, signed URLs, memory, observers,
closing."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clouddirect.conformance.storage_harness import AT_ONCE, MIB, StorageHarness, content
from clouddirect.errors import ClosedError, CloudDirectError, PermissionDeniedError, UnsupportedError
from clouddirect.observers import FileEvent, Observers, hookimpl
from clouddirect.storage import FileStore, PresignedUrl

__all__ = ["AccessCases"]

_MEASURE = """
import os, sys, threading
import psutil

{opening}

class Endless:
    left = {size}
    def read(self, size):
        size = min(size, self.left, 1 << 20)
        self.left -= size
        return os.urandom(size)

def resident():
    return psutil.Process().memory_info().rss

store.put("warm", b"x" * 1000)
store.download("warm", {target!r})
idle = peak = resident()
done = threading.Event()

def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, resident())

watcher = threading.Thread(target=watch)
watcher.start()
store.put("huge", Endless())
store.download("huge", {target!r})
done.set()
watcher.join()
print((peak - idle) >> 10)
"""


class _Witness:
    """An observer that notes what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, int | None]] = []

    @hookimpl
    def clouddirect_file_stored(self, event: FileEvent) -> None:
        """Note it."""
        self.events.append((event.outcome, event.key, event.size))

    @hookimpl
    def clouddirect_file_read(self, event: FileEvent) -> None:
        """Note it."""
        self.events.append((event.outcome, event.key, event.size))


class AccessCases(StorageHarness):
    """Access and costs."""

    def test_put_sends_nothing_but_writes(self) -> None:
        """A write-only credential stores in one request, in parts and with ``if_absent``; only write requests are
        made."""
        store: FileStore = self.need("write_only_store", **self.small_parts())
        self.need("requests_seen")
        store.put("small", b"content", content_type="image/jpeg", metadata={"eye": "OD"})
        store.put("parts", content(3 * self.part_size(store)))
        store.put("absent", b"content", if_absent=True)
        assert set(self.requests_seen()) == {"write"}
        assert self.open().get("parts") == content(3 * self.part_size(store))

    def test_get_sends_nothing_but_reads(self, tmp_path: Path) -> None:
        """A read-only credential reads, streams, downloads and looks; only read requests are made."""
        data = content(3 * self.part_size(self.open()))
        self.open().put("kept", data)
        store: FileStore = self.need("read_only_store", **self.small_parts())
        self.need("requests_seen")
        assert store.get("kept") == data
        with store.open("kept", 10, 10) as stream:
            assert stream.read() == data[10:20]
        store.download("kept", tmp_path / "kept")
        assert store.stat("kept").size == len(data)
        assert store.exists("kept")
        assert set(self.requests_seen()) == {"read"}

    def test_write_only_cannot_read(self, tmp_path: Path) -> None:
        """What the credential may not do is `PermissionDeniedError` (a PermissionError), never "missing"."""
        store: FileStore = self.need("write_only_store")
        store.put("kept", b"content")
        calls: tuple[Callable[[], Any], ...] = (
            lambda: store.get("kept"), lambda: store.open("kept"), lambda: store.stat("kept"),
            lambda: store.download("kept", tmp_path / "x"), lambda: list(store.list()),
        )  # fmt: skip
        for call in calls:
            with pytest.raises(PermissionDeniedError) as denied:
                call()
            assert isinstance(denied.value, PermissionError)
            assert not denied.value.retryable

    def test_read_only_cannot_write(self) -> None:
        """Neither storing, in one request or in parts, nor deleting is possible; what is there stays."""
        self.open().put("kept", b"content")
        store: FileStore = self.need("read_only_store", **self.small_parts())
        calls: tuple[Callable[[], Any], ...] = (
            lambda: store.put("kept", b"other"), lambda: store.put("new", content(3 * self.part_size(store))),
            lambda: store.delete("kept"),
        )  # fmt: skip
        for call in calls:
            with pytest.raises(PermissionDeniedError):
                call()
        assert [getattr(one, "key", None) for one in store.list()] == ["kept"]
        assert store.get("kept") == b"content"

    def test_check_tells_what_the_credential_may(self, store: FileStore) -> None:
        """``check`` never raises and writes nothing; it fails where the credential does not do, with the error in
        it."""
        for access in ("read", "write"):
            assert store.check(access).status != "failed"
        assert not list(store.list())
        blind: FileStore = self.need("write_only_store")
        assert blind.check("write").status != "failed"
        assert blind.check("read").status in ("failed", "unverified")
        mute: FileStore = self.need("read_only_store")
        assert mute.check("read").status != "failed"
        assert mute.check("write").status in ("failed", "unverified")
        assert not list(store.list())

    # -- signed URLs ----------------------------------------------------------------------------------------

    @pytest.mark.parametrize("method", ["GET", "PUT"])
    def test_presigned_url(self, store: FileStore, method: Any) -> None:
        """A signed URL does its one thing without a credential, until it expires; an undeclared one is refused."""
        if method not in store.capabilities.presign:
            with pytest.raises(UnsupportedError) as refused:
                store.presign("signed", method=method)
            assert refused.value.code == "presign"
            return
        store.put("signed", b"content")
        signed = store.presign("signed", method=method, expires=60)
        assert signed.url not in repr(signed)
        if method == "GET":
            assert _request(signed) == b"content"
        else:
            _request(signed, b"written by URL")
            assert store.get("signed") == b"written by URL"
        other = signed.url.replace("signed", "other", 1)
        assert _refusal(replace(signed, url=other)) in (400, 401, 403), "a URL is for one key alone"
        short = store.presign("signed", method=method, expires=1)
        self.let_pass(2.5)
        assert _refusal(short) in (400, 401, 403), "a URL ends with its time"

    def let_pass(self, seconds: float) -> None:
        """Let time pass for the service. Override it where its clock can be moved."""
        threading.Event().wait(seconds)

    # -- costs ----------------------------------------------------------------------------------------------

    def test_memory_stays_within_its_budget(self, tmp_path: Path) -> None:
        """Storing and downloading 200 MiB needs at most 64 MiB more than an idle process, with the default settings."""
        opening: str = self.need("opening_program")
        program = _MEASURE.format(opening=opening, size=200 * MIB, target=str(tmp_path / "huge"))
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=False)
        assert run.returncode == 0, run.stderr
        assert (tmp_path / "huge").stat().st_size == 200 * MIB
        assert int(run.stdout) <= 64 * 1024, f"{int(run.stdout) / 1024:.0f} MiB above idle"

    # -- the rest -------------------------------------------------------------------------------------------

    def test_observers_are_told(self, tmp_path: Path) -> None:
        """Observers are told of what was stored, read to its end and deleted; what failed is not told."""
        witness = _Witness()
        store = self.open(observers=Observers([witness]))
        store.put("seen", b"content")
        store.get("seen")
        store.download("seen", tmp_path / "seen")
        with store.open("seen", 0, 3) as stream:
            stream.read()
        with pytest.raises(CloudDirectError):
            store.get("missing")
        store.delete("seen")
        assert witness.events == [
            ("stored", "seen", 7), ("read", "seen", 7), ("read", "seen", 7), ("deleted", "seen", None),
        ]  # fmt: skip

    def test_closed_store_refuses(self) -> None:
        """After ``close`` every call, and every stream that is still open, raises `ClosedError`; closing again is
        nothing."""
        store = self.make_store()
        size = 40 * self.part_size(store)
        store.put("kept", content(size))
        stream = store.open("kept")
        assert stream.read(1) == content(size)[:1]
        store.close()
        store.close()
        calls: tuple[Callable[[], Any], ...] = (
            lambda: store.put("kept", b"other"), lambda: store.get("kept"), lambda: store.open("kept"),
            lambda: store.download("kept", "never-written"), lambda: store.stat("kept"), lambda: store.exists("kept"),
            lambda: store.list(), lambda: store.delete("kept"), lambda: store.presign("kept"),
            lambda: store.check("read"), lambda: store.native, lambda: stream.read(),
        )  # fmt: skip
        for call in calls:
            with pytest.raises(ClosedError):
                call()
        stream.close()
        assert self.open().get("kept") == content(size)

    def test_close_lets_transfers_finish(self) -> None:
        """``close`` waits for what is under way; what is not done when its time is up raises `ClosedError` and leaves
        nothing."""
        runtime = self.small_parts()
        for key, patience, finishes in (("finished", 30.0, True), ("ended", 0.0, False)):
            store = self.make_store(**runtime, retry=AT_ONCE)
            begun, closing = threading.Event(), threading.Event()
            pieces = [content(runtime["part_size"])] * 3
            outcome: list[object] = []

            class Waiting:
                def read(self, size: int, /, pieces=pieces, begun=begun, closing=closing) -> bytes:  # type: ignore[no-untyped-def]
                    begun.set()
                    closing.wait(30)
                    return pieces.pop()[:size] if pieces else b""

            def put(store=store, key=key, outcome=outcome) -> None:  # type: ignore[no-untyped-def]
                try:
                    outcome.append(store.put(key, Waiting()))
                except CloudDirectError as error:
                    outcome.append(error)

            thread = threading.Thread(target=put)
            thread.start()
            begun.wait(30)
            closer = threading.Thread(target=store.close, args=(patience,))
            closer.start()
            while not store.inside.closed or (not finishes and not store._closing.is_set()):
                closer.join(0.01)
            closing.set()
            thread.join(60)
            closer.join(60)
            assert isinstance(outcome[0], ClosedError) is not finishes, outcome
            assert self.open().exists(key) is finishes

    def test_native_client_is_reachable(self, store: FileStore) -> None:
        """``native`` gives what the portable interface does not cover."""
        assert store.native is not None

    def test_no_secret_shows(self, store: FileStore, caplog: pytest.LogCaptureFixture) -> None:
        """No text of the credential is in an error, its traceback, a log line or a repr."""
        secrets: list[str] = list(self.need("secrets"))
        caplog.set_level(logging.DEBUG)
        shown = [repr(store), repr(store.capabilities), repr(store.runtime)]
        attempts: list[Callable[[], Any]] = [lambda: store.get("missing"), lambda: store.put("bad//key", b"")]
        for method in ("write_only_store", "read_only_store", "store_with_missing_container"):
            if (other := getattr(self, method)()) is not NotImplemented:
                self._opened.enter_context(other)
                shown.append(repr(other))
                attempts += [lambda other=other: other.get("key"), lambda other=other: other.put("key", b"content")]  # type: ignore[misc]
        for attempt in attempts:
            try:
                attempt()
            except CloudDirectError as error:
                shown += [str(error), repr(error), *traceback.format_exception(error)]
        shown += [record.getMessage() for record in caplog.records]
        assert not [text for text in shown for secret in secrets if secret in text]


def _request(signed: PresignedUrl, body: bytes | None = None) -> bytes:
    data = body if signed.method == "PUT" else None
    request = urllib.request.Request(signed.url, data=data, method=signed.method, headers=dict(signed.headers))  # noqa: S310 - the store's own URL
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        return bytes(response.read())


def _refusal(signed: PresignedUrl) -> int:
    try:
        _request(signed, b"refused")
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code
    return 200
