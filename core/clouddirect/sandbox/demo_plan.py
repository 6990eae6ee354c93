"""What the demo consists of: settings for both sides on this machine, and the orders that are submitted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from clouddirect.orders.models import Name, Patient, PersonGender
from clouddirect.settings import Settings

__all__ = ["PLAN", "PlannedOrder", "local_settings"]

_CLIENT_GUID = "7a1f0c52-3d84-4c1b-9e55-0d3c6b2f8a10"


class _OwnSettings(Settings):
    """Settings of the demo's own making: what is in the environment is for somebody's real endpoints."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def local_settings(folder: Path) -> Settings:
    """Both sides on one machine, each with the rights that it would have in the cloud."""
    platform = folder / "platform"

    def queue(name: str, access: str) -> dict[str, Any]:
        return {
            "provider": "local",
            "queue": name,
            "path": str(platform / "queues.db"),
            "create": True,
            "access": access,
        }

    def store(access: str) -> dict[str, Any]:
        return {"provider": "local", "container": "images", "path": str(platform), "create": True, "access": access}

    return _OwnSettings.of(
        {
            "client_guid": _CLIENT_GUID,
            "site": "DEMO",
            "data_dir": platform,
            "endpoints": {
                "orders": queue("orders", "send"),
                "events": queue("events", "receive"),
                "results": queue("results", "receive"),
            },
            "stores": {"images": store("write")},
            "sandbox": {
                "endpoints": {
                    "orders": queue("orders", "receive"),
                    "events": queue("events", "send"),
                    "results": queue("results", "send"),
                },
                "stores": {"images": store("read")},
                "stage_delay": 0.15,
                "image_wait": 1.0,
            },
        }
    )


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """An order as the demo has planned it.

    Attributes:
        title: what it is to show.
        name: ends the name of its directory.
        evaluations: what is to be graded.
        patient: who is on the images.
        images: laterality of each image, and whether it is too dark to be graded.
        missing: laterality of an image that the order names and that is not there.
    """

    title: str
    name: str
    evaluations: tuple[str, ...]
    patient: Patient
    images: tuple[tuple[str, bool], ...]
    missing: str | None = None


PLAN = (
    PlannedOrder(
        "both eyes are graded",
        "both-eyes",
        ("DR",),
        Patient(
            local_id="P-1001",
            name=Name(first="Ada", last="Example"),
            dob=date(1961, 12, 1),
            genders=[PersonGender(context="BirthGender", gender="F")],
            dx_code="E119",
        ),
        (("OD", False), ("OS", False)),
    ),
    PlannedOrder(
        "one eye cannot be graded",
        "dark-eye",
        ("DR_AMD",),
        Patient(
            local_id="P-1002",
            name=Name(first="Émile", last="Specimen"),
            dob=date(1948, 3, 9),
            genders=[PersonGender(context="BirthGender", gender="M")],
        ),
        (("OD", False), ("OS", True)),
    ),
    PlannedOrder(
        "an image is missing",
        "missing-image",
        ("DR",),
        Patient(
            local_id="P-1003",
            name=Name(first="Nora", last="Placeholder"),
            dob=date(1975, 7, 22),
            genders=[PersonGender(context="BirthGender", gender="F")],
        ),
        (("OD", False),),
        missing="OS",
    ),
)
