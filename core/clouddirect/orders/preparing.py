"""What happens to a message before it is sent: the settings fill in what they know, and all that is wrong is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from clouddirect.errors import InvalidKeyError, InvalidMessageError, PermissionDeniedError, UnsupportedError
from clouddirect.orders.models import (
    WIRE_VERSION,
    Camera,
    GradingSubmission,
    Image,
    OrderControlCode,
    OrderRequest,
    Problem,
    Site,
    problems,
    problems_grading,
)
from clouddirect.orders.models.order_rules import NEEDS_ONLY_ID, NEEDS_PATIENT

if TYPE_CHECKING:
    from clouddirect.orders.connections import Connections
    from clouddirect.orders.images import ImageFile
    from clouddirect.orders.ledger import Ledger
    from clouddirect.settings import Settings

__all__ = [
    "fixed_field_problems",
    "grading_problems",
    "order_problems",
    "prepare_grading",
    "prepare_order",
    "refuse",
    "tracked_problems",
]

#: Stages after which an order can neither be changed nor cancelled, as a sentence about it.
_ENDED = {
    "graded": "is graded", "result": "has its result", "cancelled": "is cancelled", "refused": "is refused",
}  # fmt: skip
_FIXED = "cannot be changed: IRIS keeps the first value and says nothing; cancel the order and submit a new one"


def prepare_order(
    order: OrderRequest, settings: Settings, operation: OrderControlCode = OrderControlCode.NW, *, deep: bool = True
) -> OrderRequest:
    """Return a copy with what the settings know filled in; ``operation`` where the order says none.

    A copy that is not ``deep`` shares its parts with the order: for looking only.

    A new order becomes a change when that is the operation: who changes an order has it as it was submitted.
    """
    prepared = order.model_copy(deep=deep)
    prepared.version = WIRE_VERSION
    if prepared.client_guid is None:
        prepared.client_guid = settings.client_guid
    prepared.site = _site(prepared.site, settings)
    code = prepared.order_control_code
    if code is None or (code == OrderControlCode.NW and operation == OrderControlCode.XO):
        prepared.order_control_code = operation
    return prepared


def prepare_grading(grading: GradingSubmission, settings: Settings) -> GradingSubmission:
    """Return a copy with what the settings know filled in."""
    prepared = grading.model_copy(deep=True)
    prepared.version = WIRE_VERSION
    if prepared.client_guid is None:
        prepared.client_guid = settings.client_guid
    prepared.site = _site(prepared.site, settings)
    return prepared


def order_problems(
    prepared: OrderRequest,
    images: Sequence[ImageFile],
    settings: Settings,
    connections: Connections | None,
    operation: OrderControlCode | None = None,
) -> list[Problem]:
    """Return all that is wrong with a prepared order, as it will be when ``images`` have been uploaded.

    ``operation`` is what the caller asked for; an order that says otherwise is refused. With ``connections``, images
    that the order names are looked for in the store.
    """
    preview = prepared.model_copy()
    found = _image_problems(prepared, images)
    entries = [
        image.entry("container", f"image-{number}")
        for number, image in enumerate(images)
        if not any(one.path == f"images[{number}]" for one in found)
    ]
    if images:
        camera = preview.camera.model_copy() if preview.camera else Camera()
        camera.images = [*(camera.images or []), *entries]
        preview.camera = camera
    return [
        *problems(preview, operation),
        *_organisation(prepared.client_guid, settings),
        *_mobile(prepared, settings),
        *found,
        *(_missing_images(prepared, connections) if connections else []),
    ]


def grading_problems(prepared: GradingSubmission, settings: Settings) -> list[Problem]:
    """Return all that is wrong with a prepared grading submission."""
    return [*problems_grading(prepared), *_organisation(prepared.client_guid, settings)]


def fixed_field_problems(changed: OrderRequest, original: OrderRequest) -> list[Problem]:
    """Return the fields of a change that IRIS would silently leave as they were. Source: IRIS integration guide."""
    before, after = original.order, changed.order
    fixed = (
        ("Order.LocalId", before and before.local_id, after and after.local_id),
        ("Order.EvaluationTypes", before and set(before.evaluation_types), after and set(after.evaluation_types)),
        ("Patient.LocalId", _patient_id(original), _patient_id(changed)),
    )
    return [Problem(path, _FIXED, "error") for path, was, wanted in fixed if was and wanted != was]


def tracked_problems(prepared: OrderRequest, ledger: Ledger) -> list[Problem]:
    """Return what IRIS would ignore in silence, as far as the ledger knows the order."""
    local_id, code = prepared.order.local_id if prepared.order else None, prepared.order_control_code
    if local_id is None or code not in (OrderControlCode.XO, OrderControlCode.CA, OrderControlCode.RESEND_RESULT):
        return []
    known = ledger.order(local_id)
    path = "Order.LocalId"
    if known is None:
        return [Problem(path, "is not known here: nothing was submitted and no event has come for it", "warning")]
    found: list[Problem] = []
    if code != OrderControlCode.RESEND_RESULT and known.stage in _ENDED:
        found.append(Problem(path, f"{_ENDED[known.stage]} already: IRIS ignores this, and says nothing", "warning"))
    if code == OrderControlCode.RESEND_RESULT and known.stage not in ("graded", "result"):
        found.append(Problem(path, "is not graded as far as is known here: there is no result to send", "warning"))
    if code == OrderControlCode.XO:
        wanted = set(map(str, prepared.order.evaluation_types)) if prepared.order else set()
        if known.evaluations and wanted and wanted != set(known.evaluations):
            found.append(Problem("Order.EvaluationTypes", _FIXED, "error"))
        if ledger.is_same_patient(prepared) is False:
            found.append(Problem("Patient.LocalId", _FIXED, "error"))
    return found


def _patient_id(order: OrderRequest) -> str | None:
    return order.patient.local_id if order.patient else None


def refuse(found: Sequence[Problem], *, strict: bool, what: str, operation: str) -> None:
    """Raise if one of the problems is an error or, with ``strict``, if there is any.

    Raises:
        InvalidMessageError: ``problems`` holds those that count; its text says all of them, each with its path.
    """
    refusals = [one for one in found if strict or one.severity == "error"]
    if not refusals:
        return
    text = "; ".join(f"{one.path}: {one.message}" for one in refusals)
    error = InvalidMessageError(f"{what}: {text}", operation=operation)
    error.problems = tuple(refusals)
    raise error


def _site(site: Site | None, settings: Settings) -> Site | None:
    if settings.site is None or (site is not None and site.local_id is not None):
        return site
    site = site.model_copy() if site else Site()
    site.local_id = settings.site
    return site


def _organisation(client_guid: str | None, settings: Settings) -> list[Problem]:
    wanted = settings.client_guid
    if client_guid is None or wanted is None or _bare(client_guid) == _bare(wanted):
        return []
    return [Problem("ClientGuid", "is not the client_guid of the settings: no event would ever come to us", "error")]


def _bare(guid: str) -> str:
    return guid.strip("{}").replace("-", "").lower()


def _mobile(order: OrderRequest, settings: Settings) -> list[Problem]:
    """Where exams take place in other states than the site's, each order says in which. Source: IRIS integration
    guide."""
    state = order.order.state if order.order else None
    if not settings.mobile or order.order_control_code not in NEEDS_PATIENT or state:
        return []
    return [
        Problem("Order.State", "is required: the settings say mobile = true, so exams may be in any state", "error")
    ]


def _image_problems(order: OrderRequest, images: Sequence[ImageFile]) -> list[Problem]:
    found: list[Problem] = []
    for number, image in enumerate(images):
        path = f"images[{number}]"
        if image.laterality is None:
            found.append(Problem(f"{path}.laterality", "say which eye it shows: OD (right) or OS (left)", "error"))
        try:
            _ = image.size
            image.entry("container", "image")
        except InvalidMessageError as error:
            found.append(Problem(path, str(error), "error"))
    if images and order.order_control_code in NEEDS_ONLY_ID:
        found.append(Problem("images", "a cancellation or a request to resend takes no images", "error"))
    return found


def _missing_images(order: OrderRequest, connections: Connections) -> list[Problem]:
    """Images that the order names and that are not in our store, as far as the credential lets us look."""
    named = order.camera.images if order.camera and order.camera.images else []
    if not named or not connections.has_store("images"):
        return []
    target = connections.store("images")
    found: list[Problem] = []
    for number, image in enumerate(named):
        missing = _missing(image, number, target.wire_container, target.store.exists)
        if missing is _CANNOT_LOOK:
            return found
        if isinstance(missing, Problem):
            found.append(missing)
    return found


_CANNOT_LOOK = object()


def _missing(image: Image, number: int, container: str, exists: Callable[[str], bool]) -> object:
    place = image.azure_blob_storage
    if place is None or place.file_name is None or place.container != container:
        return None
    path = f"Camera.Images[{number}].AzureBlobStorage.FileName"
    try:
        there = exists(place.file_name)
    except InvalidKeyError:
        return Problem(path, "cannot be the name of a file in the store", "error")
    except (PermissionDeniedError, UnsupportedError):
        return _CANNOT_LOOK  # a write-only credential
    return None if there else Problem(path, "this image is not in the store; upload it first", "error")
