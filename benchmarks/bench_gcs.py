"""Time the Cloud Storage store's put and download beside the SDK's own transfer_manager and obstore.

A small Cloud Storage server of the tests, the line before it and the clients are processes of their own. ``loopback``
is the server itself; ``line`` carries 10 MiB a second on each connection and direction, and adds 40 ms to each request,
as a service some hundred kilometres away does. The rounds alternate between all ways, so that a slow moment of the
machine meets all of them; the median is told, and how it compares with transfer_manager's.

- ``clouddirect``: with its defaults, ten parts of 5 MiB at once; every byte is verified, both ways.
- ``clouddirect 4x8``: the same with four parts of 8 MiB at once.
- ``transfer_manager``: 10 threads, parts of 8 MiB, checksums as it has them by default: of each part on the way up, of
  the whole on the way down. It holds a part in memory for each thread.
- ``obstore``: as it comes; it compares nothing on the way down.

    python benchmarks/bench_gcs.py [--sizes 1 20 200] [--rounds 5] [--places loopback line] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
MIB = 1 << 20
PART = 8 * MIB
BUCKET = "bench"
RATE, LATENCY = 10 * MIB, 0.04

Way = Callable[[], object]
Ways = dict[str, tuple[Way, Way]]

_SERVER = f"""
import sys, threading
from emulators.gcs import GcsServer
with GcsServer() as server:
    if len(sys.argv) > 1:  # what objects say of their own address, which transfer_manager downloads from
        server._json._base = server._xml._base = sys.argv[1]
    server.add_bucket({BUCKET!r})
    print(server.url, flush=True)
    threading.Event().wait()
"""


@contextmanager
def process(*command: str) -> Iterator[str]:
    """Run a server of the tests; yield the first line that it prints, where it can be reached."""
    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH", ""))))
    server = subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait(10)
        assert server.stdout is not None
        server.stdout.close()


@contextmanager
def loopback() -> Iterator[str]:
    """Run the server; yield its URL."""
    with process("-c", _SERVER) as url:
        yield url


@contextmanager
def line() -> Iterator[str]:
    """Run the server and the line before it; yield the line's URL."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    with process("-c", _SERVER, f"http://127.0.0.1:{port}") as url:
        to = url.rpartition(":")[2]
        how = ("--to", to, "--port", port, "--rate", str(RATE), "--latency", str(LATENCY))
        with process("-m", "emulators.http_line", *how) as line_url:
            yield line_url


def ours(url: str, source: Path, target: Path, opened: ExitStack, **runtime: int) -> tuple[Way, Way]:
    """Put and download with clouddirect, and that they verified what they did."""
    from clouddirect.storage import StoreRuntime
    from clouddirect_gcp.store import GcpStore
    from clouddirect_gcp.store_options import GcpStoreOptions

    options = GcpStoreOptions(container=BUCKET, endpoint=url, anonymous=True)
    store = opened.enter_context(GcpStore(options, StoreRuntime(**runtime)))

    def put() -> None:
        assert store.put("image", source).verified

    def download() -> None:
        assert store.download("image", target).verified == "crc32c"

    return put, download


def transfer_manager(url: str, source: Path, target: Path) -> tuple[Way, Way]:
    """Put and download with the SDK's own parallel transfers."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage
    from google.cloud.storage import transfer_manager as manager

    client = storage.Client(None, AnonymousCredentials(), client_options={"api_endpoint": url})
    blob = client.bucket(BUCKET).blob("image")
    how = {"chunk_size": PART, "max_workers": 10, "worker_type": manager.THREAD}

    def put() -> None:
        if source.stat().st_size > PART:
            manager.upload_chunks_concurrently(str(source), blob, **how)
        else:
            blob.upload_from_filename(str(source), checksum="crc32c")

    def download() -> None:
        fresh = client.bucket(BUCKET).blob("image")
        manager.download_chunks_concurrently(fresh, str(target), **how)

    return put, download


def obstore_ways(url: str, source: Path, target: Path) -> tuple[Way, Way]:
    """Put and download with obstore."""
    import obstore
    from obstore.store import GCSStore

    account = json.dumps(
        {"gcs_base_url": url, "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    )
    store = GCSStore(BUCKET, service_account_key=account, client_options={"allow_http": True, "timeout": "300s"})

    def put() -> None:
        obstore.put(store, "image", source, max_concurrency=10, chunk_size=PART)

    def download() -> None:
        with open(target, "wb") as file:
            for piece in obstore.get(store, "image").stream(MIB):
                file.write(piece)

    return put, download


def measure(url: str, directory: Path, size: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of each way, for put and for download."""
    source = directory / "source"
    source.write_bytes(os.urandom(size))
    times: dict[str, dict[str, list[float]]] = {"put": {}, "download": {}}
    with ExitStack() as opened:
        ways: Ways = {
            "clouddirect": ours(url, source, directory / "ours", opened),
            "clouddirect 4x8": ours(url, source, directory / "ours-4x8", opened, concurrency=4, part_size=PART),
            "transfer_manager": transfer_manager(url, source, directory / "manager"),
            "obstore": obstore_ways(url, source, directory / "obstore"),
        }
        for turn in range(rounds + 1):
            for name, (put, download) in ways.items():
                for what, action in (("put", put), ("download", download)):
                    began = time.perf_counter()
                    action()
                    if turn:  # the first one warms up
                        times[what].setdefault(name, []).append(time.perf_counter() - began)
    for target in ("ours", "ours-4x8", "manager", "obstore"):
        assert (directory / target).read_bytes() == source.read_bytes(), target
    return {what: {name: statistics.median(one) for name, one in by.items()} for what, by in times.items()}


def report(place: str, size: int, medians: dict[str, dict[str, float]], as_json: bool) -> None:
    """Print the medians of one size, and how they compare."""
    for what, by_name in medians.items():
        for name, seconds in by_name.items():
            row = {
                "benchmark": f"Cloud Storage {what}", "place": place, "size_mib": size // MIB, "way": name,
                "seconds": round(seconds, 4), "of_transfer_manager": round(by_name["transfer_manager"] / seconds, 2),
            }  # fmt: skip
            if as_json:
                print(json.dumps(row))
            else:
                print(f"{place:9} {what:9} {size // MIB:4} MiB  {name:17} {seconds * 1000:9.1f} ms   "
                      f"{row['of_transfer_manager']:5.2f}x the speed of transfer_manager")  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 20, 200], help="file sizes in MiB")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the median is told")
    parser.add_argument("--places", nargs="+", choices=["loopback", "line"], default=["loopback", "line"])
    parser.add_argument("--json", action="store_true", help="print one JSON object for each line")
    options = parser.parse_args()
    for place in options.places:
        with ExitStack() as started:
            url = started.enter_context(loopback() if place == "loopback" else line())
            for size in options.sizes:
                with tempfile.TemporaryDirectory() as directory:
                    medians = measure(url, Path(directory), size * MIB, options.rounds)
                report(place, size * MIB, medians, options.json)


if __name__ == "__main__":
    sys.exit(main())
