"""``clouddirect cancel`` and ``clouddirect resend``: what needs no more than the id of an order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clouddirect.cli.app import App, json_option, pass_app
from clouddirect.cli.exits import DONE
from clouddirect.cli.ordering import Shown, force_option, partly, refuse, refuse_repeats
from clouddirect.errors import CloudDirectError

if TYPE_CHECKING:
    from clouddirect.orders.models import OrderControlCode

__all__ = ["cancel", "resend"]

_IDS = click.argument("local_ids", nargs=-1, required=True, metavar="ORDER...")
_SITE = click.option("--site", metavar="ID", help="Site.LocalId of the orders; the settings' by default.")


@click.command(short_help="Cancel orders that are not graded yet.")
@_IDS
@_SITE
@force_option
@json_option
@pass_app
def cancel(app: App, local_ids: tuple[str, ...], site: str | None, force: bool, as_json: bool) -> int:
    """Ask IRIS to cancel each ORDER, named by its Order.LocalId.

    IRIS ignores, in silence, what matches no open order; an event OrderCancelled is the only confirmation. An order
    that is graded before the cancellation arrives is billed.

    With --json, one line an order: {"file", "local_id", "message_id", "waiting", "images", "warnings"}.
    """
    from clouddirect.orders.models import OrderControlCode

    return _send(app, local_ids, site, OrderControlCode.CA, force, as_json)


@click.command(short_help="Ask for results once more.")
@_IDS
@_SITE
@force_option
@json_option
@pass_app
def resend(app: App, local_ids: tuple[str, ...], site: str | None, force: bool, as_json: bool) -> int:
    """Ask IRIS to send the results of each ORDER again, named by its Order.LocalId.

    They arrive on the results queue, with ResultCode R. IRIS ignores, in silence, what matches no graded order.

    With --json, one line an order: {"file", "local_id", "message_id", "waiting", "images", "warnings"}.
    """
    from clouddirect.orders.models import OrderControlCode

    return _send(app, local_ids, site, OrderControlCode.RESEND_RESULT, force, as_json)


def _send(
    app: App, local_ids: tuple[str, ...], site: str | None, operation: OrderControlCode, force: bool, as_json: bool
) -> int:
    from clouddirect.orders.models import Order, OrderControlCode, OrderRequest, Site

    with app.client() as client:
        requests = [
            OrderRequest(order=Order(local_id=local_id), site=Site(local_id=site) if site else None)
            for local_id in local_ids
        ]
        refuse_repeats(local_ids, local_ids)
        refuse(local_ids, [client.check(request, operation=operation) for request in requests], force)
        send = client.cancel if operation == OrderControlCode.CA else client.resend_results
        shown = Shown(as_json)
        for number, local_id in enumerate(local_ids):
            try:
                submission = send(local_id, site=site)
            except CloudDirectError as error:
                raise partly(error, local_id, number, len(local_ids)) from error
            shown.sent(local_id, submission)
    return DONE
