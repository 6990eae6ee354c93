"""Shared images: what IRIS pushes back at delivery, with key/value metadata. Source: IRIS integration guide.

Their metadata, and their keys, may identify the patient.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clouddirect.durable import make_private_directory, sync_directory, sync_file
from clouddirect.errors import AlreadyExistsError, UnavailableError
from clouddirect.orders.naming import file_path

if TYPE_CHECKING:
    from clouddirect.storage import FileStore, StoredFile

__all__ = ["SavedImage", "fetch_image", "list_images"]


#: Bytes of metadata; services permit far less.
_MOST_METADATA = 1 << 20


@dataclass(frozen=True, slots=True)
class SavedImage:
    """A shared image on this machine. Its repr shows neither path nor metadata: they may name the patient.

    Attributes:
        path: the image.
        metadata_path: the JSON file beside it, with its key, media type and metadata.
        stored: what the store says of it; ``stored.verified`` tells the digest that was compared.
    """

    path: Path
    metadata_path: Path
    stored: StoredFile

    def __repr__(self) -> str:
        return f"SavedImage({self.stored.size} bytes)"


def list_images(store: FileStore, prefix: str) -> Iterator[StoredFile]:
    """Yield what is in the store, with metadata: one request for each page and one for each image."""
    from clouddirect.storage import StoredFile

    for found in store.list(prefix):
        if isinstance(found, StoredFile):
            yield store.stat(found.key)


def fetch_image(store: FileStore, key: str, directory: Path, *, replace: bool) -> SavedImage:
    """Download one image into ``directory``, under its key made safe for file systems, its metadata beside it.

    Where another image has that name already, or has its metadata there, the name gets a number.

    Raises:
        AlreadyExistsError: a file is there, and ``replace`` is false; it stays as it was.
        UnavailableError: the files cannot be written.
        NotFoundError, IntegrityError, …: as `FileStore.download`.
    """
    path, beside = _place(directory / file_path(key), key)
    if path.exists() and not replace:
        raise AlreadyExistsError(
            "the image has been fetched before, its file is there; ask to replace it or choose another directory",
            operation="fetch_shared_image",
        )
    stored = store.stat(key)
    try:
        make_private_directory(path.parent)
        _write(beside, {"key": key, "content_type": stored.content_type, "metadata": dict(stored.metadata)})
    except OSError as error:
        raise UnavailableError(
            f"the image cannot be saved in {directory} ({error.strerror or type(error).__name__}); make room or choose "
            "another directory",
            operation="fetch_shared_image",
            retryable=False,
        ) from None  # the path may name the patient
    return SavedImage(path, beside, store.download(key, path, private=True))


def _place(path: Path, key: str) -> tuple[Path, Path]:
    """The image's file and that of its metadata: the first of NAME, NAME-2, … where nothing of another image is."""
    number = 1
    while True:
        one = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        beside = one.with_name(f"{one.name}.json")
        if _key_in(beside) == key if beside.exists() else _key_in(one) is None:
            return one, beside
        number += 1


def _key_in(path: Path) -> str | None:
    """The key that a file of metadata tells; None if it is no such file."""
    try:
        if path.suffix != ".json" or path.stat().st_size > _MOST_METADATA:
            return None
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    named = isinstance(found, dict) and found.keys() == {"key", "content_type", "metadata"}
    return found["key"] if named and isinstance(found["key"], str) else None


def _write(path: Path, value: dict[str, object]) -> None:
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(value, indent=1, ensure_ascii=False).encode())
            file.flush()
            sync_file(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
