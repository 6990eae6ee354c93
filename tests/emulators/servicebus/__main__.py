"""The server as a command: ``python -m emulators.servicebus --queue orders``, with ``tests`` on PYTHONPATH."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .faults import Fault, parse_fault
from .server import DEFAULT_KEY, ServiceBusServer
from .settings import RIGHTS, AccessKey, Limits, QueueSettings, SubscriptionSettings, TopicSettings

__all__ = ["main"]

_T = TypeVar("_T")
_DESCRIPTION = """
A Service Bus namespace on this machine, without Docker: queues, topics, sessions, dead letters, shared access keys,
over AMQP, plain or TLS, and over WebSocket on the same port. It keeps everything in memory.
"""
_SETTINGS = """
QUEUE SETTINGS, after a colon and separated by commas: lock=SECONDS, max_deliveries=N, sessions, time_to_live=SECONDS,
dead_letter_expired, duplicates=SECONDS, max_bytes=N.

FAULTS: POINT is connect, token, attach, transfer, delivery, disposition or management; ACTION is drop, stall, busy,
quota, idle, refuse, detach, close or delay; the rest is skip=N, times=N (or all), entity=PATH, condition=NAME,
seconds=S, after. For example transfer:drop:skip=10,after or disposition:delay:seconds=3,times=all. What follows on
standard input, one command a line, does the same to a running server: "fault ...", "clear", "cut", "counts QUEUE",
"quit".
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until standard input says quit, or it is interrupted or terminated."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        server = ServiceBusServer(
            options.queue,
            topics=options.topic,
            keys=options.key or [DEFAULT_KEY],
            tls=options.tls,
            host=options.host,
            port=options.port,
            limits=options.limits(),
        )
    except OSError as error:
        parser.error(f"argument --tls: {error}")
    for fault in options.fault:
        server.faults.insert(fault)
    try:
        with server:
            _introduce(server)
            _obey(server)
    except (OSError, OverflowError) as error:
        print(f"cannot listen on {options.host}:{options.port}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


class _Options(argparse.Namespace):
    queue: list[QueueSettings]
    topic: list[TopicSettings]
    key: list[AccessKey]
    fault: list[Fault]
    tls: tuple[str, str] | None
    host: str
    port: int
    max_message_bytes: int
    link_idle: float
    connection_idle: float

    def limits(self) -> Limits:
        return Limits(
            max_message_bytes=self.max_message_bytes, link_idle=self.link_idle, connection_idle=self.connection_idle
        )


class _Parser(argparse.ArgumentParser):
    def parse_args(self, *arguments: Any, **named: Any) -> _Options:  # type: ignore[override]
        return super().parse_args(*arguments, **named, namespace=_Options())


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m emulators.servicebus",
        description=_DESCRIPTION,
        epilog=_SETTINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    limits = Limits()
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    add("--port", type=int, default=5672, help="0 takes a free one (%(default)s)")
    add(
        "--queue",
        action="append",
        default=[],
        type=_told(_queue),
        metavar="NAME[:SETTINGS]",
        help="a queue; repeatable",
    )
    add(
        "--topic",
        action="append",
        default=[],
        type=_told(_topic),
        metavar="NAME:SUB,SUB[:SETTINGS]",
        help="a topic; repeatable",
    )
    add(
        "--key",
        action="append",
        default=[],
        type=_told(_key),
        metavar="NAME=KEY[:RIGHTS[:ENTITY]]",
        help="Send,Listen,Manage",
    )
    add(
        "--tls", nargs=2, metavar=("CERT", "KEY"), help="PEM files: the certificate with its chain, and the private key"
    )
    add("--fault", action="append", default=[], type=_told(parse_fault), metavar="POINT:ACTION[:…]", help="see below")
    add("--max-message-bytes", type=int, default=limits.max_message_bytes, help="also of a batch (%(default)s)")
    add(
        "--link-idle",
        type=float,
        default=limits.link_idle,
        help="detach a link after so many idle seconds (%(default)s)",
    )
    add("--connection-idle", type=float, default=limits.connection_idle, help="close a silent connection (%(default)s)")
    return parser


def _told(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """Let argparse say what is wrong with a value, not only that something is."""

    def parsed(text: str) -> _T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error

    return parsed


def _queue(text: str) -> QueueSettings:
    name, _, settings = text.partition(":")
    return QueueSettings(_name(name), **_parsed(settings))


def _topic(text: str) -> TopicSettings:
    name, _, rest = text.partition(":")
    names, _, settings = rest.partition(":")
    each = _parsed(settings)
    return TopicSettings(_name(name), [SubscriptionSettings(_name(part), **each) for part in names.split(",")])


def _key(text: str) -> AccessKey:
    name, _, rest = text.partition("=")
    key, _, rest = rest.partition(":")
    rights, _, entity = rest.partition(":")
    return AccessKey(_name(name), _name(key), rights.split(",") if rights else RIGHTS, entity or None)


def _name(text: str) -> str:
    if not text:
        raise ValueError("a name is missing")
    return text


def _parsed(settings: str) -> dict[str, Any]:
    """Return queue settings by name, as the types that `QueueSettings` has for them."""
    types = {field.name: str(field.type) for field in dataclasses.fields(QueueSettings)}
    parsed: dict[str, Any] = {}
    for part in filter(None, settings.split(",")):
        name, _, value = part.partition("=")
        if name not in types or name == "name":
            raise ValueError(f"no setting {name!r} of a queue")
        kind = types[name]
        if kind == "bool" and value:
            raise ValueError(f"{name} takes no value: leave it out, or name it alone")
        parsed[name] = True if kind == "bool" else int(value) if kind.startswith("int") else float(value)
        if parsed[name] < 0:
            raise ValueError(f"{name} must not be negative")
    return parsed


def _introduce(server: ServiceBusServer) -> None:
    print(f"listening on {server.host}:{server.port}")
    for key in server.authority.keys.values():
        rights = ",".join(sorted(key.rights))
        print(f"{key.name} ({rights}): {server.connection_string(key.entity, key=key)}")
    print(flush=True)


def _obey(server: ServiceBusServer) -> None:
    """Do what standard input says; where it ends, go on until the process is interrupted."""
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        try:
            if command == "quit":
                return
            print(_do(server, command, argument), flush=True)
        except Exception as error:  # whatever a mistyped command raises, the server goes on
            print(f"{type(error).__name__}: {error}", flush=True)
    while True:
        threading.Event().wait(1)  # not longer: on Windows nothing interrupts it


def _do(server: ServiceBusServer, command: str, argument: str) -> str:
    if command == "fault":
        server.faults.insert(parse_fault(argument))
        return "added"
    if command == "clear":
        server.faults.clear()
        return "cleared"
    if command == "cut":
        return f"{server.cut_connections()} connections reset"
    if command == "counts":
        return str(server.counts(argument))
    raise ValueError(f"unknown command {command!r}: fault, clear, cut, counts, quit")


if __name__ == "__main__":
    sys.exit(main())
