"""``clouddirect submit`` and ``clouddirect change``: send whole orders, with their images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from clouddirect.cli.app import App, json_option, pass_app
from clouddirect.cli.bulk import csv_options, submit_csv
from clouddirect.cli.exits import DONE
from clouddirect.cli.ordering import (
    OrderFile,
    Shown,
    force_option,
    image_option,
    partly,
    read_orders,
    refuse,
    refuse_repeats,
)
from clouddirect.cli.progress import upload_progress
from clouddirect.errors import CloudDirectError

if TYPE_CHECKING:
    from clouddirect.orders.images import ImageFile
    from clouddirect.orders.models import OrderRequest, Problem
    from clouddirect.orders.sending import Submission

__all__ = ["change", "submit"]

_FILE = click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True)


@click.command(short_help="Send orders, with their images.")
@click.argument("files", nargs=-1, metavar="FILE...", type=_FILE)
@image_option
@csv_options
@force_option
@click.option("--dry-run", is_flag=True, help="Check the orders only; upload and send nothing.")
@json_option
@pass_app
def submit(
    app: App, /, files: tuple[str, ...], images: list[ImageFile], force: bool, dry_run: bool, as_json: bool, **csv: Any
) -> int:
    """Send the order in each FILE, a JSON order request; "-" is stdin.

    All files are read and checked before the first order is sent. The settings fill in ClientGuid and Site.LocalId
    where an order leaves them out. With --image the images are uploaded first, side by side; when one fails, nothing
    is sent. What would fail is refused; what merely looks wrong is refused too, unless --force is given.

    With --csv, every row of a CSV file is an order. Run again, it sends only what no run before has sent.

    With --json, one line an order: {"file", "local_id", "message_id", "waiting", "images", "warnings"}; with --csv
    {"file", "line", "local_id", "message_id", "waiting", "sent_before", "warnings"}.
    """
    done = submit_csv(app, csv, {"FILE": files, "--image": images}, force, dry_run, as_json)
    if done is not None:
        return done
    if not files:
        raise click.UsageError("name the files to send, or a CSV file with --csv")
    if images and len(files) > 1:
        raise click.UsageError("--image goes with a single order; submit the others on their own")
    with app.client() as client:
        orders = read_orders(files)
        found = [client.check(order.order, images) for order in orders]
        return _send(
            orders, found, force, dry_run, as_json,
            lambda order, progress: client.submit(order.order, images, progress=progress),
        )  # fmt: skip


@click.command(short_help="Change an order that is not graded yet.")
@click.argument("file", metavar="FILE", type=_FILE)
@click.option(
    "--original", type=_FILE, metavar="FILE",
    help="The order as it was submitted; changes of what cannot change are refused then.",
)  # fmt: skip
@image_option
@force_option
@click.option("--dry-run", is_flag=True, help="Check the change only; upload and send nothing.")
@json_option
@pass_app
def change(
    app: App, file: str, original: str | None, images: list[ImageFile], force: bool, dry_run: bool, as_json: bool
) -> int:
    """Send the order in FILE as it is to be; IRIS finds the old one by Order.LocalId.

    IRIS ignores, in silence, a change that matches no open order, and any change of Order.LocalId,
    Order.EvaluationTypes and Patient.LocalId.

    With --json, one line: {"file", "local_id", "message_id", "waiting", "images", "warnings"}.
    """
    from clouddirect.orders.models import OrderControlCode

    if file == original:
        raise click.UsageError("FILE and --original are the same file")
    with app.client() as client:
        orders = read_orders([file])
        before = read_orders([original])[0].order if original else None
        found = [client.check(orders[0].order, images, operation=OrderControlCode.XO, original=before)]
        return _send(
            orders, found, force, dry_run, as_json,
            lambda order, progress: client.change(order.order, images, original=before, progress=progress),
        )  # fmt: skip


def _what(order: OrderRequest) -> str | None:
    """The order's id and what is asked of it: a new order and its cancellation may go together."""
    if order.order is None or order.order.local_id is None:
        return None
    return f"{order.order.local_id} ({order.order_control_code or 'NW'})"


def _send(
    orders: Sequence[OrderFile],
    found: Sequence[Sequence[Problem]],
    force: bool,
    dry_run: bool,
    as_json: bool,
    send: Callable[[OrderFile, Any], Submission],
) -> int:
    names = [order.name for order in orders]
    refuse_repeats(names, [_what(order.order) for order in orders])
    refuse(names, found, force or dry_run)
    shown = Shown(as_json)
    if dry_run:
        for order, problems in zip(orders, found, strict=True):
            shown.checked(order.name, order.order, problems)
        return DONE
    for number, order in enumerate(orders):
        try:
            with upload_progress() as progress:
                submission = send(order, progress)
        except CloudDirectError as error:
            raise partly(error, order.name, number, len(orders)) from error
        shown.sent(order.name, submission)
    return DONE
