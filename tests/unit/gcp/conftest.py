"""Fixtures of the Google Cloud tests, each half's from a module of its own."""

from __future__ import annotations

from unit.gcp.pubsub_fixtures import _pubsub_of_session, pubsub

__all__ = ["_pubsub_of_session", "pubsub"]
