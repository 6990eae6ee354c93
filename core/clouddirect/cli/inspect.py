"""``clouddirect inspect``: what kind of IRIS message a file holds, and what is wrong with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from clouddirect.cli.app import json_option, patient_option, read_file
from clouddirect.cli.exits import DONE, FAILED
from clouddirect.cli.output import emit, emit_json, emit_rich, table

if TYPE_CHECKING:
    from clouddirect.orders.models import Inspection

__all__ = ["inspect"]


@click.command(short_help="Say what a message is and what is wrong with it.")
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...",
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True),
)  # fmt: skip
@json_option
@patient_option
def inspect(files: tuple[str, ...], as_json: bool, show_patient_data: bool) -> int:
    """Say what kind of IRIS message each FILE holds and what is wrong with it; "-" is stdin.

    A file holds one message: an order request, an event, an order result or a grading submission. The exit code is 0
    when all are valid, else 1.

    With --json, one line a file: {"file", "kind", "valid", "problems": [{"path", "message"}], "message"}. "message" is
    the message in its documented form. Warnings do not make a message invalid; they go to stderr.
    """
    from clouddirect.orders.models import inspect_message

    bodies = [(name, read_file(name)) for name in files]
    valid = True
    for name, body in bodies:
        found = inspect_message(body)
        valid = valid and found.valid
        if as_json:
            _print_json(name, found, show_patient_data)
        else:
            _print_text(name, found, show_patient_data)
    return DONE if valid else FAILED


def _print_json(name: str, found: Inspection, show_patient_data: bool) -> None:
    for problem in found.problems:
        if problem.severity == "warning":
            click.echo(f"warning: {name}: {problem}", err=True)
    emit_json(
        {
            "file": name,
            "kind": str(found.kind),
            "valid": found.valid,
            "problems": [
                {"path": problem.path, "message": problem.message}
                for problem in found.problems
                if problem.severity == "error"
            ],
            "message": found.message(show_patient_data=show_patient_data),
        }
    )


def _print_text(name: str, found: Inspection, show_patient_data: bool) -> None:
    emit(f"{name}: {found.kind}, {'valid' if found.valid else 'not valid'}")
    if found.problems:
        rows = [(f"  {problem.severity}", problem.path, problem.message) for problem in found.problems]
        path_width = min(40, max(len(problem.path) for problem in found.problems))
        emit_rich(table([("", 9), ("", path_width), ("", None)], rows, headings=False))
    if show_patient_data:
        emit(json.dumps(found.message(show_patient_data=True), indent=2))
