"""`CloudDirect`: the order workflow over whichever brokers and stores the settings name."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from clouddirect.clock import Clock
from clouddirect.orders.connections import Connections
from clouddirect.orders.dead_letters import DeadLetters
from clouddirect.orders.flusher import ClientDestination, Flusher
from clouddirect.orders.inbox import Inbox
from clouddirect.orders.journal import Journal, journal_path
from clouddirect.orders.ledger import Ledger, Patience
from clouddirect.orders.outbox import FlushReport, Outbox
from clouddirect.orders.receiving import ResultReceiver
from clouddirect.orders.sending import OrderSender, SentGrading, Submission
from clouddirect.retry import Interrupt, RetryPolicy

if TYPE_CHECKING:
    from clouddirect.settings import Settings

__all__ = ["CloudDirect", "SentGrading", "Submission"]


class CloudDirect(OrderSender, ResultReceiver):
    """A client of the IRIS order workflow. Thread-safe; use it as a context manager, or close it.

    Nothing is opened before it is used, so settings with only the endpoints that a program needs suffice.

    Attributes:
        settings: what it was made with.
        outbox: what was accepted and is not yet confirmed; it can be looked at, and sent by `flush_outbox`, whether or
            not ``[outbox]`` is switched on in the settings.
        inbox: which events and results have been handled; used where ``once`` is asked for.
        dead_letters: what could not be processed, in the brokers' dead-letter queues and in the local quarantine.
        ledger: where each order stands; kept up to date with ``[tracking]`` in the settings.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None, retry: RetryPolicy | None = None) -> None:
        """Use ``settings``; ``clock`` and ``retry`` replace the defaults."""
        self.settings = settings
        self._connections = Connections(
            settings.endpoints, settings.stores, observers=settings.observers, data_dir=settings.data_dir, clock=clock,
            retry=retry,
        )  # fmt: skip
        self._stopping = Interrupt(self._connections.clock)
        self._journal = Journal(journal_path(settings.data_dir))
        self.ledger = Ledger(self._journal, self._connections.clock, _patience(settings))
        self.outbox = Outbox(self._journal, self._connections.clock, discarding=self.ledger.discarded)
        self.inbox = Inbox(self._journal, self._connections.clock)
        self._ledger = self.ledger if settings.tracking.enabled else None
        self.dead_letters = DeadLetters(
            self._connections, settings.endpoints, stopping=self._stopping.is_set, arrived=self._enter_arrived,
            inbox=self.inbox,
        )  # fmt: skip
        self._flusher = None
        if settings.outbox.enabled:
            self._flusher = Flusher(self.outbox, self._connections, settings.outbox.wait)

    def flush_outbox(self) -> FlushReport:
        """Send what waits in the outbox, in order; returns what was sent, put on hold or could not be sent.

        Raises:
            CloudDirectError: the outbox cannot be read or written.
        """
        return self.outbox.flush(ClientDestination(self._connections), stopping=self._stopping.is_set)

    @classmethod
    def from_settings(cls, config: str | Path | None = None) -> Self:
        """Load the settings file (see `clouddirect.settings`) and make a client of it.

        Raises:
            ConfigurationError: there are no settings, or they are wrong.
        """
        from clouddirect.settings import load_settings

        return cls(load_settings(config))

    def close(self, timeout: float = 30.0) -> None:
        """Stop, give back what is not settled, and close the connections.

        What waits in the outbox is sent first, unless its endpoint is known to be away; the rest stays there.
        """
        if self._flusher is not None:
            self._flusher.stop(timeout)
        self._stopping.set()
        self._connections.close(timeout)
        if self._flusher is not None:
            self._flusher.join(timeout)
        self._journal.close()

    def __enter__(self) -> Self:
        if self._flusher is not None:
            self._flusher.wake()  # an earlier run may have left something
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _patience(settings: Settings) -> Patience:
    tracking = settings.tracking
    return Patience(receipt=tracking.receipt_within, grading=tracking.grading_within, result=tracking.result_within)
