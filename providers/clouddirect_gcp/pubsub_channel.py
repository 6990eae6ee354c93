"""The connection to Pub/Sub: one gRPC channel for a broker, opened when it is first used.

Calls go over the channel itself, with the SDK's messages, rather than through its clients. Those retry by themselves,
write whole requests into the log at level DEBUG, and hide a refused credential behind "unavailable".
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from time import monotonic
from typing import Any

import grpc
from google.api_core.gapic_v1.routing_header import to_grpc_metadata

from clouddirect.errors import ClosedError, ConfigurationError, UnavailableError, UnsupportedError
from clouddirect_gcp.broker_options import GcpBrokerOptions
from clouddirect_gcp.pubsub_errors import classify_rpc_error
from clouddirect_gcp.pubsub_identity import Identity
from clouddirect_gcp.pubsub_rpc import Rpc

__all__ = ["PubSubChannel"]

#: Milliseconds. A ping after half a minute of silence within a call, as the SDK sends, finds a line that has gone dead;
#: an idle connection is given up before routers forget it, and made again by the next call.
_KEEPALIVE, _KEEPALIVE_TIMEOUT, _IDLE = 30_000, 15_000, 180_000
#: Milliseconds between attempts to connect; gRPC's own limit of two minutes would outlast the outage.
_FIRST_BACKOFF, _MAX_BACKOFF = 200, 5_000
#: States in which it is not known yet whether there will be a connection.
_OPEN = (None, grpc.ChannelConnectivity.CONNECTING)
_GRPC_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),  # 4 MiB otherwise
    ("grpc.max_metadata_size", 4 * 1024 * 1024),  # exactly-once answers name each id that failed
    ("grpc.keepalive_time_ms", _KEEPALIVE),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT),
    ("grpc.client_idle_timeout_ms", _IDLE),
    ("grpc.initial_reconnect_backoff_ms", _FIRST_BACKOFF),
    ("grpc.max_reconnect_backoff_ms", _MAX_BACKOFF),
    ("grpc.use_local_subchannel_pool", 1),  # brokers of one process share no connection, nor each other's trouble
)


class PubSubChannel:
    """A channel and the credential that its calls carry. All methods may be called from any thread."""

    def __init__(self, options: GcpBrokerOptions) -> None:
        """Open nothing yet."""
        self._options = options
        emulator = options.emulator_host
        if emulator is None and options.endpoint is None:
            emulator = os.environ.get("PUBSUB_EMULATOR_HOST") or None
        #: Whether the connection is without TLS.
        self.plain = emulator is not None
        #: Host and port that are connected to.
        self.target = emulator or _with_port(options.endpoint or f"pubsub.{options.universe_domain}")
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # `_state` or `_closed`
        self._state: grpc.ChannelConnectivity | None = None  # None until the first attempt to connect has begun
        self._watching = False
        self._channel: grpc.Channel | None = None
        self._identity: Identity | None = None
        self._process: int | None = None  # that opened the channel
        self._connected = False
        self._closed = False
        self._methods: dict[str, Any] = {}

    # -- calls ----------------------------------------------------------------------------------------------

    def call(self, rpc: Rpc, request: Any, timeout: float) -> Any:
        """Make one call, once; return its answer.

        Raises:
            grpc.RpcError: Pub/Sub refused, or could not be asked.
            AuthenticationError, UnavailableError, ConfigurationError: there is no token, or no connection.
        """
        ends = monotonic() + timeout
        method, metadata = self._prepared(rpc, request, timeout)
        with self._unless_closed():
            return method(request, timeout=max(0.001, ends - monotonic()), metadata=metadata)

    def translated(self, rpc: Rpc, request: Any, timeout: float) -> Any:
        """Like `call`, with `CloudDirectError` in place of ``grpc.RpcError``."""
        try:
            return self.call(rpc, request, timeout)
        except grpc.RpcError as error:
            raise classify_rpc_error(error, rpc.side, getattr(request, rpc.field)) from error

    def begin(self, rpc: Rpc, request: Any, timeout: float) -> Any:
        """Begin one call and return its future. ``timeout`` counts from when there is a connection and a token."""
        method, metadata = self._prepared(rpc, request, self._options.connect_timeout)
        with self._unless_closed():
            return method.future(request, timeout=timeout, metadata=metadata)

    def identity(self) -> Identity:
        """Return the credential, opened on first use."""
        with self._lock:
            if self._identity is None:
                self._identity = Identity(self._options, self.target, plain=self.plain)
            return self._identity

    def project(self) -> str | None:
        """Return the project of short names, or None if it is not known; may have to look for a credential."""
        return self._options.project or self.identity().project

    def tls(self) -> grpc.ChannelCredentials:
        """Return what the endpoint's certificate is checked against."""
        roots = None
        if self._options.ca_file is not None:
            try:
                roots = self._options.ca_file.read_bytes()
            except OSError as error:
                raise ConfigurationError(
                    f"ca_file {str(self._options.ca_file)!r} cannot be read ({type(error).__name__})"
                ) from error
            if b"-----BEGIN CERTIFICATE-----" not in roots:
                raise ConfigurationError(f"ca_file {str(self._options.ca_file)!r} holds no certificate in PEM format")
        return grpc.ssl_channel_credentials(roots)

    def close(self) -> None:
        """End all calls and close the channel, if there is one and it is this process's own."""
        if self._is_forked():
            return  # the parent's channel must not be touched, not even be let go of
        with self._lock:
            self._closed = True
            channel, self._channel = self._channel, None
            self._changed.notify_all()
        if channel is not None:
            channel.close()

    # -- inside ---------------------------------------------------------------------------------------------

    def _prepared(self, rpc: Rpc, request: Any, timeout: float) -> tuple[Any, list[tuple[str, str]]]:
        if self._is_forked():  # before any lock: in a child nobody may be left to release it
            raise UnsupportedError(
                "this broker was used before the process was forked, and gRPC does not work on in the child: open a "
                "broker of its own there, before the parent has used one, or start the child with the method 'spawn' "
                "or 'forkserver'",
                code="fork",
            )
        headers = self.identity().headers(timeout)
        channel = self._opened()
        if not self._connected:
            with self._unless_closed():
                self._connect(channel, min(timeout, self._options.connect_timeout))
        method = self._methods.get(rpc.path)
        if method is None:
            method = channel.unary_unary(rpc.path, type(request).SerializeToString, rpc.answer.FromString)
            self._methods[rpc.path] = method
        # the service finds the right region by this header, as the SDK's clients send it
        return method, [*headers, _route(rpc.field, getattr(request, rpc.field))]

    def _opened(self) -> grpc.Channel:
        with self._lock:
            if self._closed:
                raise _closed()
            if self._channel is None:
                self._process = os.getpid()
                self._channel = self._open()
            return self._channel

    def _is_forked(self) -> bool:
        return self._process is not None and self._process != os.getpid()

    def _open(self) -> grpc.Channel:
        if self.plain:
            return grpc.insecure_channel(self.target, [*_GRPC_OPTIONS, ("grpc.enable_http_proxy", 0)])
        return grpc.secure_channel(self.target, self.tls(), _GRPC_OPTIONS)

    def _connect(self, channel: grpc.Channel, timeout: float) -> None:
        """Wait for the first connection, so that a short wait for messages is not spent on it.

        A failed one is left to the call that follows, which fails at once and says why.
        """
        with self._lock:
            begin, self._watching = not self._watching, True
        if begin:  # once: gRPC's watching thread dies noisily if the channel is closed after a second request to it
            channel.subscribe(self._notice, try_to_connect=True)
        with self._changed:
            known = self._changed.wait_for(lambda: self._closed or self._state not in _OPEN, timeout)
            if self._closed:
                raise _closed()
        if not known:
            raise UnavailableError(
                f"there was no connection to {self.target} within {timeout:g} s: look at the network, the proxy and "
                "the endpoint's name"
            )

    def _notice(self, state: grpc.ChannelConnectivity) -> None:
        """Take down what gRPC says of the connection, until there has been one."""
        with self._changed:
            if self._state is None and state is grpc.ChannelConnectivity.IDLE:
                return
            self._state = state
            self._connected = self._connected or state is grpc.ChannelConnectivity.READY
            self._changed.notify_all()
            channel = self._channel if self._connected else None
        if channel is not None:
            channel.unsubscribe(self._notice)

    @contextmanager
    def _unless_closed(self) -> Iterator[None]:
        """Translate what gRPC says, as a ValueError, of a channel that another thread has closed meanwhile."""
        try:
            yield
        except ValueError:
            if not self._closed:
                raise
            raise _closed() from None


def _closed() -> ClosedError:
    return ClosedError("the connection to Pub/Sub has been closed")


@cache
def _route(field: str, name: str) -> tuple[str, str]:
    header: tuple[str, str] = to_grpc_metadata(((field, name),))  # type: ignore[no-untyped-call]
    return header


def _with_port(host: str) -> str:
    return host if ":" in host else f"{host}:443"
