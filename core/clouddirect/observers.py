"""Observers: hooks that are told after a message was sent, received or settled, and after a file was stored or read.

An observer is any object with one or more of the methods of `ObserverSpec`, each marked with `hookimpl`. It is told of
identifiers only, never of message bodies or attributes. An observer that fails is logged and disturbs nothing: the
operation has been confirmed by then, and raising would make the caller repeat it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FileEvent", "MessageEvent", "ObserverSpec", "Observers", "hookimpl", "hookspec"]

log = logging.getLogger("clouddirect.observers")

hookspec = pluggy.HookspecMarker("clouddirect.observers")
#: Marks a method of an observer as the implementation of a hook.
hookimpl = pluggy.HookimplMarker("clouddirect.observers")


@dataclass(frozen=True, slots=True)
class MessageEvent:
    """What happened to one message.

    Attributes:
        provider: name of the provider.
        queue: the queue as named in the call.
        message_id: the message's id; never derived from business data.
        correlation_id: the message's correlation id (in the order workflow the order's LocalId), or None.
        size: length of the body in bytes.
        at: when it was confirmed, in UTC.
        outcome: ``sent``, ``received``, ``ack``, ``nack``, ``dead_letter``, ``release`` or ``lease_lost``.
        delivery_count: 1 for the first delivery; None for a send, or where the broker cannot tell.
        reason: the reason given for a dead-letter, else None.
    """

    provider: str
    queue: str
    message_id: str
    correlation_id: str | None
    size: int
    at: datetime
    outcome: Literal["sent", "received", "ack", "nack", "dead_letter", "release", "lease_lost"]
    delivery_count: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class FileEvent:
    """What happened to one stored object.

    Attributes:
        provider: name of the provider.
        container: the container or bucket.
        key: the object's key.
        size: the object's size in bytes, or None if it is not known.
        at: when it was confirmed, in UTC.
        outcome: ``stored``, ``read`` or ``deleted``.
    """

    provider: str
    container: str
    key: str
    size: int | None
    at: datetime
    outcome: Literal["stored", "read", "deleted"]


class ObserverSpec:
    """The hooks an observer may implement. They run in the thread that did the work, so they should be quick."""

    @hookspec
    def clouddirect_message_sent(self, event: MessageEvent) -> None:
        """The broker confirmed a message durably."""

    @hookspec
    def clouddirect_message_received(self, event: MessageEvent) -> None:
        """A message was handed to the caller or its handler."""

    @hookspec
    def clouddirect_message_settled(self, event: MessageEvent) -> None:
        """A delivery was acknowledged, given back or dead-lettered, or its lease was lost."""

    @hookspec
    def clouddirect_file_stored(self, event: FileEvent) -> None:
        """An object became visible in the store, or was deleted."""

    @hookspec
    def clouddirect_file_read(self, event: FileEvent) -> None:
        """An object was read to its end (and verified where the service has a digest)."""


class Observers:
    """A fixed set of observers, told one after another. Without any, telling costs a truth test."""

    def __init__(self, observers: Iterable[object] = ()) -> None:
        """Take the observers; a method marked as a hook that does not exist is an error.

        Raises:
            pluggy.PluginValidationError: an observer implements a misspelt hook or asks for an unknown argument.
        """
        self._hooks: dict[str, list[Callable[..., Any]]] = {}
        for observer in observers:
            manager = pluggy.PluginManager("clouddirect.observers")
            manager.add_hookspecs(ObserverSpec)
            manager.register(observer)
            manager.check_pending()
            for name in _HOOKS:
                caller = getattr(manager.hook, name)
                if caller.get_hookimpls():
                    self._hooks.setdefault(name, []).append(caller)

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def tell(self, hook: str, event: MessageEvent | FileEvent) -> None:
        """Call ``hook`` of every observer; what one raises is logged by type alone."""
        for caller in self._hooks.get(hook, ()):
            try:
                caller(event=event)
            except Exception as error:  # noqa: BLE001 - whatever a stranger's observer raises must not reach the operation
                log.error(
                    "an observer failed in %s (%s); the operation itself is not affected",
                    hook,
                    type(error).__name__,
                )


_HOOKS = tuple(name for name in vars(ObserverSpec) if name.startswith("clouddirect_"))
