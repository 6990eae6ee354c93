"""Azure: Service Bus as message broker, Blob Storage as file store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clouddirect.plugins import Provider, hookimpl

if TYPE_CHECKING:
    from clouddirect.messaging import BrokerRuntime, MessageBroker
    from clouddirect.storage import FileStore, StoreRuntime
    from clouddirect_azure.broker_options import AzureBrokerOptions
    from clouddirect_azure.store_options import AzureStoreOptions

__all__ = ["clouddirect_provider"]


@hookimpl
def clouddirect_provider() -> Provider:
    """Describe the provider."""
    from clouddirect_azure.broker_options import AzureBrokerOptions
    from clouddirect_azure.store_options import AzureStoreOptions

    return Provider(
        name="azure",
        title="Azure Service Bus and Blob Storage",
        extra="azure",
        sdk_modules=("azure.servicebus", "azure.storage.blob", "azure.identity", "azure.core", "websocket"),
        broker_options=AzureBrokerOptions,
        open_broker=_open_broker,
        store_options=AzureStoreOptions,
        open_store=_open_store,
    )


def _open_broker(options: AzureBrokerOptions, runtime: BrokerRuntime) -> MessageBroker:
    from clouddirect_azure.broker import AzureBroker

    return AzureBroker(options, runtime)


def _open_store(options: AzureStoreOptions, runtime: StoreRuntime) -> FileStore:
    from clouddirect_azure.store import AzureStore

    return AzureStore(options, runtime)
