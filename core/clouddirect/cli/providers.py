"""``clouddirect providers``: the installed providers, and whether they can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clouddirect.cli.app import json_option
from clouddirect.cli.exits import DONE
from clouddirect.cli.output import emit_json, emit_rich, table

if TYPE_CHECKING:
    from clouddirect.plugins import InstalledProvider

__all__ = ["providers"]


@click.command(short_help="List the installed providers.")
@json_option
def providers(as_json: bool) -> int:
    """List the installed providers: what each offers, who brings it, and what is wrong with it.

    A provider offers queues, files or both. Settings name it as "provider".
    """
    from clouddirect.plugins import installed_providers

    found = installed_providers()
    if as_json:
        for one in found:
            emit_json(_as_json(one))
        return DONE
    rows = [(one.name, _offers(one), ", ".join(one.distributions), _sdk(one), _state(one)) for one in found]
    emit_rich(table([("Name", None), ("Offers", None), ("From", None), ("SDK", None), ("State", None)], rows))
    return DONE


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
