"""Google Cloud: Pub/Sub as message broker, Cloud Storage as file store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clouddirect.plugins import Provider, hookimpl

if TYPE_CHECKING:
    from clouddirect.messaging import BrokerRuntime, MessageBroker
    from clouddirect.storage import FileStore, StoreRuntime
    from clouddirect_gcp.broker_options import GcpBrokerOptions
    from clouddirect_gcp.store_options import GcpStoreOptions

__all__ = ["clouddirect_provider"]


@hookimpl
def clouddirect_provider() -> Provider:
    """Describe the provider."""
    from clouddirect_gcp.broker_options import GcpBrokerOptions
    from clouddirect_gcp.store_options import GcpStoreOptions

    return Provider(
        name="gcp",
        title="Google Cloud Pub/Sub and Cloud Storage",
        extra="gcp",
        sdk_modules=("google.cloud.pubsub_v1", "google.cloud.storage", "google.auth", "grpc"),
        broker_options=GcpBrokerOptions,
        open_broker=_open_broker,
        store_options=GcpStoreOptions,
        open_store=_open_store,
    )


def _open_broker(options: GcpBrokerOptions, runtime: BrokerRuntime) -> MessageBroker:
    from clouddirect_gcp.broker import GcpBroker

    return GcpBroker(options, runtime)


def _open_store(options: GcpStoreOptions, runtime: StoreRuntime) -> FileStore:
    from clouddirect_gcp.store import GcpStore

    return GcpStore(options, runtime)
