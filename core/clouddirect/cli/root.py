"""The root command: global options, the list of commands, and what becomes of errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from clouddirect.cli.app import App, pass_app
from clouddirect.cli.cancel import cancel, resend
from clouddirect.cli.check import check
from clouddirect.cli.deadletters import deadletters
from clouddirect.cli.demo import demo
from clouddirect.cli.events import events
from clouddirect.cli.exits import DONE, WRONG_USE, report
from clouddirect.cli.grade import grade
from clouddirect.cli.images import images
from clouddirect.cli.init import init
from clouddirect.cli.inspect import inspect
from clouddirect.cli.logs import configure_logging
from clouddirect.cli.outbox import outbox
from clouddirect.cli.providers import providers
from clouddirect.cli.results import results
from clouddirect.cli.sandbox import sandbox
from clouddirect.cli.schema import schema
from clouddirect.cli.submit import change, submit
from clouddirect.cli.track import track, watch
from clouddirect.cli.upload import upload

__all__ = ["cli"]

_EPILOG = """
\b
Exit codes:
  0  done
  1  failed
  2  wrong use: options, settings, installation or files given must be changed
  3  nothing arrived in time

Errors go to stderr as one line "error: …", with --json as {"error": …, "code": …}.
"""


class _Root(click.Group):
    """Ends with an exit code of ours, whatever happens, and without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order they were added: first what a newcomer needs first

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        app = App()
        extra |= {"obj": app, "windows_expand_args": windows_expand_args}
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except Exception as error:  # noqa: BLE001 - shown by type alone: a traceback may hold patient data
            as_json = "--json" in (sys.argv[1:] if args is None else args)
            code = report(error, as_json=as_json, verbosity=app.verbosity)
        code = code if isinstance(code, int) else DONE
        return sys.exit(code) if standalone_mode else code


@click.group(
    "clouddirect",
    cls=_Root,
    epilog=_EPILOG,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
)
@click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), metavar="PATH",
    help="Settings file; otherwise $CLOUDDIRECT_CONFIG, ./clouddirect.toml or the one in your configuration directory.",
)  # fmt: skip
@click.option("-v", "--verbose", count=True, help="Log to stderr what happens; -vv every step. Never patient data.")
@click.version_option(package_name="clouddirect", message="%(prog)s %(version)s")
@pass_app
@click.pass_context
def cli(context: click.Context, app: App, config: Path | None, verbose: int) -> int | None:
    """Run the IRIS Cloud Direct order workflow: send orders with their images, receive events and results.

    "clouddirect demo" shows it all on this machine and needs no settings.
    """
    app.config, app.verbosity = config, verbose
    configure_logging(verbose)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        return WRONG_USE
    return None


for _command in (
    demo, init, check, submit, change, cancel, resend, grade, upload, outbox, track, watch, events, results,
    deadletters, images, inspect, schema, providers, sandbox,
):  # fmt: skip
    cli.add_command(_command)
