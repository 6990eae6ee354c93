"""How far the import of a CSV file has come: what is kept beside it, and what is known while it is read.

`Progress` is the file that survives: of each row that was begun, the line, a digest of what it says, the ids it was
sent under, and whether that was confirmed. It holds no patient data: the digests are keyed with random bytes of the
file's own. `Seen` lasts as long as a run and is on the disk too, so that the memory needed does not grow with the rows.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clouddirect.durable import sync_directory
from clouddirect.errors import CloudDirectError, ConfigurationError, PermissionDeniedError, UnavailableError

__all__ = ["BegunRow", "Progress", "Seen"]

#: Marks a file as one of ours ("CdP1").
_APPLICATION_ID = 0x43645031
_SCHEMA = (
    "CREATE TABLE about (salt BLOB NOT NULL, target BLOB NOT NULL)",
    "CREATE TABLE rows (number INTEGER PRIMARY KEY, line INTEGER NOT NULL, digest BLOB NOT NULL,"
    " local_id TEXT, message_id TEXT NOT NULL, sent INTEGER NOT NULL DEFAULT 0)",
)
_MAKE_ROOM = "make room, and run the import again: it goes on from here"
_TABLE: dict[int, tuple[type[CloudDirectError], str]] = {
    sqlite3.SQLITE_BUSY: (UnavailableError, "another import is using it; wait until that one has ended"),
    sqlite3.SQLITE_FULL: (UnavailableError, f"the disk is full; {_MAKE_ROOM}"),
    sqlite3.SQLITE_IOERR: (UnavailableError, f"reading or writing the disk failed; {_MAKE_ROOM}"),
    sqlite3.SQLITE_READONLY: (PermissionDeniedError, "it cannot be written; choose another progress file (--progress)"),
    sqlite3.SQLITE_CANTOPEN: (PermissionDeniedError, "it cannot be opened; choose another progress file (--progress)"),
    sqlite3.SQLITE_NOTADB: (ConfigurationError, "it is no progress file; choose another progress file (--progress)"),
    sqlite3.SQLITE_CORRUPT: (ConfigurationError, "it is damaged; what was sent before cannot be told from it"),
}


@dataclass(frozen=True, slots=True)
class BegunRow:
    """A row that was sent, or may have been: ``sent`` says whether it was confirmed."""

    number: int
    line: int
    digest: bytes
    local_id: str | None
    message_id: str
    sent: bool


class Progress:
    """The progress file of one import. It is used by one run at a time; the lock ends with the process."""

    def __init__(self, path: str | os.PathLike[str], target: str) -> None:
        """Use the file at ``path``; it is opened, and made, later. ``target`` tells one destination from another."""
        self.path = Path(path)
        self._target = target
        self._salt = secrets.token_bytes(32)
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file if there is one.

        Raises:
            UnavailableError: another run is using it, or the disk fails.
            PermissionDeniedError: it cannot be read or written.
            ConfigurationError: it is no progress file, or that of an import to somewhere else.
        """
        if self._connection is None and self.path.exists():
            self._open()

    def begin(self, number: int, line: int, digest: bytes, local_id: str | None, message_id: str) -> None:
        """Note that a row is about to be sent; the file is made if there is none. It is on the disk on return.

        Raises:
            CloudDirectError: it cannot be noted, so the row must not be sent; as for `open`.
        """
        if self._connection is None:
            self._make()
        with self._translating():
            self._use().execute(
                "INSERT INTO rows (number, line, digest, local_id, message_id) VALUES (?, ?, ?, ?, ?)",
                [number, line, digest, local_id, message_id],
            )

    def confirm(self, number: int) -> None:
        """Note that a row was sent; it is on the disk on return. Raises like `begin`."""
        with self._translating():
            self._use().execute("UPDATE rows SET sent = 1 WHERE number = ?", [number])

    def forget(self, number: int) -> None:
        """Note that a row was not sent after all, for certain. Raises like `begin`."""
        with self._translating():
            self._use().execute("DELETE FROM rows WHERE number = ?", [number])

    def row(self, number: int) -> BegunRow | None:
        """Return what is known of a row; None if it was never begun."""
        if self._connection is None:
            return None
        with self._translating():
            found = self._connection.execute(
                "SELECT number, line, digest, local_id, message_id, sent FROM rows WHERE number = ?", [number]
            ).fetchone()
        if found is None:
            return None
        number, line, digest, local_id, message_id, sent = found
        return BegunRow(number, line, digest, local_id, message_id, bool(sent))

    def last(self) -> int:
        """Return the number of the last row that was begun; 0 if none was."""
        if self._connection is None:
            return 0
        with self._translating():
            return int(self._connection.execute("SELECT coalesce(max(number), 0) FROM rows").fetchone()[0])

    def digest(self, content: bytes) -> bytes:
        """Return the keyed digest of what a row says."""
        return hmac.digest(self._salt, content, hashlib.sha256)

    def close(self) -> None:
        """Let go of the file; another run may use it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- inside ---------------------------------------------------------------------------------------------

    def _use(self) -> sqlite3.Connection:
        assert self._connection is not None
        return self._connection

    def _make(self) -> None:
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            sync_directory(self.path.parent)
        except FileExistsError:
            raise UnavailableError(
                f"the progress file {self.path} has been made meanwhile by another import; run this one again"
            ) from None
        except OSError as error:
            raise PermissionDeniedError(
                f"the progress file {self.path} cannot be made ({error.strerror or type(error).__name__}); nothing is "
                "sent without one, so choose another place (--progress)"
            ) from error
        self._open()

    def _open(self) -> None:
        with self._translating():
            connection = sqlite3.connect(
                f"{self.path.resolve().as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None,
                check_same_thread=False,
            )  # fmt: skip
            try:
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._refuse_foreign(connection)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA fullfsync = ON")  # on macOS, fsync alone does not reach the disk
                connection.execute("BEGIN IMMEDIATE")
                self._prepare(connection)
                connection.execute("COMMIT")
            except BaseException:
                connection.close()
                raise
            self._connection = connection

    def _refuse_foreign(self, connection: sqlite3.Connection) -> None:
        (kind,) = connection.execute("PRAGMA application_id").fetchone()
        if kind != _APPLICATION_ID and _has_tables(connection):
            raise ConfigurationError(f"{self.path} is not a progress file; choose another progress file (--progress)")

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if not _has_tables(connection):  # new, or its maker was killed at once
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute("INSERT INTO about VALUES (?, ?)", [self._salt, self._keyed_target()])
            return
        self._salt, target = connection.execute("SELECT salt, target FROM about").fetchone()
        if not hmac.compare_digest(target, self._keyed_target()):
            raise ConfigurationError(
                f"the progress file {self.path} is that of an import to another queue or for another client_guid; "
                "choose another progress file (--progress)"
            )

    def _keyed_target(self) -> bytes:
        return self.digest(self._target.encode())

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            found = _TABLE.get(getattr(error, "sqlite_errorcode", -1) & 0xFF)
            if found is None:
                raise
            kind, what = found
            raise kind(
                f"the progress file {self.path}: {what}", operation="import", retryable=False,
                code=error.sqlite_errorname,
            ) from error  # fmt: skip


def _has_tables(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


class Seen:
    """What has been read of a file so far, to find what stands in it twice and what changes between two readings."""

    def __init__(self) -> None:
        """Make an empty one, in a file of SQLite's own that has no name and ends with the process."""
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("CREATE TABLE firsts (key BLOB PRIMARY KEY, line INTEGER NOT NULL) WITHOUT ROWID")
        self._connection.execute("CREATE TABLE digests (number INTEGER PRIMARY KEY, digest BLOB NOT NULL)")
        self._connection.execute("BEGIN")  # for good: nobody else reads it, and nothing of it is to be kept

    def first(self, key: bytes, line: int) -> int | None:
        """Return the line at which ``key`` was seen before; None, and remember it, if it was not."""
        found = self._connection.execute("SELECT line FROM firsts WHERE key = ?", [key]).fetchone()
        if found is None:
            self._connection.execute("INSERT INTO firsts VALUES (?, ?)", [key, line])
            return None
        return int(found[0])

    def remember(self, number: int, digest: bytes) -> None:
        """Keep the digest of a row."""
        self._connection.execute("INSERT INTO digests VALUES (?, ?)", [number, digest])

    def is_as_before(self, number: int, digest: bytes) -> bool:
        """Whether a row was read before with this digest."""
        found = self._connection.execute("SELECT digest FROM digests WHERE number = ?", [number]).fetchone()
        return found is not None and bool(found[0] == digest)

    def close(self) -> None:
        """Forget all."""
        self._connection.close()
