"""``clouddirect grade``: grade orders of a test environment without a grader."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clouddirect.cli.app import App, json_option, pass_app, read_file
from clouddirect.cli.exits import DONE, InputError
from clouddirect.cli.ordering import force_option, partly, refuse, refuse_repeats
from clouddirect.cli.output import Rows, emit_json
from clouddirect.errors import CloudDirectError, InvalidMessageError

if TYPE_CHECKING:
    from clouddirect.orders.models import GradingSubmission

__all__ = ["grade"]


@click.command(short_help="Grade orders of a test environment.")
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...",
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True),
)  # fmt: skip
@force_option
@click.option("--dry-run", is_flag=True, help="Check the gradings only; send nothing.")
@json_option
@pass_app
def grade(app: App, files: tuple[str, ...], force: bool, dry_run: bool, as_json: bool) -> int:
    """Send the GradingSubmission in each FILE; "-" is stdin. IRIS takes them in test environments only.

    All files are read and checked before the first one is sent. IRIS ignores, in silence, a grading of an order that
    is closed or has no images.

    With --json, one line a grading: {"file", "local_id", "message_id", "waiting", "warnings"}.
    """
    rows = Rows([("Order", 36), ("Message", None)])
    with app.client() as client:
        gradings = [_read(file) for file in files]
        found = [client.check_grading(grading) for grading in gradings]
        refuse_repeats(files, [grading.local_id for grading in gradings])
        refuse(files, found, force or dry_run)
        for number, (file, grading) in enumerate(zip(files, gradings, strict=True)):
            message_id, waiting, warnings = None, False, found[number]
            if not dry_run:
                try:
                    sent = client.submit_grading(grading)
                except CloudDirectError as error:
                    raise partly(error, file, number, len(files)) from error
                message_id, waiting, warnings = sent.message_id, sent.receipt is None, sent.warnings
            if as_json:
                told = [{"path": warning.path, "message": warning.message} for warning in warnings]
                emit_json({"file": file, "local_id": grading.local_id, "message_id": message_id, "waiting": waiting,
                           "warnings": told})  # fmt: skip
            else:
                details = ["waits in the outbox"] if waiting else []
                details += [f"warning: {warning}" for warning in warnings]
                rows.add((grading.local_id, message_id or "(checked, not sent)"), details)
    return DONE


def _read(file: str) -> GradingSubmission:
    from clouddirect.orders.models import MessageKind, inspect_message, read_grading

    body = read_file(file)
    kind = inspect_message(body).kind
    if kind not in (MessageKind.GRADING_SUBMISSION, MessageKind.UNKNOWN):
        raise InputError(f"{file}: this is an IRIS {kind}, not a grading submission; nothing was sent")
    try:
        return read_grading(body)
    except InvalidMessageError as error:
        raise InputError(f"{file}: {error}; nothing was sent") from None
