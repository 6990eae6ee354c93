"""The local broker beside bare sqlite3: the same inserts, leases, deletes, schema, indexes, durability, transactions.

Run it with ``python benchmarks/bench_local_broker.py``. It prints a table, or with ``--json`` one JSON object::

    {"messages": 10000, "body_bytes": 1024, "repeats": 7,
     "send_many":   {"broker_s": …, "bare_s": …, "ratio": …, "limit": 2.0},
     "receive_ack": {"broker_s": …, "bare_s": …, "ratio": …, "limit": 4.0},
     "idle_receiver": {"cpu_percent": …, "limit": 1.0, "seconds": 5.0},
     "arrival":       {"median_ms": …, "worst_ms": …, "limit": 100.0, "messages": 50}}

Times are medians over the repeats, which alternate between the two sides; each repeat uses a new file in a temporary
directory (``--dir`` chooses the disk). The messages exist before the clock starts, on both sides. The idle receiver
waits for a queue that stays empty; ``arrival`` is the time from another process's call of ``send`` until ``receive``
returns the message here.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from clouddirect.messaging import Message
from clouddirect_local.broker import LocalBroker, LocalNative
from clouddirect_local.broker_options import LocalBrokerOptions
from clouddirect_local.queue_admin import create_queue

QUEUE = "orders"
BATCH = 1000
#: What another process runs to send messages: its arguments are the file and the count.
SENDER = """
import random, sys, time
from clouddirect.messaging import Message
from clouddirect_local.broker import LocalBroker
from clouddirect_local.broker_options import LocalBrokerOptions

with LocalBroker(LocalBrokerOptions(path=sys.argv[1])) as broker:
    for _ in range(int(sys.argv[2])):
        time.sleep(random.uniform(0.03, 0.1))  # so that each message meets a receiver that waits
        broker.send("orders", Message(body=repr(time.monotonic()).encode()))
"""


def timed(work: Callable[[], None]) -> float:
    """Return the seconds that ``work`` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class Bare:
    """What the broker does, in plain sqlite3, without messages, receipts, checks or errors."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.queue = connection.execute("SELECT id FROM queue WHERE name = ?", (QUEUE,)).fetchone()[0]

    def send(self, messages: list[tuple[str, bytes]]) -> None:
        """Insert all messages."""
        run, run_many = self.connection.execute, self.connection.executemany
        for start in range(0, len(messages), BATCH):
            part = messages[start : start + BATCH]
            now = time.time()
            run("BEGIN IMMEDIATE")
            first = run("SELECT next FROM sequence").fetchone()[0]
            run("UPDATE sequence SET next = ?", (first + len(part),))
            run_many(
                "INSERT OR IGNORE INTO seen (queue, message_id, until, message) VALUES (?, ?, ?, ?)",
                [(self.queue, identity, now + 300, number) for number, (identity, _) in enumerate(part, first)],
            )
            run_many(
                """INSERT INTO message (id, queue, state, due, since, lease, deliveries, expires_at, ordering_key)
                VALUES (?, ?, 0, 0, 0, 0, 0, 0, '')""",
                [(number, self.queue) for number in range(first, first + len(part))],
            )
            run_many(
                """INSERT INTO content
                (id, message_id, correlation_id, content_type, subject, attributes, enqueued_at, body)
                VALUES (?, ?, '', '', '', '', ?, ?)""",
                [(number, identity, now, body) for number, (identity, body) in enumerate(part, first)],
            )
            run("COMMIT")

    def receive_and_delete(self) -> int:
        """Lease and delete everything; return how many messages there were."""
        run, run_many, count = self.connection.execute, self.connection.executemany, 0
        while True:
            now = time.monotonic()
            run("BEGIN IMMEDIATE")
            rows = run(
                """SELECT m.id, m.lease, m.deliveries, m.expires_at, m.ordering_key, c.message_id, c.correlation_id,
                c.content_type, c.subject, c.attributes, c.enqueued_at, c.body
                FROM message m JOIN content c ON c.id = m.id
                WHERE m.queue = ? AND m.state = 0 AND m.due = 0 ORDER BY m.id LIMIT ?""",
                (self.queue, BATCH),
            ).fetchall()
            run_many(
                """UPDATE message SET state = 1, due = ?, since = ?, lease = lease + 1, deliveries = deliveries + 1
                WHERE id = ?""",
                [(now + 30, now, row[0]) for row in rows],
            )
            run("COMMIT")
            if not rows:
                return count
            count += len(rows)
            run("BEGIN IMMEDIATE")
            run_many("DELETE FROM message WHERE id = ? AND lease = ?", [(row[0], row[1] + 1) for row in rows])
            run_many("DELETE FROM content WHERE id = ?", [(row[0],) for row in rows])
            run("COMMIT")


def run_bare(path: Path, messages: list[Message]) -> tuple[float, float]:
    """Return the seconds for sending and for receiving and deleting, with sqlite3 alone."""
    create_queue(path, QUEUE)
    with LocalBroker(LocalBrokerOptions(path=path)) as broker:
        native = broker.native
        assert isinstance(native, LocalNative)
        with closing(native.connect()) as connection:
            bare = Bare(connection)
            pairs = [(message.id, message.body) for message in messages]
            sending = timed(lambda: bare.send(pairs))
            counts: list[int] = []
            receiving = timed(lambda: counts.append(bare.receive_and_delete()))
            assert counts == [len(messages)]
    return sending, receiving


def run_broker(path: Path, messages: list[Message]) -> tuple[float, float]:
    """Return the seconds for ``send_many`` and for receiving and acknowledging."""
    create_queue(path, QUEUE)
    with LocalBroker(LocalBrokerOptions(path=path)) as broker:

        def send() -> None:
            assert all(result.ok for result in broker.send_many(QUEUE, messages))

        def receive_and_ack() -> None:
            count = 0
            while deliveries := broker.receive(QUEUE, max_messages=BATCH):
                assert all(result.ok for result in broker.ack_many(deliveries))
                count += len(deliveries)
            assert count == len(messages)

        return timed(send), timed(receive_and_ack)


def compare(directory: Path, count: int, size: int, repeats: int) -> dict[str, Any]:
    """Run both sides in turn and return the medians and their ratios."""
    times: dict[str, list[tuple[float, float]]] = {"bare": [], "broker": []}
    for repeat in range(repeats + 1):
        for side, run in (("bare", run_bare), ("broker", run_broker)):
            messages = [Message(body=os.urandom(size)) for _ in range(count)]
            path = directory / f"{side}-{repeat}.db"
            result = run(path, messages)
            path.unlink()
            if repeat:  # the first one warms up
                times[side].append(result)
    report = {}
    for place, (what, limit) in enumerate((("send_many", 2.0), ("receive_ack", 4.0))):
        broker, bare = (statistics.median(one[place] for one in times[side]) for side in ("broker", "bare"))
        report[what] = {"broker_s": broker, "bare_s": bare, "ratio": broker / bare, "limit": limit}
    return report


def measure_idle(directory: Path, seconds: float) -> dict[str, float]:
    """Return the share of a core that one waiting receiver costs."""
    path = directory / "idle.db"
    create_queue(path, QUEUE)
    with LocalBroker(LocalBrokerOptions(path=path)) as broker:
        receiver = threading.Thread(target=lambda: broker.receive(QUEUE, wait=seconds + 1))
        receiver.start()
        time.sleep(0.5)  # the first look opens connections
        used, began = time.process_time(), time.perf_counter()
        time.sleep(seconds)  # idling is what is measured
        share = (time.process_time() - used) / (time.perf_counter() - began)
        receiver.join()
    return {"cpu_percent": 100 * share, "limit": 1.0, "seconds": seconds}


def measure_arrival(directory: Path, count: int) -> dict[str, float]:
    """Return how long messages sent by another process take to arrive here."""
    path = directory / "arrival.db"
    create_queue(path, QUEUE)
    delays = []
    with (
        LocalBroker(LocalBrokerOptions(path=path)) as broker,
        subprocess.Popen([sys.executable, "-c", SENDER, str(path), str(count)]) as sender,
    ):
        while len(delays) < count:
            deliveries = broker.receive(QUEUE, wait=30)
            arrived = time.monotonic()
            if not deliveries:
                raise SystemExit(f"no message came for 30 s; the sender's exit code is {sender.poll()}")
            delays += [1000 * (arrived - float(delivery.message.body)) for delivery in deliveries]
            broker.ack_many(deliveries)
    return {"median_ms": statistics.median(delays), "worst_ms": max(delays), "limit": 100.0, "messages": count}


def main() -> None:
    """Measure, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--body-bytes", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--idle-seconds", type=float, default=5.0)
    parser.add_argument("--arrivals", type=int, default=50)
    parser.add_argument("--dir", type=Path, help="where to make the temporary directory")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        directory = Path(name)
        report: dict[str, Any] = {
            "messages": options.messages,
            "body_bytes": options.body_bytes,
            "repeats": options.repeats,
            **compare(directory, options.messages, options.body_bytes, options.repeats),
            "idle_receiver": measure_idle(directory, options.idle_seconds),
            "arrival": measure_arrival(directory, options.arrivals),
        }
    if options.json:
        print(json.dumps(report))
        return
    for what in ("send_many", "receive_ack"):
        line = report[what]
        print(
            f"{what:14} {line['broker_s'] * 1000:7.0f} ms, bare sqlite3 {line['bare_s'] * 1000:7.0f} ms: "
            f"{line['ratio']:.2f} times (limit {line['limit']:g})"
        )
    idle, arrival = report["idle_receiver"], report["arrival"]
    print(f"idle receiver  {idle['cpu_percent']:.2f} % of a core (limit {idle['limit']:g})")
    print(
        f"arrival        {arrival['median_ms']:.1f} ms, at worst {arrival['worst_ms']:.1f} (limit {arrival['limit']:g})"
    )


if __name__ == "__main__":
    main()
