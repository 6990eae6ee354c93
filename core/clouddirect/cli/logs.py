"""Logging for the command line: to stderr, clouddirect's own records only, never the text of an exception.

The loggers of cloud SDKs stay as they are: at their chatty levels they write headers and bodies.
"""

from __future__ import annotations

import logging
import sys

__all__ = ["configure_logging"]

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class _Handler(logging.Handler):
    """Writes to whatever stderr is at the moment: a progress bar takes its place for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - as the standard handlers do: logging must not end the program
            self.handleError(record)


class _Formatter(logging.Formatter):
    """Shows of an exception its type alone: its text may hold patient data."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        if record.levelno < logging.WARNING:
            text = f"{self.formatTime(record, '%H:%M:%S')} {record.name} {text}"
        if record.exc_info and record.exc_info[0] is not None:
            text += f" ({record.exc_info[0].__name__})"
        return text


def configure_logging(verbosity: int) -> None:
    """Log warnings; with one ``-v`` what happens, with two every step. Called again, it replaces the earlier choice."""
    logger = logging.getLogger("clouddirect")
    for handler in [handler for handler in logger.handlers if isinstance(handler, _Handler)]:
        logger.removeHandler(handler)
    handler = _Handler()
    handler.setFormatter(_Formatter())
    logger.addHandler(handler)
    logger.setLevel(_LEVELS[min(verbosity, len(_LEVELS) - 1)])
