"""``clouddirect submit``: send orders, with their images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clouddirect.cli.app import App, json_option, pass_app, read_file
from clouddirect.cli.exits import DONE, InputError
from clouddirect.cli.output import Rows, emit_json
from clouddirect.cli.progress import upload_progress
from clouddirect.errors import CloudDirectError, InvalidMessageError

if TYPE_CHECKING:
    from clouddirect.orders.client import CloudDirect, Submission
    from clouddirect.orders.images import ImageFile
    from clouddirect.orders.models import OrderRequest, Problem

__all__ = ["submit"]

_EYES = ("OD", "OS")


@dataclass(frozen=True, slots=True)
class _Order:
    file: str
    order: OrderRequest


def _images(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> list[tuple[Path, str]]:
    """Take ``PATH:OD`` apart; the eye stands behind the last colon, because Windows paths have one as well."""
    images = []
    for value in values:
        name, _, eye = value.rpartition(":")
        if not name or eye.upper() not in _EYES:
            raise click.BadParameter(f"{value!r} does not say which eye it shows; write PATH:OD (right) or :OS (left)")
        if not Path(name).is_file():
            raise click.BadParameter(f"{name!r} does not exist or is no file")
        images.append((Path(name), eye.upper()))
    return images


@click.command(short_help="Send orders, with their images.")
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...",
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True),
)  # fmt: skip
@click.option(
    "--image", "images", multiple=True, metavar="PATH:EYE", callback=_images,
    help="An image to upload with the order, and the eye it shows: OD right, OS left. Repeatable.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Check the orders only; upload and send nothing.")
@json_option
@pass_app
def submit(app: App, files: tuple[str, ...], images: list[tuple[Path, str]], dry_run: bool, as_json: bool) -> int:
    """Send the order in each FILE, a JSON order request; "-" is stdin.

    All files are read and checked before the first order is sent. The settings fill in ClientGuid and Site.LocalId
    where an order leaves them out. With --image the images are uploaded first, side by side; when one fails, nothing
    is sent.

    With --json, one line an order: {"file", "local_id", "message_id", "images", "warnings"}.
    """
    if images and len(files) > 1:
        raise click.UsageError("--image goes with a single order; submit the others on their own")
    from clouddirect.orders.images import ImageFile

    attached = [ImageFile(source=path, laterality=eye) for path, eye in images]
    with app.client() as client:
        orders = [_Order(file, _read(file)) for file in files]
        found = _check(client, orders, attached)
        shown = _Shown(as_json)
        if dry_run:
            for order, problems in zip(orders, found, strict=True):
                shown.checked(order, problems)
            return DONE
        for number, order in enumerate(orders):
            try:
                with upload_progress() as progress:
                    submission = client.submit(order.order, attached, progress=progress)
            except CloudDirectError as error:
                raise _partly(error, order, number, len(orders)) from error
            shown.sent(order, submission)
    return DONE


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


def _check(client: CloudDirect, orders: list[_Order], images: list[ImageFile]) -> list[list[Problem]]:
    """The warnings of each order. Raises InputError when one is refused."""
    found = [client.check(order.order, images) for order in orders]
    details = [
        f"{order.file}: {problem}"
        for order, problems in zip(orders, found, strict=True)
        for problem in problems
        if problem.severity == "error"
    ]
    if details:
        raise InputError("nothing was sent; these must be corrected first:", details)
    return found


def _partly(error: CloudDirectError, order: _Order, sent: int, total: int) -> CloudDirectError:
    """The same error, saying which order it concerns and how many were sent before."""
    told = error.copy()
    told.message = f"{order.file}: {error.message}"
    if total > 1:
        told.message += f"; {sent} of {total} orders were sent before it, the others were not"
    return told


class _Shown:
    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._rows = Rows([("Order", 36), ("Message", 36), ("Images", None)])

    def sent(self, order: _Order, submission: Submission) -> None:
        self._show(order, submission.order, submission.warnings, submission)

    def checked(self, order: _Order, problems: list[Problem]) -> None:
        self._show(order, order.order, problems, None)

    def _show(self, one: _Order, order: OrderRequest, warnings: list[Problem], sent: Submission | None) -> None:
        local_id = order.order.local_id if order.order else None
        images = [] if sent is None else sent.images
        if self._as_json:
            value = {
                "file": one.file,
                "local_id": local_id,
                "message_id": sent.receipt.message_id if sent else None,
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
        self._rows.add((local_id, sent.receipt.message_id if sent else "(checked, not sent)", count), details)
