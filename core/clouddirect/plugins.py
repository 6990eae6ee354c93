"""Providers as plugins: discovery by entry point, loading by name, and opening with validated options.

A provider is a distribution with an entry point in the group ``clouddirect``; the entry's name is the provider's
name. Its module is only a label: it imports no SDK and holds one hook::

    from clouddirect.plugins import Provider, hookimpl

    @hookimpl
    def clouddirect_provider() -> Provider:
        return Provider(name="example", title="Example queue", ...)

Only the provider that is asked for is loaded, so a broken one cannot disturb its neighbours.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from clouddirect.errors import (
    CloudDirectError,
    ConfigurationError,
    MissingExtraError,
    ProviderConflictError,
    ProviderLoadError,
    ProviderNotFoundError,
    UnsupportedError,
)
from clouddirect.messaging.primitives import BrokerRuntime
from clouddirect.observers import Observers
from clouddirect.storage.primitives import StoreRuntime

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    from clouddirect.messaging.broker import MessageBroker
    from clouddirect.storage.store import FileStore

__all__ = [
    "GROUP",
    "InstalledProvider",
    "OBSERVER_GROUP",
    "Provider",
    "ProviderSpec",
    "hookimpl",
    "hookspec",
    "installed_providers",
    "load_observers",
    "load_provider",
    "open_broker",
    "open_broker_with",
    "open_store",
    "open_store_with",
]

#: Entry-point group of providers.
GROUP = "clouddirect"
#: Entry-point group of observers.
OBSERVER_GROUP = "clouddirect.observers"

hookspec = pluggy.HookspecMarker(GROUP)
#: Marks a plugin's ``clouddirect_provider`` function.
hookimpl = pluggy.HookimplMarker(GROUP)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """What a provider plugin offers; a side that it does not have is None.

    Attributes:
        name: the name used in settings; the same as the entry point's.
        title: a few words for people, such as ``"Azure Service Bus and Blob Storage"``.
        extra: the extra of the plugin's distribution that installs its SDK; None when it needs none.
        sdk_modules: the modules that ``extra`` brings; a failing import of one of these means "not installed",
            any other failing import means "broken".
        broker_options: pydantic model of the broker's options, with ``extra="forbid"`` and secrets as ``SecretStr``.
        open_broker: called with an instance of ``broker_options`` and a `BrokerRuntime`; imports the SDK, does no I/O.
        store_options: pydantic model of the store's options, likewise.
        open_store: called with an instance of ``store_options`` and a `StoreRuntime`; imports the SDK, does no I/O.
    """

    name: str
    title: str
    extra: str | None = None
    sdk_modules: tuple[str, ...] = ()
    broker_options: type[BaseModel] | None = None
    open_broker: Callable[[Any, BrokerRuntime], MessageBroker] | None = None
    store_options: type[BaseModel] | None = None
    open_store: Callable[[Any, StoreRuntime], FileStore] | None = None


class ProviderSpec:
    """The one hook of a provider plugin."""

    @hookspec
    def clouddirect_provider(self) -> Provider:
        """Describe the provider; must not import its SDK."""
        raise UnsupportedError("a hook specification is never called")


@dataclass(frozen=True, slots=True)
class InstalledProvider:
    """What `installed_providers` found out about one provider name.

    Attributes:
        name: the provider's name.
        distributions: who registers it, as ``name version``; more than one is a conflict.
        provider: the description, or None if it could not be loaded.
        missing: SDK modules that are not installed.
        error: why it cannot be used, or None.
    """

    name: str
    distributions: tuple[str, ...]
    provider: Provider | None = None
    missing: tuple[str, ...] = field(default=())
    error: CloudDirectError | None = None

    @property
    def usable(self) -> bool:
        """Whether opening can be expected to work."""
        return self.error is None and not self.missing


def open_broker(name: str, /, *, runtime: BrokerRuntime | None = None, **options: Any) -> MessageBroker:
    """Open the broker of the provider called ``name``; no I/O happens until it is used.

    Args:
        name: such as ``"local"``.
        runtime: clock, retry policy, observers and the like; None for the defaults.
        options: the provider's own, checked against its model.

    Raises:
        ProviderNotFoundError, ProviderConflictError, ProviderLoadError: there is no such provider, two, or a broken
        one. MissingExtraError: its SDK is not installed; the text holds the pip command. ConfigurationError: an
        option is unknown, missing or wrong. UnsupportedError: the provider has no broker.
    """
    return open_broker_with(name, options, runtime or BrokerRuntime())


def open_store(name: str, /, *, runtime: StoreRuntime | None = None, **options: Any) -> FileStore:
    """Open the file store of the provider called ``name``; raises like `open_broker`."""
    return open_store_with(name, options, runtime or StoreRuntime())


def open_broker_with(name: str, options: Mapping[str, Any], runtime: BrokerRuntime) -> MessageBroker:
    """Like `open_broker`, for options of any name, such as those of a settings file."""
    provider = load_provider(name)
    if provider.broker_options is None or provider.open_broker is None:
        raise UnsupportedError(f"the provider {name!r} has no message broker; use it for stores only", provider=name)
    checked = _validated(provider, "broker", provider.broker_options, options)
    return _opened(provider, provider.open_broker, checked, runtime)


def open_store_with(name: str, options: Mapping[str, Any], runtime: StoreRuntime) -> FileStore:
    """Like `open_store`, for options of any name, such as those of a settings file."""
    provider = load_provider(name)
    if provider.store_options is None or provider.open_store is None:
        raise UnsupportedError(f"the provider {name!r} has no file store; use it for queues only", provider=name)
    checked = _validated(provider, "store", provider.store_options, options)
    return _opened(provider, provider.open_store, checked, runtime)


@cache
def load_provider(name: str) -> Provider:
    """Load the one provider called ``name``; its neighbours stay untouched.

    Raises:
        ProviderNotFoundError, ProviderConflictError, ProviderLoadError, MissingExtraError: see `open_broker`.
    """
    entries = [entry for entry in entry_points(group=GROUP) if entry.name == name]
    if not entries:
        known = sorted({entry.name for entry in entry_points(group=GROUP)})
        raise ProviderNotFoundError(
            f"no installed provider is called {name!r}{_nearest(name, known)}; "
            f"installed are: {', '.join(known) or 'none'}",
            provider=name,
        )
    if len(entries) > 1:
        who = " and ".join(sorted(_distribution(entry) for entry in entries))
        raise ProviderConflictError(
            f"the provider name {name!r} is registered by {who}; uninstall one of them", provider=name
        )
    return _load(entries[0])


def installed_providers() -> list[InstalledProvider]:
    """Return every provider name that is registered, with what is wrong with it, if anything; raises nothing for
    those."""
    entries: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        entries.setdefault(entry.name, []).append(entry)
    found = []
    for name, own in sorted(entries.items()):
        who = tuple(sorted(_distribution(entry) for entry in own))
        try:
            provider = load_provider(name)
        except CloudDirectError as error:
            found.append(InstalledProvider(name, who, error=error))
        else:
            missing = tuple(module for module in provider.sdk_modules if not _importable(module))
            found.append(InstalledProvider(name, who, provider, missing))
    return found


def load_observers(names: list[str]) -> Observers:
    """Load the observers that the settings enable by name.

    Raises:
        ConfigurationError: one is not installed, is registered twice or misspells a hook.
        ProviderLoadError: one cannot be imported.
    """
    known: dict[str, list[EntryPoint]] = {}
    for found in entry_points(group=OBSERVER_GROUP):
        known.setdefault(found.name, []).append(found)
    loaded = []
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"observers: no installed observer is called {name!r}{_nearest(name, known)}; "
                f"installed are: {', '.join(sorted(known)) or 'none'}"
            )
        if len(known[name]) > 1:
            who = " and ".join(sorted(_distribution(entry) for entry in known[name]))
            raise ConfigurationError(f"observers: {name!r} is registered by {who}; uninstall one of them")
        entry = known[name][0]
        try:
            loaded.append(entry.load())
        except Exception as error:
            raise ProviderLoadError(
                f"the observer {name!r} of {_distribution(entry)} cannot be imported ({type(error).__name__})"
            ) from error
    try:
        return Observers(loaded)
    except pluggy.PluginValidationError as error:
        raise ConfigurationError(f"observers: {error}") from error


def _load(entry: EntryPoint) -> Provider:
    who = _distribution(entry)
    try:
        plugin = entry.load()
    except ModuleNotFoundError as error:
        if error.name and not _is_or_within(error.name, (entry.module.partition(".")[0], "clouddirect")):
            raise _missing(entry.name, error, entry, None) from error
        raise _broken(entry.name, who, error) from error
    except Exception as error:
        raise _broken(entry.name, who, error) from error
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(ProviderSpec)
    try:
        manager.register(plugin, entry.name)
        manager.check_pending()
        offered = manager.hook.clouddirect_provider()
    except Exception as error:
        raise _broken(entry.name, who, error) from error
    if len(offered) != 1 or not isinstance(offered[0], Provider):
        problem = TypeError("it must have one @hookimpl function clouddirect_provider that returns a Provider")
        raise _broken(entry.name, who, problem) from problem
    provider: Provider = offered[0]
    if provider.name != entry.name:
        problem = TypeError(f"its entry point is {entry.name!r} but its Provider is called {provider.name!r}")
        raise _broken(entry.name, who, problem) from problem
    return provider


def _opened(provider: Provider, opener: Callable[[Any, Any], T], options: BaseModel, runtime: object) -> T:
    try:
        return opener(options, runtime)
    except CloudDirectError:
        raise
    except ImportError as error:
        entry = next(iter(entry for entry in entry_points(group=GROUP) if entry.name == provider.name))
        if isinstance(error, ModuleNotFoundError) and error.name and _is_or_within(error.name, provider.sdk_modules):
            raise _missing(provider.name, error, entry, provider.extra) from error
        raise _broken(provider.name, _distribution(entry), error) from error
    except Exception as error:  # noqa: BLE001 - see below
        problem = _unexpected(error)
    # raised out here: the opener's own exception may hold a secret, and shall not be shown as the context of this one
    raise ProviderLoadError(
        f"the provider {provider.name!r} cannot be opened: {problem}", provider=provider.name, operation="open"
    )


def _validated(provider: Provider, side: str, model: type[BaseModel], options: Mapping[str, Any]) -> BaseModel:
    from pydantic import ValidationError

    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        problems = _option_problems(model, options, error)
    except Exception as error:  # noqa: BLE001 - a provider's own validator may raise anything
        problems = [f"its options cannot be checked: {_unexpected(error)}"]
    # raised out here: the validation error holds the input, which may be a secret
    raise ConfigurationError(
        f"the {provider.name} {side} cannot be opened: {'; '.join(problems)}", provider=provider.name, operation="open"
    )


def _option_problems(model: type[BaseModel], options: Mapping[str, Any], error: ValidationError) -> list[str]:
    known = {field.alias or name for name, field in model.model_fields.items()}
    problems = []
    for detail in error.errors(include_input=False, include_url=False):
        path = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            problems.append(f"unknown option {path!r}{_nearest(path, known)}")
        elif detail["type"] == "missing":
            problems.append(f"option {path!r} is missing")
        else:
            message = detail["msg"].removeprefix("Value error, ")
            if _quotes(message, options):  # a provider's own check may repeat a secret
                message = "its value is refused by the provider"
            problems.append(f"option {path!r}: {message}" if path else message)
    return problems


def _quotes(text: str, value: Any) -> bool:
    """Whether ``text`` holds a part of any text within ``value``."""
    if isinstance(value, Mapping):
        return any(_quotes(text, one) for one in value.values())
    if isinstance(value, (list, tuple, set)):
        return any(_quotes(text, one) for one in value)
    return any(len(part) > 3 and part in text for part in re.split(r"[\s;,&='\"]+", str(value)))


def _unexpected(error: Exception) -> str:
    """An exception's type and place, without its text."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {PurePath(place.filename).name}:{place.lineno}"


def _missing(name: str, error: ModuleNotFoundError, entry: EntryPoint, extra: str | None) -> MissingExtraError:
    distribution = entry.dist.name if entry.dist else "clouddirect"
    extras = set(entry.dist.metadata.get_all("Provides-Extra") or ()) if entry.dist else set()
    extra = extra or (name if name in extras else None)
    wanted = f"{distribution}[{extra}]" if extra else (error.name or distribution).partition(".")[0]
    return MissingExtraError(
        f"the provider {name!r} needs the module {error.name!r}, which is not installed: pip install '{wanted}'",
        provider=name,
        operation="open",
    )


def _broken(name: str, distribution: str, error: Exception) -> ProviderLoadError:
    return ProviderLoadError(
        f"the provider {name!r} of {distribution} is broken: {type(error).__name__}: {error}",
        provider=name,
        operation="load",
    )


def _distribution(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown distribution"


def _is_or_within(module: str, parents: tuple[str, ...]) -> bool:
    # a missing parent package (azure) also means that azure.servicebus is not installed
    return any(
        module == parent or module.startswith(f"{parent}.") or parent.startswith(f"{module}.") for parent in parents
    )


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _nearest(wrong: str, known: Mapping[str, object] | set[str] | list[str]) -> str:
    near = difflib.get_close_matches(wrong, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
