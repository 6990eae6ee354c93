"""How the SDK's senders and receivers are made from the options: credential, transport, proxy, certificates."""

from __future__ import annotations

import logging
import re
import socket
import ssl
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import certifi
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential, TokenCredential
from azure.servicebus import (
    NEXT_AVAILABLE_SESSION,
    ServiceBusClient,
    ServiceBusReceiver,
    ServiceBusSender,
    TransportType,
)

from clouddirect.errors import ConfigurationError
from clouddirect_azure.broker_options import AzureBrokerOptions
from clouddirect_azure.bus_line import STALL, be_patient
from clouddirect_azure.bus_names import Entity

__all__ = ["Connector", "bounded_context"]

# the SDK logs errors that are raised as well, and retried; a program that has set up no logging is not shown them
logging.getLogger("azure.servicebus").addHandler(logging.NullHandler())

#: Seconds that a single read or write may take while TLS and the connection are negotiated.
NEGOTIATION = 20.0


class _BoundedSocket(ssl.SSLSocket):
    """Never waits without an end: the SDK takes the timeout away for the TLS handshake and while it negotiates."""

    def settimeout(self, value: float | None) -> None:
        super().settimeout(NEGOTIATION if value is None else value)


class _BoundedContext(ssl.SSLContext):
    """Makes such sockets."""

    sslsocket_class = _BoundedSocket

    def wrap_socket(self, sock: socket.socket, *positional: Any, **named: Any) -> ssl.SSLSocket:
        be_patient(sock)  # for the handshake, too
        return super().wrap_socket(sock, *positional, **named)


def bounded_context(ca_file: str | None) -> ssl.SSLContext:
    """Return what TLS needs to trust ``ca_file``, or else the public authorities and the system's own.

    Raises:
        OSError: the file cannot be read or holds no certificates.
    """
    context = _BoundedContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    else:
        context.load_verify_locations(certifi.where())
        context.load_default_certs()
    return context


class Connector:
    """Makes unopened senders and receivers. Thread-safe: each gets a client of its own, which is only its settings."""

    def __init__(self, options: AzureBrokerOptions) -> None:
        """No I/O but for reading ``ca_file``.

        Raises:
            ConfigurationError: ``ca_file`` cannot be used, or a credential is missing its package.
        """
        self._options = options
        self._address = options.address
        self._credential = self._make_credential()
        try:
            self._context = None if self._address.emulator else bounded_context(
                None if options.ca_file is None else str(options.ca_file))  # fmt: skip
        except OSError as error:
            raise ConfigurationError(
                f"option ca_file: {options.ca_file} cannot be read as PEM certificates ({type(error).__name__})"
            ) from error

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must show nowhere."""
        found = [self._address.key, self._address.signature]
        if self._options.proxy is not None:
            password = urlsplit(self._options.proxy.get_secret_value()).password
            found += [password, unquote(password or "")]
        if self._options.connection_string is not None:
            found.append(self._options.connection_string.get_secret_value())
        return tuple(secret for secret in found if secret)

    def signature_ended(self, now: datetime) -> datetime | None:
        """Return when the signature that the options give has ended (``se``, seconds since 1970), if it has."""
        found = re.search(r"(?:^|[ &])se=(\d{1,11})(?:&|$)", self._address.signature or "")
        ended = datetime.fromtimestamp(int(found.group(1)), UTC) if found else None
        return ended if ended is not None and ended < now else None

    def client(self) -> ServiceBusClient:
        """Return a client for the caller's own use, as the options say."""
        return self._client()

    def sender(self, entity: Entity) -> ServiceBusSender:
        """Return an unopened sender; a topic's is the same as a queue's."""
        self._check_scope(entity)
        return self._client().get_queue_sender(entity.name, keep_alive=0, socket_timeout=STALL)

    def receiver(self, entity: Entity, session_wait: float | None = None) -> ServiceBusReceiver:
        """Return an unopened receiver; with ``session_wait``, one that accepts the next session within so long."""
        self._check_scope(entity)
        more: dict[str, Any] = {"keep_alive": 0, "prefetch_count": 1, "socket_timeout": STALL}
        if session_wait is not None:
            more |= {"session_id": NEXT_AVAILABLE_SESSION, "max_wait_time": session_wait}
        if entity.sub_queue is not None:
            more["sub_queue"] = entity.sub_queue
        if entity.subscription is None:
            return self._client().get_queue_receiver(entity.name, **more)
        return self._client().get_subscription_receiver(entity.name, entity.subscription, **more)

    def _client(self) -> ServiceBusClient:
        options, more = self._options, dict[str, Any]()
        if options.proxy is not None:
            proxy = urlsplit(options.proxy.get_secret_value())
            more["http_proxy"] = {"proxy_hostname": proxy.hostname, "proxy_port": proxy.port}
            if proxy.username:
                more["http_proxy"] |= {"username": unquote(proxy.username), "password": unquote(proxy.password or "")}
        websocket = options.transport == "websocket" or options.proxy is not None
        if options.endpoint is not None:
            more["custom_endpoint_address"] = f"sb://{options.endpoint}"
        elif websocket and self._address.emulator:  # else the SDK ignores the port
            more["custom_endpoint_address"] = f"sb://{self._address.host}"
        return ServiceBusClient(
            self._address.host,
            self._credential,
            retry_total=0,
            transport_type=TransportType.AmqpOverWebsocket if websocket else TransportType.Amqp,
            ssl_context=self._context,
            use_tls=not self._address.emulator,
            user_agent="clouddirect",
            **more,
        )

    def _make_credential(self) -> TokenCredential | AzureSasCredential | AzureNamedKeyCredential:
        address = self._address
        if address.signature is not None:
            return AzureSasCredential(address.signature)
        if address.key_name is not None and address.key is not None:
            return AzureNamedKeyCredential(address.key_name, address.key)
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential()

    def _check_scope(self, entity: Entity) -> None:
        """Refuse another queue than the one that an entity's connection string is for.

        Raises:
            ConfigurationError: names both.
        """
        scope = self._address.entity
        if scope is not None and scope.lower() not in (entity.name.lower(), entity.path.lower()):
            raise ConfigurationError(
                f"option connection_string is for {scope!r} only (its EntityPath), not for {entity.name!r}",
                resource=entity.name,
            )
