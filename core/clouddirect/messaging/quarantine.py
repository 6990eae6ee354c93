"""The local quarantine: where a dead-lettered message goes when the broker and the credential offer no other place.

Each message is one JSON file, written to a temporary name, flushed to the disk and renamed, readable by its owner alone
where the system knows owners.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from clouddirect.durable import make_private_directory, sync_directory, sync_file
from clouddirect.errors import UnavailableError
from clouddirect.messaging.message import DEAD_LETTER_DESCRIPTION, DEAD_LETTER_REASON, Message

__all__ = ["Quarantine", "QuarantinedMessage"]

log = logging.getLogger("clouddirect.messaging")


@dataclass(frozen=True, slots=True)
class QuarantinedMessage:
    """One message in the quarantine; ``at`` is when it was put there, in UTC, ``path`` the file that holds it."""

    path: Path
    provider: str
    queue: str
    message: Message
    delivery_count: int | None
    at: datetime

    @property
    def id(self) -> str:
        """What names it among the quarantined ones; its file is called after it."""
        return self.path.stem

    @property
    def reason(self) -> str:
        """The reason given when it was dead-lettered."""
        return self.message.attributes.get(DEAD_LETTER_REASON, "")

    @property
    def description(self) -> str | None:
        """The description given when it was dead-lettered."""
        return self.message.attributes.get(DEAD_LETTER_DESCRIPTION)


class Quarantine:
    """A directory of quarantined messages; it is made when the first one arrives."""

    def __init__(self, directory: Path | None = None) -> None:
        """Use ``directory``, or ``quarantine`` in the user's data directory for clouddirect."""
        self._directory = None if directory is None else directory.expanduser()

    @property
    def directory(self) -> Path:
        """Where the files are."""
        if self._directory is None:
            import platformdirs

            self._directory = Path(platformdirs.user_data_dir("clouddirect", appauthor=False)) / "quarantine"
        return self._directory

    def put(self, provider: str, queue: str, message: Message, delivery_count: int | None, at: datetime) -> Path:
        """Store a message durably and return its file.

        The same message of the same queue gets the same file, so that a redelivery after a failed ack adds none. An id
        alone does not make two messages the same: foreign senders repeat theirs.

        Raises:
            UnavailableError: the file could not be written; the message must then stay in its queue.
        """
        record = {
            "provider": provider, "queue": queue, "at": at.isoformat(), "delivery_count": delivery_count,
            "id": message.id, "correlation_id": message.correlation_id, "content_type": message.content_type,
            "subject": message.subject, "ordering_key": message.ordering_key, "attributes": dict(message.attributes),
            "body": base64.b64encode(message.body).decode("ascii"),
        }  # fmt: skip
        identity = json.dumps([provider, queue, message.id]).encode() + message.body
        path = self.directory / f"{hashlib.sha256(identity).hexdigest()[:32]}.json"
        try:
            self._make()
            _write_durably(path, json.dumps(record, indent=1).encode())
        except OSError as error:
            raise UnavailableError(
                f"the message cannot be put into the quarantine at {self.directory} "
                f"({error.strerror or type(error).__name__}); make room or set another quarantine directory. It stays "
                "in its queue.",
                provider=provider, operation="dead_letter", resource=queue,
            ) from error  # fmt: skip
        return path

    def get(self, name: str) -> QuarantinedMessage | None:
        """Return the message with this id; None if there is none, or none that can be read, which is logged."""
        path = self.directory / f"{name}.json"
        try:
            return self._read(path)
        except FileNotFoundError:
            return None  # somebody has just taken it out
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is not a readable quarantined message (%s)", path, type(error).__name__)
            return None

    def names(self) -> list[str]:
        """Return the ids of what is in quarantine, oldest first; one message at a time is held in memory.

        Raises:
            UnavailableError: the directory is there and cannot be read.
        """
        found = []
        try:
            paths = [path for path in self.directory.iterdir() if path.suffix == ".json"]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UnavailableError(
                f"the quarantine at {self.directory} cannot be read ({error.strerror or type(error).__name__})",
                operation="quarantine", retryable=False,
            ) from error  # fmt: skip
        for path in paths:
            one = self.get(path.stem)
            if one is not None:
                found.append((one.at, one.id))
        return [name for _, name in sorted(found)]

    def remove(self, one: QuarantinedMessage) -> bool:
        """Remove a message for good, durably; False if somebody else has done so.

        Raises:
            UnavailableError: it cannot be removed; it is still there.
        """
        try:
            one.path.unlink()
            sync_directory(one.path.parent)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise UnavailableError(
                f"the quarantined message {one.path} cannot be removed ({error.strerror or type(error).__name__})",
                operation="quarantine", retryable=False,
            ) from error  # fmt: skip
        return True

    def __iter__(self) -> Iterator[QuarantinedMessage]:
        """Yield what is in quarantine, oldest first; a file that is none of ours is logged and left out.

        Raises:
            UnavailableError: the directory is there and cannot be read.
        """
        for name in self.names():
            one = self.get(name)
            if one is not None:
                yield one

    def _make(self) -> None:
        if not self.directory.is_dir():
            make_private_directory(self.directory)
            sync_directory(self.directory.parent)

    def _read(self, path: Path) -> QuarantinedMessage:
        record = json.loads(path.read_bytes())
        message = Message(
            body=base64.b64decode(record["body"]), id=record["id"], correlation_id=record["correlation_id"],
            content_type=record["content_type"], subject=record["subject"], ordering_key=record["ordering_key"],
            attributes=record["attributes"],
        )  # fmt: skip
        at = datetime.fromisoformat(record["at"])
        return QuarantinedMessage(path, record["provider"], record["queue"], message, record["delivery_count"], at)


def _write_durably(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            sync_file(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
