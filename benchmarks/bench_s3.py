"""Time the S3 store's put and download beside boto3's own transfers and obstore.

One server, the same files, one run; the ways alternate in each round, so that a slow moment of the machine meets all.
The server is the tests' own small S3, a process of its own. Each way runs on loopback, and over a line (another
process) that lets 10 MiB a second through each connection and holds each request back for 40 ms, as a distant region
does. What a way stored is read back, and every downloaded file is compared with what was stored, outside the timing.

- ``clouddirect`` with its default of 4 parts at once, and with 16;
- ``boto3``: ``upload_file`` and ``download_file`` with 16 threads and parts of 8 MiB, SDK otherwise as it comes;
- ``obstore``: parts of 8 MiB, 16 at once for uploads; its download is one stream.

``line`` tells what the line itself carries without pace, with 16 connections: it must be well over what is measured.

    python benchmarks/bench_s3.py [--sizes 1 20 200] [--rounds 5] [--lines loopback distant] [--json]
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1] / "tests"
MIB = 1 << 20
BUCKET, KEY, SECRET = "acme-retina", "AKIABENCH", "bench-secret"
Way = dict[str, Callable[[str, Path], object]]


@contextmanager
def process(module: str, *arguments: str) -> Iterator[str]:
    """Run one of the tests' servers as a process; yields its URL."""
    from emulators.processes import Server, accepts, free_port

    port = free_port()
    command = [sys.executable, "-m", module, "--port", str(port), *arguments]
    with Server(command, ready=lambda: accepts(port), environment={"PYTHONPATH": str(TESTS)}):
        yield f"http://127.0.0.1:{port}"


def clouddirect_way(url: str, concurrency: int, opened: ExitStack) -> Way:
    """Our store."""
    from clouddirect.storage import StoreRuntime
    from clouddirect_aws.store import AwsStore
    from clouddirect_aws.store_options import AwsStoreOptions

    options = AwsStoreOptions(
        container=BUCKET, region="us-east-1", endpoint_url=url, access_key_id=KEY, secret_access_key=SECRET
    )
    store = opened.enter_context(AwsStore(options, StoreRuntime(concurrency=concurrency)))
    return {"put": store.put, "download": store.download}


def boto3_way(url: str, opened: ExitStack) -> Way:
    """boto3's transfers, tuned."""
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    session = boto3.session.Session(KEY, SECRET, region_name="us-east-1")
    sdk: Any = session.client("s3", endpoint_url=url, config=Config(max_pool_connections=32))
    opened.callback(sdk.close)
    # "classic", for with awscrt installed boto3 may choose the CRT client, which ignores endpoint_url
    config = TransferConfig(
        max_concurrency=16,
        multipart_chunksize=8 * MIB,
        multipart_threshold=8 * MIB,
        preferred_transfer_client="classic",
    )
    return {
        "put": lambda key, path: sdk.upload_file(str(path), BUCKET, key, Config=config),
        "download": lambda key, path: sdk.download_file(BUCKET, key, str(path), Config=config),
    }


def obstore_way(url: str) -> Way:
    """obstore."""
    import obstore
    from obstore.store import S3Store

    store: Any = S3Store(
        BUCKET, endpoint=url, access_key_id=KEY, secret_access_key=SECRET, region="us-east-1",
        client_options={"allow_http": True},
    )  # fmt: skip

    def download(key: str, path: Path) -> None:
        with open(path, "wb") as file:
            for chunk in obstore.get(store, key).stream(min_chunk_size=MIB):
                file.write(chunk)

    return {
        "put": lambda key, path: obstore.put(store, key, path, chunk_size=8 * MIB, max_concurrency=16),
        "download": download,
    }


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that ``action`` takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def measure(url: str, size: int, rounds: int, directory: Path) -> dict[str, dict[str, float]]:
    """Return the median seconds of each way for one file size in bytes, by direction and way."""
    source, target = directory / "source", directory / "target"
    source.write_bytes(os.urandom(size))
    with ExitStack() as opened:
        ways = {
            "clouddirect": clouddirect_way(url, 4, opened),
            "clouddirect, 16 at once": clouddirect_way(url, 16, opened),
            "boto3": boto3_way(url, opened),
            "obstore": obstore_way(url),
        }
        times: dict[str, dict[str, list[float]]] = {d: {name: [] for name in ways} for d in ("put", "download")}
        for turn in range(rounds + 1):
            order = list(ways) if turn % 2 else list(reversed(ways))
            for name in order:
                key = f"bench/{name.split(',')[0]}"
                up = timed(lambda name=name, key=key: ways[name]["put"](key, source))  # type: ignore[misc]
                down = timed(lambda name=name, key=key: ways[name]["download"](key, target))  # type: ignore[misc]
                if not filecmp.cmp(source, target, shallow=False):
                    raise SystemExit(f"{name} stored or fetched something else")
                if turn:  # the first round warms up
                    times["put"][name].append(up)
                    times["download"][name].append(down)
    return {way: {name: statistics.median(each) for name, each in found.items()} for way, found in times.items()}


def carried(url: str) -> float:
    """Return the MiB a second that a line without pace carries upwards, with 16 connections."""
    import boto3
    from botocore.config import Config

    session = boto3.session.Session(KEY, SECRET, region_name="us-east-1")
    sdk: Any = session.client("s3", endpoint_url=url, config=Config(max_pool_connections=16))
    body = os.urandom(8 * MIB)

    def send(number: int) -> None:
        sdk.put_object(Bucket=BUCKET, Key=f"line/{number}", Body=body)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(send, range(16)))  # warms up
        return 32 * 8 / timed(lambda: list(pool.map(send, range(32))))


def tell(row: dict[str, Any], as_json: bool) -> None:
    """Print one result."""
    if as_json:
        print(json.dumps(row), flush=True)
    elif "carries" in row:
        print(f"the line without pace carries {row['carries']:.0f} MiB/s", flush=True)
    else:
        print(
            f"{row['line']:9} {row['direction']:9} {row['size_mib']:4} MiB  {row['way']:24} {row['seconds']:8.3f} s"
            f"  {row['mib_a_second']:7.1f} MiB/s  {row['speed_beside_boto3']:5.2f}x boto3",
            flush=True,
        )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 20, 200], help="file sizes in MiB")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which the median is told")
    parser.add_argument("--lines", nargs="+", choices=["loopback", "distant"], default=["loopback", "distant"])
    parser.add_argument("--json", action="store_true", help="print one JSON object for each line")
    options = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    secrets = ("--bucket", BUCKET, "--access-key", KEY, "--secret-key", SECRET)
    with ExitStack() as opened:
        server = opened.enter_context(process("emulators.s3.server", *secrets))
        port = server.rpartition(":")[2]
        urls = {"loopback": server}
        if "distant" in options.lines:
            with process("emulators.http_line", "--to", port) as bare:
                tell({"benchmark": "line", "carries": round(carried(bare))}, options.json)
            pace = ("--rate", str(10 * MIB), "--latency", "0.04")
            urls["distant"] = opened.enter_context(process("emulators.http_line", "--to", port, *pace))
        directory = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        for line in options.lines:
            for size in options.sizes:
                found = measure(urls[line], size * MIB, options.rounds, directory)
                for direction, medians in found.items():
                    for way, seconds in medians.items():
                        row = {
                            "benchmark": "s3", "line": line, "direction": direction, "size_mib": size, "way": way,
                            "seconds": round(seconds, 4), "mib_a_second": round(size / seconds, 1),
                            "speed_beside_boto3": round(medians["boto3"] / seconds, 2),
                        }  # fmt: skip
                        tell(row, options.json)


if __name__ == "__main__":
    main()
