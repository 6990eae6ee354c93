"""A Google Pub/Sub server for tests, in memory, spoken to by the real SDK over gRPC."""

from __future__ import annotations

from .faults import CutStream, Delay, Drop, Stall, Status
from .server import PubSubServer

__all__ = ["CutStream", "Delay", "Drop", "PubSubServer", "Stall", "Status"]
