"""Mixes of clouds: the settings files of docs/mixing-clouds.md, and where their endpoints are on this machine.

The four files with everything in one place are run as they stand, and so are the page's two mixes. The other mixes take
each table from the file of its provider. Nothing in a file is changed: where an endpoint is comes from the environment,
as it may anywhere (docs/settings.md), and so do the secrets, which the files refer to.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clouddirect.settings import ENDPOINTS, STORES
from emulators.clouds import Cloud, to_toml

__all__ = ["MIXES", "Mix", "PROVIDERS", "ROLES", "ROUNDS", "Room", "differences", "environment", "files", "tables"]

_PAGE = Path(__file__).parents[2] / "docs" / "mixing-clouds.md"
PROVIDERS = ("aws", "azure", "gcp", "local")
#: All that a settings file may place with a cloud.
ROLES = (*ENDPOINTS, *STORES)

#: With whom orders, events, results and images are. With the four that have everything in one place, every provider of
#: one meets every provider of another: orders × results, orders × images, events × images and so on, 16 pairs each.
_ALL_DIFFERENT = (
    ("aws", "azure", "gcp", "local"),
    ("azure", "aws", "local", "gcp"),
    ("gcp", "local", "aws", "azure"),
    ("local", "gcp", "azure", "aws"),
    ("aws", "gcp", "local", "azure"),
    ("azure", "local", "gcp", "aws"),
    ("gcp", "aws", "azure", "local"),
    ("local", "azure", "aws", "gcp"),
    ("aws", "local", "azure", "gcp"),
    ("azure", "gcp", "aws", "local"),
    ("gcp", "azure", "local", "aws"),
    ("local", "aws", "gcp", "azure"),
)

#: What the environment may say in place of a file: where something is, and what it is called there.
_WHERE = {
    "account_url", "ca_file", "container", "endpoint", "endpoint_url", "path", "project", "queue", "universe_domain",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mix:
    """A settings file and who provides what in it, by endpoint or store."""

    name: str
    where: Mapping[str, str]
    text: str

    def __repr__(self) -> str:
        return self.name


class Room:
    """A cloud in which the queues and containers of one mix have names of their own."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self._cloud = cloud
        self._name = name

    def queue(self, name: str, side: Literal["send", "receive"]) -> dict[str, Any]:
        """As `Cloud.queue`."""
        return self._cloud.queue(f"{self._name}-{name}", side)

    def dead_letters(self, name: str) -> dict[str, Any]:
        """As `Cloud.dead_letters`."""
        return self._cloud.dead_letters(f"{self._name}-{name}")

    def store(self, name: str, side: Literal["write", "read"]) -> dict[str, Any]:
        """As `Cloud.store`."""
        return self._cloud.store(f"{self._name}-{name}", side)


def files() -> list[str]:
    """The settings files that the page shows, as they stand there."""
    return re.findall(r"^```toml\n(.*?)^```$", _PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def differences() -> dict[str, dict[str, str]]:
    """The page's table of the providers' limits: for each row what it says of each provider."""
    lines = iter(_PAGE.read_text(encoding="utf-8").partition("## What differs")[2].splitlines())
    providers = next(_cells(line) for line in lines if line.startswith("|"))[1:]
    next(lines)
    rows = map(_cells, itertools.takewhile(lambda line: line.startswith("|"), lines))
    return {row[0]: dict(zip((name.strip("`") for name in providers), row[1:], strict=True)) for row in rows}


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


def tables(values: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield each endpoint and store of a settings file: ``endpoints`` or ``stores``, its name and its table."""
    for part, names in (("endpoints", ENDPOINTS), ("stores", STORES)):
        for name in names:
            if name in values.get(part, {}):
                yield part, name, values[part][name]


def environment(values: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables that make the settings file ``values`` reach what ``here`` (settings too) describes.

    Raises:
        AssertionError: the file could not be used like that: it says other things than ``here``, or has a secret in it.
    """
    found: dict[str, str] = {}
    for part, name, table in tables(values):
        for option, value in here[part][name].items():
            said = table.get(option)
            if isinstance(said, Mapping):
                assert set(said) == {"env"}, f"{part}.{name}.{option} refers to something else than a variable"
                assert said["env"] not in found, f"two secrets are called {said['env']}"
                found[said["env"]] = value
            elif option in _WHERE:
                found[f"CLOUDDIRECT_{part}__{name}__{option}".upper()] = value
            else:
                assert said == value, f"{part}.{name} says another {option}, or should refer to a variable"
    return found


def _read() -> list[Mix]:
    shown, alone = [], {}
    for number, text in enumerate(files(), 1):
        values = tomllib.loads(text)
        where = {name: table["provider"] for _, name, table in tables(values)}
        providers = set(where.values())
        name = providers.pop() if len(providers) == 1 else f"page-{number}"
        if name in PROVIDERS:
            alone[name] = values
        shown.append(Mix(name, where, text))
    return [*_made_of(alone), *sorted(shown, key=lambda mix: mix.name not in PROVIDERS)]


def _made_of(alone: Mapping[str, Mapping[str, Any]]) -> Iterator[Mix]:
    """Take each table of the mixes in which everything is elsewhere from the file of its provider."""
    for orders, events, results, images in _ALL_DIFFERENT:
        where = {
            "orders": orders, "gradings": events, "events": events, "results": results, "images": images,
            "shared_images": orders,
        }  # fmt: skip
        values: dict[str, Any] = {
            name: value for name, value in alone[orders].items() if not isinstance(value, Mapping)
        }
        for part, name, _ in tables(alone[orders]):
            values.setdefault(part, {})[name] = alone[where[name]][part][name]
        yield Mix(f"{orders}-{events}-{results}-{images}", where, to_toml(values) + "\n")


def _rounds(mixes: Sequence[Mix]) -> list[list[Mix]]:
    """Put together what can be run at the same time: mixes whose files call no secret by the same name."""
    rounds: list[list[Mix]] = []
    for mix in mixes:
        fitting = (
            others for others in rounds if all(mix.where[role] != one.where[role] for one in others for role in ROLES)
        )
        found = next(fitting, None)
        if found is None:
            rounds.append([mix])
        else:
            found.append(mix)
    return rounds


#: All of them; and all of them, those that can be run at the same time together.
MIXES = _read()
ROUNDS = _rounds(MIXES)
