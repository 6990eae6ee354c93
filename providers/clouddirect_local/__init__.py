"""The embedded default and reference provider: a SQLite file as message broker, a directory as file store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clouddirect.plugins import Provider, hookimpl

if TYPE_CHECKING:
    from clouddirect.messaging import BrokerRuntime, MessageBroker
    from clouddirect.storage import FileStore, StoreRuntime
    from clouddirect_local.broker_options import LocalBrokerOptions
    from clouddirect_local.store_options import LocalStoreOptions

__all__ = ["clouddirect_provider"]


@hookimpl
def clouddirect_provider() -> Provider:
    """Describe the provider."""
    from clouddirect_local.broker_options import LocalBrokerOptions
    from clouddirect_local.store_options import LocalStoreOptions

    return Provider(
        name="local",
        title="SQLite file and directory on this machine",
        broker_options=LocalBrokerOptions,
        open_broker=_open_broker,
        store_options=LocalStoreOptions,
        open_store=_open_store,
    )


def _open_broker(options: LocalBrokerOptions, runtime: BrokerRuntime) -> MessageBroker:
    from clouddirect_local.broker import LocalBroker

    return LocalBroker(options, runtime)


def _open_store(options: LocalStoreOptions, runtime: StoreRuntime) -> FileStore:
    from clouddirect_local.store import LocalStore

    return LocalStore(options, runtime)
