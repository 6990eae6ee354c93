"""The SQS broker beside best-practice boto3 and beside kombu's SQS transport: one server, the same bodies, one run.

Run it with ``python benchmarks/bench_sqs.py``. It starts ministack, a local server that speaks SQS, and prints a table,
or with ``--json`` one JSON object a line::

    {"what": "send", "broker_per_s": …, "boto3_per_s": …, "kombu_per_s": …,
     "to_boto3": …, "limit_boto3": 0.9, "to_kombu": …, "limit_kombu": 5.0}
    {"what": "receive", …}
    {"what": "calls", "send": …, "receive": …, "delete": …, "limit": 0.105, "messages": 3000}

boto3 is what a careful program does: batches of ten, eight threads, long polls, batched deletes, failed entries looked
at, an attribute with each message as on the other side, and the receive count asked for, by which poison is known. A
program that wants neither attributes nor counts receives some 5 % faster. The broker sends with ``send_many`` and
receives with ``consume``, with a handler that does nothing and 80 threads, so that eight polls run at the same time
here too. Both times end when the last delete is confirmed. kombu sends and gets one message at a time, as its transport
does. Figures are medians over the rounds, which take the three in turn; each round of each has a queue of its own, and
no more than 4,000 messages, because ministack slows with deep queues. The first round warms up and is not counted.
Messages exist before the clock starts. The server shares the machine and is the bottleneck: read the ratios.

Calls a message are counted in a round of their own, through a proxy that sees every request.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

THREADS = 8
LIMITS = {"boto3": 0.9, "kombu": 5.0}
CALLS_LIMIT = 0.105
ACTIONS = ("SendMessageBatch", "ReceiveMessage", "DeleteMessageBatch")
#: The attribute that each message carries.
KIND = {"kind": {"DataType": "String", "StringValue": "order"}}
NUMBERS = itertools.count(1)


def timed(work: Callable[[], None]) -> float:
    """Return the seconds that ``work`` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class Raw:
    """What a careful program does with boto3 alone."""

    name = "boto3"

    def __init__(self, server: Any) -> None:
        from botocore.config import Config

        self.sqs = server.client("sqs", config=Config(max_pool_connections=2 * THREADS))

    def prepare(self, bodies: list[str]) -> list[str]:
        """What `send` takes; made before the clock starts."""
        return bodies

    def send(self, url: str, bodies: list[str]) -> None:
        """Send everything in batches of ten."""
        batches = [bodies[start : start + 10] for start in range(0, len(bodies), 10)]

        def send_batch(batch: list[str]) -> None:
            entries = [
                {"Id": str(place), "MessageBody": body, "MessageAttributes": KIND} for place, body in enumerate(batch)
            ]
            assert not self.sqs.send_message_batch(QueueUrl=url, Entries=entries).get("Failed")

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(send_batch, batches))

    def receive(self, url: str, count: int) -> None:
        """Receive and delete everything."""
        left, lock, all_deleted = [count], threading.Lock(), threading.Event()

        def work(_: int) -> None:
            while not all_deleted.is_set():
                answer = self.sqs.receive_message(
                    QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["All"],
                    MessageSystemAttributeNames=["ApproximateReceiveCount"],
                )  # fmt: skip
                found = answer.get("Messages", [])
                if found:
                    entries = [{"Id": str(n), "ReceiptHandle": one["ReceiptHandle"]} for n, one in enumerate(found)]
                    assert not self.sqs.delete_message_batch(QueueUrl=url, Entries=entries).get("Failed")
                with lock:
                    left[0] -= len(found)
                    if left[0] <= 0:
                        all_deleted.set()

        # every thread ends with a poll of its own, but the time is over with the last delete
        self._pool = ThreadPoolExecutor(THREADS)
        for number in range(THREADS):
            self._pool.submit(work, number)
        assert all_deleted.wait(300)

    def settle(self) -> None:
        """Wait for the last polls."""
        self._pool.shutdown()


class Broker:
    """The provider."""

    name = "broker"

    def __init__(self, port: int) -> None:
        from clouddirect_aws.broker import AwsBroker
        from clouddirect_aws.broker_options import AwsBrokerOptions
        from emulators.ministack import REGION, ROOT

        self._left = 0
        self._all_deleted = threading.Event()
        bench = self

        class Counting(AwsBroker):
            def _ack(self, *arguments: Any) -> Any:
                outcomes = super()._ack(*arguments)
                with bench._lock:
                    bench._left -= sum(outcome is None for outcome in outcomes)
                    if bench._left <= 0:
                        bench._all_deleted.set()
                return outcomes

        self._lock = threading.Lock()
        self.broker = Counting(
            AwsBrokerOptions(
                region=REGION,
                endpoint_url=f"http://127.0.0.1:{port}",
                access_key_id=ROOT.id,  # type: ignore[arg-type]  # pydantic makes secrets of them
                secret_access_key=ROOT.secret,  # type: ignore[arg-type]
                poll_seconds=1,
            )
        )

    def prepare(self, bodies: list[str]) -> list[Any]:
        """What `send` takes; made before the clock starts."""
        from clouddirect.messaging import Message

        return [Message(body=body.encode(), attributes={"kind": "order"}) for body in bodies]

    def send(self, url: str, messages: list[Any]) -> None:
        """Send everything."""
        results = self.broker.send_many(url, messages)
        assert all(result.ok for result in results)

    def receive(self, url: str, count: int) -> None:
        """Handle everything, and wait for the last delete; what comes after it is done by `settle`."""
        self._left = count
        self._all_deleted.clear()
        self._consumer = self.broker.consume(url, lambda delivery: None, concurrency=10 * THREADS)
        assert self._all_deleted.wait(300)

    def settle(self) -> None:
        """Stop the consumer: its last polls may take a second more, as boto3's do."""
        assert self._consumer.stop(60)


class Kombu:
    """kombu's SQS transport."""

    name = "kombu"

    def __init__(self, server: Any) -> None:
        import kombu

        from emulators.ministack import ACCOUNT, REGION

        self._kombu = kombu
        self._options = {"region": REGION, "is_secure": False, "wait_time_seconds": 1}
        self._url = f"sqs://{ACCOUNT}:secret@127.0.0.1:{server.port}//"

    def _connection(self, url: str) -> Any:
        queues = {url.rsplit("/", 1)[-1]: {"url": url}}
        return self._kombu.Connection(self._url, transport_options={**self._options, "predefined_queues": queues})

    def prepare(self, bodies: list[str]) -> list[str]:
        """What `send` takes; made before the clock starts."""
        return bodies

    def send(self, url: str, bodies: list[str]) -> None:
        """Send everything."""
        with self._connection(url) as connection, connection.SimpleQueue(url.rsplit("/", 1)[-1]) as queue:
            for body in bodies:
                queue.put(body, serializer="raw", content_encoding="utf-8")

    def receive(self, url: str, count: int) -> None:
        """Receive and acknowledge everything."""
        with self._connection(url) as connection, connection.SimpleQueue(url.rsplit("/", 1)[-1]) as queue:
            for _ in range(count):
                queue.get(timeout=30).ack()

    def settle(self) -> None:
        """Nothing is under way."""


def compare(server: Any, count: int, size: int, rounds: int) -> list[dict[str, Any]]:
    """Let the three send and receive in turn; return the medians and ratios."""
    sides = [Raw(server), Broker(server.port), Kombu(server)]
    rates: dict[str, dict[str, list[float]]] = {side.name: {"send": [], "receive": []} for side in sides}
    sqs = server.client("sqs")
    for number in range(rounds + 1):
        for side in sides[number % 2 :] + sides[: number % 2]:
            content = side.prepare([f"{one:08}".ljust(size, "x") for one in range(count)])
            url = sqs.create_queue(QueueName=f"bench-{next(NUMBERS)}")["QueueUrl"]
            sending = timed(lambda side=side, url=url, content=content: side.send(url, content))  # type: ignore[misc]
            receiving = timed(lambda side=side, url=url: side.receive(url, count))  # type: ignore[misc]
            side.settle()
            sqs.delete_queue(QueueUrl=url)
            if number:
                rates[side.name]["send"].append(count / sending)
                rates[side.name]["receive"].append(count / receiving)
    reports = []
    for what in ("send", "receive"):
        median = {name: statistics.median(found[what]) for name, found in rates.items()}
        report: dict[str, Any] = {"what": what, **{f"{name}_per_s": rate for name, rate in median.items()}}
        for name, limit in LIMITS.items():
            report |= {f"to_{name}": median["broker"] / median[name], f"limit_{name}": limit}
        reports.append(report)
    return reports


def count_calls(server: Any, count: int, size: int) -> dict[str, Any]:
    """Send and receive once through a proxy; return the calls a message."""
    from emulators.http_line import HttpLine

    url = server.client("sqs").create_queue(QueueName=f"bench-{next(NUMBERS)}")["QueueUrl"]
    with HttpLine(server.port) as line:
        side = Broker(line.port)
        side.send(url, side.prepare(["x" * size] * count))
        side.receive(url, count)
        side.settle()
        seen = Counter(request.headers["x-amz-target"].rsplit(".", 1)[-1] for request in line.seen)
        side.broker.close()
    return {
        "what": "calls",
        "send": seen["SendMessageBatch"] / count,
        "receive": seen["ReceiveMessage"] / count,
        "delete": seen["DeleteMessageBatch"] / count,
        "other": (seen.total() - seen["SendMessageBatch"] - seen["ReceiveMessage"] - seen["DeleteMessageBatch"])
        / count,
        "limit": CALLS_LIMIT,
        "messages": count,
    }


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=3000, help="messages a round (default 3000; at most 4000)")
    parser.add_argument("--size", type=int, default=1024, help="bytes of a body (default 1024)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are counted (default 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    options = parser.parse_args()
    from emulators.ministack import ministack

    with ministack() as server:
        reports = [*compare(server, options.messages, options.size, options.rounds)]
        reports.append(count_calls(server, options.messages, options.size))
    for report in reports:
        print(json.dumps(report) if options.json else _line(report))


def _line(report: dict[str, Any]) -> str:
    if report["what"] == "calls":
        counted = ", ".join(f"{report[name]:.4f} {name}" for name in ("send", "receive", "delete", "other"))
        return f"calls a message: {counted} (limit {report['limit']} each)"
    ratios = ", ".join(
        f"{report[f'to_{name}']:.2f} x {name}'s {report[f'{name}_per_s']:,.0f} (limit {limit})"
        for name, limit in LIMITS.items()
    )
    return f"{report['what']}: {report['broker_per_s']:,.0f} messages a second, {ratios}"


if __name__ == "__main__":
    main()
