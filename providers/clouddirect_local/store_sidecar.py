"""The sidecar: what the store keeps about a file beside its bytes.

Its name is derived from the key and from the data file's identity (inode number, time of modification, size), and it is
on the disk before the data file gets its own name. So the two appear as one, a sidecar never matches a file that it
does not belong to, and a file that somebody dropped into the directory, or changed there, simply has none. A copy of
the
directory made by other means keeps the files but not what the sidecars say: copies get identities of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from clouddirect.errors import IntegrityError
from clouddirect.storage import PutRequest, StoredFile
from clouddirect_local.store_names import RESERVED

__all__ = ["Sidecar", "identity", "plain_file"]


def identity(found: os.stat_result) -> str:
    """Return what tells this content of a file from any other that it has had or will have."""
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"


def plain_file(key: str, found: os.stat_result) -> StoredFile:
    """Describe a file as far as the file system knows it."""
    return StoredFile(
        key=key, size=found.st_size, version=identity(found),
        modified_at=datetime.fromtimestamp(found.st_mtime_ns / 1e9, UTC),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Content type, metadata and digest of one file."""

    key: str
    content_type: str | None
    metadata: dict[str, str]
    sha256: str

    @classmethod
    def of(cls, request: PutRequest, sha256: str) -> Sidecar:
        """Make the sidecar for what is being stored."""
        return cls(request.key, request.content_type, dict(request.metadata), sha256)

    @staticmethod
    def place(key: str, version: str) -> tuple[list[str], str]:
        """Return the directories below the container, and the name, of the sidecar of one content of a key."""
        digest = hashlib.sha256(key.encode()).hexdigest()[:40]
        return [RESERVED, "meta", digest[:2]], f"{digest}.{version}.json"

    def to_bytes(self) -> bytes:
        """Return the file's content."""
        record = {
            "key": self.key, "content_type": self.content_type, "metadata": self.metadata, "sha256": self.sha256,
        }  # fmt: skip
        return json.dumps(record, ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, content: bytes, where: str) -> Sidecar:
        """Read a file's content.

        Raises:
            IntegrityError: it is not what was written; ``where`` tells the user which file that is.
        """
        try:
            record: dict[str, Any] = json.loads(content)
            return cls(record["key"], record["content_type"], dict(record["metadata"]), record["sha256"])
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"the file {where}, which holds the digest, is damaged; delete it to read the object unverified"
            ) from error

    def describe(self, found: os.stat_result) -> StoredFile:
        """Describe the file that this belongs to."""
        plain = plain_file(self.key, found)
        return StoredFile(
            key=plain.key, size=plain.size, version=plain.version, modified_at=plain.modified_at,
            content_type=self.content_type, metadata=self.metadata, digest_algorithm="sha256", digest=self.sha256,
        )  # fmt: skip
