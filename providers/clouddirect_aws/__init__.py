"""Amazon Web Services: SQS as message broker, S3 as file store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clouddirect.plugins import Provider, hookimpl

if TYPE_CHECKING:
    from clouddirect.messaging import BrokerRuntime, MessageBroker
    from clouddirect.storage import FileStore, StoreRuntime
    from clouddirect_aws.broker_options import AwsBrokerOptions
    from clouddirect_aws.store_options import AwsStoreOptions

__all__ = ["clouddirect_provider"]


@hookimpl
def clouddirect_provider() -> Provider:
    """Describe the provider."""
    from clouddirect_aws.broker_options import AwsBrokerOptions
    from clouddirect_aws.store_options import AwsStoreOptions

    return Provider(
        name="aws",
        title="Amazon SQS and S3",
        extra="aws",
        sdk_modules=("boto3", "botocore", "awscrt", "s3transfer"),
        broker_options=AwsBrokerOptions,
        open_broker=_open_broker,
        store_options=AwsStoreOptions,
        open_store=_open_store,
    )


def _open_broker(options: AwsBrokerOptions, runtime: BrokerRuntime) -> MessageBroker:
    from clouddirect_aws.broker import AwsBroker

    return AwsBroker(options, runtime)


def _open_store(options: AwsStoreOptions, runtime: StoreRuntime) -> FileStore:
    from clouddirect_aws.store import AwsStore

    return AwsStore(options, runtime)
