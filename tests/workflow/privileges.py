"""What each credential of a settings file can do: tried, with every endpoint and store of the same provider."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

from clouddirect import Message
from clouddirect.errors import AuthenticationError, PermissionDeniedError
from clouddirect.messaging import BrokerRuntime
from clouddirect.plugins import open_broker_with, open_store_with
from clouddirect.settings import ENDPOINTS, STORES, Settings, resolve_options
from clouddirect.storage import FileStore, StoreRuntime
from emulators.clouds import QUEUES

__all__ = ["KEY", "Right", "held", "needed"]

#: An object that is there in every container: a service may hide that something is missing from who may not read.
KEY = "there.jpg"
#: Seconds that a queue is asked for messages: a busy machine may say no later than an empty one says nothing.
REFUSED_WITHIN = 4.0


class Right(NamedTuple):
    """A credential, by the name of its endpoint or store, and what it can do with which other one."""

    credential: str
    action: str
    resource: str


def needed() -> set[Right]:
    """What a client needs: one side of each queue and of each store."""
    queues = {Right(name, side, name) for name, side in QUEUES.items()}
    return queues | {
        Right("images", "put", "images"),
        Right("shared_images", "get", "shared_images"),
        Right("shared_images", "list", "shared_images"),
    }


def held(settings: Settings) -> tuple[set[Right], set[Right]]:
    """Try everything with every credential; return what was not refused, and all that was tried.

    The platform has put `KEY` into the container of shared images; here it goes into that of images, once.

    Left out is what a provider cannot express: ``local`` tells no queue or container of one path from another, and no
    writing from deleting.

    Raises:
        CloudDirectError: something else stood in the way than missing rights, so that nothing is known.
    """
    with ExitStack() as opened, ThreadPoolExecutor(16) as pool:
        images = settings.stores.require("images")
        options = resolve_options("stores.images", images.options) | {"container": images.container}
        with open_store_with(images.provider, options, StoreRuntime()) as store:
            store.put(KEY, b"an image")
        attempts = _with_queues(settings, opened) | _with_stores(settings, opened)
        outcomes = pool.map(_permitted, attempts.values())
        return {right for right, permitted in zip(attempts, outcomes, strict=True) if permitted}, set(attempts)


def _permitted(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (PermissionDeniedError, AuthenticationError):  # another queue's key is nobody's key there
        return False
    return True


def _with_queues(settings: Settings, opened: ExitStack) -> dict[Right, Callable[[], object]]:
    places = {name: settings.endpoints.require(name) for name in ENDPOINTS}
    attempts: dict[Right, Callable[[], object]] = {}
    for name, own in places.items():
        options = _freed(resolve_options(f"endpoints.{name}", own.options))
        broker = opened.enter_context(open_broker_with(own.provider, options, BrokerRuntime()))
        for other, place in places.items():
            if place.provider == own.provider and (own.provider != "local" or other == name):
                attempts[Right(name, "receive", other)] = partial(broker.receive, place.queue, wait=REFUSED_WITHIN)
                attempts[Right(name, "send", other)] = partial(broker.send, place.queue, Message(body=b"{}"))
    return attempts


def _with_stores(settings: Settings, opened: ExitStack) -> dict[Right, Callable[[], object]]:
    places = {name: settings.stores.require(name) for name in STORES}
    attempts: dict[Right, Callable[[], object]] = {}
    for name, own in places.items():
        for other, place in places.items():
            if place.provider == own.provider and (own.provider != "local" or other == name):
                options = resolve_options(f"stores.{name}", own.options) | {"container": place.container}
                store = opened.enter_context(open_store_with(own.provider, options, StoreRuntime()))
                attempts[Right(name, "put", other)] = partial(store.put, "new.jpg", b"new")
                attempts[Right(name, "get", other)] = partial(store.get, KEY)
                attempts[Right(name, "list", other)] = partial(_list, store)
                if own.provider != "local" or name == "shared_images":
                    attempts[Right(name, "delete", other)] = partial(store.delete, "absent.jpg")
    return attempts


def _list(store: FileStore) -> None:
    for _ in store.list():
        return


def _freed(options: dict[str, Any]) -> dict[str, Any]:
    """Let a connection string not name its queue: it is the service that shall refuse, not this program."""
    string = options.get("connection_string")
    return options if string is None else {**options, "connection_string": re.sub(";EntityPath=[^;]+", "", string)}
