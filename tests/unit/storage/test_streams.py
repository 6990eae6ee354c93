"""Streams: ranges of one version, verified, resumed; closed when they are left."""

from __future__ import annotations

from typing import Any

import pytest

from clouddirect.errors import (
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)
from unit.storage.conftest import DATA, KIB, PART, count


def test_get_asks_once_for_the_whole(service: Any, store: Any) -> None:
    assert store.get("key") == DATA
    assert (count(service, "read"), count(service, "stat"), count(service, "close")) == (1, 0, 1)


def test_a_stream_says_what_was_verified(store: Any, shape: str) -> None:
    with store.open("key") as stream:
        assert stream.file.verified is None
        assert "key" in repr(stream)
        assert stream.read(PART) + stream.read() == DATA
        assert stream.file.verified == {"parts": "crc32", "blocks": "md5-ranges", "resumable": "adler32"}[shape]
    with store.open("key", 10) as stream:
        stream.read()
        assert stream.file.verified is None, "a part of it has no digest"


def test_seeking_asks_for_what_is_read_only(service: Any, store: Any) -> None:
    with store.open("key") as stream:
        stream.read(1)
        stream.seek(200 * KIB)
        stream.seek(220 * KIB)
        assert stream.read(10) == DATA[220 * KIB : 220 * KIB + 10]
        assert count(service, "read") == 2
        with pytest.raises(ValueError, match="before the beginning"):
            stream.seek(-1)
        assert stream.seek(len(DATA) + 100) == len(DATA) + 100
        assert stream.read() == b""
    assert count(service, "close") == 2


def test_a_stream_resumes_and_gives_up(service: Any, store: Any) -> None:
    with store.open("key") as stream:
        assert stream.read(5) == DATA[:5]
        service.faults["chunk"].extend([None, UnavailableError("reset"), UnavailableError("reset")])
        assert stream.read(200 * KIB) == DATA[5 : 200 * KIB + 5]
        service.faults["chunk"].extend(UnavailableError("reset") for _ in range(4))
        with pytest.raises(UnavailableError):
            stream.read()


def test_a_stream_that_is_left_early_gives_its_connection_back(service: Any, store: Any) -> None:
    stream = store.open("key")
    stream.read(5)
    stream.close()
    stream.close()
    assert count(service, "close") == 1
    with pytest.raises(ValueError, match="closed"):
        stream.read()


def test_a_connection_that_cannot_be_given_back_harms_nobody(store: Any) -> None:
    read = store._read

    def stuck(*arguments: Any) -> Any:
        opened = read(*arguments)
        opened.close = lambda: (_ for _ in ()).throw(OSError("already gone"))
        return opened

    store._read = stuck
    assert store.get("key") == DATA


def test_opening_fails_at_once(store: Any) -> None:
    with pytest.raises(NotFoundError) as missing:
        store.open("missing")
    assert missing.value.operation == "open"
    store.access = "write"
    with pytest.raises(PermissionDeniedError):
        store.open("key")
