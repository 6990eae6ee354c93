"""A Google Cloud Storage server for tests, in memory, spoken to by the real SDK over HTTP."""

from __future__ import annotations

from .faults import CutRequest, CutResponse, Delay, LoseReply, Reply, Stall
from .server import GcsServer

__all__ = ["CutRequest", "CutResponse", "Delay", "GcsServer", "LoseReply", "Reply", "Stall"]
