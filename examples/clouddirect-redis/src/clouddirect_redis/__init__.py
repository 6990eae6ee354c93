"""Redis Streams as a message broker for clouddirect; this label imports no SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clouddirect.plugins import Provider, hookimpl
from pydantic import BaseModel, ConfigDict, Field, SecretStr

if TYPE_CHECKING:
    from clouddirect.messaging import BrokerRuntime, MessageBroker

__all__ = ["RedisOptions", "clouddirect_provider"]


class RedisOptions(BaseModel):
    """Options of the Redis broker."""

    model_config = ConfigDict(extra="forbid")

    url: SecretStr = Field(description="redis://user:password@host:port/database, or rediss:// for TLS.")
    group: str = Field(default="clouddirect", min_length=1, description="The consumer group that shares the messages.")
    lease: float = Field(
        default=60.0, ge=1, le=43_200, description="Seconds a delivery is on lease where the receiver asks for none."
    )


def _open_broker(options: RedisOptions, runtime: BrokerRuntime) -> MessageBroker:
    from clouddirect_redis.broker import RedisBroker

    return RedisBroker(options.url.get_secret_value(), group=options.group, lease=options.lease, runtime=runtime)


@hookimpl
def clouddirect_provider() -> Provider:
    """Describe the provider."""
    return Provider(
        name="redis",
        title="Redis Streams",
        extra="sdk",
        sdk_modules=("redis",),
        broker_options=RedisOptions,
        open_broker=_open_broker,
    )
