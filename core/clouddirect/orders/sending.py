"""`OrderSender`: the sending half of the client: orders, changes, cancellations, gradings and images."""

from __future__ import annotations

import logging
import sqlite3
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from clouddirect.errors import CloudDirectError
from clouddirect.orders.flusher import ClientDestination, Flusher
from clouddirect.orders.images import ImageFile, ImageProgress, UploadedImage, upload_all
from clouddirect.orders.ledger import Ledger
from clouddirect.orders.models import (
    Camera,
    GradingSubmission,
    Order,
    OrderControlCode,
    OrderRequest,
    Problem,
    Site,
    to_wire,
)
from clouddirect.orders.outbox_images import WaitingImage
from clouddirect.orders.preparing import (
    fixed_field_problems,
    grading_problems,
    order_problems,
    prepare_grading,
    prepare_order,
    refuse,
    tracked_problems,
)

if TYPE_CHECKING:
    from clouddirect.messaging import SendReceipt
    from clouddirect.orders.connections import Connections
    from clouddirect.settings import Settings

log = logging.getLogger("clouddirect.orders")

__all__ = ["OrderSender", "SentGrading", "Submission"]


@dataclass(frozen=True, slots=True)
class Submission:
    """A confirmed order request: a new order, a change, a cancellation or a request to resend.

    Attributes:
        order: the request as it was sent, with what the settings filled in and the entries of uploaded images.
        message_id: the id it was, or will be, sent under.
        receipt: the broker's confirmation. None while it waits in the outbox (settings: ``[outbox]``): it is on the
            disk with its images, and will be sent.
        images: the images uploaded with it; empty while they wait in the outbox.
        warnings: what looks wrong without being refused.
    """

    order: OrderRequest
    message_id: str
    receipt: SendReceipt | None
    images: list[UploadedImage] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SentGrading:
    """A grading submission: ``grading`` as it was sent; the other attributes as in `Submission`."""

    grading: GradingSubmission
    message_id: str
    receipt: SendReceipt | None
    warnings: list[Problem] = field(default_factory=list)


class OrderSender:
    """What `CloudDirect` sends. Every method checks first what would otherwise fail in silence, and then sends.

    An error among the problems found refuses the request. A warning refuses it with ``strict=True`` only; without, it
    is reported in ``warnings``.
    """

    settings: Settings
    _connections: Connections
    _flusher: Flusher | None
    _ledger: Ledger | None

    def submit(
        self,
        order: OrderRequest,
        images: Iterable[ImageFile] = (),
        *,
        strict: bool = False,
        message_id: str | None = None,
        progress: ImageProgress | None = None,
    ) -> Submission:
        """Check a new order, upload the images that come with it, then send it; returns once the broker confirmed it.

        The settings' ``client_guid`` and ``site`` fill in what the order leaves out; the order passed in is not
        changed. When an upload fails, nothing is sent. An order without images is one whose images follow (see
        `upload_image`). An order whose ``order_control_code`` names another operation is sent as that.

        Args:
            order: the order; images already in the store may be named in ``order.camera.images``.
            images: images to upload with it, in parallel.
            strict: refuse for warnings too.
            message_id: the id to send it under; a new one by default. Only for who repeats a send whose outcome is
                not known: a broker that knows ids drops the repeat, and anything else under the same id with it.
            progress: called as ``progress(image, sent, total)``, never from two threads at once.

        With ``[outbox]`` in the settings the order is accepted, with its images, while broker or store are out of
        reach: see `Submission.receipt`.

        Raises:
            InvalidMessageError: the order is refused; the text says all that is wrong, each with its path, and
                ``problems`` holds the list. Nothing was uploaded or sent.
            CloudDirectError: an upload failed, or the send was not confirmed (``maybe_sent`` tells).
        """
        return self._submit(order, list(images), OrderControlCode.NW, None, [], strict, message_id, progress)

    def change(
        self,
        order: OrderRequest,
        images: Iterable[ImageFile] = (),
        *,
        original: OrderRequest | None = None,
        strict: bool = False,
        progress: ImageProgress | None = None,
    ) -> Submission:
        """Change an order that is not graded yet: send the whole order as it is to be. As `submit`.

        IRIS finds the order by ``order.local_id`` and ignores a change that finds none. It silently keeps
        ``order.local_id``, ``order.evaluation_types`` and ``patient.local_id`` as they were.

        Args:
            order: the order as it is to be.
            images: images to upload with it.
            original: the order as it was submitted; a change of what cannot change is refused then.
            strict: refuse for warnings too.
            progress: as for `submit`.
        """
        fixed = [] if original is None else fixed_field_problems(order, original)
        return self._submit(
            order, list(images), OrderControlCode.XO, OrderControlCode.XO, fixed, strict, None, progress
        )

    def cancel(self, local_id: str, *, site: str | None = None, strict: bool = False) -> Submission:
        """Cancel the order with this ``Order.LocalId``.

        IRIS ignores a cancellation that matches no live order, and an order that was not cancelled before it was graded
        is billed. An ``OrderCancelled`` event is the only confirmation. ``site`` is the settings' by default.

        Raises:
            InvalidMessageError: the request is refused; nothing was sent.
            CloudDirectError: the send was not confirmed (``maybe_sent`` tells).
        """
        return self._by_id(local_id, site, OrderControlCode.CA, strict)

    def resend_results(self, local_id: str, *, site: str | None = None, strict: bool = False) -> Submission:
        """Ask for the results of a graded order once more; they arrive on the results queue. As `cancel`."""
        return self._by_id(local_id, site, OrderControlCode.RESEND_RESULT, strict)

    def submit_grading(self, grading: GradingSubmission, *, strict: bool = False) -> SentGrading:
        """Grade an order without a grader; test environments only.

        IRIS ignores a grading of an order that is closed or has no images, and no event tells of it.

        Raises:
            InvalidMessageError: the grading is refused; nothing was sent.
            CloudDirectError: the send was not confirmed (``maybe_sent`` tells).
        """
        prepared = prepare_grading(grading, self.settings)
        found = grading_problems(prepared, self.settings)
        refuse(found, strict=strict, what="the grading is not sent", operation="submit_grading")
        sent_as = str(uuid.uuid4())
        receipt = self._send("gradings", sent_as, to_wire(prepared), prepared.local_id, "Grading", [])
        return SentGrading(prepared, sent_as, receipt, _warnings(found))

    def check(
        self,
        order: OrderRequest,
        images: Iterable[ImageFile] = (),
        *,
        operation: OrderControlCode | None = None,
        original: OrderRequest | None = None,
    ) -> list[Problem]:
        """Return all that `submit` would refuse the order for, or warn of; nothing is uploaded or sent.

        With ``operation`` (and ``original``), the same for `change`, `cancel` or `resend_results`.
        """
        prepared = prepare_order(order, self.settings, operation or OrderControlCode.NW, deep=False)
        fixed = [] if original is None else fixed_field_problems(order, original)
        return [*self._order_problems(prepared, list(images), operation), *fixed]

    def check_grading(self, grading: GradingSubmission) -> list[Problem]:
        """Return all that `submit_grading` would refuse the grading for, or warn of; nothing is sent."""
        return grading_problems(prepare_grading(grading, self.settings), self.settings)

    def upload_image(self, image: ImageFile, *, progress: ImageProgress | None = None) -> UploadedImage:
        """Upload one image under a new, unique key.

        For order-first work the image's own metadata (EXIF, DICOM) must identify the patient; otherwise put
        ``uploaded.entry()`` into ``order.camera.images`` and submit the order afterwards.

        Raises:
            CloudDirectError: the upload failed; nothing is visible in the store.
        """
        return upload_all(self._connections.store("images"), [image], progress=progress)[0]

    # -- inside ---------------------------------------------------------------------------------------------

    def _by_id(self, local_id: str, site: str | None, operation: OrderControlCode, strict: bool) -> Submission:
        order = OrderRequest(order=Order(local_id=local_id), site=Site(local_id=site) if site else None)
        return self._submit(order, [], operation, operation, [], strict, None, None)

    def _submit(
        self,
        order: OrderRequest,
        images: list[ImageFile],
        default: OrderControlCode,
        operation: OrderControlCode | None,
        known: list[Problem],
        strict: bool,
        message_id: str | None,
        progress: ImageProgress | None,
    ) -> Submission:
        prepared = prepare_order(order, self.settings, default)
        found = [*self._order_problems(prepared, images, operation), *known]
        refuse(found, strict=strict, what="the order is not sent, nothing was uploaded", operation="submit")
        uploaded: list[UploadedImage] = []
        waiting: list[WaitingImage] = []
        if images:
            self._connections.queue("orders")  # what stands in the way of sending shall show before the upload
            target = self._connections.store("images")
            if self._flusher is None:
                uploaded = upload_all(target, images, progress=progress)
                entries = [one.entry() for one in uploaded]
            else:
                waiting = [WaitingImage(key=image.new_key(), content_type=image.media_type, file=image)
                           for image in images]  # fmt: skip
                pairs = zip(images, waiting, strict=True)
                entries = [image.entry(target.wire_container, one.key) for image, one in pairs]
            camera = prepared.camera or Camera()
            camera.images = [*(camera.images or []), *entries]
            prepared.camera = camera
        sent_as, code = message_id or str(uuid.uuid4()), str(prepared.order_control_code)
        local_id = prepared.order.local_id if prepared.order else None
        began = self._connections.clock.now()
        noting = self._noting(prepared, sent_as)
        receipt = self._send("orders", sent_as, to_wire(prepared), local_id, code, waiting, noting)
        if self._flusher is None:
            self._track(prepared, sent_as, began)
        return Submission(prepared, sent_as, receipt, uploaded, _warnings(found))

    def _track(self, order: OrderRequest, message_id: str, began: datetime) -> None:
        if self._ledger is None:
            return
        try:
            self._ledger.submitted(order, message_id, began)
        except CloudDirectError as error:  # it is sent: an error now would have it sent again
            log.error("message %s is missing in the ledger: %s", message_id, error)

    def _noting(self, order: OrderRequest, message_id: str) -> Callable[[sqlite3.Connection], object] | None:
        """What notes an order in the ledger in the very transaction in which the outbox accepts it."""
        ledger = self._ledger
        if ledger is None:
            return None

        def note(connection: sqlite3.Connection) -> None:
            try:
                ledger.enter(connection, order, message_id)
            except sqlite3.Error as error:
                if not connection.in_transaction:  # undone as a whole, such as on a full disk
                    raise
                log.error("message %s is missing in the ledger: %s", message_id, type(error).__name__)

        return note

    def _order_problems(
        self, prepared: OrderRequest, images: list[ImageFile], operation: OrderControlCode | None
    ) -> list[Problem]:
        # with an outbox an order is accepted whether or not the store can be reached, so nothing is asked of it
        look = self._connections if self._flusher is None else None
        return [*order_problems(prepared, images, self.settings, look, operation), *self._tracked_problems(prepared)]

    def _tracked_problems(self, prepared: OrderRequest) -> list[Problem]:
        if self._ledger is None:
            return []
        try:
            return tracked_problems(prepared, self._ledger)
        except CloudDirectError as error:  # an order must be cancelled in time, whether or not it can be looked up
            log.error("an order cannot be looked up in the ledger: %s", error)
            return []

    def _send(
        self,
        endpoint: str,
        message_id: str,
        body: bytes,
        local_id: str | None,
        operation: str,
        images: list[WaitingImage],
        noting: Callable[[sqlite3.Connection], object] | None = None,
    ) -> SendReceipt | None:
        if self._flusher is None:
            return ClientDestination(self._connections).send(endpoint, message_id, body, local_id)
        self._connections.queue(endpoint)  # settings that are wrong are told at once
        return self._flusher.submit(endpoint, message_id, body, local_id, operation, images, noting)


def _warnings(found: list[Problem]) -> list[Problem]:
    return [one for one in found if one.severity == "warning"]
