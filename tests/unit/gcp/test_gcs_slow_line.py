"""A clinic's uplink of 1 MiB/s, on the real wire: uploads complete, and send hardly more than they must."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import pytest

from clouddirect.conformance.storage_harness import MIB, content
from clouddirect.storage import FileStore, StoreRuntime
from clouddirect_gcp.store import GcpStore
from clouddirect_gcp.store_options import GcpStoreOptions
from emulators.gcs import GcsServer
from emulators.http_line import Cut, HttpLine
from unit.gcp.gcs_fixtures import is_content


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with GcsServer() as server:
        server.add_bucket("images")
        yield server


def open_store(line: HttpLine, **runtime: float) -> FileStore:
    """A store behind the line."""
    options = GcpStoreOptions(container="images", endpoint=line.url, anonymous=True)
    return GcpStore(options, StoreRuntime(**runtime))  # type: ignore[arg-type]  # numbers all


@pytest.mark.parametrize("if_absent", [True, False], ids=["in order", "in parallel"])
@pytest.mark.parametrize(
    ("size", "rate"),
    [
        (10 * MIB, 4 * MIB),  # a few seconds; at 1 MiB/s it is one of the conformance suite's cases
        *(pytest.param(size * MIB, MIB, marks=[pytest.mark.long, pytest.mark.timeout(900)]) for size in (40, 100)),
    ],
)
def test_slow_uplink_completes(server: GcsServer, size: int, rate: float, if_absent: bool) -> None:
    """Everything arrives, with at most 1.1 times its bytes, with the default settings."""
    data = content(size)
    with HttpLine(server.port, shared_rate=rate) as line, open_store(line) as store:
        assert store.put("key", data, if_absent=if_absent).verified == "crc32c"
        assert server.read("images", "key") == data
        assert size <= line.bytes_up <= 1.1 * size


def test_cut_connection_costs_little(server: GcsServer) -> None:
    """A session keeps what has arrived of a chunk; only the rest is sent again."""
    data, parts = content(20 * MIB), itertools.count(1)
    rule = lambda request: Cut(6 * MIB) if is_content(request) and next(parts) % 2 else None  # noqa: E731
    # at this rate nothing piles up before the server, where a broken connection would lose it
    with HttpLine(server.port, rule=rule, rate=20 * MIB) as line, open_store(line) as store:
        store.put("key", data, if_absent=True)
        assert server.read("images", "key") == data
        assert line.bytes_up <= 1.1 * len(data)


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="this system does not tell unsent bytes apart")
def test_patience_is_for_standstill_alone(server: GcsServer) -> None:
    """No timeout counts what lies in the system's buffers while the answer is awaited, although it moves."""
    data = content(8 * MIB)
    with HttpLine(server.port, shared_rate=MIB) as line, open_store(line, stall_timeout=1.7) as store:
        store.put("key", data)
        assert [one.status for one in line.seen] == [200]
