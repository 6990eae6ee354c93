"""The IRIS object model, version 2.3.1: order requests, events, order results and grading submissions.

Models are made from Python with snake_case keyword arguments, or read from the wire. Reading takes all that real
messages look like and keeps what it does not know; writing gives the documented form only::

    order = OrderRequest(
        client_guid="63e3c9ef-66ac-4154-b0c2-494515eb99a7",
        order_control_code="NW",
        site=Site(local_id="PC1234"),
        order=Order(local_id="ORD1", evaluation_types=["DR"]),
        patient=Patient(
            local_id="MRN1",
            name=Name(first="Jane", last="Roe"),
            dob=date(1961, 12, 1),
            genders=[PersonGender(context="BirthGender", gender="F")],
        ),
    )
    for problem in problems(order):
        print(problem)
    body = to_wire(order)
    assert read_order(body) == order

Facts about the wire are known from three public sources: the IRIS integration guide, the IRIS TypeScript library and
the IRIS Go library; docstrings and field descriptions say which. Models show only what cannot identify a person.
"""

from clouddirect.orders.models.base import WireModel
from clouddirect.orders.models.checks import Problem
from clouddirect.orders.models.events import (
    EVENT_KINDS,
    Event,
    GradingReceipt,
    ImageReceipt,
    OrderCancelled,
    OrderCreationReceipt,
    OrderEvent,
    OrderGradedEvent,
    ReadyForGradingEvent,
    ResultsDeliveryReceipt,
    UnknownEvent,
)
from clouddirect.orders.models.grading import PUBLISHED_FINDINGS, EyeSideGrading, Finding, GradingSubmission
from clouddirect.orders.models.inspection import Inspection, inspect_message
from clouddirect.orders.models.masking import masked
from clouddirect.orders.models.message_rules import problems_event, problems_grading, problems_result
from clouddirect.orders.models.options import (
    DocumentEncoding,
    DocumentType,
    Ethnicity,
    EvaluationType,
    Gender,
    GenderContext,
    ImageContext,
    Language,
    Laterality,
    MaritalStatus,
    Option,
    OrderControlCode,
    OrderStatus,
    Race,
    ResultCode,
)
from clouddirect.orders.models.order import (
    WIRE_VERSION,
    AzureBlobStorage,
    Camera,
    CameraDetails,
    Image,
    Order,
    OrderRequest,
    Patient,
)
from clouddirect.orders.models.order_rules import problems
from clouddirect.orders.models.people import (
    Address,
    HealthPlan,
    Name,
    PersonGender,
    PrimaryCareProvider,
    Provider,
    Site,
)
from clouddirect.orders.models.reading import (
    MessageKind,
    read_event,
    read_grading,
    read_message,
    read_order,
    read_result,
)
from clouddirect.orders.models.result import (
    CameraOperator,
    Cpt,
    DiagnosisCode,
    Gradings,
    ImageDetails,
    Note,
    OrderResult,
    Report,
    ResultImage,
    ResultOrder,
    ResultPatient,
    ResultsDocument,
    ResultSite,
)
from clouddirect.orders.models.schema import SCHEMA_NAMES, json_schema
from clouddirect.orders.models.values import WireDate, WireDateTime
from clouddirect.orders.models.writing import to_wire, to_wire_dict

__all__ = [
    "Address",
    "AzureBlobStorage",
    "Camera",
    "CameraDetails",
    "CameraOperator",
    "Cpt",
    "DiagnosisCode",
    "DocumentEncoding",
    "DocumentType",
    "EVENT_KINDS",
    "Ethnicity",
    "EvaluationType",
    "Event",
    "EyeSideGrading",
    "Finding",
    "Gender",
    "GenderContext",
    "GradingReceipt",
    "GradingSubmission",
    "Gradings",
    "HealthPlan",
    "Image",
    "ImageContext",
    "ImageDetails",
    "ImageReceipt",
    "Inspection",
    "Language",
    "Laterality",
    "MaritalStatus",
    "MessageKind",
    "Name",
    "Note",
    "Option",
    "Order",
    "OrderCancelled",
    "OrderControlCode",
    "OrderCreationReceipt",
    "OrderEvent",
    "OrderGradedEvent",
    "OrderRequest",
    "OrderResult",
    "OrderStatus",
    "PUBLISHED_FINDINGS",
    "Patient",
    "PersonGender",
    "PrimaryCareProvider",
    "Problem",
    "Provider",
    "Race",
    "ReadyForGradingEvent",
    "Report",
    "ResultCode",
    "ResultImage",
    "ResultOrder",
    "ResultPatient",
    "ResultSite",
    "ResultsDeliveryReceipt",
    "ResultsDocument",
    "SCHEMA_NAMES",
    "Site",
    "UnknownEvent",
    "WIRE_VERSION",
    "WireDate",
    "WireDateTime",
    "WireModel",
    "inspect_message",
    "json_schema",
    "masked",
    "problems",
    "problems_event",
    "problems_grading",
    "problems_result",
    "read_event",
    "read_grading",
    "read_message",
    "read_order",
    "read_result",
    "to_wire",
    "to_wire_dict",
]
