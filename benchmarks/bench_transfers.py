"""Put and download of files in each cloud's store, beside its SDK's own parallel transfers and obstore.

    python benchmarks/bench_transfers.py [--clouds azure aws gcp] [--places line loopback] [--sizes 1 20 200]

Each cloud has a test server on this machine: Azurite, and the project's own small S3 and Cloud Storage. On the "line"
every connection carries 10 MiB a second each way and every request waits 40 ms, as over a good line to another region;
a proxy in a process of its own sees to that. "loopback" is the server itself, where hashing and copying are most of the
time. Every transfer runs in a process of its own, which first moves a small file; its time is taken inside, and its
memory by this process: the highest resident size while it runs, less the one before. The ways take turns, so that a
slow moment of the machine meets all; the medians are told.

    clouddirect   with its defaults for that cloud; digests are sent, kept, and compared after a download
    sdk           the vendor's transfers, tuned; what they compare is theirs to say
    obstore       tuned alike on the way up; one stream down, with nothing compared

What a way stored is fetched again by that way, and must be what was sent. ``--bytes`` counts instead what crosses the
wire for one put and one download, beside the file's own size. With ``--json`` one object a line.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transfer_ways import CLOUDS, MIB, TESTS, Way

sys.path.insert(0, str(TESTS))

RATE, LATENCY = 10 * MIB, 0.04
DIRECTIONS = ("put", "download")


def work(cloud: str, way: str, direction: str, url: str, path: str) -> None:
    """In the child: move one file when told to on the input, and print how many seconds it took."""
    put, download = CLOUDS[cloud].ways[way](url, sys.stdin.readline().strip())
    with tempfile.TemporaryDirectory() as directory:
        small = str(Path(directory, "small"))
        Path(small).write_bytes(b"warm")
        put(f"{way}/warm", small)
        download(f"{way}/warm", small)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    (put if direction == "put" else download)(f"{way}/file", path)
    print(time.perf_counter() - began, flush=True)
    os._exit(0)  # the clients' own threads and pools are not waited for


def measure(cloud: str, way: str, direction: str, url: str, secret: str, path: Path) -> tuple[float, float]:
    """Run a child; return its seconds, and the MiB that it needed beyond those of an idle one."""
    import psutil

    command = [sys.executable, __file__, "--work", cloud, way, direction, url, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{secret}\n")
        child.stdin.flush()
        if child.stdout.readline() != "ready\n":
            raise SystemExit(f"{cloud}, {way}: the child failed")
        process = psutil.Process(child.pid)
        sizes, done = [process.memory_info().rss], threading.Event()

        def watch() -> None:
            while not done.wait(0.005):
                sizes.append(process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        child.stdin.write("go\n")
        child.stdin.flush()
        told = child.stdout.readline()
        done.set()
        watcher.join()
    if not told:
        raise SystemExit(f"{cloud}, {way}: the {direction} failed")
    return float(told), (max(sizes) - sizes[0]) / MIB


@contextmanager
def serving(cloud: str, place: str) -> Iterator[tuple[str, str]]:
    """Run a server, and the line to it; yields the URL and the secret."""
    from emulators.processes import Server, accepts, free_port

    port = free_port() if place == "line" else None
    with CLOUDS[cloud].server(port) as running:
        if port is None:
            yield f"http://127.0.0.1:{running.port}{running.path}", running.secret
            return
        command = [sys.executable, "-m", "emulators.http_line", "--to", str(running.port), "--port", str(port)]
        command += ["--rate", str(RATE), "--latency", str(LATENCY)]
        with Server(command, ready=lambda: accepts(port), environment={"PYTHONPATH": str(TESTS)}):
            yield f"http://127.0.0.1:{port}{running.path}", running.secret


def compare(cloud: str, place: str, size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Measure all ways with one size in MiB at one place."""
    runs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with serving(cloud, place) as (url, secret), tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "source"), Path(directory, "target")
        source.write_bytes(os.urandom(size * MIB))
        for turn in range(rounds + 1):
            for way in CLOUDS[cloud].ways:
                for direction, path in zip(DIRECTIONS, (source, target), strict=True):
                    found = measure(cloud, way, direction, url, secret, path)
                    if turn or rounds == 1:  # the first round warms up
                        runs.setdefault((direction, way), []).append(found)
                if not filecmp.cmp(source, target, shallow=False):
                    raise SystemExit(f"{cloud}, {way}: stored or fetched something else")
                target.unlink()
    medians = {key: [statistics.median(column) for column in zip(*run, strict=True)] for key, run in runs.items()}
    for (direction, way), (seconds, memory) in medians.items():
        beside = medians[direction, "sdk"]
        yield {
            "cloud": cloud, "place": place, "size_mib": size, "direction": direction, "way": way,
            "seconds": round(seconds, 4), "mib_per_s": round(size / seconds, 1), "memory_mib": round(memory, 1),
            "speed_ratio": round(beside[0] / seconds, 2), "memory_ratio": round(memory / max(beside[1], 0.1), 2),
        }  # fmt: skip


def on_the_wire(cloud: str, size: int) -> Iterator[dict[str, Any]]:
    """Count the bytes that cross the wire for a file of so many MiB, through a line in this process."""
    from emulators.http_line import HttpLine

    with CLOUDS[cloud].server(None) as running, HttpLine(running.port) as line, tempfile.TemporaryDirectory() as where:
        path = Path(where, "file")
        path.write_bytes(os.urandom(size * MIB))
        way: Way = CLOUDS[cloud].ways["clouddirect"](f"{line.url}{running.path}", running.secret)
        for direction, move in zip(DIRECTIONS, way, strict=True):
            before, requests = line.bytes_up + line.bytes_down, len(line.seen)
            move("file", str(path))
            yield {
                "cloud": cloud, "direction": direction, "size_mib": size, "requests": len(line.seen) - requests,
                "wire_ratio": round((line.bytes_up + line.bytes_down - before) / (size * MIB), 4),
            }  # fmt: skip


def in_words(row: dict[str, Any]) -> str:
    """Return a line for people."""
    if "wire_ratio" in row:
        return (
            f"{row['cloud']:6} {row['direction']:9} {row['size_mib']:4} MiB: "
            f"{row['wire_ratio']:.4f} times its size on the wire, in {row['requests']} requests"
        )
    return (
        f"{row['cloud']:6} {row['place']:9} {row['direction']:9} {row['size_mib']:4} MiB  {row['way']:12}"
        f"{row['seconds']:8.3f} s {row['mib_per_s']:8.1f} MiB/s {row['memory_mib']:7.1f} MiB memory"
        f"   {row['speed_ratio']:5.2f}x speed, {row['memory_ratio']:5.2f}x memory of the SDK"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clouds", nargs="+", choices=list(CLOUDS), default=list(CLOUDS))
    parser.add_argument("--places", nargs="+", choices=["line", "loopback"], default=["line", "loopback"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 20, 200], help="sizes in MiB")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the medians are told")
    parser.add_argument("--bytes", action="store_true", help="count what crosses the wire instead")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each result")
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(*options.work)
    for cloud in options.clouds:
        cases = [(place, size) for place in options.places for size in options.sizes]
        runs = (
            [on_the_wire(cloud, max(options.sizes))]
            if options.bytes
            else [compare(cloud, place, size, options.rounds) for place, size in cases]
        )
        for row in (row for run in runs for row in run):
            print(json.dumps(row) if options.json else in_words(row), flush=True)


if __name__ == "__main__":
    main()
