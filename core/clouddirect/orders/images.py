"""Images on their way to the store: how they are named, uploaded together, and tied to an order."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING

from clouddirect.errors import AlreadyExistsError, CloudDirectError, InvalidMessageError
from clouddirect.orders.models import AzureBlobStorage, Image

if TYPE_CHECKING:
    from clouddirect.orders.connections import OpenStore
    from clouddirect.storage import StoredFile

__all__ = ["ImageFile", "ImageProgress", "UploadedImage", "upload_all"]

#: Called as ``progress(image, sent, total)``: bytes confirmed so far; ``total`` is None where the size is not known
#: beforehand.
ImageProgress = Callable[["ImageFile", int, int | None], None]

_CONTENT_TYPES = {
    ".bmp": "image/bmp",
    ".dcm": "application/dicom",
    ".dicom": "application/dicom",
    ".jp2": "image/jp2",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """An image to be uploaded, and what the order says of it. Its repr shows no file name: it may name the patient.

    Attributes:
        source: a path, the content itself, or a readable binary stream (it stays open).
        laterality: ``"OD"`` for the right eye, ``"OS"`` for the left.
        local_id: the organisation's own id of the image; None for a new one.
        taken: when the picture was taken, timezone-aware; None if unknown.
        context: an ImageContext code such as ``"Primary"``; None for the platform's default.
        suffix: ends the key, such as ``".jpg"``; None for the path's own, if it is one of an image format.
        content_type: media type; None to derive it from the suffix.
    """

    source: str | os.PathLike[str] | bytes | IO[bytes]
    laterality: str | None = None
    local_id: str | None = None
    taken: datetime | None = None
    context: str | None = None
    suffix: str | None = None
    content_type: str | None = None

    def __repr__(self) -> str:
        return f"ImageFile(laterality={self.laterality!r})"

    @property
    def key_suffix(self) -> str:
        """The suffix in lower case, or an empty one."""
        if self.suffix is not None:
            return self.suffix.lower()
        if isinstance(self.source, (str, os.PathLike)):
            found = PurePath(self.source).suffix.lower()
            # what follows the last dot of any other name may be part of a patient's, and would end up in the key
            return found if found in _CONTENT_TYPES else ""
        return ""

    def new_key(self) -> str:
        """Return a new key to store the image under: unique, and without patient data."""
        return f"{uuid.uuid4()}{self.key_suffix}"

    @property
    def media_type(self) -> str:
        """The content type to store with the image."""
        return self.content_type or _CONTENT_TYPES.get(self.key_suffix, "application/octet-stream")

    @property
    def size(self) -> int | None:
        """The size in bytes, None for a stream.

        Raises:
            InvalidMessageError: the file is missing or cannot be read.
        """
        if isinstance(self.source, bytes):
            return len(self.source)
        if not isinstance(self.source, (str, os.PathLike)):
            return None
        try:
            path = Path(self.source)
            if not path.is_file():
                raise InvalidMessageError(
                    f"an image file does not exist or is no file ({self.laterality or 'no laterality'})"
                )
            return path.stat().st_size
        except OSError as error:
            raise InvalidMessageError(f"an image file cannot be read ({error.strerror})") from None

    def entry(self, container: str, key: str) -> Image:
        """Return what an order says of this image once it is stored.

        Raises:
            InvalidMessageError: a field does not fit.
        """
        return Image(
            local_id=self.local_id or str(uuid.uuid4()),
            taken=self.taken,
            laterality=self.laterality,
            image_context=self.context,
            azure_blob_storage=AzureBlobStorage(container=container, file_name=key),
        )


@dataclass(frozen=True, slots=True)
class UploadedImage:
    """An image in the store.

    Attributes:
        container: the container's name on the wire.
        key: its name there; unique, without patient data.
        stored: what the store confirmed.
        file: what was uploaded.
    """

    container: str
    key: str
    stored: StoredFile
    file: ImageFile

    def entry(self) -> Image:
        """Return the entry for ``OrderRequest.camera.images``."""
        return self.file.entry(self.container, self.key)


def _upload_one(
    target: OpenStore, image: ImageFile, size: int | None, progress: Callable[[int], None]
) -> UploadedImage:
    """Upload one image under a new key; ``progress`` gets the bytes confirmed by each step."""
    from clouddirect.storage import StoredFile

    key, media_type = image.new_key(), image.media_type
    try:
        stored = target.store.put(key, image.source, content_type=media_type, if_absent=True, progress=progress)
    except AlreadyExistsError as error:
        if not error.maybe_own_write or size is None:
            raise
        # nobody else knows this key: what is there is this very upload, whole, whose confirmation was lost
        stored = StoredFile(key=key, size=size, content_type=media_type)
    except CloudDirectError:
        raise
    except OSError as error:
        # the system's own text would hold the file's name, and with it perhaps the patient's
        raise InvalidMessageError(f"an image cannot be read ({error.strerror or type(error).__name__})") from None
    return UploadedImage(target.wire_container, key, stored, image)


def upload_all(
    target: OpenStore, images: Sequence[ImageFile], *, at_once: int = 4, progress: ImageProgress | None = None
) -> list[UploadedImage]:
    """Upload images side by side; all of them, or an error.

    Raises:
        InvalidMessageError: a file is missing; nothing was uploaded.
        CloudDirectError: an upload failed. Images already stored stay there, since the credential need not be able to
            delete; no order names them.
    """
    sizes = [image.size for image in images]
    lock = threading.Lock()
    failed = threading.Event()

    def upload(image: ImageFile, size: int | None) -> UploadedImage:
        sent = 0
        if failed.is_set():
            raise _CancelledError("another image of the same order failed")

        def step(count: int) -> None:
            nonlocal sent
            if failed.is_set():
                raise _CancelledError("another image of the same order failed")
            sent += count
            if progress is not None:
                with lock:
                    progress(image, sent, size)

        try:
            uploaded = _upload_one(target, image, size, step)
            if size is not None and sent < size:
                step(size - sent)  # stored although the confirmation was lost
            return uploaded
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(max(1, min(at_once, len(images))), thread_name_prefix="clouddirect-images") as pool:
        futures = [pool.submit(upload, image, size) for image, size in zip(images, sizes, strict=True)]
        try:
            done, pending = wait(futures, return_when=FIRST_EXCEPTION)
        except BaseException:  # Ctrl-C
            failed.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        if any(future.exception() for future in done):
            failed.set()
            for future in pending:
                future.cancel()
    return _results(futures)


def _results(futures: list[Future[UploadedImage]]) -> list[UploadedImage]:
    errors = [future.exception() for future in futures if not future.cancelled()]
    # the first real cause, rather than one of the uploads that were called off because of it
    for error in errors:
        if error is not None and not isinstance(error, _CancelledError):
            raise error
    return [future.result() for future in futures]


class _CancelledError(CloudDirectError):
    """Ends an upload whose order will not be sent; it never leaves this module."""
