"""The command line: ``clouddirect``, also ``python -m clouddirect``.

Each command is a thin module. What takes long to import (the models, the settings, rich) is imported inside the
commands, so that ``clouddirect --help`` answers at once.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import NoReturn

from clouddirect.cli.root import cli

__all__ = ["cli", "main"]


def main() -> NoReturn:
    """Run the command that ``sys.argv`` names and exit with its code; the codes are in ``clouddirect --help``."""
    for stream in (sys.stdout, sys.stderr):
        # a console that cannot show a character shall show an escape instead of ending the program
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(cli.main(prog_name="clouddirect", standalone_mode=False))
