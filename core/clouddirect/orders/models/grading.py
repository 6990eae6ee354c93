"""Gradings of an eye, and the grading submission by which a test environment grades an order without a grader."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import Field

from clouddirect.orders.models.base import WireModel
from clouddirect.orders.models.order import WIRE_VERSION
from clouddirect.orders.models.people import Site
from clouddirect.orders.models.values import Flag, Guid, Text, Texts, Version

__all__ = ["EyeSideGrading", "Finding", "GradingSubmission", "PUBLISHED_FINDINGS"]

_SUSPECTED = (
    "Glaucoma",
    "Cataract",
    "Macular Hole",
    "Vein Occlusion",
    "Wet AMD",
    "Dry AMD",
    "HTN Retinopathy",
    "Epiretinal Membrane",
    "Macular Edema",
    "Disc Edema",
    "Bilateral Papilledema",
    "Geographic Atrophy",
    "Other Disease",
    "Diabetic Retinopathy - Mild Only",
    "Diabetic Retinopathy - Moderate to Proliferative",
)

PUBLISHED_FINDINGS: Mapping[str, tuple[str, ...] | None] = MappingProxyType(
    {
        "Diabetic Retinopathy": (
            "None",
            "Mild",
            "Moderate",
            "Severe",
            "Proliferative",
            "Positive",
            "Indeterminable",
        ),
        "Macular Edema": ("None", "Positive"),
        "Dry AMD": (
            "No Observable",
            "Early Stage",
            "Intermediate Stage",
            "Adv. Atrophic w/o Subfoveal Involvement",
            "Adv. Atrophic w/ Subfoveal Involvement",
            "Indeterminable",
        ),
        "Wet AMD": ("No Observable", "Positive", "Indeterminable"),
        "Glaucoma": ("None", "Positive"),
        "HIV Retinopathy": ("None", "Positive"),
        "Other": None,
        "Not Gradable": (),
        **{f"Suspected {condition}": () for condition in _SUSPECTED},
    }
)
"""The published findings and the results of each: None where any text may stand, empty where none stands. Other pairs
occur and must be processed. Known from the IRIS integration guide."""


class Finding(WireModel):
    """A finding and its level. Known from the IRIS integration guide. A suspected condition has no level."""

    required_fields: ClassVar[frozenset[str]] = frozenset({"finding"})

    finding: Text = Field(default=None, description="What was found, such as Diabetic Retinopathy.")
    result: Text = Field(default=None, description="Its level, such as Mild; absent for a suspected condition.")


class EyeSideGrading(WireModel):
    """The grading of one eye. Known from the IRIS integration guide.

    Look at ``gradable`` first: an ungradable eye has no findings, and on a gradable one no findings mean no pathology.
    """

    safe_fields: ClassVar[frozenset[str]] = frozenset({"gradable"})
    repr_fields: ClassVar[tuple[str, ...]] = ("gradable",)

    gradable: Flag = Field(default=None, description="Whether the images of the eye could be graded.")
    missing_eye_reason: Text = Field(default=None, description="Why there are no images of the eye.")
    ungradable_reasons: Texts = Field(default_factory=list, description="Why the images could not be graded.")
    findings: list[Finding] = Field(default_factory=list, description="Findings, of a gradable eye.")

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield from super().__repr_args__()
        yield "findings", len(self.findings)


class GradingSubmission(WireModel):
    """A grading made by a program, for test environments only. Known from the IRIS integration guide.

    IRIS ignores it when the order is closed or has no images; no event tells of a failure. ``problems_grading`` checks
    it.
    """

    wire_names: ClassVar[dict[str, str]] = {"od": "OD", "os": "OS"}
    required_fields: ClassVar[frozenset[str]] = frozenset({"version", "client_guid", "local_id"})
    safe_fields: ClassVar[frozenset[str]] = frozenset({"version", "client_guid", "local_id"})
    repr_fields: ClassVar[tuple[str, ...]] = ("local_id", "client_guid")

    version: Version = Field(default=WIRE_VERSION, description="Version of the object model.")
    client_guid: Guid = Field(default=None, description="Identifies the organisation.")
    site: Site | None = Field(default=None, description="The site that the order belongs to.")
    local_id: Text = Field(default=None, description="Order.LocalId of the order to grade.")
    od: EyeSideGrading | None = Field(default=None, description="Right eye.")
    os: EyeSideGrading | None = Field(default=None, description="Left eye.")
