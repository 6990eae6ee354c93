"""Results as rows of a CSV file, with the headers that IRIS publishes for its own export of results.

Source of the headers: IRIS integration guide. What an OrderResult does not carry stays empty.
"""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Callable, Iterable
from datetime import date, datetime

from clouddirect.durable import sync_file
from clouddirect.errors import UnavailableError
from clouddirect.orders.models import EyeSideGrading, Name, Note, OrderResult, ResultPatient

__all__ = ["RESULT_HEADERS", "append_results", "result_cells"]

#: The published headers, in their order.
RESULT_HEADERS = (
    "Order Id", "Scheduled Date", "Order Status", "Evaluation Type(s)", "Exam Location", "Patient Name",
    "Patient Gender", "Patient DOB", "Patient MRN", "Patient Phone Number", "Camera Operator", "Ordering Provider",
    "Interpreting Provider", "Interpretation Date", "Findings", "Diagnoses", "CPT", "Care Plan", "Original images",
    "Camera Operator Notes", "Interpreting Provider Notes", "Results Sent Date", "Order State",
    "Order Creation Source",
)  # fmt: skip


def append_results(path: str | os.PathLike[str], results: Iterable[OrderResult]) -> int:
    """Append one row a result to a CSV file (RFC 4180, UTF-8); return how many.

    A new file gets the headers first, and is readable by its owner alone where the system knows owners. The rows are on
    the disk, in one piece, when this returns. A result that comes twice makes two rows.

    Raises:
        UnavailableError: the file cannot be written; nothing of these rows is in it.
    """
    rows = [result_cells(result) for result in results]
    text = io.StringIO(newline="")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
        try:
            writer = csv.writer(text)
            if os.fstat(descriptor).st_size == 0:
                writer.writerow(RESULT_HEADERS)
            writer.writerows(rows)
            _append(descriptor, text.getvalue().encode("utf-8", "replace"))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnavailableError(
            f"the results cannot be written to {os.fspath(path)} ({error.strerror or type(error).__name__}); "
            "make room or choose another file",
            operation="append_results",
            retryable=False,
        ) from error
    return len(rows)


def _append(descriptor: int, content: bytes) -> None:
    """Append in one call of the system, so that the rows of two programs do not mix. On a full disk only the beginning
    may have been written: it is taken back, for it would spoil the rows after it."""
    written = os.write(descriptor, content)
    try:
        if written < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync_file(descriptor)
    except OSError:
        size = os.fstat(descriptor).st_size
        if size == os.lseek(descriptor, 0, os.SEEK_CUR):  # else somebody has appended since, and loses nothing
            os.ftruncate(descriptor, size - written)
        raise


def result_cells(result: OrderResult) -> list[str]:
    """Return the cells of one result, in the order of `RESULT_HEADERS`."""
    return [_text(_CELLS[header](result)) for header in RESULT_HEADERS]


def _text(value: object) -> str:
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def _name(name: Name | None) -> str | None:
    return ", ".join(part for part in (name.last, name.first) if part) if name else None


def _gender(patient: ResultPatient | None) -> object:
    if patient is None:
        return None
    birth = [one.gender for one in patient.genders if one.context == "BirthGender"]
    return next(iter([*birth, *(one.gender for one in patient.genders), patient.gender]), None)


def _findings(result: OrderResult) -> str:
    if result.gradings is None:
        return ""
    return "|".join(f"{side} {text}" for side, eye in result.gradings.eyes() for text in _eye(eye))


def _eye(eye: EyeSideGrading) -> list[str]:
    if eye.missing_eye_reason:
        return [f"Missing: {eye.missing_eye_reason}"]
    if eye.gradable is False:
        return [f"Not Gradable: {', '.join(eye.ungradable_reasons)}".removesuffix(": ")]
    return [f"{one.finding}: {one.result}" if one.result else str(one.finding) for one in eye.findings]


def _diagnoses(result: OrderResult) -> str:
    if result.gradings is None:
        return ""
    diagnoses = result.gradings.diagnosis_codes
    described = [" ".join(part for part in (one.code, one.description) if part) for one in diagnoses]
    return "|".join(described or result.gradings.dx_codes)


def _original_images(result: OrderResult) -> int | None:
    counts = result.image_details
    eyes = (counts.right_eye_original_count, counts.left_eye_original_count) if counts else ()
    known = [count for count in eyes if count is not None]
    return sum(known) if known else None


def _operator(result: OrderResult) -> str | None:
    operator = result.camera_operator
    return (_name(operator.name) or operator.user_name) if operator else None


def _notes(notes: list[Note]) -> str:
    return "|".join(note.text for note in notes if note.text)


_CELLS: dict[str, Callable[[OrderResult], object]] = {
    "Order Id": lambda result: result.order and (result.order.local_id or result.order.patient_order_id),
    "Scheduled Date": lambda result: result.order and result.order.scheduled_time,
    "Order Status": lambda result: result.order and result.order.status,
    "Evaluation Type(s)": lambda result: "|".join(map(str, result.order.evaluation_types)) if result.order else None,
    "Exam Location": lambda result: result.site and (result.site.name or result.site.local_id),
    "Patient Name": lambda result: _name(result.patient.name) if result.patient else None,
    "Patient Gender": lambda result: _gender(result.patient),
    "Patient DOB": lambda result: result.patient and result.patient.dob,
    "Patient MRN": lambda result: result.patient and result.patient.local_id,
    "Patient Phone Number": lambda result: result.patient and result.patient.phone,
    "Camera Operator": _operator,
    "Ordering Provider": lambda result: result.ordering_provider and _name(result.ordering_provider.name),
    "Interpreting Provider": lambda result: (
        result.gradings and result.gradings.provider and _name(result.gradings.provider.name)
    ),
    "Interpretation Date": lambda result: result.gradings and result.gradings.graded_time,
    "Findings": _findings,
    "Diagnoses": _diagnoses,
    "CPT": lambda result: result.cpt and result.cpt.code,
    "Care Plan": lambda result: result.gradings and result.gradings.care_plan_name,
    "Original images": _original_images,
    "Camera Operator Notes": lambda result: result.camera_operator and _notes(result.camera_operator.notes),
    "Interpreting Provider Notes": lambda result: result.gradings and _notes(result.gradings.notes),
    "Results Sent Date": lambda result: result.timestamp,
    "Order State": lambda result: result.order and result.order.state,
    "Order Creation Source": lambda result: None,
}
