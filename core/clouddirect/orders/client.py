"""`CloudDirect`: the order workflow over whichever brokers and stores the settings name."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from clouddirect.clock import Clock
from clouddirect.orders.connections import Connections
from clouddirect.orders.receiving import ResultReceiver
from clouddirect.orders.sending import OrderSender, SentGrading, Submission
from clouddirect.retry import Interrupt, RetryPolicy

if TYPE_CHECKING:
    from clouddirect.settings import Settings

__all__ = ["CloudDirect", "SentGrading", "Submission"]


class CloudDirect(OrderSender, ResultReceiver):
    """A client of the IRIS order workflow. Thread-safe; use it as a context manager, or close it.

    Nothing is opened before it is used, so settings with only the endpoints that a program needs suffice.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None, retry: RetryPolicy | None = None) -> None:
        """Use ``settings``; ``clock`` and ``retry`` replace the defaults."""
        self.settings = settings
        self._connections = Connections(
            settings.endpoints, settings.stores, observers=settings.observers, data_dir=settings.data_dir, clock=clock,
            retry=retry,
        )  # fmt: skip
        self._stopping = Interrupt(self._connections.clock)

    @classmethod
    def from_settings(cls, config: str | Path | None = None) -> Self:
        """Load the settings file (see `clouddirect.settings`) and make a client of it.

        Raises:
            ConfigurationError: there are no settings, or they are wrong.
        """
        from clouddirect.settings import load_settings

        return cls(load_settings(config))

    def close(self, timeout: float = 30.0) -> None:
        """Stop, give back what is not settled, and close the connections."""
        self._stopping.set()
        self._connections.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
