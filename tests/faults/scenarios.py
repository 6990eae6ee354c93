"""The faults: one small function each. A fault lasts as long as its ``with`` statement, or ends by itself earlier."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from faults.lines import Route
from faults.providers import PROVIDERS, Fault, Site

__all__ = ["FAULTS", "Scenario", "cells", "fault_of"]


@contextmanager
def nothing(site: Site, seconds: float) -> Iterator[None]:
    """What the others are compared with."""
    yield


@contextmanager
def _away(route: Route | None) -> Iterator[None]:
    assert route is not None
    route.tcp.refuse()
    route.tcp.cut()
    try:
        yield
    finally:
        route.tcp.accept()


def broker_away(site: Site, seconds: float) -> AbstractContextManager[None]:
    """Connections to the broker break, and new ones are reset."""
    return _away(site.broker)


def store_away(site: Site, seconds: float) -> AbstractContextManager[None]:
    """Connections to the store break, and new ones are reset."""
    return _away(site.store)


@contextmanager
def cut(site: Site, seconds: float) -> Iterator[None]:
    """All connections break, again and again; new ones are accepted at once."""
    assert site.broker is not None
    assert site.store is not None
    ended = threading.Event()
    lines = (site.broker.tcp, site.store.tcp)

    def cut_on() -> None:
        while True:
            for line in lines:
                line.cut()
            if ended.wait(seconds / 5):
                return

    thread = threading.Thread(target=cut_on, name="cuts")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _stalled(route: Route | None, seconds: float) -> Iterator[None]:
    assert route is not None
    route.tcp.stall()
    timer = threading.Timer(seconds, route.tcp.resume)
    timer.start()
    try:
        yield
        timer.join()  # what is held back is let go in the end, never early
    finally:
        timer.cancel()
        route.tcp.resume()


def broker_stalled(site: Site, seconds: float) -> AbstractContextManager[None]:
    """Nothing comes from the broker and nothing reaches it, while connections stay open; then everything moves on."""
    return _stalled(site.broker, seconds)


def store_stalled(site: Site, seconds: float) -> AbstractContextManager[None]:
    """The same of the store."""
    return _stalled(site.store, seconds)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fault, and what must hold while it lasts.

    Attributes:
        title: what the table calls it.
        make: makes it for a site; the number is how many seconds it lasts at least. None: the provider has its own
            (`Provider`), under this scenario's name.
        shown: the errors that a caller may be shown.
        must: the caller must be shown one of these: the fault lasts, and nothing else tells of it.
        again: whether messages may be delivered again. They may where a confirmation can get lost.
        short, long: seconds that it lasts in the short and in the long form.
    """

    title: str
    make: Callable[[Site, float], AbstractContextManager[None]] | None
    shown: frozenset[str] = frozenset()
    must: bool = False
    again: bool = True
    short: float = 1.5
    long: float = 10.0


_OUTAGE = frozenset({"UnavailableError", "TimeoutError"})
_THROTTLED, _REVOKED = frozenset({"ThrottledError"}), frozenset({"AuthenticationError"})

#: The table of faults, by name.
FAULTS: Mapping[str, Scenario] = {
    "nothing": Scenario("nothing goes wrong", nothing, again=False),
    "broker_away": Scenario("broker away in mid-flow", broker_away, _OUTAGE, must=True),
    "store_away": Scenario("store away", store_away, _OUTAGE, must=True, again=False),
    "cut": Scenario("all connections cut, five times", cut, _OUTAGE),
    "order_unconfirmed": Scenario("confirmation of the order lost", None, _OUTAGE, must=True),
    "image_unconfirmed": Scenario("confirmation of the image lost", None, _OUTAGE, must=True, again=False),
    "broker_stalled": Scenario("broker silent", broker_stalled, _OUTAGE, long=75.0),
    "store_stalled": Scenario("store silent", store_stalled, _OUTAGE, must=True, again=False, short=4.0),
    "broker_throttles": Scenario("broker throttles", None, _THROTTLED, must=True),
    "store_throttles": Scenario("store throttles", None, _THROTTLED, must=True, again=False),
    "broker_revoked": Scenario("broker credential revoked, then renewed", None, _REVOKED, must=True),
    "store_revoked": Scenario("store credential revoked, then renewed", None, _REVOKED, must=True, again=False),
}


def fault_of(provider: str, name: str) -> Callable[[Site, float], AbstractContextManager[None]] | None:
    """Return how to make a fault with a provider; None where it makes no sense there."""
    known, scenario = PROVIDERS[provider], FAULTS[name]
    own: Fault | None = getattr(known, name, None)
    if own is not None:
        return lambda site, seconds: own(site)
    if scenario.make is None or (not known.lines and name != "nothing"):
        return None
    return scenario.make


def cells() -> list[tuple[str, str]]:
    """Return every pair of provider and fault that makes sense."""
    return [(provider, name) for provider in PROVIDERS for name in FAULTS if fault_of(provider, name)]
