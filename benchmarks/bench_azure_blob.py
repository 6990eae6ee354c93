"""Time put and download of Azure blobs beside the tuned SDK and obstore, and measure the memory that each needs.

Azurite, from npm, is the server. On the "line" each connection carries 10 MiB/s each way and each request waits 40 ms,
as over a good line to another region: an HTTP proxy in a process of its own sees to that. "loopback" is Azurite
directly, where the speed of hashing and copying shows. Every transfer runs in a child process of its own, which first
moves a small blob; its time is then taken inside, and its memory, by this process, as the highest resident size while
it runs less the one before. The ways take turns, so that a slow moment of the machine meets all. What they do:

    clouddirect      the defaults: 4 parts of 8 MiB at once; digests sent, kept, and compared after a download
    clouddirect-10   the same with 10 parts of 3 MiB at once, for the SDK has 10 connections
    clouddirect-16   the same with 16 parts of 2 MiB at once
    sdk              azure-storage-blob with blocks and ranges of 8 MiB, 10 connections; nothing is compared
    obstore          its defaults up (12 parts of 5 MiB), its one stream down; nothing is compared

The line itself must not be what is measured: its own limit is told first, with 10 connections and no pace.

    python benchmarks/bench_azure_blob.py [--sizes 1 20 200] [--rounds 5] [--places line loopback] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

MIB = 1 << 20
RATE = 10 * MIB
LATENCY = 0.04
WAYS = ("clouddirect", "clouddirect-10", "clouddirect-16", "sdk", "obstore")


# -- in the child -------------------------------------------------------------------------------------------


def clouddirect_way(url: str, key: str, **runtime: int) -> tuple[Callable[..., object], Callable[..., object]]:
    """Return our put and download."""
    from clouddirect.storage import StoreRuntime
    from clouddirect_azure.store import AzureStore
    from clouddirect_azure.store_options import AzureStoreOptions

    options = AzureStoreOptions(container="bench", account_url=url, account_key=key)  # type: ignore[arg-type]
    store = AzureStore(options, StoreRuntime(**runtime))  # type: ignore[arg-type]
    return store.put, store.download


def sdk_way(url: str, key: str) -> tuple[Callable[..., object], Callable[..., object]]:
    """Return the SDK's upload and download, tuned."""
    from azure.storage.blob import ContainerClient

    account = url.rsplit("/", 1)[1]
    client = ContainerClient(
        url, "bench", credential={"account_name": account, "account_key": key}, max_block_size=8 * MIB,
        max_single_put_size=8 * MIB, max_chunk_get_size=8 * MIB, max_single_get_size=8 * MIB,
    )  # fmt: skip

    def put(name: str, path: str) -> None:
        with open(path, "rb") as source:
            client.upload_blob(name, source, overwrite=True, max_concurrency=10)

    def download(name: str, path: str) -> None:
        with open(path, "wb") as target:
            client.download_blob(name, max_concurrency=10).readinto(target)

    return put, download


def obstore_way(url: str, key: str) -> tuple[Callable[..., object], Callable[..., object]]:
    """Return obstore's put and streamed get."""
    import obstore
    from obstore.store import AzureStore

    account = url.rsplit("/", 1)[1]
    store = AzureStore(
        "bench", account_name=account, account_key=key, endpoint=url, client_options={"allow_http": True}
    )

    def put(name: str, path: str) -> None:
        with open(path, "rb") as source:
            obstore.put(store, name, source)

    def download(name: str, path: str) -> None:
        with open(path, "wb") as target:
            for piece in obstore.get(store, name).stream(min_chunk_size=MIB):
                target.write(piece)

    return put, download


def work(way: str, direction: str, url: str, key: str, path: str) -> None:
    """Move one blob, and print how many seconds it took; waits for a line on the input before it begins."""
    ways: dict[str, Callable[[], tuple[Callable[..., object], Callable[..., object]]]] = {
        "clouddirect": lambda: clouddirect_way(url, key),
        "clouddirect-10": lambda: clouddirect_way(url, key, concurrency=10, part_size=3 * MIB),
        "clouddirect-16": lambda: clouddirect_way(url, key, concurrency=16, part_size=2 * MIB),
        "sdk": lambda: sdk_way(url, key),
        "obstore": lambda: obstore_way(url, key),
    }
    put, download = ways[way]()
    with tempfile.TemporaryDirectory() as directory:
        small = Path(directory, "small")
        small.write_bytes(b"warm")
        put("warm", str(small))
        download("warm", str(small))
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    (put if direction == "put" else download)("blob", path)
    print(time.perf_counter() - began, flush=True)


# -- in the parent ------------------------------------------------------------------------------------------


def measure(way: str, direction: str, url: str, key: str, path: Path) -> tuple[float, float]:
    """Run a child; return its seconds and the MiB that it needed beyond those of an idle one."""
    import psutil

    command = [sys.executable, __file__, "--work", way, direction, url, key, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        if child.stdout.readline() != "ready\n":
            raise SystemExit(f"the child for {way} failed")
        process = psutil.Process(child.pid)
        idle = peak = process.memory_info().rss
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.005):
                peak = max(peak, process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        child.stdin.write("go\n")
        child.stdin.flush()
        told = child.stdout.readline()
        done.set()
        watcher.join()
    if child.returncode:
        raise SystemExit(f"the child for {way} failed")
    return float(told), (peak - idle) / MIB


@contextmanager
def line_to(port: int, *pace: str) -> Iterator[str]:
    """Run the proxy as a process; yields its URL."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1] / "tests")}
    command = [sys.executable, "-m", "emulators.http_line", "--to", str(port), *pace]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@contextmanager
def place(name: str) -> Iterator[tuple[str, str]]:
    """Run a server of its own, for Azurite keeps what was overwritten, and the line to it; yields URL and key."""
    from azure.storage.blob import ContainerClient

    from emulators.azurite import ACCOUNT, azurite

    with ExitStack() as opened:
        server = opened.enter_context(azurite())
        with ContainerClient.from_connection_string(server.connection_string(), "bench") as container:
            container.create_container()
        if name == "loopback":
            yield server.url(), server.key
            return
        pace = ["--rate", str(RATE), "--latency", str(LATENCY)] if name == "line" else []
        yield f"{opened.enter_context(line_to(server.port, *pace))}/{ACCOUNT}", server.key


def report(row: dict[str, Any], as_json: bool) -> None:
    """Print one result."""
    if as_json:
        print(json.dumps(row), flush=True)
        return
    print(
        f"{row['place']:9} {row['direction']:9} {row['size_mib']:4} MiB  {row['way']:15}"
        f"{row['seconds']:8.3f} s {row['mib_a_second']:8.1f} MiB/s {row['memory_mib']:7.1f} MiB memory"
        f"   {row['speed_ratio']:5.2f}x speed, {row['memory_ratio']:5.2f}x memory of the SDK",
        flush=True,
    )


def compare(place: str, url: str, key: str, size: int, rounds: int, ways: list[str], as_json: bool) -> None:
    """Measure all ways with one size in bytes at one place."""
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "source"), Path(directory, "target")
        with open(source, "wb") as file:
            for _ in range(size // MIB):
                file.write(os.urandom(MIB))
        for direction, path in (("put", source), ("download", target)):
            runs: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way in ways:
                    runs[way].append(measure(way, direction, url, key, path))
            medians = {way: [statistics.median(column) for column in zip(*runs[way], strict=True)] for way in ways}
            for way, (seconds, memory) in medians.items():
                beside = medians.get("sdk", [seconds, memory])
                row = {
                    "place": place, "direction": direction, "size_mib": size // MIB, "way": way,
                    "seconds": round(seconds, 4), "mib_a_second": round(size / MIB / seconds, 1),
                    "memory_mib": round(memory, 1), "speed_ratio": round(beside[0] / seconds, 3),
                    "memory_ratio": round(memory / max(beside[1], 0.1), 3),
                }  # fmt: skip
                report(row, as_json)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 20, 200], help="sizes in MiB")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the medians are told")
    parser.add_argument("--places", nargs="+", choices=["line", "loopback"], default=["line", "loopback"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--json", action="store_true", help="print one JSON object for each result")
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(*options.work)
        return
    if "line" in options.places:
        with place("free line") as (url, key):
            compare("free line", url, key, 200 * MIB, 1, ["clouddirect-16"], options.json)
    for name in options.places:
        for size in options.sizes:
            with place(name) as (url, key):
                compare(name, url, key, size * MIB, options.rounds, options.ways, options.json)


if __name__ == "__main__":
    main()
