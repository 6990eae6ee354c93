"""``clouddirect providers``: the installed providers, what they take and can do, and whether they can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clouddirect.cli.app import App, json_option, pass_app
from clouddirect.cli.exits import DONE
from clouddirect.cli.output import emit, emit_json, emit_rich, table

if TYPE_CHECKING:
    from clouddirect.cli.abilities import Abilities
    from clouddirect.plugins import InstalledProvider, Provider

__all__ = ["providers"]


@click.command(short_help="List the installed providers.")
@click.argument("name", required=False)
@json_option
@pass_app
def providers(app: App, name: str | None, as_json: bool) -> int:
    """List the installed providers: what each offers, who brings it, and what is wrong with it.

    A provider offers queues, files or both. Settings name it as "provider".

    With NAME, tell all of one: its options, and what it can do with the queues and containers that the settings name
    for it; nothing is connected to.
    """
    from clouddirect.plugins import installed_providers, load_provider

    found = installed_providers()
    if name is not None:
        provider = load_provider(name)
        (one,) = (one for one in found if one.name == name)
        _tell(app, one, provider, as_json)
        return DONE
    if as_json:
        for one in found:
            emit_json(_as_json(one))
        return DONE
    rows = [(one.name, _offers(one), ", ".join(one.distributions), _sdk(one), _state(one)) for one in found]
    emit_rich(table([("Name", None), ("Offers", None), ("From", None), ("SDK", None), ("State", None)], rows))
    return DONE


def _tell(app: App, one: InstalledProvider, provider: Provider, as_json: bool) -> None:
    from clouddirect.cli.template import options_of

    models = {"queue": provider.broker_options, "container": provider.store_options}
    options = {side: options_of(model) for side, model in models.items() if model is not None}
    served = _served(app, one)
    if as_json:
        told = {
            side: [
                {"key": option.key, "kind": option.kind, "meaning": option.meaning, "required": option.required}
                for option in each
            ]
            for side, each in options.items()
        }
        can = [{"name": each.name, "resource": each.resource, "can": each.words, "problem": each.problem}
               for each in served or []]  # fmt: skip
        emit_json({**_as_json(one), "options": told, "settings": can})
        return
    emit(f"{one.name}: {provider.title}\nfrom {', '.join(one.distributions)}; SDK {_sdk(one)}; {_state(one)}")
    for side, each in options.items():
        emit(f"\nOptions of a {side}")
        rows = [
            (f"{'* ' if option.required else '  '}{option.key}", option.kind.partition(", as {")[0], option.meaning)
            for option in each
        ]
        emit_rich(table([("", 24), ("", 22), ("", None)], rows, headings=False))
    emit("\n* required. Several stand for one another: the page on the provider tells which.")
    if served is None:
        emit("\nWhat it can do depends on the queue: with settings that use it, this command tells.")
    for place in served or []:
        emit(f"\n{place.name} ({place.resource}) can do")
        words = place.words or {"nothing": place.problem or ""}
        emit_rich(table([("", 28), ("", None)], [(f"  {what}", how) for what, how in words.items()], headings=False))


def _served(app: App, one: InstalledProvider) -> list[Abilities] | None:
    """What the settings use it for; None if there are no settings, or if they do not use it."""
    from clouddirect.cli.abilities import abilities
    from clouddirect.errors import ConfigurationError

    if not one.usable:
        return None
    try:
        settings = app.settings()
    except ConfigurationError:
        if app.config is not None:
            raise
        return None
    return abilities(settings, one.name) or None


def _as_json(one: InstalledProvider) -> dict[str, object]:
    return {
        "name": one.name,
        "title": one.provider.title if one.provider else None,
        "distributions": list(one.distributions),
        "queues": bool(one.provider and one.provider.open_broker),
        "files": bool(one.provider and one.provider.open_store),
        "usable": one.usable,
        "missing": list(one.missing),
        "problem": None if one.usable else _state(one),
    }


def _offers(one: InstalledProvider) -> str:
    if one.provider is None:
        return "?"
    sides = [
        name for name, opener in (("queues", one.provider.open_broker), ("files", one.provider.open_store)) if opener
    ]
    return " and ".join(sides) or "nothing"


def _sdk(one: InstalledProvider) -> str:
    if one.provider is None:
        return "?"
    if not one.provider.sdk_modules:
        return "not needed"
    return "missing" if one.missing else "installed"


def _state(one: InstalledProvider) -> str:
    if one.error is not None:
        return str(one.error)
    if not one.missing:
        return "ready"
    distribution = one.distributions[0].partition(" ")[0]
    wanted = f"{distribution}[{one.provider.extra}]" if one.provider and one.provider.extra else " ".join(one.missing)
    return f"not installed: {', '.join(one.missing)}; pip install '{wanted}'"
