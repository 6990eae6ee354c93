"""The server: an event loop in a thread of its own, and what a test may do with it from any thread."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from .access import Authority, sign
from .connection import Connection
from .endpoints import Receiver, Sender
from .faults import Faults, Point
from .link import Link
from .management import MANAGEMENT
from .message import StoredMessage
from .namespace import Namespace
from .nodes import CBS, CbsNode, ManagementNode, ReplyEndpoint, RequestEndpoint
from .protocol import AmqpError, Condition
from .queue import QueueCounts
from .settings import LISTEN, SEND, AccessKey, BearerToken, Limits, QueueSettings, TopicSettings
from .wire import Wire

__all__ = ["ServiceBusServer"]

DEFAULT_KEY = AccessKey("RootManageSharedAccessKey", "a2V5LW9mLXRoZS10ZXN0LXNlcnZlcg==")
_T = TypeVar("_T")


class ServiceBusServer:
    """A Service Bus namespace on a port of this machine, for use in a ``with`` statement.

    Args:
        queues: settings, or just names.
        topics: topics with their subscriptions.
        keys: shared access policies; one with all rights if none are given.
        tokens: bearer tokens to accept.
        tls: certificate chain and private key files (PEM), or a context; None for plain TCP.
        host: where to listen.
        port: the port; 0 takes a free one, told by ``port`` once the server runs.
        limits: the namespace's limits.

    All methods can be called from any thread while the server runs.
    """

    def __init__(
        self,
        queues: Iterable[QueueSettings | str] = (),
        *,
        topics: Iterable[TopicSettings] = (),
        keys: Iterable[AccessKey] = (DEFAULT_KEY,),
        tokens: Iterable[BearerToken] = (),
        tls: tuple[str | Path, str | Path] | ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.faults = Faults()
        self.limits = limits or Limits()
        self.authority = Authority(keys, tokens)
        self.namespace = Namespace()
        self.connections: set[Connection] = set()
        self._tls = _context(tls)
        for queue in queues:
            self.namespace.add_queue(_settings(queue))
        for topic in topics:
            self.namespace.add_topic(topic)

    # ---- running

    def __enter__(self) -> ServiceBusServer:
        started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="servicebus-server", daemon=True)
        self._thread.start()
        started.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self, started: Future[None]) -> None:
        asyncio.run(self._serve(started))

    async def _serve(self, started: Future[None]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.namespace.run_on(self._loop)
        try:
            server = await self._loop.create_server(self._accept, self.host, self.port, backlog=200, ssl=self._tls)
        except (OSError, OverflowError) as error:  # the port is taken, or is none
            started.set_exception(error)
            return
        self.port = server.sockets[0].getsockname()[1]
        started.set_result(None)
        await self._stop.wait()
        server.close()
        self._abort_all()
        await asyncio.sleep(0)  # the transports close

    def _accept(self) -> Wire:
        return Wire(self._loop, lambda wire: Connection(wire, self, self._loop))

    # ---- what a connection asks

    def attach(self, link: Link) -> None:
        """Accept or refuse a link by its address: a node, or an entity and the right it takes."""
        address = link.address
        path = address.partition("://")[2].partition("/")[2] if "://" in address else address
        if path == CBS:
            self._attach_node(link, path, CbsNode(link).respond)
        elif path.lower().endswith(MANAGEMENT):
            self._attach_node(link, path, ManagementNode(link, path).respond)
        else:
            link.connection.guarded(Point.ATTACH, link, lambda refusal: self._attach_entity(link, path, refusal), path)

    def _attach_node(self, link: Link, node: str, respond: Callable[..., None]) -> None:
        link.endpoint = ReplyEndpoint(link, node) if link.we_send else RequestEndpoint(link, node, respond)
        link.accept()

    def _attach_entity(self, link: Link, path: str, refusal: AmqpError | None) -> None:
        try:
            if refusal is not None:
                raise refusal
            link.connection.claims.require(path, LISTEN if link.we_send else SEND)
            if link.we_send:
                receiver = Receiver(link, path, self.namespace.queue(path))
                link.endpoint = receiver
                receiver.open()
            else:
                sender = Sender(link, path, self.namespace.find(path))
                link.endpoint = sender
                sender.open()
        except AmqpError as error:
            link.refuse(error)

    # ---- what a test asks

    def connection_string(
        self,
        entity: str | None = None,
        *,
        key: AccessKey | str | None = None,
        rights: Iterable[str] | None = None,
        signature_for: float | None = None,
    ) -> str:
        """Return a connection string for this server.

        Args:
            entity: adds ``EntityPath``.
            key: a key, or its name; without it the first that covers ``entity`` and has exactly ``rights``, if given.
            rights: see ``key``; a key of just these rights is made where there is none.
            signature_for: a signature good for so many seconds takes the key's place.

        ``UseDevelopmentEmulator`` stands for plain TCP and this port. With TLS the SDK ignores the port: pass
        ``custom_endpoint_address=server.endpoint`` too.
        """
        found = self._key(entity, key, frozenset(rights) if rights is not None else None)
        where = f"{self.host}:{self.port}" if self._tls is None else self.host
        parts = [f"Endpoint=sb://{where}/"]
        if signature_for is None:
            parts += [f"SharedAccessKeyName={found.name}", f"SharedAccessKey={found.key}"]
        else:
            resource = f"sb://{self.host}/{entity or ''}"
            parts.append(f"SharedAccessSignature={sign(resource, found, expires=time.time() + signature_for)}")
        parts += [f"EntityPath={entity}"] if entity else []
        parts += ["UseDevelopmentEmulator=true"] if self._tls is None else []
        return ";".join(parts)

    @property
    def endpoint(self) -> str:
        """The address for the SDK's ``custom_endpoint_address``."""
        return f"sb://{self.host}:{self.port}"

    def add_queue(self, queue: QueueSettings | str) -> None:
        """Add a queue, or replace the one of this name with an empty one."""
        self._call(lambda: self.namespace.add_queue(_settings(queue)))

    def add_topic(self, topic: TopicSettings) -> None:
        """Add a topic with its subscriptions, or replace the one of this name."""
        self._call(lambda: self.namespace.add_topic(topic))

    def put(self, path: str, message: bytes) -> None:
        """Store a message, given as it is encoded, in a queue or topic: for types that the SDK does not send."""
        self._call(lambda: self.namespace.publish(self.namespace.find(path), [StoredMessage(message)]))

    def counts(self, path: str) -> QueueCounts:
        """Count the messages of a queue, subscription or dead-letter queue. Raises AmqpError where there is none."""
        return self._call(lambda: self.namespace.queue(path).counts())

    def wait_for_counts(self, path: str, *, timeout: float = 60.0, **wanted: int) -> QueueCounts:
        """Wait until the counts named are as wanted (``active=0, locked=1``), and return all.

        Raises:
            TimeoutError: they are not within ``timeout`` seconds.
        """

        def as_wanted() -> bool:
            counts = self.namespace.queue(path).counts()
            return all(getattr(counts, name) == value for name, value in wanted.items())

        if not self._becomes(as_wanted, timeout):
            raise TimeoutError(f"{path} has {self.counts(path)} after {timeout} s, not {wanted}")
        return self.counts(path)

    def links(self, path: str) -> int:
        """Return how many senders and receivers an entity has, with those that wait for a session."""
        return self._call(lambda: len(self._links(path)))

    def wait_for_links(self, path: str, count: int, *, timeout: float = 60.0) -> None:
        """Wait until an entity has so many. Raises TimeoutError if it has not within ``timeout`` seconds."""
        if not self._becomes(lambda: len(self._links(path)) == count, timeout):
            raise TimeoutError(f"{path} has {self.links(path)} links after {timeout} s, not {count}")

    def cut_connections(self) -> int:
        """Reset all connections, and return how many there were."""
        return self._call(self._abort_all)

    def close_connections(self, condition: str = Condition.CONNECTION_FORCED, text: str = "Closed by a test.") -> None:
        """Close all connections with an error, as a service that restarts does."""

        def close() -> None:
            for connection in list(self.connections):
                connection.close(AmqpError(condition, text))

        self._call(close)

    def detach_links(
        self, path: str, condition: str = Condition.DETACH_FORCED, text: str = "Detached by a test."
    ) -> int:
        """Detach all links to an entity with an error, and return how many there were."""

        def detach() -> int:
            links = self._links(path)
            for link in links:
                link.detach(AmqpError(condition, text))
            return len(links)

        return self._call(detach)

    def _abort_all(self) -> int:
        connections = list(self.connections)
        for connection in connections:
            connection.abort()
        return len(connections)

    def _links(self, path: str) -> list[Link]:
        links = [link for each in self.connections for link in each.links()]
        return [link for link in links if (link.endpoint.path or "").lower() == path.lower()]

    def _becomes(self, holds: Callable[[], bool], timeout: float) -> bool:
        async def wait() -> bool:
            ends = time.monotonic() + timeout
            while not holds():
                if time.monotonic() > ends:
                    return False
                await asyncio.sleep(0.01)
            return True

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result()

    def _call(self, call: Callable[[], _T]) -> _T:
        async def run() -> _T:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

    def _key(self, entity: str | None, key: AccessKey | str | None, rights: frozenset[str] | None) -> AccessKey:
        keys = self.authority.keys
        if isinstance(key, AccessKey):
            return key
        if key is not None:
            return keys[key]
        for found in keys.values():
            covers = found.entity is None or (entity is not None and found.entity.lower() == entity.lower())
            if covers and (rights is None or found.rights == rights):
                return found
        if rights is None:
            raise LookupError(f"no key covers {entity!r}: name one")
        made = AccessKey(
            "-".join([*sorted(rights), *([entity] if entity else [])]), "a2V5LW1hZGUtb24tZGVtYW5k", rights, entity
        )
        keys[made.name] = made
        return made


def _settings(queue: QueueSettings | str) -> QueueSettings:
    return QueueSettings(queue) if isinstance(queue, str) else queue


def _context(tls: tuple[str | Path, str | Path] | ssl.SSLContext | None) -> ssl.SSLContext | None:
    if tls is None or isinstance(tls, ssl.SSLContext):
        return tls
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    return context
