"""The table of faults and providers: running all cells, and writing them as Markdown or JSON."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

from faults.providers import PROVIDERS
from faults.rehearsal import Figures, platform
from faults.running import CUT_AT_EACH, run_cell, run_cuts
from faults.scenarios import FAULTS, fault_of
from faults.verdict import broken_promises

__all__ = ["Cell", "ROWS", "as_json", "as_markdown", "run_table"]

#: The rows in order, each fault with what the table calls it.
ROWS = {**{name: scenario.title for name, scenario in FAULTS.items()}, CUT_AT_EACH: "connection cut at each turn"}
_COLUMNS = (
    "fault", "provider", "orders", "confirmed at once", "results", "lost", "handled twice", "orders again",
    "messages again", "a caller without outbox saw", "`run` raised", "longest `submit`",
    "all handled after", "promises",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: what came of a fault with a provider, and which promises it broke."""

    fault: str
    provider: str
    figures: Figures
    broken: Sequence[str]


def run_table(providers: Iterable[str], faults: Iterable[str], *, long: bool = False) -> list[Cell]:
    """Run the cells of these providers and faults, the providers side by side; returns them row by row."""
    names, wanted = list(providers), list(faults)
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(len(names) or 1) as pool:
        runs = [pool.submit(lambda one=name: list(_column(one, wanted, Path(directory) / one, long))) for name in names]
        found = {(cell.fault, cell.provider): cell for run in runs for cell in run.result()}
    return [found[fault, name] for fault in wanted for name in names if (fault, name) in found]


def _column(provider: str, faults: Sequence[str], directory: Path, long: bool) -> Iterator[Cell]:
    with platform(provider, directory / "platform") as at:
        for fault in faults:
            if fault == CUT_AT_EACH:
                if not PROVIDERS[provider].lines:
                    continue
                figures, lasts = run_cuts(at, directory / fault, long=long), 0.0
            elif fault_of(provider, fault) is None:
                continue
            else:
                figures, lasts = run_cell(at, fault, directory / fault, long=long), FAULTS[fault].long
            yield Cell(fault, provider, figures, broken_promises(fault, figures, lasts=lasts))


def as_json(cell: Cell) -> str:
    """One line of JSON; times are seconds."""
    figures = {one.name: getattr(cell.figures, one.name) for one in fields(cell.figures)}
    return json.dumps({"fault": cell.fault, "provider": cell.provider, **figures, "broken": cell.broken})


def as_markdown(cells: Iterable[Cell]) -> str:
    """A table in Markdown; in the row of cuts ``orders`` says too how many of them met one."""
    lines = [f"| {' | '.join(_COLUMNS)} |", f"| {' | '.join('---' for _ in _COLUMNS)} |"]
    before = None
    for cell in cells:
        figures, title = cell.figures, ROWS[cell.fault]
        orders = f"{figures.orders}, {figures.cuts} cut" if figures.cuts else figures.orders
        shown = (
            "" if title == before else title, cell.provider, orders, figures.receipts, figures.results,
            figures.missing + figures.given_up, figures.twice, figures.orders_again, figures.messages_again,
            _errors(figures.shown), _errors(figures.run_errors),
            f"{figures.longest:.1f} s", f"{figures.recovery:.1f} s",
            "kept" if not cell.broken else f"**BROKEN: {'; '.join(cell.broken)}**",
        )  # fmt: skip
        before = title
        lines.append(f"| {' | '.join(str(one) for one in shown)} |")
    return "\n".join(lines)


def _errors(counted: Counter[str]) -> str:
    return ", ".join(f"{count} × `{name}`" for name, count in sorted(counted.items())) or "–"
