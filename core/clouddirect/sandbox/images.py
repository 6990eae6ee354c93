"""Where the sandbox finds the images of an order: named by it, or identified by their own metadata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from clouddirect.errors import InvalidKeyError, NotFoundError
from clouddirect.orders.connections import Connections, OpenStore
from clouddirect.orders.models import AzureBlobStorage, Image
from clouddirect.sandbox.pictures import (
    Marks,
    OrderImage,
    Picture,
    laterality_in_name,
    place_of,
    read_marks,
    read_picture,
)
from clouddirect.storage import StoredFile

__all__ = ["ImageShelf"]

#: Shortest time between two looks into a store, in seconds; a store that takes long to list is looked at less often.
_LOOK_EVERY = 0.5
#: An image stored earlier than this before an order-first order is another order's.
_GRACE = timedelta(seconds=60)
#: Larger files are not read; no fundus camera makes them.
_LARGEST = 256 << 20


@dataclass(frozen=True, slots=True)
class _Seen:
    marks: Marks
    stored_at: datetime | None


class ImageShelf:
    """The sandbox's ``images`` store as its orders see it. Used by one thread."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._clock = connections.clock
        self._seen: dict[str, _Seen] = {}
        self._claimed: set[tuple[str, str]] = set()
        self._next_look = 0.0

    def missing(self, images: list[Image]) -> tuple[list[str], bool]:
        """Look for the images that an order names.

        Returns:
            A complaint for each that is not there, naming its LocalId; and whether waiting may help.
        """
        complaints, hope = [], True
        for number, image in enumerate(images, 1):
            container, key = place_of(image)
            name = f"image {image.local_id or number}"
            target = self._store()
            if target is None or container != target.wire_container:
                complaints.append(f"{name}: the platform has no access to the container {container!r}")
                hope = False
            elif not _exists(target, key):
                complaints.append(f"{name}: there is no such file in the container {container!r}")
        return complaints, hope

    def claim(self, image: Image) -> None:
        """Tie an image to its order, so that no other order picks it up."""
        self._claimed.add(place_of(image))

    def arrived(self, patient_local_id: str, since: datetime) -> list[OrderImage]:
        """Return the unclaimed images whose own metadata names the patient, stored after ``since`` or just before."""
        target = self._store()
        if target is None:
            return []
        earliest = since - _GRACE
        self._look(target, earliest)
        found = []
        for key, seen in self._seen.items():
            early = seen.stored_at is not None and seen.stored_at < earliest
            if seen.marks.patient_id != patient_local_id or early or (target.wire_container, key) in self._claimed:
                continue
            place = AzureBlobStorage(container=target.wire_container, file_name=key)
            entry = Image(local_id=key, azure_blob_storage=place)
            laterality = seen.marks.laterality or laterality_in_name(key) or "OD"
            found.append(OrderImage(entry, laterality, self._clock.now()))
        return found

    def load(self, image: OrderImage) -> None:
        """Read an image and decode it; what cannot be read or decoded gets a picture that says so."""
        container, key = image.place
        target = self._store()
        try:
            if target is None or container != target.wire_container:
                image.picture = Picture(problem="This image is in a container that cannot be read.")
                return
            if target.store.stat(key).size > _LARGEST:
                image.picture = Picture(problem="This image is too large to be shown.")
                return
            data = target.store.get(key)
        except (InvalidKeyError, NotFoundError):
            image.picture = Picture(problem="This image is no longer in the store.")
            return
        image.picture = read_picture(data)
        if image.entry.laterality is None:
            image.laterality = read_marks(data).laterality or laterality_in_name(key) or image.laterality

    def _store(self) -> OpenStore | None:
        return self._connections.store("images") if self._connections.has_store("images") else None

    def _look(self, target: OpenStore, earliest: datetime) -> None:
        began = self._clock.monotonic()
        if began < self._next_look:
            return
        for file in self._new_files(target, earliest):
            self._seen[file.key] = _Seen(self._marks(target, file), file.modified_at)
        ended = self._clock.monotonic()
        self._next_look = ended + max(_LOOK_EVERY, 10 * (ended - began))

    def _new_files(self, target: OpenStore, earliest: datetime) -> Iterator[StoredFile]:
        for file in target.store.list():
            if not isinstance(file, StoredFile) or file.key in self._seen:
                continue
            recent = file.modified_at is None or file.modified_at >= earliest
            if recent and (target.wire_container, file.key) not in self._claimed:
                yield file

    def _marks(self, target: OpenStore, file: StoredFile) -> Marks:
        if file.size > _LARGEST:
            return Marks()
        try:
            return read_marks(target.store.get(file.key))
        except NotFoundError:
            return Marks()  # deleted since it was listed


def _exists(target: OpenStore, key: str) -> bool:
    try:
        return target.store.exists(key)
    except InvalidKeyError:
        return False  # no store of this provider can hold it
