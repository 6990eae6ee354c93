"""Run the order workflow through every fault with every provider, and write the table of what came of it.

With tests/ on PYTHONPATH::

    python -m faults [--long] [--provider azure …] [--fault broker_away …] [--json]

Each cell starts a program that sends orders by its outbox and handles events and results once each, lets the fault
happen while an order is under way, and waits until all is handled; nothing is restarted. The servers run on this
machine. Exit code 1 says that a promise was broken.

The short form takes about two minutes. With --long outages last 10 s, a silent broker is silent for 75 s, which is
longer than a call waits, and the connection is cut at each turn of the conversation, once before the server hears of it
and once in place of its answer: that takes about six minutes.
"""

from __future__ import annotations

import argparse
import logging
import sys
from datetime import UTC, datetime

from faults.providers import PROVIDERS
from faults.table import ROWS, as_json, as_markdown, run_table

__all__ = ["main"]


def main() -> int:
    """Run what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--long", action="store_true", help="run at full length")
    parser.add_argument("--provider", nargs="+", choices=sorted(PROVIDERS), default=list(PROVIDERS), metavar="NAME")
    parser.add_argument("--fault", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="NAME",
                        help=f"any of {', '.join(ROWS)}")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one object a line in place of the table")
    given = parser.parse_args()
    logging.getLogger("clouddirect").addHandler(logging.NullHandler())
    logging.getLogger("clouddirect").propagate = False
    cells = run_table(given.provider, given.fault, long=given.long)
    if given.json:
        print("\n".join(as_json(cell) for cell in cells))
    else:
        command = " ".join(["python -m faults", *sys.argv[1:]])
        print(f"{datetime.now(UTC):%Y-%m-%d}, `{command}`, Python {sys.version.split()[0]}, {sys.platform}:\n")
        print(as_markdown(cells))
    return int(any(cell.broken for cell in cells))


if __name__ == "__main__":
    sys.exit(main())
