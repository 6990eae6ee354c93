"""The server: a gRPC listener on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import timedelta
from types import TracebackType
from typing import Self, TypeVar

import grpc
import grpc.aio
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from .access import Access, Tokens
from .faults import Faults
from .service import Service
from .store import Store
from .wire import message_class

__all__ = ["PubSubServer"]

_T = TypeVar("_T")
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),  # a Publish request has up to 10 MB
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # two servers on one port are an error
]
_Subscription = message_class("Subscription")
_Topic = message_class("Topic")


class PubSubServer:
    """A Pub/Sub server on 127.0.0.1, for use in a ``with`` statement.

    Args:
        tokens: who may do what: for each bearer token the resources and the role held on each
            (``{"secret": {"projects/p/topics/t": "publisher"}}``); None lets everybody do everything.
        host: where it listens.
        port: 0 for a free one.
        tls: serve TLS with a certificate of an authority of its own, whose root is `root_certificates`. The SDK
            sends credentials over a secure channel only.
        pull_wait: seconds after which a pull that waits is answered without messages. The service waits longer
            than the SDK's deadline, so clients see DEADLINE_EXCEEDED.
    """

    def __init__(
        self,
        tokens: Tokens | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: bool = False,
        pull_wait: float = 90.0,
    ) -> None:
        self.port = port
        self.faults = Faults()
        #: How often each RPC was called, by name ("Publish", "Pull", …).
        self.calls: Counter[str] = Counter()
        #: The PEM root certificate that clients need to trust; empty without TLS.
        self.root_certificates = b""
        self._host = host
        self._access = Access(tokens)
        self._pull_wait = pull_wait
        self._credentials = self._authority() if tls else None
        self._listener: grpc.aio.Server | None = None
        self._thread = threading.Thread(target=self._run, name="pubsub-server", daemon=True)
        self._started: Future[None] = Future()

    @property
    def endpoint(self) -> str:
        """``host:port``, as PUBSUB_EMULATOR_HOST and ``grpc.insecure_channel`` take it."""
        return f"{'localhost' if self._credentials else self._host}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.result(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.faults.clear()
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(30)

    # What tests set up and look at

    def add_topic(self, name: str) -> str:
        """Add a topic by its full name, and return the name."""
        self._call(lambda: self._store.add_topic(_Topic(name=name)))
        return name

    def add_subscription(
        self,
        name: str,
        topic: str,
        *,
        ack_deadline: float = 10.0,
        ordered: bool = False,
        exactly_once: bool = False,
        dead_letter_topic: str = "",
        max_delivery_attempts: int = 5,
        backoff: tuple[float, float] | None = None,
        filter: str = "",
        retention: float | None = None,
        retain_acked: bool = False,
    ) -> str:
        """Add a subscription by its full name, and return the name.

        Limits of the service do not hold here, so that tests need not wait: leases, retention and numbers of
        attempts may be smaller than it allows.

        Args:
            name: the subscription's full name.
            topic: full name of a topic that exists.
            ack_deadline: seconds of a pulled message's lease.
            ordered: ``enable_message_ordering``.
            exactly_once: ``enable_exactly_once_delivery``.
            dead_letter_topic: full name; empty for no dead-letter policy.
            max_delivery_attempts: failures before a message is forwarded.
            backoff: least and most seconds of a retry policy; None for none.
            filter: expression of the filter language.
            retention: seconds that messages are kept; None for seven days.
            retain_acked: whether acknowledged messages are kept for a seek.
        """
        config = _Subscription(
            name=name,
            topic=topic,
            ack_deadline_seconds=max(10, round(ack_deadline)),
            enable_message_ordering=ordered,
            enable_exactly_once_delivery=exactly_once,
            filter=filter,
            retain_acked_messages=retain_acked,
        )
        if dead_letter_topic:
            config.dead_letter_policy.dead_letter_topic = dead_letter_topic
            config.dead_letter_policy.max_delivery_attempts = max_delivery_attempts
        if backoff is not None:
            config.retry_policy.minimum_backoff.FromTimedelta(timedelta(seconds=backoff[0]))
            config.retry_policy.maximum_backoff.FromTimedelta(timedelta(seconds=backoff[1]))
        if retention is not None:
            config.message_retention_duration.FromTimedelta(timedelta(seconds=retention))
        lease = None if config.ack_deadline_seconds == ack_deadline else ack_deadline
        self._call(lambda: self._store.add_subscription(config, lease))
        return name

    def service_account(self, email: str, grants: Mapping[str, str]) -> dict[str, str]:
        """Make a service account and return its key file's content, as Google's libraries read it.

        It holds ``grants``, a role for each resource; the tokens that it signs itself are accepted.
        """
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self._access.add_account(email, public, grants)
        return {
            "type": "service_account",
            "project_id": "test",
            "private_key_id": "1",
            "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            "client_email": email,
            "client_id": "1",
            "token_uri": "https://127.0.0.1:1/token",  # not served: tokens are self-signed
            "universe_domain": "googleapis.com",
        }

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str] | None = None, key: str = "") -> str:
        """Put a message into a topic without going over the wire; return its id."""
        message = message_class("PubsubMessage")(data=data, attributes=attributes or {}, ordering_key=key)
        return self._call(lambda: self._store.publish(self._store.topic(topic), [message])[0])

    def backlog(self, subscription: str) -> list[bytes]:
        """Return the data of all messages that are not acknowledged, in order of publication."""
        return self._call(lambda: [one.message.data for one in self._store.subscription(subscription).backlog])

    def outstanding(self, subscription: str) -> int:
        """Return how many messages of a subscription are leased now."""
        return self._call(lambda: self._store.subscription(subscription).outstanding)

    def leases(self, subscription: str) -> list[float]:
        """Return how many seconds are left of each lease of a subscription."""
        return self._call(lambda: self._store.subscription(subscription).leases)

    def cut_connections(self) -> None:
        """Break every connection and listen again on the same port; what the server keeps stays."""
        asyncio.run_coroutine_threadsafe(self._listen_again(), self._loop).result(30)

    # The thread

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        try:
            self._loop = asyncio.get_running_loop()
            self._ended = asyncio.Event()
            self._store = Store()
            self._service = Service(self._store, self._access, self.faults, self.calls, self._pull_wait)
            await self._listen()
        except BaseException as error:
            self._started.set_exception(error)
            raise
        self._started.set_result(None)
        await self._ended.wait()
        await self._stop()

    async def _listen(self) -> None:
        listener = grpc.aio.server(options=_OPTIONS)
        listener.add_generic_rpc_handlers(tuple(self._service.handlers()))
        address = f"{self._host}:{self.port}"
        if self._credentials is None:
            self.port = listener.add_insecure_port(address)
        else:
            self.port = listener.add_secure_port(address, self._credentials)
        await listener.start()
        self._listener = listener

    async def _stop(self) -> None:
        if self._listener is not None:
            await self._listener.stop(None)
            self._listener = None

    async def _listen_again(self) -> None:
        await self._stop()
        await self._listen()

    def _call(self, what: Callable[[], _T]) -> _T:
        """Run something on the loop, where the store lives."""

        async def run() -> _T:
            return what()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

    def _authority(self) -> grpc.ServerCredentials:
        import trustme  # only a server with TLS needs it

        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        self.root_certificates = authority.cert_pem.bytes()
        chain = b"".join(part.bytes() for part in certificate.cert_chain_pems)
        return grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)])
