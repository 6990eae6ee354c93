"""What each credential of a settings file can do: tried, with every endpoint and store of the same provider."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from clouddirect import Message
from clouddirect.errors import AuthenticationError, PermissionDeniedError
from clouddirect.messaging import BrokerRuntime
from clouddirect.plugins import open_broker_with, open_store_with
from clouddirect.settings import ENDPOINTS, STORES, Settings, resolve_options
from clouddirect.storage import StoreRuntime
from emulators.clouds import QUEUES

__all__ = ["KEY", "Right", "held", "needed", "tried"]

#: An object that is there in every container whose content is asked for.
KEY = "there.jpg"
#: What can be tried with a store; the object is put before it is read, and deleted last.
_STORE_ACTIONS = ("put", "get", "list", "delete")


class Right(NamedTuple):
    """A credential, by the name of its endpoint or store, and what it can do with which other one."""

    credential: str
    action: str
    resource: str


def needed(settings: Settings) -> set[Right]:
    """What the client needs: one side of each queue and of each store."""
    found = {Right(name, QUEUES[name], name) for name in ENDPOINTS if getattr(settings.endpoints, name)}
    if settings.stores.images:
        found.add(Right("images", "put", "images"))
    if settings.stores.shared_images:
        found |= {Right("shared_images", action, "shared_images") for action in ("get", "list")}
    return found


def held(settings: Settings) -> set[Right]:
    """Try everything with every credential, and return what was not refused.

    Left out is what a provider cannot express: ``local`` tells no queue or container of one path from another, and no
    writing from deleting.

    Raises:
        CloudDirectError: something else stood in the way than missing rights, so that nothing is known.
    """
    return {right for right, attempt in _attempts(settings) if _permitted(attempt)}


def tried(settings: Settings) -> set[Right]:
    """All that `held` tries."""
    return {right for right, _ in _attempts(settings)}


def _permitted(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (PermissionDeniedError, AuthenticationError):  # another queue's key is nobody's key there
        return False
    return True


def _attempts(settings: Settings) -> Iterator[tuple[Right, Callable[[], object]]]:
    yield from _with_queues(settings)
    yield from _with_stores(settings)


def _with_queues(settings: Settings) -> Iterator[tuple[Right, Callable[[], object]]]:
    places = {name: found for name in ENDPOINTS if (found := getattr(settings.endpoints, name)) is not None}
    for name, own in places.items():
        options = _freed(resolve_options(f"endpoints.{name}", own.options))
        with open_broker_with(own.provider, options, BrokerRuntime()) as broker:
            for other, place in places.items():
                if place.provider != own.provider or (own.provider == "local" and other != name):
                    continue
                queue = place.queue
                yield Right(name, "receive", other), lambda: broker.receive(queue)  # noqa: B023 - called at once
                yield Right(name, "send", other), lambda: broker.send(queue, Message(body=b"{}"))  # noqa: B023


def _with_stores(settings: Settings) -> Iterator[tuple[Right, Callable[[], object]]]:
    places = {name: found for name in STORES if (found := getattr(settings.stores, name)) is not None}
    for name, own in places.items():
        for other, place in places.items():
            if place.provider != own.provider or (own.provider == "local" and other != name):
                continue
            options = resolve_options(f"stores.{name}", own.options) | {"container": place.container}
            with open_store_with(own.provider, options, StoreRuntime()) as store:
                calls: dict[str, Callable[[], Any]] = {
                    "put": lambda: store.put(KEY, b"more"),
                    "get": lambda: store.get(KEY),
                    "list": lambda: list(store.list()),
                    "delete": lambda: store.delete(KEY),
                }
                for action in _STORE_ACTIONS:
                    if own.provider != "local" or (name, action) != ("images", "delete"):
                        yield Right(name, action, other), calls[action]


def _freed(options: dict[str, Any]) -> dict[str, Any]:
    """Let a connection string not name its queue: it is the service that shall refuse, not this program."""
    string = options.get("connection_string")
    return options if string is None else {**options, "connection_string": re.sub(";EntityPath=[^;]+", "", string)}
