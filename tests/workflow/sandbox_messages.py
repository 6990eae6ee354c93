"""What the tests of the sandbox send, and how they read what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from clouddirect.clock import ManualClock
from clouddirect.orders import ImageFile
from clouddirect.orders.models import (
    AzureBlobStorage,
    Camera,
    EyeSideGrading,
    Finding,
    GradingSubmission,
    Image,
    Order,
    OrderRequest,
    OrderResult,
    Site,
    read_result,
)

__all__ = [
    "GUID",
    "LONG",
    "NewOrder",
    "OTHER_GUID",
    "Rehearse",
    "UnderWay",
    "events",
    "image_file",
    "kinds",
    "named",
    "request",
    "results",
    "run",
    "submission",
    "with_site",
]

GUID = "63E3C9EF-66AC-4154-B0C2-494515EB99A7"
OTHER_GUID = "11111111-2222-4333-8444-555555555555"

#: Leases that outlast every test; otherwise each jump of the clock would be a race with their renewal.
LONG = {"lease": 100_000.0}

NewOrder = Callable[..., OrderRequest]
Rehearse = Callable[..., Any]
UnderWay = Callable[..., tuple[Any, Any]]


def request(code: str, local_id: str = "ORD1", **fields: Any) -> OrderRequest:
    """A request about an order, with nothing in it but what identifies the order."""
    values = {"client_guid": GUID, "order_control_code": code, "order": Order(local_id=local_id)}
    return OrderRequest(**(values | fields))


def submission(
    local_id: str = "ORD1", guid: str = GUID, site: str = "PC1234", **eyes: EyeSideGrading
) -> GradingSubmission:
    """A grading that has nothing wrong with it, unless ``eyes`` says otherwise."""
    found = EyeSideGrading(gradable=True, findings=[Finding(finding="Suspected Vein Occlusion")])
    return GradingSubmission(client_guid=guid, site=Site(local_id=site), local_id=local_id, **(eyes or {"od": found}))


def with_site(order: OrderRequest, site: str = "PC1234") -> OrderRequest:
    """The order, from a site: what a client does with its settings."""
    order.site = Site(local_id=site)
    return order


def named(order: OrderRequest, container: str = "retina", file_name: str = "nowhere.jpg") -> OrderRequest:
    """The order, naming an image."""
    place = AzureBlobStorage(container=container, file_name=file_name)
    order.camera = Camera(images=[Image(local_id="image-7", laterality="OD", azure_blob_storage=place)])
    return order


def image_file(data: bytes, laterality: str | None = "OD", suffix: str = ".jpg") -> ImageFile:
    """An image to upload."""
    return ImageFile(source=data, laterality=laterality, suffix=suffix)


def events(rehearsal: Any) -> list[dict[str, Any]]:
    """Take the events that have come."""
    return [json.loads(message.body) for message in rehearsal.drain("events")]


def kinds(rehearsal: Any) -> list[str]:
    """Take the events that have come; their kinds."""
    return [event["ResultObjectType"] for event in events(rehearsal)]


def results(rehearsal: Any) -> list[OrderResult]:
    """Take the results that have come."""
    return [read_result(message.body) for message in rehearsal.drain("results")]


def run(sandbox: Any, clock: ManualClock, turns: int, seconds: float = 10.0) -> None:
    """Let the sandbox do so many turns, with time between them."""
    for _ in range(turns):
        sandbox.step()
        clock.advance(seconds)
