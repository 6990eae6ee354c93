"""Run the server by itself (with tests/ on PYTHONPATH).

    python -m emulators.pubsub --port 8085 --topic projects/p/topics/orders \
        --subscription projects/p/subscriptions/orders=projects/p/topics/orders
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence

from .server import PubSubServer

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted; print how to connect."""
    parser = argparse.ArgumentParser(prog="python -m emulators.pubsub", description="A Pub/Sub server in memory.")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="the port; 0 takes a free one")
    parser.add_argument("--topic", action="append", default=[], help="full name of a topic to make; may be repeated")
    parser.add_argument(
        "--subscription",
        action="append",
        default=[],
        metavar="NAME=TOPIC",
        help="a subscription to make, and the topic it is of; may be repeated",
    )
    parser.add_argument("--ordered", action="store_true", help="those subscriptions keep the order of ordering keys")
    parser.add_argument("--exactly-once", action="store_true", help="those subscriptions are exactly-once")
    chosen = parser.parse_args(arguments)
    with PubSubServer(host=chosen.host, port=chosen.port) as server:
        for name in chosen.topic:
            server.add_topic(name)
        for pair in chosen.subscription:
            name, _, topic = pair.partition("=")
            server.add_subscription(name, topic, ordered=chosen.ordered, exactly_once=chosen.exactly_once)
        print(f"Pub/Sub on {server.endpoint}. Programs on Google's libraries use it with")
        print(f"  export PUBSUB_EMULATOR_HOST={server.endpoint}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
