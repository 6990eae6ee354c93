"""What the commands that send order requests have in common: reading files, refusing, and telling what was sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from clouddirect.cli.app import read_file
from clouddirect.cli.exits import InputError
from clouddirect.cli.output import Rows, emit_json
from clouddirect.errors import CloudDirectError, InvalidMessageError

if TYPE_CHECKING:
    from clouddirect.orders.images import ImageFile
    from clouddirect.orders.models import OrderRequest, Problem
    from clouddirect.orders.sending import Submission

__all__ = ["OrderFile", "Shown", "force_option", "image_option", "partly", "read_orders", "refuse", "refuse_repeats"]

F = TypeVar("F", bound=Callable[..., Any])
_EYES = ("OD", "OS")


@dataclass(frozen=True, slots=True)
class OrderFile:
    """An order request, and where it comes from: the name of a file, or what the user typed."""

    name: str
    order: OrderRequest


def force_option(command: F) -> F:
    """``--force``: send in spite of warnings."""
    text = "Send in spite of warnings; what is refused stays refused."
    return click.option("--force", is_flag=True, help=text)(command)


def image_option(command: F) -> F:
    """``--image PATH:EYE``, repeatable, passed as ``images``: a list of `ImageFile`."""
    return click.option(
        "--image", "images", multiple=True, metavar="PATH:EYE", callback=_images,
        help="An image to upload with the order, and the eye it shows: OD right, OS left. Repeatable.",
    )(command)  # fmt: skip


def _images(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[ImageFile]:
    """Take ``PATH:OD`` apart; the eye stands behind the last colon, because Windows paths have one as well."""
    from clouddirect.orders.images import ImageFile

    images = []
    for value in values:
        name, _, eye = value.rpartition(":")
        if not name or eye.upper() not in _EYES:
            raise click.BadParameter(f"{value!r} does not say which eye it shows; write PATH:OD (right) or :OS (left)")
        if not Path(name).is_file():
            raise click.BadParameter(f"{name!r} does not exist or is no file")
        images.append(ImageFile(source=Path(name), laterality=eye.upper()))
    return images


def read_orders(files: Sequence[str]) -> list[OrderFile]:
    """Read order requests, all before anything is sent. Raises InputError when one is none."""
    return [OrderFile(file, _read(file)) for file in files]


def _read(file: str) -> OrderRequest:
    from clouddirect.orders.models import MessageKind, inspect_message, read_order

    body = read_file(file)
    kind = inspect_message(body).kind
    if kind not in (MessageKind.ORDER_REQUEST, MessageKind.UNKNOWN):
        raise InputError(f"{file}: this is an IRIS {kind}, not an order request; nothing was sent")
    try:
        return read_order(body)
    except InvalidMessageError as error:
        raise InputError(f"{file}: {error}; nothing was sent") from None


def refuse(names: Sequence[str], found: Sequence[Sequence[Problem]], force: bool) -> None:
    """Raise InputError when something is wrong: with errors always, with warnings unless ``force``."""
    for severity, text in (
        ("error", "nothing was sent; these must be corrected first:"),
        ("warning", "nothing was sent; these look wrong, correct them or send nevertheless with --force:"),
    ):
        details = [
            f"{name}: {problem}"
            for name, problems in zip(names, found, strict=True)
            for problem in problems
            if problem.severity == severity
        ]
        if details and not (force and severity == "warning"):
            raise InputError(text, details)


def refuse_repeats(names: Sequence[str], local_ids: Sequence[str | None]) -> None:
    """Raise InputError when two requests name the same order: the second would be sent as another one."""
    seen: dict[str, str] = {}
    for name, local_id in zip(names, local_ids, strict=True):
        if local_id is not None and local_id in seen:
            raise InputError(f"nothing was sent; {seen[local_id]} and {name} name the same order: {local_id}")
        if local_id is not None:
            seen[local_id] = name


def partly(error: CloudDirectError, name: str, sent: int, total: int) -> CloudDirectError:
    """The same error, saying which request it concerns and how many were sent before."""
    told = error.copy()
    told.message = f"{name}: {error.message}"
    if total > 1:
        told.message += f"; {sent} of {total} orders were sent before it, the others were not"
    return told


class Shown:
    """Tells of each request, as a row or as a JSON line."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._rows = Rows([("Order", 36), ("Message", 36), ("Images", None)])

    def sent(self, name: str, submission: Submission) -> None:
        """Tell of a confirmed request."""
        self._show(name, submission.order, submission.warnings, submission)

    def checked(self, name: str, order: OrderRequest, problems: Sequence[Problem]) -> None:
        """Tell of a request that was checked only."""
        self._show(name, order, problems, None)

    def _show(self, name: str, order: OrderRequest, warnings: Sequence[Problem], sent: Submission | None) -> None:
        local_id = order.order.local_id if order.order else None
        images = [] if sent is None else sent.images
        if self._as_json:
            value = {
                "file": name,
                "local_id": local_id,
                "message_id": sent.message_id if sent else None,
                "waiting": sent is not None and sent.receipt is None,
                "images": [
                    {"file": str(image.file.source), "laterality": image.file.laterality,
                     "container": image.container, "key": image.key}
                    for image in images
                ],
                "warnings": [{"path": warning.path, "message": warning.message} for warning in warnings],
            }  # fmt: skip
            emit_json(value)
            return
        count = len(order.camera.images) if order.camera else 0
        details = [f"{image.file.laterality} {image.container}/{image.key}" for image in images]
        details += [f"warning: {warning}" for warning in warnings]
        if sent is not None and sent.receipt is None:
            details.insert(0, "waits in the outbox")
        self._rows.add((local_id, sent.message_id if sent else "(checked, not sent)", count), details)
