"""The OrderResult that ends an order: what was ordered, what was found, and the report."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from clouddirect.orders.models import (
    CameraDetails,
    CameraOperator,
    Cpt,
    DocumentEncoding,
    DocumentType,
    Gradings,
    ImageContext,
    ImageDetails,
    Name,
    Note,
    Order,
    OrderRequest,
    OrderResult,
    OrderStatus,
    Provider,
    ResultCode,
    ResultImage,
    ResultOrder,
    ResultPatient,
    ResultsDocument,
    ResultSite,
    Site,
)
from clouddirect.sandbox.diagnoses import care_plan, diagnoses
from clouddirect.sandbox.grading import Eyes, eyes_of, needs_attention, shows_pathology
from clouddirect.sandbox.pictures import OrderImage
from clouddirect.sandbox.report import render_report
from clouddirect.sandbox.stamps import Stamps, wire_time

__all__ = ["Graded", "make_result"]

#: Remote imaging of the retina with an expert's report; for orders that name no procedure.
_DEFAULT_CPT = "92228"
#: What of a message is not the report, generously.
_ENVELOPE_BYTES = 32 << 10
#: The pictures of a report take at most this much; a person sees no difference above it.
_PICTURE_BYTES = 400 << 10


@dataclass(frozen=True, slots=True)
class Graded:
    """A graded order.

    Attributes:
        request: the order.
        stamps: its ids.
        images: its images, read.
        eyes: the grading of each eye.
        queued: when it entered the grading queue.
        graded: when it was graded.
    """

    request: OrderRequest
    stamps: Stamps
    images: Sequence[OrderImage]
    eyes: Eyes
    queued: datetime
    graded: datetime


def make_result(order: Graded, now: datetime, *, max_message_bytes: int) -> OrderResult:
    """Build the result with its report; the pictures in it are made as small as the queue's messages demand."""
    request = order.request
    result = OrderResult(
        timestamp=wire_time(now),
        transaction_id=order.stamps.transaction("OrderResult"),
        result_code=ResultCode.F,
        result_object_type="OrderResult",
        success=True,
        site=_site(request.site),
        image_details=_image_details(order),
        images=[_image(order, image) for image in order.images],
        order=_order(order),
        patient=_patient(order),
        ordering_provider=request.ordering_provider,
        referring_provider=request.referring_provider,
        gradings=_gradings(order),
        camera_operator=_camera_operator(request),
        health_plan=request.health_plan,
        cpt=Cpt(code=(request.order.cpt_code if request.order else None) or _DEFAULT_CPT),
    )
    # Base64 makes four bytes of three
    room = min(_PICTURE_BYTES, (max_message_bytes - _ENVELOPE_BYTES) * 3 // 4 - _ENVELOPE_BYTES)
    report = render_report(result, order.images, made=now, picture_bytes=max(0, room))
    result.results_document = ResultsDocument(
        type=DocumentType.PDF, encoding=DocumentEncoding.BASE64, content=base64.b64encode(report).decode()
    )
    return result


def _site(site: Site | None) -> ResultSite | None:
    return ResultSite(local_id=site.local_id, name=site.name, address=site.address) if site else None


def _order(order: Graded) -> ResultOrder | None:
    requested = order.request.order
    if requested is None:
        return None
    taken = [image.entry.taken for image in order.images if image.entry.taken is not None]
    return ResultOrder(
        **{name: getattr(requested, name) for name in Order.model_fields},
        patient_order_id=order.stamps.order_id,
        serviced_time=taken[0] if taken else None,
        status=OrderStatus.COMPLETE,
        expedite=bool(requested.urgent),
    )


def _patient(order: Graded) -> ResultPatient | None:
    patient = order.request.patient
    if patient is None:
        return None
    return ResultPatient(
        patient_id=order.stamps.patient_id(order.request.client_guid or "", patient.local_id or ""),
        local_id=patient.local_id,
        name=patient.name,
        dob=patient.dob,
        gender=patient.gender,
        genders=patient.genders,
        phone=patient.phone,
    )


def _image(order: Graded, image: OrderImage) -> ResultImage:
    container, key = image.place
    entry, camera = image.entry, order.request.camera
    return ResultImage(
        local_id=entry.local_id,
        taken=entry.taken,
        received=wire_time(image.received),
        file_name=key,
        container_name=container,
        order_image_id=order.stamps.image_id(container, key),
        laterality=image.laterality,
        image_context=entry.image_context or ImageContext.PRIMARY,
        parent_local_id=entry.parent_local_id,
        group_id=entry.group_id,
        group_ordinal=entry.group_ordinal,
        camera=CameraDetails(**{name: getattr(camera, name) for name in CameraDetails.model_fields})
        if camera
        else None,
    )


def _image_details(order: Graded) -> ImageDetails:
    def count(eye: str, *, enhanced: bool) -> int:
        return sum(
            eye in eyes_of(image.laterality) and (image.entry.image_context == ImageContext.ENHANCEMENT) is enhanced
            for image in order.images
        )

    right, right_enhanced = count("OD", enhanced=False), count("OD", enhanced=True)
    left, left_enhanced = count("OS", enhanced=False), count("OS", enhanced=True)
    requested = order.request.order
    return ImageDetails(
        total_count=len(order.images),
        right_eye_count=right + right_enhanced,
        right_eye_original_count=right,
        right_eye_enhanced_count=right_enhanced,
        left_eye_count=left + left_enhanced,
        left_eye_original_count=left,
        left_eye_enhanced_count=left_enhanced,
        preferred=False,
        single_eye_only=bool(requested and requested.single_eye_only),
    )


def _gradings(order: Graded) -> Gradings:
    eyes, patient = order.eyes, order.request.patient
    pathology, urgent = shows_pathology(eyes), needs_attention(eyes)
    ungradable = any(eye.gradable is False for eye in eyes.values())
    plan, description = care_plan(pathology=pathology, urgent=urgent, ungradable=ungradable)
    codes = diagnoses(eyes, patient.dx_code if patient else None)
    return Gradings(
        notes=[
            Note(
                date=wire_time(order.graded),
                text="Graded by the sandbox for a rehearsal. Nobody looked at these images.",
            )
        ],
        graded_time=wire_time(order.graded),
        queued_time=wire_time(order.queued),
        care_plan_name=plan,
        care_plan_description=description,
        pathology=pathology,
        urgent=urgent,
        emergent=False,
        od=eyes.get("OD"),
        os=eyes.get("OS"),
        dx_codes=[str(code.code) for code in codes],
        diagnosis_codes=codes,
        provider=Provider(name=Name(first="Sandbox", last="Grader")),
    )


def _camera_operator(request: OrderRequest) -> CameraOperator | None:
    operator = request.camera_operator
    user = request.camera_operator_user_name or (operator.email if operator else None)
    name = operator.name if operator else None
    return CameraOperator(user_name=user, name=name) if user or name else None
