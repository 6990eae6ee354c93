"""What must hold in every cell of the table."""

from __future__ import annotations

from faults.rehearsal import Figures
from faults.scenarios import FAULTS

__all__ = ["broken_promises"]

#: Seconds beyond the fault's own within which a call of `submit` must have come back: the time that a single call to a
#: broker may take by default (60), and what a busy machine adds.
_DEADLINE = 90.0
#: What the platform says of an order with an image that it grades by itself: five events and the result. More of them
#: mean that it took a repeat for another order.
_WORDS = 6
#: Whether trying again helps, by what the error is.
_PASSING = frozenset({"ThrottledError", "TimeoutError", "UnavailableError"})


def broken_promises(fault: str, figures: Figures, *, lasts: float = 0.0) -> list[str]:
    """Return what did not hold, in words; nothing if all is well. A fault that is not in `FAULTS` is one that cuts."""
    scenario = FAULTS.get(fault, FAULTS["cut"])
    shown = {**figures.shown, **figures.run_errors}
    wrong_kind = {
        name for name in shown
        if (name in _PASSING) != (figures.not_retryable[name] == 0)
    }  # fmt: skip
    found = {
        f"{figures.missing} messages or results were never handled": figures.missing,
        "an order was not confirmed even when the fault was over": figures.given_up,
        f"of {figures.orders} orders only {figures.results} have their result": figures.results != figures.orders,
        f"{figures.twice} messages were handled twice": figures.twice,
        f"the platform sent {figures.messages} messages about {figures.orders} orders, not {_WORDS} about each":
            figures.messages != _WORDS * figures.orders,
        f"{figures.orders_again} orders and {figures.messages_again} messages came again, and nothing explains it":
            not scenario.again and figures.orders_again + figures.messages_again,
        f"the caller saw {sorted(shown)}, not only {sorted(scenario.shown)}": not shown.keys() <= scenario.shown,
        "no error told the caller of the fault": scenario.must and not figures.shown,
        f"{sorted(wrong_kind)} say the wrong thing of whether to try again": wrong_kind,
        f"submit took {figures.longest:.0f} s": figures.longest > lasts + _DEADLINE,
    }  # fmt: skip
    return [text for text, broken in found.items() if broken]
