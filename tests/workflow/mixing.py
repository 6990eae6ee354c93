"""Mixes of clouds: the settings files of docs/mixing-clouds.md, and where their endpoints are on this machine.

The four files with everything in one place are run as they stand, and so are the page's two mixes. The other mixes take
each table from the file of its provider. Nothing in a file is changed: where an endpoint is comes from the environment,
as it may anywhere (docs/settings.md), and so do the secrets, which the files refer to.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clouddirect.settings import ENDPOINTS, STORES
from emulators.clouds import Cloud, to_toml

__all__ = ["MIXES", "Mix", "PAGE", "PROVIDERS", "ROLES", "Room", "environment", "files", "tables"]

PAGE = Path(__file__).parents[2] / "docs" / "mixing-clouds.md"
PROVIDERS = ("aws", "azure", "gcp", "local")
#: All that a settings file may place with a cloud.
ROLES = (*ENDPOINTS, *STORES)

#: With whom orders, events, results and images are. With the four that have everything in one place, every provider of
#: one meets every provider of another: orders × results, orders × images, events × images and so on, 16 pairs each.
_ALL_DIFFERENT = (
    ("aws", "local", "azure", "gcp"),
    ("aws", "azure", "gcp", "local"),
    ("aws", "gcp", "local", "azure"),
    ("azure", "gcp", "aws", "local"),
    ("azure", "local", "gcp", "aws"),
    ("azure", "aws", "local", "gcp"),
    ("gcp", "local", "aws", "azure"),
    ("gcp", "aws", "azure", "local"),
    ("gcp", "azure", "local", "aws"),
    ("local", "azure", "aws", "gcp"),
    ("local", "gcp", "azure", "aws"),
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
    return re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


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


def _of(providers: Mapping[str, str], values: Mapping[str, Any]) -> bool:
    return all(table["provider"] == providers[name] for _, name, table in tables(values))


def _read() -> Sequence[Mix]:
    made, alone = [], {}
    for number, text in enumerate(files()):
        values = tomllib.loads(text)
        where = {name: table["provider"] for _, name, table in tables(values)}
        single = set(where.values()) if set(where) == set(ROLES) else set()
        name = single.pop() if len(single) == 1 else f"page-{number + 1}"
        if name in PROVIDERS:
            alone[name] = values
        made.append(Mix(name, where, text))
    for orders, events, results, images in _ALL_DIFFERENT:
        where = {
            "orders": orders, "gradings": events, "events": events, "results": results, "images": images,
            "shared_images": orders,
        }  # fmt: skip
        values = {name: value for name, value in alone[orders].items() if not isinstance(value, Mapping)}
        for part, name, _ in tables(alone[orders]):
            values.setdefault(part, {})[name] = alone[where[name]][part][name]
        made.append(Mix(f"{orders}-{events}-{results}-{images}", where, to_toml(values) + "\n"))
    return made


#: All of them.
MIXES = _read()
