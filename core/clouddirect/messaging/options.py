"""`ConsumerOptions`: the limits of a consumer."""

from __future__ import annotations

import random
from dataclasses import dataclass

from clouddirect.errors import ConfigurationError

__all__ = ["ConsumerOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerOptions:
    """Limits of a `Consumer`. Times are seconds.

    Attributes:
        lease: length of each lease, where the broker lets it be chosen; None for the queue's own.
        max_handling: how long leases are renewed in all, from receiving a message until it must be settled.
        max_deliveries: a message delivered more often than this is dead-lettered without reaching the handler, and one
            whose handler fails on its last permitted delivery is dead-lettered at once. None leaves it to the broker.
            Works where the broker counts deliveries.
        max_waiting: most messages received ahead of the handlers. Fewer are, when they could not be handled within half
            a lease; never more than fit that.
        poll_wait: how long one poll waits for messages.
        first_retry_delay: upper bound of the jittered delay before a failed message comes again; doubled each time.
        max_retry_delay: upper bound of that delay.
    """

    lease: float | None = None
    max_handling: float = 3600.0
    max_deliveries: int | None = None
    max_waiting: int = 100
    poll_wait: float = 20.0
    first_retry_delay: float = 1.0
    max_retry_delay: float = 300.0

    def retry_delay(self, delivery_count: int | None) -> float:
        """Return the jittered seconds before a message comes again that failed on its delivery ``delivery_count``."""
        ceiling = self.first_retry_delay * 2.0 ** min((delivery_count or 3) - 1, 30)
        return random.uniform(0, min(ceiling, self.max_retry_delay))

    def __post_init__(self) -> None:
        if self.max_deliveries is not None and self.max_deliveries < 1:
            raise ConfigurationError(f"max_deliveries is {self.max_deliveries}; it must be at least 1, or None")
        for name in ("max_handling", "max_waiting", "poll_wait", "first_retry_delay", "max_retry_delay"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"{name} is {getattr(self, name)}; it must not be negative")
