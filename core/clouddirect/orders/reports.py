"""Saving the report of a result: atomically, and never over another file unless told."""

from __future__ import annotations

import os
import uuid
from datetime import datetime
from pathlib import Path, PurePath

from clouddirect.durable import make_private_directory, sync_directory, sync_file
from clouddirect.errors import UnavailableError
from clouddirect.orders.models import OrderResult
from clouddirect.orders.naming import NamingTemplate, file_stem

__all__ = ["save_message", "save_report"]


def save_report(
    result: OrderResult,
    directory: str | os.PathLike[str],
    *,
    template: NamingTemplate | None = None,
    replace: bool = False,
    at: datetime | None = None,
) -> Path | None:
    """Decode the report of ``result`` and save it in ``directory``, which is made if need be.

    The file appears whole or not at all and is readable by its owner alone where the system knows owners. A report that
    is there already is not saved twice; another file of the same name stays, and the report's name gets a number.

    Args:
        result: the result.
        directory: where to save.
        template: how to name the file; after ``Order.LocalId``, or the transaction where there is none, by default.
        replace: take the place of another file of the same name.
        at: the time of delivery, for the template; now by default, in local time.

    Returns:
        The file, or None when the result has no report.

    Raises:
        InvalidMessageError: the report cannot be decoded, or the template has a token without a value.
        UnavailableError: the file cannot be written.
    """
    report = result.report()
    if report is None:
        return None
    return _save_as(Path(directory), _name(result, template, at), report.suffix, report.data, replace)


def save_message(
    result: OrderResult,
    body: bytes,
    directory: str | os.PathLike[str],
    *,
    template: NamingTemplate | None = None,
    replace: bool = False,
    at: datetime | None = None,
) -> Path:
    """Save the message that ``result`` came in, as it came, beside its report: as `save_report`, with the suffix
    ``.json``.

    Raises:
        InvalidMessageError: the template has a token without a value.
        UnavailableError: the file cannot be written.
    """
    return _save_as(Path(directory), _name(result, template, at), ".json", body, replace)


def _name(result: OrderResult, template: NamingTemplate | None, at: datetime | None) -> PurePath:
    """The relative path to save as, without a suffix."""
    if template is not None:
        return template.path(result, at or datetime.now().astimezone())
    order_id = result.order.local_id if result.order else None
    return PurePath(file_stem(order_id or str(result.transaction_id or uuid.uuid4())))


def _save_as(directory: Path, name: PurePath, suffix: str, content: bytes, replace: bool) -> Path:
    folder = directory / name.parent
    stem = name.name.removesuffix(suffix)  # a template may have named it already
    try:
        make_private_directory(folder)
        return _save(folder, stem, suffix, content, replace)
    except OSError as error:
        # neither the folder nor the system's own error, which holds the path: both may name the patient
        raise UnavailableError(
            f"the result cannot be saved in {directory} ({error.strerror or type(error).__name__}); "
            "make room or choose another directory",
            operation="save_report",
            retryable=False,
        ) from None


def _save(folder: Path, stem: str, suffix: str, content: bytes, replace: bool) -> Path:
    temporary = folder / f".{uuid.uuid4().hex}.part"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            sync_file(file.fileno())
        if replace:
            path = folder / f"{stem}{suffix}"
            temporary.replace(path)
            sync_directory(folder)
            return path
        number = 1
        while True:
            path = folder / f"{stem}{f'-{number}' if number > 1 else ''}{suffix}"
            try:
                _rename_new(temporary, path)
            except FileExistsError:
                if path.is_file() and path.read_bytes() == content:
                    sync_directory(folder)
                    return path
                number += 1
            else:
                sync_directory(folder)  # the result is acknowledged next
                return path
    finally:
        temporary.unlink(missing_ok=True)


def _rename_new(source: Path, target: Path) -> None:
    """Rename without replacing; FileExistsError when something is there."""
    if os.name == "nt":
        source.rename(target)
        return
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: reserve the name first, then fill it
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        source.replace(target)
