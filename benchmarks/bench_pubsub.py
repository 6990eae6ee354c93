"""The Pub/Sub broker beside the raw SDK at its best, over the same wire to the same test server.

Run it with ``python benchmarks/bench_pubsub.py``. It starts the project's Pub/Sub test server as a process of its own
and measures, on both sides with the same bodies and attributes:

- ``single``: one message after another, each confirmed: `send`, a Publish call of the SDK's client, and the future of
  its publisher with ``result()``;
- ``send``: many messages, all confirmed: `send_many`, Publish calls of 100 and of 1,000, and the publisher's futures
  with its own batches and with the largest ones;
- ``receive``: many messages, each one's data, attributes and id read and each confirmed as acknowledged: `receive` with
  `ack_many`, and Pull of 100 and of 1,000 with Acknowledge;
- ``consume``: a function called for each message in other threads, leases kept: `consume` until every ack is
  confirmed, and the SDK's streaming pull, whose acks are not confirmed. Both are held against the best way of all.

Rounds alternate between the ways, each with topics of its own; medians are told. ``ratio`` is ours to the best raw way:
of throughput it should be at least 0.9, of a single message's median time at most 1.2. kombu's transport (``gcpubsub``)
is measured where google-cloud-monitoring, which it needs, is installed: it publishes without looking at the outcome, so
its sending confirms nothing, and it counts as no raw way. With ``--json`` one object a line.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

PROJECT = "bench"
#: What the server's process runs; its argument is the port.
SERVER = """
import sys, threading
from emulators.pubsub import PubSubServer
with PubSubServer(port=int(sys.argv[1])):
    threading.Event().wait()
"""
PATIENCE = 120.0


class Wire:
    """The server's resources, and the SDK's clients on channels without TLS."""

    def __init__(self, port: int) -> None:
        import grpc
        from google.cloud import pubsub_v1
        from google.pubsub_v1 import PublisherClient, SubscriberClient
        from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
        from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

        def transport(kind: Any) -> Any:
            options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
            return kind(channel=grpc.insecure_channel(f"127.0.0.1:{port}", options))

        self.port = port
        self.raw_publisher = PublisherClient(transport=transport(PublisherGrpcTransport))
        self.raw_subscriber = SubscriberClient(transport=transport(SubscriberGrpcTransport))
        self.streaming = pubsub_v1.SubscriberClient(transport=transport(SubscriberGrpcTransport))
        self.futures = pubsub_v1.PublisherClient(transport=transport(PublisherGrpcTransport))
        large = pubsub_v1.types.BatchSettings(max_messages=1000, max_bytes=9_000_000, max_latency=0.05)
        self.large_futures = pubsub_v1.PublisherClient(large, transport=transport(PublisherGrpcTransport))
        self._numbers = itertools.count(1)

    def queue(self) -> str:
        """Make a topic and a subscription of one name."""
        name = f"queue-{next(self._numbers)}"
        self.raw_publisher.create_topic(name=topic(name))
        self.raw_subscriber.create_subscription(name=subscription(name), topic=topic(name), ack_deadline_seconds=60)
        return name

    def fill(self, contents: list[tuple[bytes, dict[str, str]]]) -> str:
        """Make a queue that holds these messages."""
        name = self.queue()
        raw_publish(self, name, contents, 1000)
        return name


def topic(name: str) -> str:
    """Full name of a topic."""
    return f"projects/{PROJECT}/topics/{name}"


def subscription(name: str) -> str:
    """Full name of a subscription."""
    return f"projects/{PROJECT}/subscriptions/{name}"


def touch(*parts: object) -> None:
    """Do nothing with what was read; on every side a call of it."""


# -- the raw ways ------------------------------------------------------------------------------------------------


def raw_publish(wire: Wire, name: str, contents: list[tuple[bytes, dict[str, str]]], size: int) -> None:
    """Publish calls of ``size`` messages."""
    for part in parts(contents, size):
        messages = [{"data": body, "attributes": attributes} for body, attributes in part]
        answer = wire.raw_publisher.publish(topic=topic(name), messages=messages, retry=None, timeout=60)
        assert len(answer.message_ids) == len(part)


def parts(contents: list[Any], size: int) -> Iterator[list[Any]]:
    """Cut a list into parts."""
    return (contents[start : start + size] for start in range(0, len(contents), size))


def raw_futures(client: Any, name: str, contents: list[tuple[bytes, dict[str, str]]]) -> None:
    """The publisher's futures, all awaited."""
    begun = [client.publish(topic(name), body, **attributes) for body, attributes in contents]
    for future in begun:
        future.result(PATIENCE)


def raw_pull(wire: Wire, name: str, count: int, size: int) -> None:
    """Pull, read and acknowledge, ``size`` messages at a time."""
    while count > 0:
        answer = wire.raw_subscriber.pull(subscription=subscription(name), max_messages=size, retry=None, timeout=20)
        ack_ids = []
        for received in answer.received_messages:
            message = received.message
            touch(message.data, dict(message.attributes), message.message_id)
            ack_ids.append(received.ack_id)
        wire.raw_subscriber.acknowledge(subscription=subscription(name), ack_ids=ack_ids, retry=None, timeout=20)
        count -= len(ack_ids)


def raw_streaming(wire: Wire, name: str, count: int) -> None:
    """The SDK's streaming pull with a callback for each message."""
    counter, done = itertools.count(1), threading.Event()

    def handle(message: Any) -> None:
        touch(message.data, dict(message.attributes), message.message_id)
        message.ack()
        if next(counter) == count:
            done.set()

    pull = wire.streaming.subscribe(subscription(name), callback=handle)
    assert done.wait(PATIENCE)
    pull.cancel()
    pull.result(PATIENCE)


def kombu_ways(wire: Wire) -> dict[str, Callable[[str, list[tuple[bytes, dict[str, str]]]], None]]:
    """kombu's transport where it can be imported."""
    try:
        from google.cloud import monitoring_v3  # noqa: F401
    except ImportError:
        return {}
    import kombu

    os.environ["PUBSUB_EMULATOR_HOST"] = f"127.0.0.1:{wire.port}"
    connection = kombu.Connection(f"gcpubsub://projects/{PROJECT}")

    def send(name: str, contents: list[tuple[bytes, dict[str, str]]]) -> None:
        with connection.SimpleQueue(f"kombu-{name}") as queue:
            for body, attributes in contents:
                queue.put(body, headers=attributes)

    return {"kombu gcpubsub (confirms nothing)": send}


# -- ours --------------------------------------------------------------------------------------------------------


def our_send_many(broker: Any, name: str, messages: list[Any]) -> None:
    """`send_many`, every result looked at."""
    assert all(result.ok for result in broker.send_many(name, messages))


def our_receive(broker: Any, name: str, count: int) -> None:
    """`receive` and `ack_many`, every result looked at."""
    while count > 0:
        deliveries = broker.receive(name, 1000, wait=20)
        for delivery in deliveries:
            message = delivery.message
            touch(message.body, message.attributes, message.id)
        assert all(result.ok for result in broker.ack_many(deliveries))
        count -= len(deliveries)


def our_consume(broker: Any, name: str, count: int, stop_later: list[Callable[[], object]]) -> None:
    """`consume` until all is handled and every ack confirmed; stopping it, which ends the pull that waits, is no part
    of it."""
    from clouddirect.messaging import ConsumerOptions

    lock, confirmed, done, ack = threading.Lock(), 0, threading.Event(), broker._ack

    def counted(queue: str, deliveries: Any, timeout: float) -> Any:
        nonlocal confirmed
        outcomes = ack(queue, deliveries, timeout)
        with lock:
            confirmed += sum(outcome is None for outcome in outcomes)
            if confirmed == count:
                done.set()
        return outcomes

    def handle(delivery: Any) -> None:
        message = delivery.message
        touch(message.body, message.attributes, message.id)

    broker._ack = counted
    consumer = broker.consume(name, handle, 4, ConsumerOptions(max_waiting=4000))
    stop_later.append(lambda: consumer.stop(PATIENCE))
    assert done.wait(PATIENCE)
    broker._ack = ack


# -- measuring ---------------------------------------------------------------------------------------------------


def rates(ways: dict[str, Callable[[], Callable[[], None]]], count: int, rounds: int) -> dict[str, float]:
    """Messages a second, the median of the rounds. Each way prepares, outside the measured time, what it then runs."""
    seen: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        order = list(ways) if turn % 2 else list(reversed(ways))
        for name in order:
            run = ways[name]()
            began = time.perf_counter()
            run()
            if turn:  # the first round warms up
                seen[name].append(count / (time.perf_counter() - began))
    return {name: statistics.median(values) for name, values in seen.items()}


def latencies(ways: dict[str, Callable[[], object]], count: int) -> dict[str, float]:
    """Milliseconds of one call, the median, the ways taking turns."""
    seen: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(count + 20):
        for name, call in ways.items():
            began = time.perf_counter()
            call()
            if turn >= 20:
                seen[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(values) for name, values in seen.items()}


def measure(wire: Wire, broker: Any, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Measure one thing after another."""
    from clouddirect.messaging import Message

    count, rounds = arguments.messages, arguments.rounds
    body = os.urandom(arguments.bytes // 2).hex().encode()
    contents = [(body, {"kind": "event", "number": str(number)}) for number in range(count)]
    messages = [Message(body=body, attributes=attributes) for body, attributes in contents]

    name, one = wire.queue(), Message(body=body, attributes=contents[0][1])
    content = [{"data": body, "attributes": contents[0][1]}]
    yield {
        "what": "single", "unit": "ms p50", "limit": 1.2, "ours": "send",
        "values": latencies(
            {
                "send": lambda: broker.send(name, one),
                "Publish of 1": lambda: wire.raw_publisher.publish(topic=topic(name), messages=content, retry=None),
                "future": lambda: wire.futures.publish(topic(name), body, **contents[0][1]).result(),
            },
            arguments.singles,
        ),
    }  # fmt: skip

    def sending(send: Callable[[str], None]) -> Callable[[], Callable[[], None]]:
        def prepare() -> Callable[[], None]:
            queue = wire.queue()
            return lambda: send(queue)

        return prepare

    ways = {
        "send_many": sending(lambda queue: our_send_many(broker, queue, messages)),
        "Publish of 100": sending(lambda queue: raw_publish(wire, queue, contents, 100)),
        "Publish of 1000": sending(lambda queue: raw_publish(wire, queue, contents, 1000)),
        "futures": sending(lambda queue: raw_futures(wire.futures, queue, contents)),
        "futures, large batches": sending(lambda queue: raw_futures(wire.large_futures, queue, contents)),
    }
    for label, send in kombu_ways(wire).items():
        ways[label] = sending(lambda queue, send=send: send(queue, contents))  # type: ignore[misc]
    yield {
        "what": "send",
        "unit": "messages/s",
        "limit": 0.9,
        "ours": "send_many",
        "values": rates(ways, count, rounds),
    }

    stop_later: list[Callable[[], object]] = []

    def receiving(receive: Callable[[str], None]) -> Callable[[], Callable[[], None]]:
        def prepare() -> Callable[[], None]:
            while stop_later:
                stop_later.pop()()
            queue = wire.fill(contents)
            return lambda: receive(queue)

        return prepare

    found = rates(
        {
            "receive + ack_many": receiving(lambda queue: our_receive(broker, queue, count)),
            "consume": receiving(lambda queue: our_consume(broker, queue, count, stop_later)),
            "Pull of 100 + Acknowledge": receiving(lambda queue: raw_pull(wire, queue, count, 100)),
            "Pull of 1000 + Acknowledge": receiving(lambda queue: raw_pull(wire, queue, count, 1000)),
            "streaming pull (acks not confirmed)": receiving(lambda queue: raw_streaming(wire, queue, count)),
        },
        count,
        rounds,
    )
    for ours, others in (("receive + ack_many", "consume"), ("consume", "receive + ack_many")):
        values = {way: value for way, value in found.items() if way != others}
        what = "receive" if ours.startswith("receive") else "consume"
        yield {"what": what, "unit": "messages/s", "limit": 0.9, "ours": ours, "values": values}


def judged(result: dict[str, Any]) -> dict[str, Any]:
    """Add the best raw way and the ratio of ours to it."""
    ours, values = result["ours"], result["values"]
    raw = {way: value for way, value in values.items() if way != ours and not way.startswith("kombu")}
    best = min(raw, key=raw.__getitem__) if result["what"] == "single" else max(raw, key=raw.__getitem__)
    ratio = values[ours] / raw[best]
    holds = ratio <= result["limit"] if result["what"] == "single" else ratio >= result["limit"]
    return {**result, "best": best, "ratio": round(ratio, 3), "holds": holds}


@contextmanager
def server() -> Iterator[int]:
    """The test server as a process; its port."""
    from emulators.processes import Server, accepts, free_port

    port = free_port()
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[1] / "tests")}
    with Server([sys.executable, "-c", SERVER, str(port)], ready=lambda: accepts(port), environment=environment):
        yield port


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=10_000, help="messages of each round")
    parser.add_argument("--bytes", type=int, default=400, help="bytes of each body")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count")
    parser.add_argument("--singles", type=int, default=200, help="single messages of each way")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    os.environ.pop("PUBSUB_EMULATOR_HOST", None)
    from clouddirect_gcp.broker import GcpBroker
    from clouddirect_gcp.broker_options import GcpBrokerOptions

    with server() as port:
        options = GcpBrokerOptions(project=PROJECT, emulator_host=f"127.0.0.1:{port}")
        with GcpBroker(options) as broker:
            for result in map(judged, measure(Wire(port), broker, arguments)):
                if arguments.json:
                    print(json.dumps(result), flush=True)
                    continue
                print(f"\n{result['what']} ({result['unit']})")
                for way, value in result["values"].items():
                    print(f"  {way:40} {value:12,.2f}")
                verdict = "holds" if result["holds"] else "MISSED"
                ours, best, ratio, limit = (result[field] for field in ("ours", "best", "ratio", "limit"))
                print(f"  {ours} : {best} = {ratio:.2f} (limit {limit}, {verdict})")


if __name__ == "__main__":
    main()
