"""The providers: how a client reaches each over lines, and how each throttles and refuses a credential."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from emulators.http_line import HttpLine, LoseReply, Reply
from faults.lines import Route

__all__ = ["PROVIDERS", "Provider", "Site"]

Values = dict[str, Any]
#: The client's queues, by what it does there.
_SENDS, _RECEIVES = ("orders",), ("events", "results")


@dataclass(frozen=True, slots=True)
class Site:
    """One provider's servers, as the client reaches them.

    Attributes:
        cloud: what `emulators.clouds` made.
        values: the client's settings; they lead over the lines.
        broker, store: the lines; None where there is none.
    """

    cloud: Any
    values: Values
    broker: Route | None = None
    store: Route | None = None


Fault = Callable[[Site], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Provider:
    """What is done differently with each provider. Faults last as long as their ``with`` statement.

    Attributes:
        http: whether its broker speaks HTTP.
        endpoint, store: options that make its clients less patient than they are by default, so that runs are short.
        broker_throttles, store_throttles: the service asks to slow down, at every request.
        broker_revoked, store_revoked: the service does not know the credential any more.
        order_unconfirmed, image_unconfirmed: broker or store do what they are asked, and their answer gets lost.
        broker_away: in place of cutting the line, where there is none.
        lines: whether there are lines.
    """

    http: bool = False
    endpoint: Mapping[str, Any] | None = None
    store: Mapping[str, Any] | None = None
    broker_throttles: Fault | None = None
    store_throttles: Fault | None = None
    broker_revoked: Fault | None = None
    store_revoked: Fault | None = None
    order_unconfirmed: Fault | None = None
    image_unconfirmed: Fault | None = None
    broker_away: Fault | None = None
    lines: bool = True

    @contextmanager
    def site(self, cloud: Any, values: Values) -> Iterator[Site]:
        """Lead the client's side of ``values``, which `both_sides` made, over lines."""
        ours = {name: {**found, **(self.endpoint or {})} for name, found in values["endpoints"].items()}
        images = {**values["stores"]["images"], **(self.store or {})}
        if not self.lines:
            yield Site(cloud, {**values, "endpoints": ours, "stores": {"images": images}})
            return
        with Route(ours["orders"], http=self.http) as broker, Route(images, http=True) as store:
            led = {name: broker.through(found) for name, found in ours.items()}
            yield Site(cloud, {**values, "endpoints": led, "stores": {"images": store.through(images)}}, broker, store)


def _answering(line: Callable[[Site], HttpLine | None], answer: Reply | LoseReply, action: str = "") -> Fault:
    """A server whose answer to each request is this one; with ``action``, to requests whose
    ``X-Amz-Target`` ends so."""

    @contextmanager
    def fault(site: Site) -> Iterator[None]:
        http = line(site)
        assert http is not None
        http.rule = lambda request: answer if request.headers.get("x-amz-target", "").endswith(action) else None
        try:
            yield
        finally:
            http.rule = None

    return fault


def _store(site: Site) -> HttpLine | None:
    return site.store.http if site.store else None


def _broker(site: Site) -> HttpLine | None:
    return site.broker.http if site.broker else None


# -- Azure --------------------------------------------------------------------------------------------------


@contextmanager
def _bus_throttles(site: Site) -> Iterator[None]:
    from emulators.servicebus import Point, server_busy

    bus = site.cloud._bus
    for queue in _SENDS:
        bus.faults.add(Point.TRANSFER, server_busy(), entity=queue, times=None)
    for queue in _RECEIVES:
        bus.faults.add(Point.DISPOSITION, server_busy(), entity=queue, times=None)
    try:
        yield
    finally:
        bus.faults.clear()


@contextmanager
def _bus_unconfirmed(site: Site) -> Iterator[None]:
    from emulators.servicebus import Drop, Point

    for queue in _SENDS:
        site.cloud._bus.faults.add(Point.TRANSFER, Drop(after=True), entity=queue, times=None)
    try:
        yield
    finally:
        site.cloud._bus.faults.clear()


@contextmanager
def _bus_revoked(site: Site) -> Iterator[None]:
    """The policies are deleted; connections are asked for their token again, as the service does now and then."""
    keys = site.cloud._bus.authority.keys
    gone = {name: keys.pop(name) for name in ("orders-send", "events-receive", "results-receive")}
    assert site.broker is not None
    site.broker.tcp.cut()
    try:
        yield
    finally:
        keys.update(gone)


def _blob_error(status: int, code: str, **headers: str) -> Reply:
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return Reply(status, {"x-ms-error-code": code, "Content-Type": "application/xml", **headers}, body.encode())


# -- AWS ----------------------------------------------------------------------------------------------------


def _revoked_keys(*names: str) -> Fault:
    """The access keys of these endpoints or stores are made inactive, and active again."""

    @contextmanager
    def fault(site: Site) -> Iterator[None]:
        iam = site.cloud._server.client("iam")
        places = {**site.values["endpoints"], **site.values["stores"]}
        keys = [places[name]["access_key_id"] for name in names]
        for key in keys:
            iam.update_access_key(AccessKeyId=key, Status="Inactive")
        try:
            yield
        finally:
            for key in keys:
                iam.update_access_key(AccessKeyId=key, Status="Active")

    return fault


_SQS_BUSY = Reply(
    400,
    {"Content-Type": "application/x-amz-json-1.0", "x-amzn-query-error": "Throttling;Sender"},
    json.dumps({"__type": "com.amazonaws.sqs#RequestThrottled", "message": "Rate exceeded"}).encode(),
)
_S3_BUSY = Reply(
    503,
    {"Content-Type": "application/xml"},
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
)


# -- Google Cloud -------------------------------------------------------------------------------------------


def _pubsub_answers(status: str) -> Fault:
    """Pub/Sub refuses every call on the client's topics and subscriptions."""

    @contextmanager
    def fault(site: Site) -> Iterator[None]:
        import grpc

        from emulators.pubsub import Status

        faults, refusal = site.cloud._pubsub.faults, Status(getattr(grpc.StatusCode, status))
        faults.add("Publish", refusal, 10_000, lambda request: request.topic.endswith(_SENDS))
        for rpc in ("Pull", "Acknowledge", "ModifyAckDeadline"):
            faults.add(rpc, refusal, 10_000, lambda request: request.subscription.endswith(_RECEIVES))
        try:
            yield
        finally:
            faults.clear()

    return fault


@contextmanager
def _pubsub_unconfirmed(site: Site) -> Iterator[None]:
    from emulators.pubsub import Drop

    faults = site.cloud._pubsub.faults
    faults.add("Publish", Drop(applied=True), 10_000, lambda request: request.topic.endswith(_SENDS))
    try:
        yield
    finally:
        faults.clear()


def _gcs_error(status: int, reason: str) -> Reply:
    error = {"code": status, "message": reason, "errors": [{"reason": reason, "message": reason}]}
    return Reply(status, {"Content-Type": "application/json"}, json.dumps({"error": error}).encode())


# -- local --------------------------------------------------------------------------------------------------


@contextmanager
def _locked(site: Site) -> Iterator[None]:
    """Another program keeps the queue file locked: the nearest thing to a broker that is away."""
    other = sqlite3.connect(site.values["endpoints"]["orders"]["path"], isolation_level=None, timeout=10)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
    finally:
        other.close()


#: The table of providers, by name.
PROVIDERS: Mapping[str, Provider] = {
    "azure": Provider(
        store={"stall_timeout": 1.0},
        broker_throttles=_bus_throttles,
        store_throttles=_answering(_store, _blob_error(503, "ServerBusy", **{"Retry-After": "1"})),
        broker_revoked=_bus_revoked,
        store_revoked=_answering(_store, _blob_error(403, "AuthenticationFailed")),
        order_unconfirmed=_bus_unconfirmed,
        image_unconfirmed=_answering(_store, LoseReply()),
    ),
    "aws": Provider(
        http=True,
        # a message whose delivery got lost comes again after a lease
        endpoint={"lease": 10, "poll_seconds": 1, "connect_timeout": 1, "read_timeout": 2},
        store={"stall_timeout": 1.0},
        broker_throttles=_answering(_broker, _SQS_BUSY),
        store_throttles=_answering(_store, _S3_BUSY),
        broker_revoked=_revoked_keys("orders", "events", "results"),
        store_revoked=_revoked_keys("images"),
        order_unconfirmed=_answering(_broker, LoseReply(), "SendMessageBatch"),
        image_unconfirmed=_answering(_store, LoseReply()),
    ),
    "gcp": Provider(
        endpoint={"lease": 10},
        store={"stall_timeout": 1.0},
        broker_throttles=_pubsub_answers("RESOURCE_EXHAUSTED"),
        store_throttles=_answering(_store, _gcs_error(429, "rateLimitExceeded")),
        broker_revoked=_pubsub_answers("UNAUTHENTICATED"),
        store_revoked=_answering(_store, _gcs_error(401, "authError")),
        order_unconfirmed=_pubsub_unconfirmed,
        image_unconfirmed=_answering(_store, LoseReply()),
    ),
    "local": Provider(lines=False, broker_away=_locked),
}  # fmt: skip
