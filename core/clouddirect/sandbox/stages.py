"""What happens to one order, stage by stage, in the order that the IRIS integration guide tells.

OrderCreationReceipt, an ImageReceipt for each image, ReadyForGradingEvent, GradingReceipt, OrderGradedEvent,
OrderResult. There is no ResultsDeliveryReceipt: IRIS sends it for deliveries other than the results queue, and the
sandbox makes none.

Three rules are the sandbox's own, since nothing is published. An order whose named images do not appear within
``image_wait`` seconds is refused by an OrderCreationReceipt that names each missing image. Images of an order that
names none suffice when both eyes are there, or one where the order says that there will be no more (SingleEyeOnly,
MissingEyeReason), or when no further one came for ``image_wait`` seconds. An order is accepted, and with that cancels
an open one of the same patient and evaluation type, when its OrderCreationReceipt is sent.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from clouddirect.clock import Clock
from clouddirect.messaging.delivery import Delivery
from clouddirect.orders.models import (
    Event,
    GradingReceipt,
    GradingSubmission,
    Image,
    ImageReceipt,
    OrderCancelled,
    OrderCreationReceipt,
    OrderEvent,
    OrderGradedEvent,
    OrderRequest,
    OrderResult,
    ReadyForGradingEvent,
    problems,
)
from clouddirect.sandbox.dispatch import Dispatch
from clouddirect.sandbox.grading import eyes_of, grade, graded_by
from clouddirect.sandbox.images import ImageShelf
from clouddirect.sandbox.pictures import OrderImage, place_of
from clouddirect.sandbox.record import Fate, OrderRecord
from clouddirect.sandbox.results import Graded, make_result
from clouddirect.sandbox.stamps import Stamps, wire_time
from clouddirect.settings import SandboxSettings

__all__ = ["Desk", "Key", "OpenOrder", "cancellation", "change", "stages"]

#: What events, changes and cancellations match an order by: ClientGuid, in lower case, and Order.LocalId.
Key = tuple[str, str | None]

E = TypeVar("E", bound=OrderEvent)

#: How often an order that waits for images looks again, in seconds.
_LOOK_AGAIN = 0.5
#: How long an order that comes again waits, before it is graded, for what belongs to it to come again, in seconds.
_COMES_AGAIN_WITHIN = 900.0


@dataclass(slots=True, eq=False)
class OpenOrder:
    """An order that is not finished. It lives in its message: what is here is lost in a crash, and then made again.

    Attributes:
        request: the order, with the changes that came for it.
        deliveries: its message, still on lease, and those of its changes and of its grading; acked together at the end.
        stamps: its ids.
        ordered: when its message was queued.
        due: when it wants to go on, on the monotonic clock.
        images: its images, as they were taken in.
        expects: ids of the changes and gradings that were taken for it before a crash; they come again, too.
        submission: the grading that a program submitted for it.
        accepted: its OrderCreationReceipt has been sent, and says that it was accepted.
        graded: grading has been taken in: it can be neither changed nor cancelled any more.
        graded_before: the same, before a crash: what had been taken for it by then comes again, and belongs to it.
        result: its result, once that is sent.
        progress: the stages still before it.
    """

    request: OrderRequest
    deliveries: list[Delivery]
    stamps: Stamps
    ordered: datetime
    due: float
    images: list[OrderImage] = field(default_factory=list)
    expects: set[str] = field(default_factory=set)
    submission: GradingSubmission | None = None
    accepted: bool = False
    graded: bool = False
    graded_before: bool = False
    result: OrderResult | None = None
    progress: Iterator[float] = field(default_factory=lambda: iter(()))

    @property
    def message_id(self) -> str:
        """The id of its message."""
        return self.deliveries[0].message.id

    @property
    def closed(self) -> bool:
        """Whether it can be neither changed nor cancelled nor graded any more."""
        return self.graded or self.graded_before

    @property
    def key(self) -> Key:
        """What changes, cancellations and gradings find it by."""
        return (self.request.client_guid or "").lower(), self.request.order_local_id

    @property
    def patient(self) -> Key:
        """The patient: ClientGuid, in lower case, and Patient.LocalId."""
        patient = self.request.patient
        return (self.request.client_guid or "").lower(), patient.local_id if patient else None

    @property
    def evaluations(self) -> list[str]:
        """The evaluation types that are asked for."""
        return [str(one) for one in self.request.order.evaluation_types] if self.request.order else []

    @property
    def named_images(self) -> list[Image]:
        """The images that the order names."""
        return self.request.camera.images if self.request.camera else []


@dataclass(frozen=True, slots=True)
class Desk:
    """What an order's stages need of the sandbox.

    Attributes:
        settings: the sandbox's settings.
        clock: its clock.
        shelf: its images.
        dispatch: sends events and results.
        record: what has to be known after a crash.
        max_result_bytes: the largest message that the results queue takes.
    """

    settings: SandboxSettings
    clock: Clock
    shelf: ImageShelf
    dispatch: Dispatch
    record: OrderRecord
    max_result_bytes: int

    def emit(self, order: OpenOrder, message: Event | OrderResult) -> None:
        """Send an event or a result about an order."""
        self.dispatch.emit(order.message_id, message)


def stages(order: OpenOrder, desk: Desk) -> Iterator[float]:
    """Take an order through its stages; each value yielded is the seconds to wait before asking for the next."""
    delay, image_first = desk.settings.stage_delay, bool(order.named_images)
    refusal = _refusal(order, desk) or (yield from _named_images(order, desk))
    if refusal:
        receipt = _event(OrderCreationReceipt, order, desk, success=False, error_message=refusal, iris_order_id=None)
        desk.emit(order, receipt)
        return
    desk.emit(order, _event(OrderCreationReceipt, order, desk))
    order.accepted = True
    yield delay
    if image_first:
        for entry in order.named_images:
            _take(order, desk, OrderImage(entry, str(entry.laterality or "OD"), desk.clock.now()))
    else:
        yield from _images_by_metadata(order, desk)
    yield delay
    queued = desk.clock.now()
    desk.emit(order, _event(ReadyForGradingEvent, order, desk))
    yield delay
    begun = desk.clock.monotonic()
    while order.expects and desk.clock.monotonic() - begun < _COMES_AGAIN_WITHIN:
        yield _LOOK_AGAIN
    while order.submission is None and not desk.settings.auto_grade:
        yield math.inf
    graded = _grade(order, desk, queued)
    desk.emit(order, _event(GradingReceipt, order, desk))
    yield delay
    desk.emit(order, _event(OrderGradedEvent, order, desk))
    yield delay
    order.result = make_result(graded, desk.clock.now(), max_message_bytes=desk.max_result_bytes)
    desk.emit(order, order.result)


def cancellation(order: OpenOrder, desk: Desk) -> Iterator[float]:
    """The only stage of an order that has been cancelled; takes the place of `stages`."""
    desk.emit(order, _event(OrderCancelled, order, desk))
    yield 0.0


def change(order: OpenOrder, changed: OrderRequest) -> None:
    """Let a change replace what it gives. Order.LocalId, Order.EvaluationTypes and Patient.LocalId cannot change."""
    before = order.request
    after = before.model_copy()
    for name in ("site", "camera", "order", "patient", "ordering_provider", "referring_provider", "camera_operator",
                 "camera_operator_user_name", "health_plan", "user_name_submitting"):  # fmt: skip
        value = getattr(changed, name)
        if value is not None:
            setattr(after, name, value)
    if after.order is not None and before.order is not None:
        after.order = after.order.model_copy(
            update={"local_id": before.order.local_id, "evaluation_types": before.order.evaluation_types}
        )
    if after.patient is not None and before.patient is not None:
        after.patient = after.patient.model_copy(update={"local_id": before.patient.local_id})
    order.request = after


def _refusal(order: OpenOrder, desk: Desk) -> str | None:
    found = problems(order.request, today=desk.clock.now().date())
    return "; ".join(str(one) for one in found if one.severity == "error") or None


def _named_images(order: OpenOrder, desk: Desk) -> Generator[float, None, str | None]:
    """Wait for the images that the order names; returns what is wrong when they do not come."""
    ends = desk.clock.monotonic() + desk.settings.image_wait
    while True:
        complaints, hope = desk.shelf.missing(order.named_images)
        left = ends - desk.clock.monotonic()
        if not complaints:
            return None
        if not hope or left <= 0:
            return "; ".join(complaints)
        yield min(_LOOK_AGAIN, left)


def _images_by_metadata(order: OpenOrder, desk: Desk) -> Iterator[float]:
    """Wait for images whose metadata names the patient, and for those that a change names."""
    patient = order.request.patient
    patient_id = (patient.local_id if patient else None) or ""
    ends = math.inf
    while True:
        taken = {image.place for image in order.images}
        named = [
            entry for entry in order.named_images if place_of(entry) not in taken and not desk.shelf.missing([entry])[0]
        ]
        new = [OrderImage(entry, str(entry.laterality or "OD"), desk.clock.now()) for entry in named]
        for image in new + desk.shelf.arrived(patient_id, order.ordered):
            _take(order, desk, image)
            ends = desk.clock.monotonic() + desk.settings.image_wait
        left = ends - desk.clock.monotonic()
        if order.images and (_suffice(order) or left <= 0):
            return
        yield min(_LOOK_AGAIN, left)


def _suffice(order: OpenOrder) -> bool:
    eyes = {eye for image in order.images for eye in eyes_of(image.laterality)}
    requested = order.request.order
    return len(eyes) == 2 or bool(requested and (requested.single_eye_only or requested.missing_eye_reason))


def _take(order: OpenOrder, desk: Desk, image: OrderImage) -> None:
    container, key = image.place
    desk.shelf.claim(image.entry)
    receipt = _event(
        ImageReceipt,
        order,
        desk,
        stage=f"ImageReceipt/{container}/{key}",
        image_local_id=image.entry.local_id,
        iris_image_id=order.stamps.image_id(container, key),
    )
    desk.emit(order, receipt)
    order.images.append(image)


def _grade(order: OpenOrder, desk: Desk, queued: datetime) -> Graded:
    for image in order.images:
        desk.shelf.load(image)
    if order.submission is not None:
        eyes = graded_by(order.submission)
    else:
        pictures = [(image.laterality, image.picture) for image in order.images if image.picture is not None]
        eyes = grade(desk.settings.seed, order.request.order_local_id or "", order.evaluations, pictures)
    desk.record.note(order.message_id, order.key, Fate.GRADED)
    order.graded = True
    return Graded(order.request, order.stamps, tuple(order.images), eyes, queued, desk.clock.now())


def _event(
    kind: type[E], order: OpenOrder, desk: Desk, *, stage: str | None = None, success: bool = True, **fields: object
) -> E:
    patient = order.request.patient
    values: dict[str, Any] = {
        "transaction_id": order.stamps.transaction(stage or kind.__name__),
        "timestamp": wire_time(desk.clock.now()),
        "success": success,
        "iris_order_id": order.stamps.order_id,
        "order_local_id": order.request.order_local_id,
        "patient_local_id": patient.local_id if patient else None,
    }
    return kind(**(values | fields))
