"""Time the local store's put and download beside ``shutil.copyfile`` with the same durability.

Both leave the content flushed to the disk under its final name: the plain copy writes a temporary file beside the
target, flushes it, renames it and flushes the directory. The store does that too, and beside it computes SHA-256 of
what it reads and of what it wrote, and keeps a sidecar. The runs alternate, so that a slow moment of the machine
meets both.

    python benchmarks/bench_local_store.py [--sizes 1 20 200] [--rounds 7] [--directory DIR] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from clouddirect.durable import sync_directory, sync_file
from clouddirect_local.store import LocalStore
from clouddirect_local.store_options import LocalStoreOptions

MIB = 1 << 20


def copy_durably(source: Path, target: Path) -> None:
    """Copy a file as `shutil` does, with the same promise as the store's: flushed, and visible in one step."""
    temporary = target.with_name(target.name + ".tmp")
    shutil.copyfile(source, temporary)
    with open(temporary, "rb+") as file:
        sync_file(file.fileno())
    os.replace(temporary, target)
    sync_directory(target.parent)


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that ``action`` takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def measure(directory: Path, size: int, rounds: int) -> dict[str, float]:
    """Return the median seconds of each way for one file size in bytes."""
    source, plain, fetched = directory / "source", directory / "plain", directory / "fetched"
    source.write_bytes(os.urandom(size))
    ways: dict[str, Callable[[], object]] = {}
    with LocalStore(LocalStoreOptions(path=directory, container="bench", create=True)) as store:
        ways["copy"] = lambda: copy_durably(source, plain)
        ways["put"] = lambda: store.put("image", source)
        ways["download"] = lambda: store.download("image", fetched)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(rounds + 1):
            for name, action in ways.items():
                seconds = timed(action)
                if turn:  # the first one warms up
                    times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 20, 200], help="file sizes in MiB")
    parser.add_argument("--rounds", type=int, default=7, help="rounds, of which the median is told")
    parser.add_argument("--directory", type=Path, help="where to work; a temporary directory by default")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each line")
    options = parser.parse_args()
    for size in options.sizes:
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            medians = measure(Path(directory), size * MIB, options.rounds)
        for name in ("put", "download"):
            row = {
                "benchmark": f"local store {name}",
                "size_mib": size,
                "seconds": round(medians[name], 5),
                "copy_seconds": round(medians["copy"], 5),
                "ratio": round(medians[name] / medians["copy"], 2),
            }
            if options.json:
                print(json.dumps(row))
            else:
                print(
                    f"{row['benchmark']:22} {size:4} MiB {medians[name] * 1000:9.1f} ms"
                    f"   copyfile + fsync {medians['copy'] * 1000:9.1f} ms   {row['ratio']:5.2f}x"
                )


if __name__ == "__main__":
    sys.exit(main())
