"""What all commands share: the global options, and the options that several commands have."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from clouddirect.orders.client import CloudDirect
    from clouddirect.settings import Settings

__all__ = ["App", "json_option", "pass_app", "patient_option", "read_file"]

log = logging.getLogger("clouddirect.cli")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class App:
    """The global options."""

    config: Path | None = None
    verbosity: int = 0

    def settings(self) -> Settings:
        """Load the settings. Raises ConfigurationError when there are none, or when they are wrong."""
        from clouddirect.settings import load_settings, search_path

        found = next((path for path in search_path(self.config) if path.is_file()), None)
        log.info("settings come from %s and the environment", found.absolute() if found else "no file")
        return load_settings(self.config)

    def client(self, *, sends: bool = True) -> CloudDirect:
        """Make a client from the settings; raises like `settings`.

        With ``sends`` false it leaves the outbox alone, rather than begin to send what is in it.
        """
        from clouddirect.orders.client import CloudDirect
        from clouddirect.settings import OutboxSettings

        settings = self.settings()
        return CloudDirect(settings if sends else settings.model_copy(update={"outbox": OutboxSettings()}))


pass_app = click.make_pass_decorator(App)


def json_option(command: F) -> F:
    """``--json``, passed as ``as_json``. The root command looks for it as well, to tell errors as JSON."""
    option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, and nothing else.")
    return option(command)


def patient_option(command: F) -> F:
    """``--show-patient-data``."""
    option = click.option("--show-patient-data", is_flag=True, help="Mask nothing: print what identifies patients too.")
    return option(command)


def read_file(name: str) -> bytes:
    """The content of a file, or of stdin for ``-``. Raises click.UsageError when it cannot be read."""
    try:
        if name != "-":
            return Path(name).read_bytes()
        return sys.stdin.buffer.read()
    except OSError as error:
        raise click.UsageError(f"{name!r} cannot be read ({error.strerror})") from None
