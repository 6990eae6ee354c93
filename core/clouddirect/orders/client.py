"""`CloudDirect`: the order workflow over whichever brokers and stores the settings name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from clouddirect.clock import Clock
from clouddirect.errors import (
    CloudDirectError,
    InvalidKeyError,
    InvalidMessageError,
    PermissionDeniedError,
    UnsupportedError,
)
from clouddirect.orders.connections import Connections
from clouddirect.orders.images import ImageFile, ImageProgress, UploadedImage, upload_all
from clouddirect.orders.incoming import Incoming, read_or_put_aside
from clouddirect.orders.models import (
    WIRE_VERSION,
    Camera,
    Event,
    Image,
    OrderRequest,
    OrderResult,
    Problem,
    Site,
    problems,
    read_event,
    read_result,
    to_wire,
)
from clouddirect.orders.models.order_rules import NEEDS_ONLY_ID
from clouddirect.retry import Interrupt, RetryPolicy

if TYPE_CHECKING:
    from clouddirect.messaging import Consumer, ConsumerOptions, Delivery, SendReceipt
    from clouddirect.settings import Settings

__all__ = ["CloudDirect", "Submission"]

T = TypeVar("T")

#: How long one poll of `events` and `results` waits, in seconds; they look for a reason to end in between.
_POLL = 20.0


@dataclass(frozen=True, slots=True)
class Submission:
    """A confirmed order.

    Attributes:
        order: the order as it was sent, with what the settings filled in and the entries of uploaded images.
        receipt: the broker's confirmation.
        images: the images uploaded with it.
        warnings: what looks wrong without being refused.
    """

    order: OrderRequest
    receipt: SendReceipt
    images: list[UploadedImage] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


class CloudDirect:
    """A client of the IRIS order workflow. Thread-safe; use it as a context manager, or close it.

    Nothing is opened before it is used, so settings with only the endpoints that a program needs suffice.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None, retry: RetryPolicy | None = None) -> None:
        """Use ``settings``; ``clock`` and ``retry`` replace the defaults."""
        self.settings = settings
        self._connections = Connections(
            settings.endpoints, settings.stores, observers=settings.observers, data_dir=settings.data_dir, clock=clock,
            retry=retry,
        )  # fmt: skip
        self._stopping = Interrupt(self._connections.clock)
        self._lock = threading.Lock()

    @classmethod
    def from_settings(cls, config: str | Path | None = None) -> Self:
        """Load the settings file (see `clouddirect.settings`) and make a client of it.

        Raises:
            ConfigurationError: there are no settings, or they are wrong.
        """
        from clouddirect.settings import load_settings

        return cls(load_settings(config))

    # -- sending --------------------------------------------------------------------------------------------

    def submit(
        self, order: OrderRequest, images: Iterable[ImageFile] = (), *, progress: ImageProgress | None = None
    ) -> Submission:
        """Check a new order, upload the images that come with it, then send it; returns once the broker confirmed it.

        The settings' ``client_guid`` and ``site`` fill in what the order leaves out; the order passed in is not
        changed. When an upload fails, nothing is sent. An order without images is one whose images follow (see
        `upload_image`).

        Args:
            order: the order; images already in the store may be named in ``order.camera.images``.
            images: images to upload with it, in parallel.
            progress: called as ``progress(image, sent, total)``, never from two threads at once.

        Raises:
            InvalidMessageError: the order is refused; the text says all that is wrong, each with its path, and
                ``problems`` holds the list. Nothing was uploaded or sent.
            CloudDirectError: an upload failed, or the send was not confirmed (``maybe_sent`` tells).
        """
        images = list(images)
        prepared = self._prepare(order)
        found = self._problems(prepared, images)
        refusals = [one for one in found if one.severity == "error"]
        if refusals:
            raise _refusal(refusals)
        uploaded: list[UploadedImage] = []
        if images:
            self._connections.queue("orders")  # what stands in the way of sending shall show before the upload
            uploaded = upload_all(self._connections.store("images"), images, progress=progress)
            camera = prepared.camera or Camera()
            camera.images = [*(camera.images or []), *(one.entry() for one in uploaded)]
            prepared.camera = camera
        receipt = self._send("orders", prepared)
        return Submission(prepared, receipt, uploaded, [one for one in found if one.severity == "warning"])

    def check(self, order: OrderRequest, images: Iterable[ImageFile] = ()) -> list[Problem]:
        """Return all that `submit` would refuse the order for, or warn of; nothing is uploaded or sent."""
        return self._problems(self._prepare(order), list(images))

    def upload_image(self, image: ImageFile, *, progress: ImageProgress | None = None) -> UploadedImage:
        """Upload one image under a new, unique key.

        For order-first work the image's own metadata (EXIF, DICOM) must identify the patient; otherwise put
        ``uploaded.entry()`` into ``order.camera.images`` and submit the order afterwards.

        Raises:
            CloudDirectError: the upload failed; nothing is visible in the store.
        """
        return upload_all(self._connections.store("images"), [image], progress=progress)[0]

    # -- receiving ------------------------------------------------------------------------------------------

    def events(self, *, timeout: float | None = None) -> Iterator[Incoming[Event]]:
        """Yield the events as they arrive; end when none came for ``timeout`` seconds (None: never).

        One that cannot be read is dead-lettered with the reason and skipped. Use each as a context manager: see
        `Incoming`. For many at once, see `run`, which also sits out an outage.

        Raises:
            CloudDirectError: from the iterator, which is at its end then: the queue cannot be received from, or could
                not for as long as the retry policy permits. Nothing is lost; call again.
        """
        return self._incoming("events", read_event, timeout)

    def results(self, *, timeout: float | None = None) -> Iterator[Incoming[OrderResult]]:
        """Yield the results as they arrive; like `events`."""
        return self._incoming("results", read_result, timeout)

    def run(
        self,
        on_event: Callable[[Event], object] | None = None,
        on_result: Callable[[OrderResult], object] | None = None,
        *,
        concurrency: int = 4,
        max_deliveries: int = 10,
    ) -> None:
        """Handle events and results until `stop` is called or the program is interrupted (Ctrl-C).

        A handler that returns has handled the message; one that raises gets it again later, with growing delays, and
        after ``max_deliveries`` deliveries it is dead-lettered. Handlers run in up to ``concurrency`` threads for
        each queue. Stopping lets running handlers finish and gives back the rest.

        Raises:
            CloudDirectError: a queue cannot be received from, for a reason that does not pass.
        """
        from clouddirect.messaging import ConsumerOptions

        options = ConsumerOptions(max_deliveries=max_deliveries)
        consumers: list[Consumer] = []
        try:
            if on_event is not None:
                consumers.append(self._consume("events", read_event, on_event, concurrency, options))
            if on_result is not None:
                consumers.append(self._consume("results", read_result, on_result, concurrency, options))
            while consumers and not self._stopping.wait(0.2):
                if any(consumer.wait(0) for consumer in consumers):
                    return
        finally:
            for consumer in consumers:
                consumer.begin_stop()
            for consumer in consumers:
                consumer.stop()

    def stop(self) -> None:
        """End `run`, `events` and `results`, for good: a client that was stopped sends, but receives nothing more.

        May be called from a handler or a signal handler.
        """
        self._stopping.set()

    def close(self, timeout: float = 30.0) -> None:
        """Stop, give back what is not settled, and close the connections."""
        self._stopping.set()
        self._connections.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- inside ---------------------------------------------------------------------------------------------

    def _prepare(self, order: OrderRequest) -> OrderRequest:
        """A copy with what the settings know filled in."""
        prepared = order.model_copy(deep=True)
        prepared.version = WIRE_VERSION
        if prepared.client_guid is None:
            prepared.client_guid = self.settings.client_guid
        if self.settings.site is not None and (prepared.site is None or prepared.site.local_id is None):
            site = prepared.site or Site()
            site.local_id = self.settings.site
            prepared.site = site
        if prepared.order_control_code is None:
            prepared.order_control_code = "NW"
        return prepared

    def _problems(self, prepared: OrderRequest, images: list[ImageFile]) -> list[Problem]:
        """All that is wrong with the order, as it will be when the images have been uploaded."""
        preview = prepared.model_copy(deep=True)
        found: list[Problem] = []
        entries: list[Image] = []
        for number, image in enumerate(images):
            path = f"images[{number}]"
            if image.laterality is None:
                found.append(Problem(f"{path}.laterality", "say which eye it shows: OD (right) or OS (left)", "error"))
            try:
                _ = image.size
                entries.append(image.entry("container", f"image-{number}"))
            except InvalidMessageError as error:
                found.append(Problem(path, str(error), "error"))
        if images:
            if prepared.order_control_code in NEEDS_ONLY_ID:
                found.append(Problem("images", "a cancellation or a request to resend takes no images", "error"))
            camera = preview.camera or Camera()
            camera.images = [*(camera.images or []), *entries]
            preview.camera = camera
        return [*problems(preview), *found, *self._missing_images(prepared)]

    def _missing_images(self, order: OrderRequest) -> list[Problem]:
        """Images that the order names and that are not in our store, as far as the credential lets us look."""
        named = order.camera.images if order.camera and order.camera.images else []
        if not named or not self._connections.has_store("images"):
            return []
        target = self._connections.store("images")
        found: list[Problem] = []
        for number, image in enumerate(named):
            place = image.azure_blob_storage
            if place is None or place.file_name is None or place.container != target.wire_container:
                continue
            path = f"Camera.Images[{number}].AzureBlobStorage.FileName"
            try:
                there = target.store.exists(place.file_name)
            except InvalidKeyError:
                found.append(Problem(path, "cannot be the name of a file in the store", "error"))
                continue
            except (PermissionDeniedError, UnsupportedError):
                return found  # a write-only credential cannot look
            if not there:
                found.append(
                    Problem(path, "this image is not in the store; upload it before the order is sent", "error")
                )
        return found

    def _send(self, endpoint: str, order: OrderRequest) -> SendReceipt:
        from clouddirect.messaging import Message

        queue = self._connections.queue(endpoint)
        local_id = order.order.local_id if order.order else None
        message = Message(body=to_wire(order), content_type="application/json", correlation_id=local_id)
        return queue.broker.send(queue.name, message)

    def _incoming(self, endpoint: str, read: Callable[[bytes], T], timeout: float | None) -> Iterator[Incoming[T]]:
        queue, clock = self._connections.queue(endpoint), self._connections.clock
        ends = None if timeout is None else clock.monotonic() + timeout
        while not self._stopping.is_set():
            left = _POLL if ends is None else max(0.0, ends - clock.monotonic())
            # one at a time: what waits here unseen would run out of its lease
            with queue.broker.inside:  # `take` rather than `receive`, so that `stop` ends the wait at once
                deliveries = queue.broker.take(queue.name, 1, min(left, _POLL), None, self._stopping)
            for delivery in deliveries:
                value = read_or_put_aside(delivery, read)
                if value is not None:
                    yield Incoming(value, delivery)
            if deliveries:
                ends = None if timeout is None else clock.monotonic() + timeout
            elif ends is not None and clock.monotonic() >= ends:
                return

    def _consume(
        self,
        endpoint: str,
        read: Callable[[bytes], T],
        handler: Callable[[T], object],
        concurrency: int,
        options: ConsumerOptions,
    ) -> Consumer:
        queue = self._connections.queue(endpoint)

        def handle(delivery: Delivery) -> None:
            value = read_or_put_aside(delivery, read)
            if value is not None:
                handler(value)
            elif delivery.settled is None:  # returning would ack it, and with that lose it
                raise InvalidMessageError("the message cannot be read, and could not be dead-lettered either")

        return queue.broker.consume(queue.name, handle, concurrency, options)


def _refusal(refusals: list[Problem]) -> CloudDirectError:
    text = "; ".join(f"{one.path}: {one.message}" for one in refusals)
    error = InvalidMessageError(f"the order is not sent, nothing was uploaded: {text}", operation="submit")
    error.problems = tuple(refusals)
    return error
