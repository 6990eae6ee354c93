"""An observer that keeps an audit log: one JSON object a line, identifiers only."""

from __future__ import annotations

import getpass
import json
import os
import socket
from pathlib import Path

from clouddirect.observers import FileEvent, MessageEvent, hookimpl

__all__ = ["AuditLog", "audit"]


class AuditLog:
    """Appends what it is told to a file.

    Args:
        path: the file; None for the one that CLOUDDIRECT_AUDIT_LOG names, or else ``clouddirect-audit.jsonl`` here.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._path = path
        self._user, self._host = getpass.getuser(), socket.gethostname()

    @hookimpl
    def clouddirect_message_sent(self, event: MessageEvent) -> None:
        """A message went out."""
        self._write_message(event)

    @hookimpl
    def clouddirect_message_received(self, event: MessageEvent) -> None:
        """A message came in."""
        self._write_message(event)

    @hookimpl
    def clouddirect_message_settled(self, event: MessageEvent) -> None:
        """A message was done with, given back or set aside."""
        self._write_message(event)

    @hookimpl
    def clouddirect_file_stored(self, event: FileEvent) -> None:
        """A file was stored or deleted."""
        self._write_file(event)

    @hookimpl
    def clouddirect_file_read(self, event: FileEvent) -> None:
        """A file was read to its end."""
        self._write_file(event)

    def _write_message(self, event: MessageEvent) -> None:
        # not event.reason: people write free text there
        self._write(event, queue=event.queue, message_id=event.message_id, correlation_id=event.correlation_id,
                    delivery_count=event.delivery_count)  # fmt: skip

    def _write_file(self, event: FileEvent) -> None:
        self._write(event, container=event.container, key=event.key)

    def _write(self, event: MessageEvent | FileEvent, **identifiers: object) -> None:
        line = {
            "at": event.at.isoformat(), "user": self._user, "host": self._host, "pid": os.getpid(),
            "what": event.outcome, "provider": event.provider, **identifiers, "size": event.size,
        }  # fmt: skip
        path = Path(self._path or os.environ.get("CLOUDDIRECT_AUDIT_LOG") or "clouddirect-audit.jsonl")
        # one write in append mode, so that lines of several threads and processes do not mix
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, json.dumps(line).encode() + b"\n")
        finally:
            os.close(file)


#: What the entry point names.
audit = AuditLog()
