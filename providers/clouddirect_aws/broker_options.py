"""Options of the SQS broker."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from clouddirect_aws.session_options import SessionOptions

__all__ = ["AwsBrokerOptions", "MAX_MESSAGE_BYTES"]

#: What SQS takes today, for one message and for all of a batch together ("Amazon SQS message quotas", API reference of
#: SendMessageBatch: 1 MiB, 1,048,576 bytes; before August 2025 it was 256 KiB).
MAX_MESSAGE_BYTES = 1_048_576


class AwsBrokerOptions(SessionOptions):
    """How to reach SQS queues of one account. Times are seconds.

    A queue is named by its URL, or by its name. With a URL nothing is looked up: its region is taken where ``region``
    is not set, and a credential with no right but ``sqs:SendMessage`` can send. A name costs one GetQueueUrl.

    Attributes:
        read_timeout: for the next bytes of an answer to come; a long poll may take ``poll_seconds`` more.
        queue_owner: the account that owns the queues given by name, where it is not the credential's own.
        lease: the visibility timeout of a received message when ``receive`` asks for no other. It goes into every
            receive call, so the queue's own setting does not matter (and need not be readable).
        poll_seconds: longest long poll. Shorter ones cost more calls on an idle queue (one every ``poll_seconds``),
            longer ones let closing take longer, for a poll under way cannot be called off.
        send_concurrency: how many batches of one ``send_many`` are sent at the same time.
        max_message_bytes: largest message: body and attributes together. Lower it where the queue's MaximumMessageSize
            is lower, so that larger messages are refused before sending.
    """

    read_timeout: Annotated[float, Field(gt=0, le=900)] = 20.0
    queue_owner: Annotated[str, Field(pattern=r"^\d{12}$")] | None = None
    lease: Annotated[int, Field(ge=1, le=43_200)] = 30
    poll_seconds: Annotated[int, Field(ge=1, le=20)] = 5
    send_concurrency: Annotated[int, Field(ge=1, le=100)] = 8
    max_message_bytes: Annotated[int, Field(ge=1_024, le=MAX_MESSAGE_BYTES)] = MAX_MESSAGE_BYTES
