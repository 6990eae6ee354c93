"""The Service Bus broker beside the raw SDK at its best, and beside a new client and sender for every order.

Run it with ``python benchmarks/bench_servicebus.py``. The test server (tests/emulators/servicebus) runs in a process of
its own; all sides speak to it over loopback, or, with ``--latency``, over a line that holds each piece back for so
many seconds each way (in another process). Rounds alternate between the sides; the figures are medians.

send       single confirmed sends by one caller: broker.send, a kept SDK sender, and the pattern of a new client and
           sender for every order
send_many  all messages: broker.send_many, and SDK batches filled to the link's size by one sender and by two in threads
consume    all messages handled and acked: broker.consume, and SDK receivers with prefetch_count=100 that call
           receive_messages(100) and complete each message, one and four of them in threads
both       broker.receive(250) and ack_many, for those who need no handler threads

Messages are made within the time on both sides. "ratio" is messages a second, the broker's over the best of the SDK's;
the limits are those the project sets itself. With ``--json`` it prints one JSON object a line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1] / "tests"
QUEUE = "orders"
KEY = "bench=YmVuY2htYXJr"
#: What holds the bytes back, in a process of its own: its arguments are the port to reach and the latency.
LINE = """
import sys, threading
from emulators.tcp_line import TcpLine
with TcpLine(int(sys.argv[1]), latency=float(sys.argv[2])) as line:
    print(line.port, flush=True)
    threading.Event().wait()
"""


def main() -> int:
    """Parse the arguments, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=4000, help="of send_many and consume (%(default)s)")
    parser.add_argument("--size", type=int, default=1024, help="bytes of a body (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (%(default)s)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds each way (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=4, help="handler threads of consume (%(default)s)")
    parser.add_argument("--receivers", type=int, default=4, help="the broker's option (%(default)s)")
    parser.add_argument("--senders", type=int, default=2, help="the broker's option (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    with bus(options.latency) as address:
        for report in (
            measure_send(address, options),
            measure_many(address, options),
            measure_consume(address, options),
        ):
            print(json.dumps(report) if options.json else in_words(report), flush=True)
    return 0


@contextmanager
def bus(latency: float) -> Iterator[dict[str, str]]:
    """Run the server, and the line if there is to be one; yield how to connect."""
    sys.path.insert(0, str(TESTS))
    from emulators.processes import Server, accepts, free_port

    port = free_port()
    command = [sys.executable, "-m", "emulators.servicebus", "--port", str(port), "--key", KEY]
    command += ["--queue", f"{QUEUE}:lock=60,max_deliveries=1000"]
    environment = {"PYTHONPATH": str(TESTS)}
    with ExitStack() as stack:
        stack.enter_context(Server(command, ready=lambda: accepts(port), environment=environment))
        name, _, key = KEY.partition("=")
        address = {"connection_string": f"Endpoint=sb://127.0.0.1:{port};SharedAccessKeyName={name};"
                   f"SharedAccessKey={key};UseDevelopmentEmulator=true"}  # fmt: skip
        if latency:
            line = [sys.executable, "-c", LINE, str(port), str(latency)]
            running: Any = Server(line, ready=lambda: bool(running.output().strip()), environment=environment)
            stack.enter_context(running)
            address["endpoint"] = f"127.0.0.1:{int(running.output())}"
        yield address


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that ``work`` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def alternate(count: dict[str, int], sides: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Let the sides measure in turn, once to warm up; return the median messages a second of each."""
    rates: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, measure in sides.items():
            seconds = measure()
            if number:
                rates[side].append(count[side] / seconds)
    return {side: statistics.median(each) for side, each in rates.items()}


# -- the two sides ------------------------------------------------------------------------------------------


def open_broker(address: dict[str, str], options: argparse.Namespace) -> Any:
    """Return the broker."""
    from clouddirect_azure.broker import AzureBroker
    from clouddirect_azure.broker_options import AzureBrokerOptions

    return AzureBroker(AzureBrokerOptions(**address, senders=options.senders, receivers=options.receivers))


def raw_client(address: dict[str, str], **more: Any) -> Any:
    """Return a client of the SDK, with its own defaults."""
    from azure.servicebus import ServiceBusClient, TransportType

    if "endpoint" in address:
        more |= {"custom_endpoint_address": f"sb://{address['endpoint']}", "transport_type": TransportType.Amqp}
    return ServiceBusClient.from_connection_string(address["connection_string"], **more)


def ours(size: int) -> Any:
    """Return a message of ours."""
    from clouddirect.messaging import Message

    return Message(body=b"x" * size, content_type="application/json", attributes={"kind": "order"})


def theirs(size: int) -> Any:
    """Return the same message of the SDK's."""
    import uuid

    from azure.servicebus import ServiceBusMessage

    return ServiceBusMessage(
        b"x" * size,
        message_id=str(uuid.uuid4()),
        content_type="application/json",
        application_properties={"kind": "order"},
    )


def fill(sender: Any, count: int, size: int) -> None:
    """Send ``count`` messages in batches as large as the link takes."""
    from azure.servicebus.exceptions import MessageSizeExceededError

    batch = sender.create_message_batch()
    for _ in range(count):
        message = theirs(size)
        try:
            batch.add_message(message)
        except MessageSizeExceededError:
            sender.send_messages(batch)
            batch = sender.create_message_batch()
            batch.add_message(message)
    sender.send_messages(batch)


def receive_all(receivers: list[Any], count: int) -> None:
    """Receive and complete ``count`` messages with these receivers, each in a thread of its own."""
    left, lock = [count], threading.Lock()

    def work(receiver: Any) -> None:
        while left[0] > 0:
            for message in receiver.receive_messages(100, max_wait_time=0.5):
                receiver.complete_message(message)
                with lock:
                    left[0] -= 1

    if len(receivers) == 1:
        work(receivers[0])
        return
    with ThreadPoolExecutor(len(receivers)) as pool:
        list(pool.map(work, receivers))


def empty(broker: Any) -> None:
    """Take everything out of the queue."""
    while deliveries := broker.receive(QUEUE, 250, wait=0.5):
        assert all(result.ok for result in broker.ack_many(deliveries))


# -- what is measured ---------------------------------------------------------------------------------------


def measure_send(address: dict[str, str], options: argparse.Namespace) -> dict[str, Any]:
    """Single sends."""
    count = {"broker": 500, "sdk, kept": 500, "sdk, new for each": 3}
    with ExitStack() as stack:
        broker = stack.enter_context(open_broker(address, options))
        kept = stack.enter_context(raw_client(address))
        sender = stack.enter_context(kept.get_queue_sender(QUEUE))

        def anew() -> None:
            for _ in range(count["sdk, new for each"]):
                with raw_client(address) as client, client.get_queue_sender(QUEUE) as one:
                    one.send_messages(theirs(options.size))

        rates = alternate(
            count,
            {
                "broker": lambda: timed(lambda: [broker.send(QUEUE, ours(options.size)) for _ in range(500)]),
                "sdk, kept": lambda: timed(lambda: [sender.send_messages(theirs(options.size)) for _ in range(500)]),
                "sdk, new for each": lambda: timed(anew),
            },
            options.rounds,
        )
        empty(broker)
    return report("send", rates, rates["sdk, new for each"], 1000.0)


def measure_many(address: dict[str, str], options: argparse.Namespace) -> dict[str, Any]:
    """Many sends."""
    with ExitStack() as stack:
        broker = stack.enter_context(open_broker(address, options))
        client = stack.enter_context(raw_client(address))
        senders = [stack.enter_context(client.get_queue_sender(QUEUE)) for _ in range(2)]

        def many() -> None:
            results = broker.send_many(QUEUE, [ours(options.size) for _ in range(options.messages)])
            assert all(result.ok for result in results)

        def two() -> None:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda sender: fill(sender, options.messages // 2, options.size), senders))

        def emptied(work: Callable[[], object]) -> Callable[[], float]:
            def measure() -> float:
                seconds = timed(work)
                empty(broker)
                return seconds

            return measure

        one = lambda: fill(senders[0], options.messages, options.size)  # noqa: E731
        sides = {"broker": emptied(many), "sdk, one sender": emptied(one), "sdk, two senders": emptied(two)}
        rates = alternate(dict.fromkeys(sides, options.messages), sides, options.rounds)
    return report("send_many", rates, max(rates["sdk, one sender"], rates["sdk, two senders"]), 0.9)


def measure_consume(address: dict[str, str], options: argparse.Namespace) -> dict[str, Any]:
    """Receiving and acking."""
    with ExitStack() as stack:
        broker = stack.enter_context(open_broker(address, options))
        client = stack.enter_context(raw_client(address))
        sender = stack.enter_context(client.get_queue_sender(QUEUE))

        def consume() -> None:
            left, lock, done = [options.messages], threading.Lock(), threading.Event()

            def handle(delivery: Any) -> None:
                with lock:
                    left[0] -= 1
                    if not left[0]:
                        done.set()

            consumer = broker.consume(QUEUE, handle, options.concurrency)
            done.wait()
            consumer.stop()  # flushes the acks, which are part of the work

        def by_hand() -> None:
            left = options.messages
            while left > 0:
                deliveries = broker.receive(QUEUE, 250, wait=0.5)
                assert all(result.ok for result in broker.ack_many(deliveries))
                left -= len(deliveries)

        def sdk(number: int) -> float:
            fill(sender, options.messages, options.size)
            with ExitStack() as open_ones:
                receivers = [
                    open_ones.enter_context(client.get_queue_receiver(QUEUE, prefetch_count=100)) for _ in range(number)
                ]
                return timed(lambda: receive_all(receivers, options.messages))

        def filled(work: Callable[[], object]) -> Callable[[], float]:
            def measure() -> float:
                fill(sender, options.messages, options.size)
                return timed(work)

            return measure

        sides: dict[str, Callable[[], float]] = {
            "broker": filled(consume),
            "broker, receive and ack_many": filled(by_hand),
            "sdk, one receiver": lambda: sdk(1),
            "sdk, four receivers": lambda: sdk(4),
        }
        rates = alternate(dict.fromkeys(sides, options.messages), sides, options.rounds)
    return report("consume", rates, max(rates["sdk, one receiver"], rates["sdk, four receivers"]), 0.9)


def report(what: str, rates: dict[str, float], best: float, limit: float) -> dict[str, Any]:
    """Return what is printed."""
    rounded = {side: round(rate, 1) for side, rate in rates.items()}
    return {"what": what, "per_second": rounded, "ratio": round(rates["broker"] / best, 2), "limit": limit}


def in_words(found: dict[str, Any]) -> str:
    """Return a report for people."""
    lines = [f"{found['what']}: {found['ratio']:g} times the SDK's (must reach {found['limit']:g})"]
    lines += [f"  {side:30} {rate:10,.1f} messages a second" for side, rate in found["per_second"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
