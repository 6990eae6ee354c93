"""The order result: what IRIS sends to the ``results`` queue once an order is graded, with the report in it."""

import binascii
from base64 import b64decode
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from clouddirect.errors import InvalidMessageError
from clouddirect.orders.models.base import WireModel
from clouddirect.orders.models.grading import EyeSideGrading
from clouddirect.orders.models.options import (
    DocumentEncoding,
    DocumentType,
    ImageContext,
    Laterality,
    OrderStatus,
    ResultCode,
)
from clouddirect.orders.models.order import WIRE_VERSION, CameraDetails, Order
from clouddirect.orders.models.people import GenderCode, HealthPlan, Name, PersonGender, Provider, Site
from clouddirect.orders.models.values import (
    Date,
    DateOrTime,
    DateTime,
    Flag,
    Guid,
    Integer,
    Text,
    Texts,
    Version,
    code,
)

__all__ = [
    "CameraOperator",
    "Cpt",
    "DiagnosisCode",
    "Gradings",
    "ImageDetails",
    "Note",
    "OrderResult",
    "Report",
    "ResultImage",
    "ResultOrder",
    "ResultPatient",
    "ResultSite",
    "ResultsDocument",
]

_SUFFIXES: dict[str, str] = {DocumentType.PDF: ".pdf", DocumentType.HTML: ".html", DocumentType.ORU: ".hl7"}


class Report(NamedTuple):
    """A decoded report: its bytes and the suffix for a file that holds it (``.pdf``, ``.html``, ``.hl7``, ``.bin``)."""

    data: bytes
    suffix: str

    def __repr__(self) -> str:
        return f"Report({len(self.data)} bytes, suffix={self.suffix!r})"


class ResultSite(Site):
    """The site of the order. ``LocalId``, ``Name`` and ``Address``: IRIS integration guide; the rest: IRIS Go
    library."""

    safe_fields: ClassVar[frozenset[str]] = Site.safe_fields | {
        "client_id",
        "client_name",
        "client_time_zone",
        "city",
        "state",
    }

    client_id: Integer = Field(default=None, description="IRIS's own id of the site.")
    client_name: Text = Field(default=None, description="Name of the site.")
    client_time_zone: Text = Field(default=None, description="Time zone of the site.")
    city: Text = Field(default=None, description="City of the site.")
    state: Text = Field(default=None, description="State of the site.")


class ResultsDocument(WireModel):
    """The report, as text. Known from the IRIS integration guide. ``OrderResult.report`` decodes it."""

    safe_fields: ClassVar[frozenset[str]] = frozenset({"type", "encoding"})
    repr_fields: ClassVar[tuple[str, ...]] = ("type", "encoding")

    type: Annotated[DocumentType | str | None, code(DocumentType)] = Field(
        default=None, description="Format of the report."
    )
    encoding: Annotated[DocumentEncoding | str | None, code(DocumentEncoding)] = Field(
        default=None, description="How the report is put into text."
    )
    content: Text = Field(default=None, description="The report in that encoding; may be absent.")


class ImageDetails(WireModel):
    """Counts of the order's images. Known from the IRIS integration guide."""

    safe_fields: ClassVar[frozenset[str]] = frozenset(
        {
            "total_count",
            "right_eye_count",
            "right_eye_original_count",
            "right_eye_enhanced_count",
            "left_eye_count",
            "left_eye_original_count",
            "left_eye_enhanced_count",
            "preferred",
            "single_eye_only",
        }
    )
    repr_fields: ClassVar[tuple[str, ...]] = ("total_count", "right_eye_count", "left_eye_count")

    total_count: Integer = Field(default=None, description="Number of all images.")
    right_eye_count: Integer = Field(default=None, description="Number of images of the right eye.")
    right_eye_original_count: Integer = Field(default=None, description="Of these, as submitted.")
    right_eye_enhanced_count: Integer = Field(default=None, description="Of these, enhanced.")
    left_eye_count: Integer = Field(default=None, description="Number of images of the left eye.")
    left_eye_original_count: Integer = Field(default=None, description="Of these, as submitted.")
    left_eye_enhanced_count: Integer = Field(default=None, description="Of these, enhanced.")
    preferred: Flag = Field(default=None, description="Whether an image was preferred for the report.")
    single_eye_only: Flag = Field(default=None, description="Whether images of one eye only were expected.")


class ResultImage(WireModel):
    """One image of the graded order. Known from the IRIS integration guide; ``ContainerName`` and ``OrderImageID`` from
    the IRIS Go library."""

    wire_names: ClassVar[dict[str, str]] = {"order_image_id": "OrderImageID"}
    safe_fields: ClassVar[frozenset[str]] = frozenset(
        {"container_name", "order_image_id", "laterality", "image_context", "group_ordinal"}
    )
    repr_fields: ClassVar[tuple[str, ...]] = ("order_image_id", "laterality", "image_context")

    local_id: Text = Field(default=None, description="LocalId of the image in the request.")
    taken: DateTime = Field(default=None, description="When the image was taken.")
    received: DateTime = Field(default=None, description="When IRIS received it.")
    file_name: Text = Field(default=None, description="Name of the file as stored.")
    container_name: Text = Field(default=None, description="Container that holds the file.")
    order_image_id: Integer = Field(default=None, description="IRIS's own id of the image.")
    laterality: Annotated[Laterality | str | None, code(Laterality)] = Field(
        default=None, description="Which eye it shows."
    )
    image_context: Annotated[ImageContext | str | None, code(ImageContext)] = Field(
        default=None, description="Its role."
    )
    parent_local_id: Text = Field(default=None, description="LocalId of the image that this one was derived from.")
    group_id: Integer = Field(default=None, description="Number of the group of images that this one belongs to.")
    group_ordinal: Integer = Field(default=None, description="Position within the group.")
    camera: CameraDetails | None = Field(default=None, description="The camera it was taken with.")


class ResultOrder(Order):
    """The order as requested, and what IRIS adds. Known from the IRIS integration guide, whose example says
    ``ServiceDate`` for ``ServicedTime``; ``Expedite`` and the values of ``Status`` from the IRIS Go library."""

    also_read: ClassVar[dict[str, str]] = {"ServiceDate": "serviced_time"}
    required_fields: ClassVar[frozenset[str]] = frozenset()
    safe_fields: ClassVar[frozenset[str]] = Order.safe_fields | {"patient_order_id", "status", "expedite"}
    repr_fields: ClassVar[tuple[str, ...]] = ("local_id", "patient_order_id", "status")

    patient_order_id: Integer = Field(default=None, description="IRIS's own id of the order.")
    serviced_time: DateOrTime = Field(default=None, description="When the exam took place.")
    status: Annotated[OrderStatus | str | None, code(OrderStatus)] = Field(
        default=None, description="Where the order stands."
    )
    expedite: Flag = Field(default=None, description="Whether the order was expedited.")


class ResultPatient(WireModel):
    """The patient as submitted. Known from the IRIS integration guide."""

    patient_id: Integer = Field(default=None, description="IRIS's own id of the patient.")
    local_id: Text = Field(default=None, description="Patient.LocalId of the request.")
    name: Name | None = Field(default=None, description="Name of the patient.")
    dob: Date = Field(default=None, description="Date of birth.")
    gender: GenderCode = Field(default=None, description="Obsolete: a single gender; see Genders.")
    genders: list[PersonGender] = Field(default_factory=list, description="Genders, each with what it refers to.")
    phone: Text = Field(default=None, description="Phone number.")


class Note(WireModel):
    """A note by a grader or camera operator. Known from the IRIS integration guide."""

    date: DateTime = Field(default=None, description="When it was written.")
    text: Text = Field(default=None, description="What it says.")


class DiagnosisCode(WireModel):
    """A diagnosis matched to the findings. Known from the IRIS Go library."""

    code: Text = Field(default=None, description="ICD-10 code.")
    description: Text = Field(default=None, description="What it means.")


class Gradings(WireModel):
    """The grading of the order. Known from the IRIS integration guide; ``DiagnosisCodes`` from the IRIS Go library.

    An eye whose images are missing is missing here as well: ``od`` or ``os`` is None.
    """

    wire_names: ClassVar[dict[str, str]] = {"od": "OD", "os": "OS"}
    safe_fields: ClassVar[frozenset[str]] = frozenset({"pathology", "urgent", "emergent"})
    repr_fields: ClassVar[tuple[str, ...]] = ("od", "os")

    notes: list[Note] = Field(default_factory=list, description="Notes of the grader.")
    graded_time: DateTime = Field(default=None, description="When grading was completed.")
    queued_time: DateTime = Field(default=None, description="When the order was queued for grading.")
    care_plan_name: Text = Field(
        default=None, description="Care plan that follows from the findings; says nothing of pathology."
    )
    care_plan_description: Text = Field(default=None, description="Instructions of the care plan.")
    pathology: Flag = Field(default=None, description="Whether pathology was found in one eye or both.")
    urgent: Flag = Field(default=None, description="Whether pathology calls for urgent action.")
    emergent: Flag = Field(default=None, description="Whether pathology calls for emergency care at once.")
    od: EyeSideGrading | None = Field(default=None, description="Right eye; absent without images of it.")
    os: EyeSideGrading | None = Field(default=None, description="Left eye; absent without images of it.")
    dx_codes: Texts = Field(default_factory=list, description="ICD-10 codes matched to the findings.")
    diagnosis_codes: list[DiagnosisCode] = Field(
        default_factory=list, description="Codes matched to the findings, with their meaning."
    )
    provider: Provider | None = Field(default=None, description="Who graded.")

    def eyes(self) -> list[tuple[Laterality, EyeSideGrading]]:
        """The eyes that the result speaks of, right eye first."""
        pairs = ((Laterality.OD, self.od), (Laterality.OS, self.os))
        return [(side, eye) for side, eye in pairs if eye is not None]


class CameraOperator(WireModel):
    """Who took the images. Known from the IRIS integration guide."""

    text_fields: ClassVar[frozenset[str]] = frozenset({"name"})

    user_name: Text = Field(default=None, description="User name, as known to IRIS.")
    name: Name | None = Field(default=None, description="Name of the operator.")
    notes: list[Note] = Field(default_factory=list, description="Notes of the operator.")


class Cpt(WireModel):
    """The procedure. Known from the IRIS integration guide."""

    safe_fields: ClassVar[frozenset[str]] = frozenset({"code", "description"})
    repr_fields: ClassVar[tuple[str, ...]] = ("code",)

    code: Text = Field(default=None, description="Procedure code (CPT).")
    description: Text = Field(default=None, description="What it means.")


class OrderResult(WireModel):
    """The result of a graded order. Known from the IRIS integration guide; ``Success``, ``ErrorMessage`` and
    ``ResultObjectType`` from the IRIS libraries."""

    safe_fields: ClassVar[frozenset[str]] = frozenset(
        {"version", "timestamp", "transaction_id", "result_code", "result_object_type", "success"}
    )
    repr_fields: ClassVar[tuple[str, ...]] = ("transaction_id", "result_code", "success")

    version: Version = Field(default=WIRE_VERSION, description="Version of the object model.")
    timestamp: DateTime = Field(default=None, description="When the message was put on the queue.")
    transaction_id: Guid = Field(default=None, description="Identifies the message.")
    result_code: Annotated[ResultCode | str | None, code(ResultCode)] = Field(
        default=None, description="Kind of result: A addendum, C correction, F final, P preliminary, R resend."
    )
    result_object_type: Text = Field(default=None, description="Kind of the message.")
    success: Flag = Field(default=None, description="Whether the result could be made.")
    error_message: Text = Field(default=None, description="What went wrong, when Success is false.")
    site: ResultSite | None = Field(default=None, description="The site of the order.")
    results_document: ResultsDocument | None = Field(default=None, description="The report.")
    image_details: ImageDetails | None = Field(default=None, description="Counts of the images.")
    images: list[ResultImage] = Field(default_factory=list, description="The images.")
    order: ResultOrder | None = Field(default=None, description="The order.")
    patient: ResultPatient | None = Field(default=None, description="The patient.")
    ordering_provider: Provider | None = Field(default=None, description="Who ordered the exam.")
    referring_provider: Provider | None = Field(default=None, description="Who referred the patient.")
    gradings: Gradings | None = Field(default=None, description="The grading.")
    camera_operator: CameraOperator | None = Field(default=None, description="Who took the images.")
    health_plan: HealthPlan | None = Field(default=None, description="The patient's health plan.")
    cpt: Cpt | None = Field(default=None, description="The procedure.")

    def report(self) -> Report | None:
        """The decoded report, or None when the result has none.

        Raises InvalidMessageError when the content is not what its encoding says, or the encoding of a PDF is unknown.
        """
        document = self.results_document
        if document is None or document.content is None:
            return None
        return Report(_decode(document, document.content), _SUFFIXES.get(str(document.type), ".bin"))

    @property
    def order_local_id(self) -> str | None:
        """``order.local_id``, or None when there is no order: what the result is matched by."""
        return self.order.local_id if self.order is not None else None

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield from super().__repr_args__()
        if self.order_local_id is not None:
            yield "order_local_id", self.order_local_id
        yield "images", len(self.images)


def _decode(document: ResultsDocument, content: str) -> bytes:
    encoding = str(document.encoding or "").lower()
    # a PDF cannot stand in JSON but as Base64, whether it says so or not
    if encoding == "base64" or (not encoding and document.type == DocumentType.PDF):
        return _decode_base64(content)
    if document.type == DocumentType.PDF:
        raise InvalidMessageError("ResultsDocument.Encoding: a PDF report must be Base64, and this is another encoding")
    return content.encode("utf-8", "surrogatepass")


def _decode_base64(content: str) -> bytes:
    try:
        return b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError):
        pass
    raise InvalidMessageError("ResultsDocument.Content: is not valid Base64")
