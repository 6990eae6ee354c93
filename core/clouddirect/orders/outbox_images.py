"""Images in the outbox: kept in pieces, so that neither keeping nor uploading one needs memory for all of it."""

from __future__ import annotations

import io
import sqlite3
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clouddirect.errors import CloudDirectError, InvalidMessageError, NotFoundError
from clouddirect.forking import Forked, around_fork

if TYPE_CHECKING:
    from clouddirect.orders.images import ImageFile
    from clouddirect.orders.journal import Journal

__all__ = ["SCHEMA", "StoredImage", "WaitingImage", "images_of", "keep_image", "note_image"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox_images (
  seq INTEGER NOT NULL, number INTEGER NOT NULL, key TEXT NOT NULL, content_type TEXT NOT NULL, size INTEGER NOT NULL,
  stored INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (seq, number)
);
CREATE TABLE IF NOT EXISTS outbox_begun (seq INTEGER PRIMARY KEY, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox_pieces (
  seq INTEGER NOT NULL, number INTEGER NOT NULL, piece INTEGER NOT NULL, content BLOB NOT NULL,
  PRIMARY KEY (seq, number, piece)
)
"""

_PIECE = 1 << 20
_PIECES_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingImage:
    """An image that is to be stored under ``key``: its ``file`` where it is being accepted, ``size`` in bytes and
    ``number`` among the images of its message where it comes from the outbox."""

    key: str
    content_type: str
    file: ImageFile | None = None
    number: int = 0
    size: int = 0


def keep_image(journal: Journal, seq: int, number: int, image: WaitingImage) -> int:
    """Copy an image into the outbox, some pieces in each transaction; returns its size in bytes.

    Others use the journal in between: a slow disk or a large image keeps nobody waiting.

    Raises:
        InvalidMessageError: it cannot be read.
        UnavailableError, …: the journal cannot be written, as `Journal.write`.
    """
    from clouddirect.storage.sources import open_source

    assert image.file is not None
    size = piece = 0
    try:
        with open_source(image.file.source) as source:
            last = False
            while not last:
                pieces: list[bytes] = []
                while not last and len(pieces) < _PIECES_AT_ONCE:
                    content, last = source.read_part(_PIECE)
                    pieces.append(bytes(content))
                    source.recycle(content)
                with journal.write() as connection:
                    connection.executemany(
                        "INSERT INTO outbox_pieces VALUES (?, ?, ?, ?)",
                        [(seq, number, piece + place, content) for place, content in enumerate(pieces)],
                    )
                size, piece = size + sum(map(len, pieces)), piece + len(pieces)
    except CloudDirectError:
        raise  # some are of the system's own kinds, too
    except OSError as error:
        # the system's own text would hold the file's name, and with it perhaps the patient's
        raise InvalidMessageError(f"an image cannot be read ({error.strerror or type(error).__name__})") from None
    return size


def note_image(connection: sqlite3.Connection, seq: int, number: int, image: WaitingImage, size: int) -> None:
    """Note, within a transaction, an image that `keep_image` has copied."""
    connection.execute(
        "INSERT INTO outbox_images (seq, number, key, content_type, size) VALUES (?, ?, ?, ?, ?)",
        [seq, number, image.key, image.content_type, size],
    )


def images_of(connection: sqlite3.Connection, seq: int) -> list[WaitingImage]:
    """Return the images of a message that are not in the store yet."""
    rows = connection.execute(
        "SELECT number, key, content_type, size FROM outbox_images WHERE seq = ? AND NOT stored ORDER BY number", [seq]
    )
    return [WaitingImage(number=number, key=key, content_type=kind, size=size) for number, key, kind, size in rows]


class StoredImage(io.RawIOBase, Forked):
    """An image of the outbox as a seekable stream; reads a piece at a time, on a connection of its own."""

    rank = -1  # it may be waiting for the journal

    def __init__(self, journal: Journal, seq: int, number: int, size: int) -> None:
        self._journal = journal
        self._reading = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._place = [seq, number]
        self._size = size
        self._at = 0
        around_fork(self)
        with self._reading:
            self._connection = journal.connect()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: object) -> int:
        """Read what is left of the piece at the position, as much as fits.

        Raises:
            NotFoundError: the image was discarded meanwhile.
            UnavailableError, …: the journal cannot be read, as `Journal.read`.
        """
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        with self._reading, self._journal.translating():
            if self._connection is None:
                self._connection = self._journal.connect()
            row = self._connection.execute(
                "SELECT substr(content, ?, ?) FROM outbox_pieces WHERE seq = ? AND number = ? AND piece = ?",
                [self._at % _PIECE + 1, len(view), *self._place, self._at // _PIECE],
            ).fetchone()
        content = (row and row[0]) or b""  # of an empty piece, substr makes NULL
        if not content and len(view) and self._at < self._size:  # an end here would be taken for the image's
            raise NotFoundError("an image in the outbox was discarded while it was being read", operation="outbox")
        view[: len(content)] = content
        self._at += len(content)
        return len(content)

    def close(self) -> None:
        """Close the connection."""
        with self._reading:
            self._disconnect()
        super().close()

    def before_fork(self) -> None:
        """Wait for the end of a read, and close the connection; the next read makes another."""
        self._reading.acquire()
        self._disconnect()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._reading.release()

    def after_fork_in_child(self) -> None:
        """Go on."""
        self._reading.release()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
