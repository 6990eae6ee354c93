"""Options of the Pub/Sub broker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from clouddirect_gcp.credential_options import GcpCredentialOptions

__all__ = ["GcpBrokerOptions"]


class GcpBrokerOptions(GcpCredentialOptions):
    """How to reach Pub/Sub, and what its subscriptions were made with. Times are seconds.

    A queue's name is a topic where messages are sent, and a subscription where they are received: a short name, or the
    full one, ``projects/P/topics/T`` or ``projects/P/subscriptions/S``. The subscriber role may not read a
    subscription's settings, so those that matter to a client are repeated here.

    Attributes:
        project: the project of short names; None for the credential's own.
        endpoint: host, or host and port, of a regional endpoint such as ``europe-west3-pubsub.googleapis.com``, of
            Private Service Connect or of a proxy; always TLS. None for the universe's global endpoint. Messages with
            an ordering key keep their order only if all are sent through one region, so give one for them.
        emulator_host: host and port of an emulator, spoken to without TLS, and without a credential unless
            ``access_token`` is given. None for the environment variable PUBSUB_EMULATOR_HOST, which the SDK heeds too,
            unless ``endpoint`` is given.
        ca_file: certificates (PEM) that the endpoint's is checked against, in place of the well-known authorities.
        lease: how long a received message is reserved for its receiver when ``receive`` names no other length. It is
            asked for after each pull, whatever the subscription's acknowledgement deadline is.
        ordered: the topic's subscriptions were made with message ordering. Until this says so a message with an
            ordering key is refused, as Pub/Sub would take it and deliver it in any order.
        exactly_once: the subscription was made with exactly-once delivery, so that the service says when a settlement
            came too late. Its answers are read in any case.
        counted: the subscription has a dead-letter policy, without which Pub/Sub counts no deliveries.
        max_delivery_count: the policy's ``max-delivery-attempts``, if known.
        send_concurrency: most publish requests of one ``send_many`` under way at the same time.
        connect_timeout: longest wait for a connection.
    """

    project: str | None = Field(default=None, pattern=r"^[^\s/]+$")
    endpoint: str | None = Field(default=None, pattern=r"^[^\s/:]+(:\d+)?$")
    emulator_host: str | None = Field(default=None, pattern=r"^[^\s/]+:\d+$")
    ca_file: Path | None = None
    lease: Annotated[int, Field(ge=10, le=600)] = 60
    ordered: bool = False
    exactly_once: bool = False
    counted: bool = False
    max_delivery_count: Annotated[int, Field(ge=5, le=100)] | None = None
    send_concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    connect_timeout: Annotated[float, Field(gt=0, le=300)] = 20.0

    @model_validator(mode="after")
    def _check_fit(self) -> Self:
        if self.emulator_host is not None:
            if self.endpoint is not None or self.ca_file is not None:
                raise ValueError("emulator_host excludes endpoint and ca_file: an emulator is spoken to without TLS")
            if self.service_account_file or self.service_account_key or self.impersonate:
                raise ValueError("emulator_host excludes this credential: it would cross the line unencrypted")
        if self.max_delivery_count is not None and not self.counted:
            raise ValueError("max_delivery_count is a part of the dead-letter policy: set counted as well")
        return self
