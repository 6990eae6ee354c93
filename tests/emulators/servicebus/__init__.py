"""A Service Bus namespace for tests and for development without Docker, on the standard library alone.

In a test::

    with ServiceBusServer([QueueSettings("orders", lock=2)]) as server:
        client = ServiceBusClient.from_connection_string(server.connection_string("orders", rights=["Send"]))

By hand, with ``tests`` on PYTHONPATH: ``python -m emulators.servicebus --queue orders`` (``--help`` tells the rest).

Module by module: `codec` (types on the wire), `protocol` (names and errors), `wire` and `websocket` (bytes in and
out), `connection` and `link` (the AMQP engine), `message`, `queue`, `lanes` and `namespace` (the broker), `access`
(keys and tokens), `endpoints`, `nodes` and `management` (what links are for), `faults`, `settings`, `server`.
"""

from .access import sign
from .faults import (
    Close,
    Delay,
    Detach,
    Drop,
    Fault,
    Faults,
    Point,
    Refuse,
    Stall,
    idle_link,
    quota_exceeded,
    server_busy,
)
from .protocol import AmqpError, Condition
from .queue import QueueCounts
from .server import DEFAULT_KEY, ServiceBusServer
from .settings import (
    LISTEN,
    MANAGE,
    SEND,
    AccessKey,
    BearerToken,
    CorrelationFilter,
    Limits,
    QueueSettings,
    SubscriptionSettings,
    TopicSettings,
    TrueFilter,
)

__all__ = [
    "DEFAULT_KEY",
    "LISTEN",
    "MANAGE",
    "SEND",
    "AccessKey",
    "AmqpError",
    "BearerToken",
    "Close",
    "Condition",
    "CorrelationFilter",
    "Delay",
    "Detach",
    "Drop",
    "Fault",
    "Faults",
    "Limits",
    "Point",
    "QueueCounts",
    "QueueSettings",
    "Refuse",
    "ServiceBusServer",
    "Stall",
    "SubscriptionSettings",
    "TopicSettings",
    "TrueFilter",
    "idle_link",
    "quota_exceeded",
    "server_busy",
    "sign",
]
