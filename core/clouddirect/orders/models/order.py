"""The order request: what an integrator sends to the ``orders`` queue to order, change, cancel or resend."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import Field

from clouddirect.orders.models.base import WireModel
from clouddirect.orders.models.options import (
    Ethnicity,
    EvaluationType,
    ImageContext,
    Language,
    Laterality,
    MaritalStatus,
    OrderControlCode,
    Race,
)
from clouddirect.orders.models.people import Address, GenderCode, HealthPlan, Name, PersonGender, Provider, Site
from clouddirect.orders.models.values import Date, DateOrTime, DateTime, Flag, Guid, Integer, Text, Version, code, codes

__all__ = [
    "AzureBlobStorage",
    "Camera",
    "CameraDetails",
    "Image",
    "Order",
    "OrderRequest",
    "Patient",
    "WIRE_VERSION",
]

WIRE_VERSION = "2.3.1"
"""The version of the IRIS object model that this library speaks."""


class AzureBlobStorage(WireModel):
    """Where an image is stored. Known from the IRIS integration guide: IRIS itself fetches from Azure Blob Storage
    only."""

    required_fields: ClassVar[frozenset[str]] = frozenset({"container", "file_name"})
    safe_fields: ClassVar[frozenset[str]] = frozenset({"container"})  # foreign file names may say who is on the image

    container: Text = Field(default=None, description="Name of the container.")
    file_name: Text = Field(default=None, description="Name of the file in the container; unique there.")


class Image(WireModel):
    """One image of an order, for orders that name their images. Known from the IRIS integration guide."""

    safe_fields: ClassVar[frozenset[str]] = frozenset({"laterality", "image_context", "group_ordinal"})
    repr_fields: ClassVar[tuple[str, ...]] = ("laterality", "image_context")

    local_id: Text = Field(default=None, description="The submitting organisation's id of the image.")
    taken: DateTime = Field(default=None, description="When the image was taken, with its offset from UTC.")
    azure_blob_storage: AzureBlobStorage | None = Field(
        default=None, description="Where the image is stored. It must be there before the order is sent."
    )
    laterality: Annotated[Laterality | str | None, code(Laterality)] = Field(
        default=None, description="Which eye the image shows: OD right, OS left."
    )
    image_context: Annotated[ImageContext | str | None, code(ImageContext)] = Field(
        default=None,
        description="Role of the image; Primary unless agreed otherwise. Others are not shown prominently.",
    )
    parent_local_id: Text = Field(default=None, description="LocalId of the image that this one was derived from.")
    group_id: Integer = Field(default=None, description="Number of the group of images that this one belongs to.")
    group_ordinal: Integer = Field(default=None, description="Position within the group.")


class CameraDetails(WireModel):
    """What is said of a camera in orders and results alike. Known from the IRIS integration guide."""

    wire_names: ClassVar[dict[str, str]] = {"ip_address": "IPAddress", "mac_address": "MACAddress"}
    safe_fields: ClassVar[frozenset[str]] = frozenset(
        {"local_id", "serial_number", "manufacturer", "model", "software_version"}
    )
    repr_fields: ClassVar[tuple[str, ...]] = ("local_id",)

    local_id: Text = Field(default=None, description="Id of the camera, typically its serial number.")
    name: Text = Field(default=None, description="Name of the camera.")
    location: Text = Field(default=None, description="Where the camera stands.")
    ip_address: Text = Field(
        default=None, description="Address that identifies the camera; only where IRIS asks for it."
    )
    mac_address: Text = Field(default=None, description="Hardware address, for information only.")
    serial_number: Text = Field(default=None, description="Serial number.")
    manufacturer: Text = Field(default=None, description="Manufacturer, in the spelling that IRIS uses.")
    model: Text = Field(default=None, description="Model, in the spelling that IRIS uses.")
    software_version: Text = Field(default=None, description="Version of the camera's software.")


class Camera(CameraDetails):
    """The camera an order is assigned to, and the images taken with it. Known from the IRIS integration guide."""

    images: list[Image] = Field(default_factory=list, description="The images of the order (image-first workflow).")


class Order(WireModel):
    """The order proper. Known from the IRIS integration guide; ``CreatedTime`` and ``Urgent`` from its examples and the
    IRIS libraries."""

    wire_names: ClassVar[dict[str, str]] = {"cpt_code": "CPTCode"}
    required_fields: ClassVar[frozenset[str]] = frozenset({"local_id"})
    safe_fields: ClassVar[frozenset[str]] = frozenset(
        {"evaluation_types", "local_id", "department_id", "cpt_code", "state", "single_eye_only", "urgent"}
    )
    repr_fields: ClassVar[tuple[str, ...]] = ("local_id",)

    evaluation_types: Annotated[list[EvaluationType | str], codes(EvaluationType)] = Field(
        default_factory=list, description="The evaluations to make; usually one."
    )
    local_id: Text = Field(
        default=None, description="The submitting organisation's id of the order: all that events can be matched by."
    )
    scheduled_time: DateOrTime = Field(
        default=None, description="When the exam is to take place, in the exam's local time."
    )
    created_time: DateTime = Field(default=None, description="When the order was made.")
    department_id: Text = Field(default=None, description="Id of the submitting department.")
    encounter_number: Text = Field(default=None, description="Id of the encounter that the order came from.")
    study_instance_unique_id: Text = Field(default=None, description="DICOM study instance UID.")
    orderable_identifier: Text = Field(default=None, description="Id that some EMR platforms use.")
    cpt_code: Text = Field(default=None, description="Procedure code (CPT).")
    additional_info: Text = Field(default=None, description="Free text.")
    state: Text = Field(
        default=None,
        description="US state of the exam, abbreviated or in full; required when it is not the state of the site.",
    )
    single_eye_only: Flag = Field(
        default=None,
        description="Images of one eye only are expected: true leaves the other eye out of gradability, "
        "false still counts it, absent follows the configuration.",
    )
    missing_eye_reason: Text = Field(
        default=None, description="Why images of an eye are missing; given back in the result."
    )
    urgent: Flag = Field(default=None, description="The order is urgent.")


class Patient(WireModel):
    """The patient. Known from the IRIS integration guide."""

    required_fields: ClassVar[frozenset[str]] = frozenset({"local_id", "name", "dob", "genders"})

    local_id: Text = Field(
        default=None, description="The submitting organisation's id of the patient, such as the MRN."
    )
    name: Name | None = Field(default=None, description="Name of the patient; first and last name are required.")
    dob: Date = Field(default=None, description="Date of birth.")
    genders: list[PersonGender] = Field(default_factory=list, description="Genders, each with what it refers to.")
    gender: GenderCode = Field(default=None, description="Obsolete: a single gender; use Genders.")
    race: Annotated[Race | str | None, code(Race)] = Field(default=None, description="Race, by HL7 code.")
    ethnicity: Annotated[Ethnicity | str | None, code(Ethnicity)] = Field(
        default=None, description="Ethnicity, by HL7 code."
    )
    primary_language: Annotated[Language | str | None, code(Language)] = Field(
        default=None, description="Language, by BCP 47 tag."
    )
    marital_status: Annotated[MaritalStatus | str | None, code(MaritalStatus)] = Field(
        default=None, description="Marital status, by HL7 code."
    )
    email: Text = Field(default=None, description="Email address.")
    phone: Text = Field(default=None, description="Phone number.")
    additional_info: Text = Field(default=None, description="Free text.")
    address: Address | None = Field(default=None, description="Postal address.")
    dx_code: Text = Field(
        default=None,
        description="Starting ICD-10 diagnosis; its class (such as E11) is used for the codes of the result.",
    )


class OrderRequest(WireModel):
    """An order, change, cancellation or request to resend. Known from the IRIS integration guide.

    Which fields are needed depends on ``order_control_code``: see ``problems``.
    """

    # what else is required depends on the operation: the rules and the JSON Schema know
    required_fields: ClassVar[frozenset[str]] = frozenset({"version", "client_guid", "order_control_code", "order"})
    safe_fields: ClassVar[frozenset[str]] = frozenset({"version", "client_guid", "order_control_code"})
    repr_fields: ClassVar[tuple[str, ...]] = ("order_control_code", "client_guid")

    version: Version = Field(default=WIRE_VERSION, description="Version of the object model.")
    client_guid: Guid = Field(
        default=None,
        description="Identifies the organisation. When it is wrong, no event ever comes, not even a failure.",
    )
    user_name_submitting: Text = Field(default=None, description="User that the order's creation is attributed to.")
    order_control_code: Annotated[OrderControlCode | str | None, code(OrderControlCode)] = Field(
        default=None, description="What to do: NW new order, XO change, CA cancel, ResendResult send the result again."
    )
    site: Site | None = Field(default=None, description="The site that the order belongs to.")
    camera: Camera | None = Field(
        default=None, description="The camera that the order is assigned to, and the order's images."
    )
    order: Order | None = Field(default=None, description="The order proper.")
    patient: Patient | None = Field(default=None, description="The patient; not needed to cancel or resend.")
    ordering_provider: Provider | None = Field(default=None, description="Who ordered the exam.")
    referring_provider: Provider | None = Field(default=None, description="Who referred the patient.")
    camera_operator: Provider | None = Field(
        default=None, description="Who takes the images, if a provider with an NPI."
    )
    camera_operator_user_name: Text = Field(default=None, description="Deprecated: use CameraOperator.")
    health_plan: HealthPlan | None = Field(default=None, description="The patient's health plan.")

    @property
    def order_local_id(self) -> str | None:
        """``order.local_id``, or None when there is no order: what events and results are matched by."""
        return self.order.local_id if self.order is not None else None

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield from super().__repr_args__()
        if self.order_local_id is not None:
            yield "order_local_id", self.order_local_id
        yield "images", len(self.camera.images) if self.camera is not None else 0
