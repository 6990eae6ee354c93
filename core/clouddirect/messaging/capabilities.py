"""What a broker can do with one queue; what is not declared is refused before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clouddirect.checks import CheckResult

__all__ = ["Access", "Capabilities", "CheckResult"]

Access = Literal["send", "receive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The abilities and limits of a broker for one queue. Sizes are bytes as the broker counts them, times seconds.

    Attributes:
        max_message_bytes: largest message, as measured by the provider's ``_size``.
        max_send_count: most messages in one ``_send``.
        max_send_bytes: most bytes in one ``_send``, as the sum of ``_size``.
        atomic_send: a ``_send`` succeeds or fails as a whole; core then bisects a refused batch. When false, each
            message of a batch has an outcome of its own.
        one_key_per_send: a ``_send`` may hold messages of a single ordering key only.
        send_concurrency: how many ``_send`` calls of one ``send_many`` may run at the same time.
        max_receive_count: most messages one ``_receive`` returns.
        max_receive_wait: longest wait of one ``_receive``; core repeats it for longer waits.
        min_receive_wait: shortest wait that reliably returns what is there; shorter waits are raised to it.
        max_settle_count: most deliveries in one ``_ack``, ``_nack``, ``_release`` or ``_extend``. A provider whose
            broker settles one by one may declare more and pipeline them.
        ack_linger: how long a busy consumer may hold back acks until they fill a call; 0 where calls cost nothing. A
            message without ordering key is then acked that much later, and so is more likely to come again after a
            crash.
        ack_is_checked: the broker reports an ack that came after the lease had ended.
        settable_lease: the length of the lease can be asked for in ``receive``; otherwise the queue fixes it.
        max_lease: longest lease, or None for no limit.
        max_nack_delay: longest delay of a native nack; 0 when the broker gives back at once only. Longer delays are
            served by core, which holds the lease and gives back later.
        free_release: a delivery can be given back without counting as one.
        delivery_count: deliveries carry a count.
        native_dead_letter: the broker moves a message to its dead-letter queue itself, with a reason.
        dead_letter_queue: name of the queue's readable dead-letter queue, or None.
        dead_letter_count: name of the attribute in which the broker notes, when it dead-letters a message by itself,
            how often that was delivered before; None if it notes nothing.
        max_delivery_count: deliveries after which the broker dead-letters a message itself; None if it never does or
            this is not known.
        ordering: ordering keys are honoured.
        max_delay: longest `Message.delay`; 0 when not supported.
        time_to_live: `Message.time_to_live` is honoured.
        deduplication: a repeated message id is dropped within the broker's window.
    """

    max_message_bytes: int
    max_send_count: int = 1
    max_send_bytes: int | None = None
    atomic_send: bool = True
    one_key_per_send: bool = False
    send_concurrency: int = 1
    max_receive_count: int = 1
    max_receive_wait: float = 20.0
    min_receive_wait: float = 0.0
    max_settle_count: int = 1
    ack_linger: float = 0.0
    ack_is_checked: bool = False
    settable_lease: bool = False
    max_lease: float | None = None
    max_nack_delay: float = 0.0
    free_release: bool = False
    delivery_count: bool = False
    native_dead_letter: bool = False
    dead_letter_queue: str | None = None
    dead_letter_count: str | None = None
    max_delivery_count: int | None = None
    ordering: bool = False
    max_delay: float = 0.0
    time_to_live: bool = False
    deduplication: bool = False
