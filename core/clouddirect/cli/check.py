"""``clouddirect check``: whether all that the settings name can be used."""

from __future__ import annotations

import click

from clouddirect.cli.app import App, json_option, pass_app
from clouddirect.cli.exits import DONE, FAILED
from clouddirect.cli.output import Rows, emit, emit_json

__all__ = ["check"]


@click.command(short_help="Find out whether everything can be used.")
@click.option("--sandbox", is_flag=True, help="Check the endpoints and stores of [sandbox] as well.")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True, metavar="SECONDS",
    help="What has not answered by then has failed.",
)  # fmt: skip
@json_option
@pass_app
def check(app: App, sandbox: bool, timeout: float, as_json: bool) -> int:
    """Check each endpoint and store of the settings: options, SDK, credential and resource; and this machine.

    Nothing is sent, taken or created. All are checked, even when some fail, and at the same time. The exit code is 1
    if anything failed.

    \b
    ok           seen to work
    likely       a read-only question was answered so
    unverified   could not be found out without doing it; the text says what
    failed       the text says why, and what to do

    With --json, one line for each: {"name", "access", "state", "detail", "part", "remedy", "error"}. "part" says where
    to look: settings, installation, credential, resource, connection, machine or bug.
    """
    from clouddirect.orders.checkup import check_up

    findings = check_up(app.settings(), sandbox=sandbox, timeout=timeout)
    rows = Rows([("State", 10), ("Access", 7), ("What", None)])
    for one in findings:
        if as_json:
            emit_json({
                "name": one.name, "access": one.access, "state": one.state, "detail": one.detail, "part": one.part,
                "remedy": one.remedy, "error": type(one.error).__name__ if one.error else None,
            })  # fmt: skip
            continue
        details = [one.detail, f"What to do: {one.remedy}"] if one.remedy else [one.detail]
        rows.add((one.state.upper() if one.state == "failed" else one.state, one.access, one.name), details)
    failed = sum(one.state == "failed" for one in findings)
    if not as_json:
        emit(f"{failed} failed" if failed else "nothing failed")
    return FAILED if failed else DONE
