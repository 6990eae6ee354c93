"""Options of the local message broker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["LocalBrokerOptions"]


class LocalBrokerOptions(BaseModel):
    """How to reach a queue file. Times are seconds.

    ``lease``, ``max_deliveries`` and ``deduplication_window`` are stored with a queue when it is made. They apply to
    the queues that this broker makes (``create``); a queue that exists keeps what it was made with.

    Attributes:
        path: the SQLite file that holds the queues, on a disk of this machine. Network file systems are not supported:
            SQLite's write-ahead log needs memory shared by all processes that use the file.
        create: make the file, and each queue, on first use. Meant for development; otherwise queues are made with
            `clouddirect_local.queue_admin.create_queue`, and what is missing is an error.
        lease: how long a received message is reserved for its receiver when ``receive`` names no other length.
        max_deliveries: a message that would be delivered more often than this goes to ``<queue>/$dead`` instead. None
            for no limit.
        deduplication_window: for how long the id of a sent message is remembered; another message with that id is not
            stored again. 0 turns it off.
        max_message_bytes: largest message: its body, attributes and text fields together, in bytes. 1 MiB by default,
            as on Amazon SQS; Service Bus's standard tier takes 256 KiB, so set that to rehearse for it.
        access: which side this broker may use, so that a send-only or receive-only credential can be rehearsed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    create: bool = False
    lease: Annotated[float, Field(gt=0, le=604_800)] = 30.0
    max_deliveries: Annotated[int, Field(ge=1)] | None = 10
    deduplication_window: Annotated[float, Field(ge=0, le=604_800)] = 300.0
    max_message_bytes: Annotated[int, Field(ge=1, le=256 * 1024 * 1024)] = 1024 * 1024
    access: Literal["send", "receive", "both"] = "both"
