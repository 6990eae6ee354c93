"""Settling the sandbox's messages: a settlement that fails costs a repeat, never the sandbox."""

from __future__ import annotations

import logging

from clouddirect.errors import CloudDirectError
from clouddirect.messaging.delivery import Delivery

__all__ = ["ack", "give_back", "put_aside"]

log = logging.getLogger("clouddirect.sandbox")

#: What could not be processed comes again after so many seconds.
_AGAIN = 5.0


def ack(delivery: Delivery) -> None:
    """Ack; when that fails the message may come again, and whoever takes it has to recognise it."""
    try:
        delivery.ack()
    except CloudDirectError as error:
        log.warning("message %s could not be acked (%s); it may come again", delivery.message.id, type(error).__name__)
        delivery.stop_keeping()


def give_back(delivery: Delivery) -> None:
    """Give back, to come again in a few seconds."""
    try:
        delivery.nack(_AGAIN)
    except CloudDirectError as error:
        log.warning("message %s could not be given back (%s)", delivery.message.id, type(error).__name__)
        delivery.stop_keeping()


def put_aside(delivery: Delivery, reason: str, description: str) -> None:
    """Dead-letter; when that fails the message comes again."""
    try:
        delivery.dead_letter(reason, description)
    except CloudDirectError as error:
        log.error(
            "message %s could not be dead-lettered (%s); it will come again", delivery.message.id, type(error).__name__
        )
        delivery.stop_keeping()
