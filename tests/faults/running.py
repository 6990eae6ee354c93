"""Running one cell of the table: a fault with a provider."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from pathlib import Path
from time import monotonic

from faults.lines import Route
from faults.rehearsal import Figures, Platform, Program
from faults.scenarios import FAULTS, fault_of

__all__ = ["CUT_AT_EACH", "run_cell", "run_cuts"]

#: Name of the row in which the connection is cut at each turn of the conversation.
CUT_AT_EACH = "cut_at_each"
#: Seconds that everything may take to be handled after a fault.
_PATIENCE = 90.0
#: The long form ends when so many orders in a row went through before the turn came at which to cut: how often clients
#: speak differs a little from one time to the next.
_MISSES = 3
#: Turns at which the short form cuts.
_SAMPLES = (2, 5, 9)


def run_cell(at: Platform, fault: str, directory: Path, *, long: bool = False) -> Figures:
    """Submit orders before, during and after a fault, and count what came of them."""
    make = fault_of(at.provider, fault)
    assert make is not None
    lasts = FAULTS[fault].long if long else FAULTS[fault].short
    with Program(at, directory) as program:
        first = program.submit()
        program.wait_until_under_way(first, _PATIENCE)
        began = monotonic()
        with make(at.site, lasts):
            confirmed = program.offer()
            program.submit()
            _pause(began + lasts - monotonic())
        ended = monotonic()
        while not confirmed() and monotonic() < ended + _PATIENCE:
            _pause(0.2)
        program.figures.given_up = int(not confirmed())
        program.submit()
        program.wait_for_all(_PATIENCE)
        program.figures.recovery = monotonic() - ended
        return program.settle()


def run_cuts(at: Platform, directory: Path, *, long: bool = False) -> Figures:
    """Cut the connection at one turn after the other, each with a new program and an order of its own.

    In the long form at every turn that there is, to the broker and to the store: first before the server hears of it,
    then in place of the answer.
    """
    found, number = Figures(), itertools.count(1)
    assert at.site.broker is not None
    assert at.site.store is not None
    for route in (at.site.broker, at.site.store):
        for answered in (False, True):
            turns: Iterable[int] = itertools.count(1) if long else _SAMPLES if route is at.site.broker else (1,)
            missed = 0
            for turn in turns:
                figures = _cut_at(at, route, turn, answered, directory / str(next(number)))
                found.add(figures)
                missed = 0 if figures.cuts else missed + 1
                if long and missed == _MISSES:
                    break
    return found


def _cut_at(at: Platform, route: Route, turn: int, answered: bool, directory: Path) -> Figures:
    route.turns.cut_at(turn, answered=answered)
    with Program(at, directory) as program:
        began = monotonic()
        program.submit()
        program.wait_for_all(_PATIENCE)
        program.figures.recovery = monotonic() - began
        program.figures.cuts = int(route.turns.struck.is_set())
        return program.settle()


def _pause(seconds: float) -> None:
    threading.Event().wait(max(0.0, seconds))
