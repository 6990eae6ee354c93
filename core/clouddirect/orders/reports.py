"""Saving the report of a result: atomically, under a name without patient data, never over another file."""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path

from clouddirect.durable import sync_directory, sync_file
from clouddirect.errors import UnavailableError
from clouddirect.orders.models import OrderResult

__all__ = ["save_message", "save_report"]


def save_report(result: OrderResult, directory: str | os.PathLike[str]) -> Path | None:
    """Decode the report of ``result`` and save it in ``directory``, which is made if need be.

    The file is called after ``Order.LocalId``, or after the transaction where there is none. It appears whole or not
    at all, is readable by its owner alone where the system knows owners, and replaces nothing: a report that is there
    already is not saved twice, another one of the same name gets a number.

    Returns:
        The file, or None when the result has no report.

    Raises:
        InvalidMessageError: the report cannot be decoded.
        UnavailableError: the file cannot be written.
    """
    report = result.report()
    if report is None:
        return None
    return _save_as(result, directory, report.suffix, report.data)


def save_message(result: OrderResult, body: bytes, directory: str | os.PathLike[str]) -> Path:
    """Save the message that ``result`` came in, as it came, beside its report: as `save_report`, with the suffix
    ``.json``.

    Raises:
        UnavailableError: the file cannot be written.
    """
    return _save_as(result, directory, ".json", body)


def _save_as(result: OrderResult, directory: str | os.PathLike[str], suffix: str, content: bytes) -> Path:
    order_id = result.order.local_id if result.order else None
    stem = _safe(order_id or str(result.transaction_id or uuid.uuid4()))
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _save(folder, stem, suffix, content)
    except OSError as error:
        raise UnavailableError(
            f"the result cannot be saved in {folder} ({error.strerror or type(error).__name__}); "
            "make room or choose another directory",
            operation="save_report",
            retryable=False,
        ) from error


def _save(folder: Path, stem: str, suffix: str, content: bytes) -> Path:
    temporary = folder / f".{uuid.uuid4().hex}.part"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            sync_file(file.fileno())
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


def _safe(text: str) -> str:
    """A file name that every system takes; ids that differ only in what was replaced stay apart by their content."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", text).strip(". ")[:100] or "result"
    reserved = re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name)
    return f"_{name}" if reserved else name
