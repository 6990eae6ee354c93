"""Persons, places and plans: the parts that order requests and results have in common."""

from typing import Annotated, ClassVar

from pydantic import Field

from clouddirect.orders.models.base import WireModel
from clouddirect.orders.models.options import Gender, GenderContext
from clouddirect.orders.models.values import DateOrTime, Text, code

__all__ = [
    "Address",
    "GenderCode",
    "HealthPlan",
    "Name",
    "PersonGender",
    "PrimaryCareProvider",
    "Provider",
    "Site",
]

GenderCode = Annotated[Gender | str | None, code(Gender)]


class Name(WireModel):
    """Name of a person. ``First`` and ``Last``: IRIS integration guide; the rest is seen in its examples and the
    libraries."""

    first: Text = Field(default=None, description="Given name.")
    last: Text = Field(default=None, description="Family name.")
    middle: Text = Field(default=None, description="Middle name or initial.")
    title: Text = Field(default=None, description="Title, such as Dr.")


class Address(WireModel):
    """Postal address. Known from the IRIS integration guide, whose examples say ``Zip`` for ``PostalCode``; the last
    four fields from the IRIS TypeScript library."""

    also_read: ClassVar[dict[str, str]] = {"Zip": "postal_code"}

    street1: Text = Field(default=None, description="First line of the street address.")
    street2: Text = Field(default=None, description="Second line of the street address.")
    city: Text = Field(default=None, description="City.")
    state: Text = Field(default=None, description="State, as its two letters.")
    postal_code: Text = Field(default=None, description="Postal code (ZIP).")
    region: Text = Field(default=None, description="Region, outside the US. Known from the TypeScript library.")
    province: Text = Field(default=None, description="Province, outside the US. Known from the TypeScript library.")
    territory: Text = Field(default=None, description="Territory. Known from the TypeScript library.")
    country: Text = Field(default=None, description="Country. Known from the TypeScript library.")


class PersonGender(WireModel):
    """A gender of a person and what it refers to. Known from the IRIS integration guide; the IRIS TypeScript library
    writes ``Value`` for ``Gender``."""

    also_read: ClassVar[dict[str, str]] = {"Value": "gender"}

    context: Annotated[GenderContext | str | None, code(GenderContext)] = Field(
        default=None, description="What the gender refers to: identity, or as recorded at birth."
    )
    gender: GenderCode = Field(default=None, description="The gender.")


class Provider(WireModel):
    """A medical professional. Known from the IRIS integration guide. One known by NPI before needs only the NPI."""

    wire_names: ClassVar[dict[str, str]] = {"npi": "NPI"}
    text_fields: ClassVar[frozenset[str]] = frozenset({"name"})  # the guide's table has a string here, its examples not

    npi: Text = Field(
        default=None, description="US National Provider Identifier: 10 digits, the last one a check digit."
    )
    taxonomy: Text = Field(default=None, description="Taxonomy code of the specialty that applies here.")
    name: Name | None = Field(default=None, description="Name of the provider.")
    email: Text = Field(default=None, description="Email address.")
    degrees: Text = Field(default=None, description="Academic degrees.")
    associations: Text = Field(default=None, description="Professional associations.")


class PrimaryCareProvider(WireModel):
    """The provider who gets a copy of the report, where IRIS has set that up. Known from the IRIS integration guide."""

    wire_names: ClassVar[dict[str, str]] = {"npi": "NPI"}
    text_fields: ClassVar[frozenset[str]] = frozenset({"name"})

    npi: Text = Field(
        default=None, description="US National Provider Identifier: 10 digits, the last one a check digit."
    )
    email_address: Text = Field(default=None, description="Email or Direct Messaging address.")
    name: Name | None = Field(default=None, description="Name of the provider.")
    fax_number: Text = Field(default=None, description="Fax number to which reports may be sent.")


class HealthPlan(WireModel):
    """The patient's health plan, given back in the result. Known from the IRIS integration guide; payer, group, policy
    and dates from the IRIS TypeScript library."""

    local_id: Text = Field(default=None, description="The submitting organisation's id of the plan.")
    name: Text = Field(default=None, description="Name of the plan.")
    member_id: Text = Field(default=None, description="The plan's id of the member.")
    individual_id: Text = Field(default=None, description="The plan's id of the person associated with the member.")
    primary_care_provider: PrimaryCareProvider | None = Field(
        default=None, description="The member's primary care provider."
    )
    health_plan_payer_name: Text = Field(
        default=None, description="Name of the payer. Known from the TypeScript library."
    )
    group_name: Text = Field(default=None, description="Name of the group. Known from the TypeScript library.")
    group_number: Text = Field(default=None, description="Number of the group. Known from the TypeScript library.")
    effective_date: DateOrTime = Field(
        default=None, description="First day of cover. Known from the TypeScript library."
    )
    expiration_date: DateOrTime = Field(
        default=None, description="Last day of cover. Known from the TypeScript library."
    )
    policy_number: Text = Field(default=None, description="Number of the policy. Known from the TypeScript library.")


class Site(WireModel):
    """The site an order belongs to. Known from the IRIS integration guide."""

    required_fields: ClassVar[frozenset[str]] = frozenset({"local_id"})
    safe_fields: ClassVar[frozenset[str]] = frozenset({"local_id", "name"})
    repr_fields: ClassVar[tuple[str, ...]] = ("local_id",)

    local_id: Text = Field(default=None, description="The submitting organisation's id of the site.")
    name: Text = Field(default=None, description="Name of the site; only for automatic site creation.")
    address: Address | None = Field(default=None, description="Address of the site; only for automatic site creation.")
