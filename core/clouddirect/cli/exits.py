"""Exit codes, and how an error is told to people and to programs.

An error text never holds a secret or patient data: those of clouddirect are written that way, and of any other
exception only the type and the place are shown.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from pathlib import PurePath

import click

from clouddirect.cli.output import OutputClosedError
from clouddirect.errors import (
    CloudDirectError,
    ConfigurationError,
    MissingExtraError,
    ProviderConflictError,
    ProviderLoadError,
    ProviderNotFoundError,
    UnsupportedError,
)

__all__ = ["DONE", "FAILED", "InputError", "NOTHING_ARRIVED", "WRONG_USE", "report"]

#: All was done.
DONE = 0
#: It was tried and failed.
FAILED = 1
#: The command, the settings, the installation or the files given must be changed first; nothing was sent.
WRONG_USE = 2
#: Nothing arrived in time.
NOTHING_ARRIVED = 3

_WRONG_USE = (
    ConfigurationError,
    MissingExtraError,
    ProviderConflictError,
    ProviderLoadError,
    ProviderNotFoundError,
    UnsupportedError,
)


class InputError(click.ClickException):
    """What was given cannot be used; nothing was sent. ``details`` are shown a line each."""

    exit_code = WRONG_USE

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.details = details


def report(error: BaseException, *, as_json: bool, verbosity: int) -> int:
    """Tell an error on stderr and return the exit code: one line ``error: …``, or with ``--json`` one JSON object."""
    if isinstance(error, OutputClosedError):
        return DONE
    code, text, details = _explain(error, verbosity)
    if as_json:
        shown = {"error": "; ".join([text, *details]), "code": code}
        click.echo(json.dumps(shown), err=True)
    else:
        click.echo("\n  ".join([f"error: {text}", *details]), err=True)
    return code


def _explain(error: BaseException, verbosity: int) -> tuple[int, str, list[str]]:
    if isinstance(error, InputError):
        return error.exit_code, error.message, list(error.details)
    if isinstance(error, click.UsageError):
        text = error.format_message()
        if isinstance(error, click.NoSuchOption) and error.option_name in ("--config", "--version", "--verbose", "-v"):
            text += " It goes before the command: clouddirect --config FILE COMMAND."
        command = error.ctx.command_path if error.ctx else "clouddirect"
        return error.exit_code, f"{text.rstrip('.')}. See: {command} --help", []
    if isinstance(error, click.ClickException):
        return error.exit_code, error.format_message(), []
    if isinstance(error, click.Abort):
        return FAILED, "interrupted", []
    causes = _causes(error) if verbosity >= 2 else []
    if isinstance(error, CloudDirectError):
        return (WRONG_USE if isinstance(error, _WRONG_USE) else FAILED), str(error), causes
    places = _places(error)
    own = next((place for place in reversed(places) if "clouddirect" in place), "an unknown place")
    text = f"unexpected {type(error).__name__} at {own}; this is a bug in clouddirect, please report it to its makers"
    return FAILED, text, [*places, *causes] if verbosity >= 2 else ["run it again with -vv and send this output along"]


def _causes(error: BaseException) -> list[str]:
    """The types of the exceptions behind an error, without their texts: those of an SDK may hold anything."""
    causes: list[str] = []
    behind = error.__cause__ or error.__context__
    while behind is not None and len(causes) < 10:
        kind = type(behind)
        causes.append(f"caused by {kind.__module__}.{kind.__qualname__}")
        behind = behind.__cause__ or behind.__context__
    return causes


def _places(error: BaseException) -> list[str]:
    """Where it was raised, frame by frame, without any value."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{'/'.join(PurePath(frame.filename).parts[-3:])}:{frame.lineno} in {frame.name}" for frame in frames]
