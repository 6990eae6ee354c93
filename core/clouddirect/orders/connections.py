"""Opening the brokers and stores that the settings name, each once and only when it is first used.

What opening needs (plugins, both interfaces, settings) is imported then: a program that only builds orders does not
pay for it.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clouddirect.clock import Clock, SystemClock
from clouddirect.errors import ClosedError
from clouddirect.forking import Forked, around_fork
from clouddirect.retry import RetryPolicy

if TYPE_CHECKING:
    from pathlib import Path

    from clouddirect.messaging import MessageBroker, Quarantine
    from clouddirect.settings import Endpoints, EndpointSettings, Stores, StoreSettings
    from clouddirect.storage import FileStore

__all__ = ["Connections", "OpenStore", "Queue"]


@dataclass(frozen=True, slots=True)
class Queue:
    """An endpoint that has been opened: ``broker.send(name, …)``."""

    broker: MessageBroker
    name: str


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store that has been opened, and the container name that orders use for it."""

    store: FileStore
    wire_container: str


class Connections(Forked):
    """Brokers and stores by endpoint name. Endpoints with the same provider and options share one broker.

    Thread-safe. ``where`` prefixes setting names in errors, such as ``"sandbox."``.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        stores: Stores,
        *,
        observers: list[str] | None = None,
        data_dir: Path | None = None,
        clock: Clock | None = None,
        retry: RetryPolicy | None = None,
        where: str = "",
    ) -> None:
        self._endpoints = endpoints
        self._stores = stores
        self._observers = observers or []
        self._data_dir = data_dir
        self._clock = clock or SystemClock()
        self._retry = retry or RetryPolicy()
        self._where = where
        self._lock = threading.Lock()
        self._brokers: dict[str, MessageBroker] = {}
        self._queues: dict[str, Queue] = {}
        self._open_stores: dict[str, OpenStore] = {}
        self._closed = False
        around_fork(self)

    def after_fork_in_child(self) -> None:
        """Go on with a lock of the child's own; what is open belongs to its provider, which knows what to do."""
        self._lock = threading.Lock()

    @property
    def clock(self) -> Clock:
        """The clock that all of them run on."""
        return self._clock

    def has_endpoint(self, name: str) -> bool:
        """Whether the endpoint is configured."""
        return getattr(self._endpoints, name) is not None

    def has_store(self, name: str) -> bool:
        """Whether the store is configured."""
        return getattr(self._stores, name) is not None

    def queue(self, name: str) -> Queue:
        """Return the endpoint called ``name``, opened.

        Raises:
            ConfigurationError: it is not configured, or its options are wrong.
            ClosedError: the connections have been closed.
        """
        with self._lock:
            self._refuse_closed()
            if name not in self._queues:
                settings = self._endpoints.require(name, self._where)
                broker = self._broker(f"{self._where}endpoints.{name}", settings)
                self._queues[name] = Queue(broker, settings.queue)
            return self._queues[name]

    def dead_letters(self, name: str) -> Queue | None:
        """Return where dead letters of the endpoint called ``name`` are read, opened, or None where nothing is known.

        That is what its ``dead_letter_receive`` says, else the provider's own place, else its ``dead_letter_send``.
        Raises like `queue`.
        """
        settings = self._endpoints.require(name, self._where)
        given = settings.dead_letter_receive
        if given is None or not given.options:
            broker = self.queue(name).broker
        else:
            from clouddirect.settings import EndpointSettings

            own = EndpointSettings(
                provider=settings.provider, queue=settings.queue, call_timeout=settings.call_timeout, **given.options
            )
            with self._lock:
                self._refuse_closed()
                broker = self._broker(f"{self._where}endpoints.{name}.dead_letter_receive", own)
        queue = (given.queue if given else None) or broker.capabilities(settings.queue).dead_letter_queue
        if queue is None and settings.dead_letter_send != settings.queue:
            queue = settings.dead_letter_send
        return None if queue is None else Queue(broker, queue)

    @property
    def quarantine(self) -> Quarantine:
        """The local quarantine of all endpoints."""
        from clouddirect.messaging import Quarantine

        return Quarantine(self._data_dir / "quarantine" if self._data_dir else None)

    def store(self, name: str) -> OpenStore:
        """Return the store called ``name``, opened; raises like `queue`."""
        with self._lock:
            self._refuse_closed()
            if name not in self._open_stores:
                settings = self._stores.require(name, self._where)
                store = self._store(f"{self._where}stores.{name}", settings)
                self._open_stores[name] = OpenStore(store, settings.wire_container or settings.container)
            return self._open_stores[name]

    def close(self, timeout: float = 30.0) -> None:
        """Close everything that was opened; ``timeout`` seconds for all brokers together."""
        with self._lock:
            self._closed = True
            brokers, stores = list(self._brokers.values()), list(self._open_stores.values())
        ends = self._clock.monotonic() + timeout
        for broker in brokers:
            broker.close(max(1.0, ends - self._clock.monotonic()))
        for opened in stores:
            opened.store.close()

    def _store(self, path: str, settings: StoreSettings) -> FileStore:
        from clouddirect.plugins import load_observers, open_store_with
        from clouddirect.settings import resolve_options
        from clouddirect.storage import StoreRuntime

        options = resolve_options(path, settings.options) | {"container": settings.container}
        runtime = StoreRuntime(
            clock=self._clock, retry=self._retry, observers=load_observers(self._observers),
            part_size=settings.part_size, concurrency=settings.concurrency, stall_timeout=settings.stall_timeout,
        )  # fmt: skip
        return open_store_with(settings.provider, options, runtime)

    def _broker(self, path: str, settings: EndpointSettings) -> MessageBroker:
        from clouddirect.messaging import BrokerRuntime
        from clouddirect.plugins import load_observers, open_broker_with
        from clouddirect.settings import resolve_options

        dead_letter = {settings.queue: settings.dead_letter_send} if settings.dead_letter_send else {}
        same = [settings.provider, settings.options, dead_letter, settings.call_timeout]
        identity = json.dumps(same, sort_keys=True, default=str)
        if identity not in self._brokers:
            runtime = BrokerRuntime(
                clock=self._clock,
                retry=self._retry,
                observers=load_observers(self._observers),
                dead_letter_send=dead_letter,
                call_timeout=settings.call_timeout,
                quarantine=self.quarantine.directory if self._data_dir else None,
            )
            options = resolve_options(path, settings.options)
            self._brokers[identity] = open_broker_with(settings.provider, options, runtime)
        return self._brokers[identity]

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ClosedError("this client has been closed; open a new one")
