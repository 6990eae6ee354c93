"""``clouddirect init``: write a first settings file."""

from __future__ import annotations

import os
import shlex
import subprocess
import uuid
from pathlib import Path

import click

from clouddirect.cli.app import App, json_option, pass_app
from clouddirect.cli.exits import DONE, InputError
from clouddirect.cli.output import emit, emit_json

__all__ = ["init"]

_FILE_NAME = "clouddirect.toml"


@click.command(short_help="Write a first settings file.")
@click.option("--provider", metavar="NAME", help='An installed provider; "clouddirect providers" lists them.')
@click.option(
    "--path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write it; ./clouddirect.toml otherwise.",
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@json_option
@pass_app
def init(app: App, provider: str | None, path: Path | None, force: bool, as_json: bool) -> int:
    """Write a first settings file for a provider.

    For "local" it works as it is: all queues and stores on this machine, and the sandbox beside them. For others it
    holds what the provider needs, to be filled in.
    """
    from clouddirect.cli.template import FILL_IN, local_template, provider_template
    from clouddirect.plugins import installed_providers, load_provider

    if provider is None:
        names = ", ".join(one.name for one in installed_providers()) or "none"
        raise click.UsageError(f"say which provider: --provider NAME; installed are: {names}")
    loaded = load_provider(provider)
    target = (path or app.config or Path(_FILE_NAME)).expanduser()
    if target.exists() and not force:
        raise InputError(f"{target} is there already; write elsewhere with --path FILE, or over it with --force")
    text = (
        local_template(target.absolute().parent / "clouddirect-data")
        if provider == "local"
        else provider_template(loaded)
    )
    _write(target, text)
    if as_json:
        emit_json({"path": str(target), "provider": provider})
        return DONE
    emit(f"wrote {target}")
    config = "" if target == Path(_FILE_NAME) else f" --config {_quoted(str(target))}"
    if provider == "local":
        emit("Next, in one terminal, start the other side:\n"
             f"  clouddirect{config} sandbox\n"
             "and in another one, send an order and see what becomes of it:\n"
             f"  clouddirect{config} submit ORDER.json --image RIGHT.jpg:OD --image LEFT.jpg:OS\n"
             f"  clouddirect{config} events\n"
             f"  clouddirect{config} results --save-to reports")  # fmt: skip
    else:
        emit(f'Next, replace each "{FILL_IN}" in it, set the environment variables that it names, and check an order:\n'
             f"  clouddirect{config} submit --dry-run ORDER.json")  # fmt: skip
    return DONE


def _quoted(word: str) -> str:
    """A word as the shell at hand takes it."""
    return subprocess.list2cmdline([word]) if os.name == "nt" else shlex.quote(word)


def _write(target: Path, text: str) -> None:
    """Write the file whole or not at all, readable by its owner alone: it may come to hold secrets."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{target} cannot be written ({error.strerror}); write elsewhere with --path FILE") from None
