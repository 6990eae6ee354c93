"""The rules for order requests, by operation. They find all that would fail, most of it in silence, before it is sent.

Known from the IRIS integration guide. Which fields are needed depends on the operation: a new order (NW) or a change
(XO) needs the whole order with the patient; a cancellation (CA) or a request to resend (ResendResult) only
``ClientGuid``, ``Site.LocalId`` and ``Order.LocalId``.
"""

import re
from datetime import date, timedelta

from clouddirect.orders.models.checks import Checks, Problem
from clouddirect.orders.models.date_rules import check_dates
from clouddirect.orders.models.options import OrderControlCode
from clouddirect.orders.models.order import Image, Order, OrderRequest, Patient
from clouddirect.orders.models.us_states import is_us_state

__all__ = ["NEEDS_ONLY_ID", "NEEDS_PATIENT", "problems"]

NEEDS_PATIENT = frozenset({OrderControlCode.NW, OrderControlCode.XO})
"""Operations that need the whole order."""
NEEDS_ONLY_ID = frozenset({OrderControlCode.CA, OrderControlCode.RESEND_RESULT})
"""Operations that need no more than what identifies the order."""

_DICOM_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_ICD10 = re.compile(r"[A-Z][0-9][0-9A-Z](\.?[0-9A-Z]{1,4})?")


def problems(
    order: OrderRequest, operation: OrderControlCode | str | None = None, *, today: date | None = None
) -> list[Problem]:
    """All that is wrong with an order request, errors and warnings, each with its path on the wire.

    Args:
        order: the order request.
        operation: the operation to check for; ``order.order_control_code`` where None.
        today: the day that dates of birth are compared with; the current one where None.
    """
    checks = Checks()
    checks.version(order.version)
    checks.client_guid(order.client_guid)
    code = _operation(order, operation, checks)
    _site(order, code, checks)
    _order(order.order, code, checks)
    if code in NEEDS_PATIENT:
        latest = (today or date.today()) + timedelta(days=1)  # a clinic may be a day ahead of this machine
        if order.patient is None:
            checks.error("Patient", "is required for a new order or a change")
        else:
            _patient(order.patient, checks, latest)
        _images(order.camera.images if order.camera else [], checks)
        check_dates(order, checks, latest)
    if order.camera_operator_user_name is not None:
        checks.warning("CameraOperatorUserName", "is deprecated: use CameraOperator")
    checks.formats(order)
    return checks.found


def _operation(
    order: OrderRequest, operation: OrderControlCode | str | None, checks: Checks
) -> OrderControlCode | None:
    path = "OrderControlCode"
    given = None if order.order_control_code is None else OrderControlCode(order.order_control_code)
    wanted = given if operation is None else OrderControlCode(operation)
    if wanted is None:
        checks.error(path, "is required: NW new order, XO change, CA cancel, ResendResult send the result again")
    elif given is not None and given != wanted:
        checks.error(path, f"asks for another operation than {wanted}")
    elif wanted in NEEDS_PATIENT | NEEDS_ONLY_ID:
        return wanted
    elif wanted.known:
        checks.warning(path, "is not documented by IRIS: use NW, XO, CA or ResendResult")
    else:
        checks.error(path, "is not an operation: use NW, XO, CA or ResendResult")
    return wanted


def _site(order: OrderRequest, code: OrderControlCode | None, checks: Checks) -> None:
    local_id = order.site.local_id if order.site else None
    if code in NEEDS_PATIENT:
        checks.required("Site.LocalId", local_id, "the site that the order belongs to")
    elif local_id is None:
        checks.warning("Site.LocalId", "is missing: IRIS documents it as required")


def _order(order: Order | None, code: OrderControlCode | None, checks: Checks) -> None:
    local_id = order.local_id if order else None
    checks.required("Order.LocalId", local_id, "events, changes and cancellations are matched by it alone")
    if code not in NEEDS_PATIENT:
        return
    evaluations = order.evaluation_types if order else []
    checks.required("Order.EvaluationTypes", evaluations, "the evaluations to make, such as DR")
    if order is None:
        return
    if len(set(order.evaluation_types)) < len(order.evaluation_types):
        checks.warning("Order.EvaluationTypes", "names an evaluation twice")
    uid = order.study_instance_unique_id
    if uid is not None and not (len(uid) <= 64 and _DICOM_UID.fullmatch(uid)):
        checks.warning("Order.StudyInstanceUniqueId", "is not a DICOM UID (digits and dots, at most 64)")
    if order.state is not None and not is_us_state(order.state):
        checks.warning("Order.State", "is neither the abbreviation nor the name of a US state")


def _patient(patient: Patient, checks: Checks, today: date) -> None:
    checks.required("Patient.LocalId", patient.local_id, "such as the MRN")
    checks.required("Patient.Name.First", patient.name.first if patient.name else None)
    checks.required("Patient.Name.Last", patient.name.last if patient.name else None)
    if checks.required("Patient.Dob", patient.dob, "the date of birth, such as 12/1/1961"):
        checks.birth("Patient.Dob", patient.dob, today)
    if not patient.genders and patient.gender is not None:
        checks.warning("Patient.Gender", "is obsolete: use Genders")
    elif checks.required("Patient.Genders", patient.genders, "one entry with Context BirthGender will do"):
        for index, entry in enumerate(patient.genders):
            checks.required(f"Patient.Genders[{index}].Gender", entry.gender)
            if entry.context is None:
                checks.warning(f"Patient.Genders[{index}].Context", "is missing: say BirthGender or IdentityGender")
    if patient.dx_code is not None and not _ICD10.fullmatch(patient.dx_code.upper()):
        checks.warning("Patient.DxCode", "is not an ICD-10 code")


def _images(images: list[Image], checks: Checks) -> None:
    seen = set()
    for index, image in enumerate(images):
        path = f"Camera.Images[{index}]"
        stored = image.azure_blob_storage
        container = stored.container if stored else None
        file_name = stored.file_name if stored else None
        checks.required(f"{path}.AzureBlobStorage.Container", container, "the container that holds the image")
        checks.required(f"{path}.AzureBlobStorage.FileName", file_name, "the image's name in its container")
        if image.laterality is None:
            checks.warning(f"{path}.Laterality", "is missing: say OD for the right eye or OS for the left")
        if file_name is not None and (container, file_name) in seen:
            checks.warning(f"{path}.AzureBlobStorage.FileName", "names the same file as an image before it")
        seen.add((container, file_name))
