"""clouddirect: the IRIS Cloud Direct order workflow over any mix of message queues and file stores."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from clouddirect.errors import CloudDirectError

if TYPE_CHECKING:
    from clouddirect.messaging import (
        Consumer,
        ConsumerOptions,
        Delivery,
        Message,
        MessageBroker,
        SendReceipt,
        SendResult,
    )
    from clouddirect.orders.client import CloudDirect
    from clouddirect.plugins import open_broker, open_store
    from clouddirect.retry import RetryPolicy
    from clouddirect.settings import Settings, load_settings
    from clouddirect.storage import FileStore, StoredFile

__all__ = [
    "CloudDirect",
    "CloudDirectError",
    "Consumer",
    "ConsumerOptions",
    "Delivery",
    "FileStore",
    "Message",
    "MessageBroker",
    "RetryPolicy",
    "SendReceipt",
    "SendResult",
    "Settings",
    "StoredFile",
    "load_settings",
    "open_broker",
    "open_store",
]

#: Where each public name lives; they are imported when first asked for, so that `import clouddirect` costs little.
_HOMES = {
    "CloudDirect": "clouddirect.orders.client",
    "Consumer": "clouddirect.messaging",
    "ConsumerOptions": "clouddirect.messaging",
    "Delivery": "clouddirect.messaging",
    "FileStore": "clouddirect.storage",
    "Message": "clouddirect.messaging",
    "MessageBroker": "clouddirect.messaging",
    "RetryPolicy": "clouddirect.retry",
    "SendReceipt": "clouddirect.messaging",
    "SendResult": "clouddirect.messaging",
    "Settings": "clouddirect.settings",
    "StoredFile": "clouddirect.storage",
    "load_settings": "clouddirect.settings",
    "open_broker": "clouddirect.plugins",
    "open_store": "clouddirect.plugins",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'clouddirect' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
