"""First settings files, as text: TOML with comments, from the option models of a provider."""

from __future__ import annotations

import enum
import json
import re
import types
import uuid
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from clouddirect.plugins import Provider

__all__ = ["FILL_IN", "Option", "local_template", "options_of", "provider_template"]

#: Stands where only the reader knows the value.
FILL_IN = "FILL-IN"

_SENDS = {"orders": "orders are sent there", "gradings": "gradings are sent there, in test environments only"}
_RECEIVES = {"events": "what becomes of the orders arrives there", "results": "graded results arrive there"}
_STORES = {
    "images": "images of orders are uploaded there",
    "shared_images": "images that come with results are read there",
}
_KEEPING = (
    '[tracking]             # true: "clouddirect track" tells where orders stand',
    "enabled = false",
    "",
    "[outbox]               # true: orders are accepted while the line is down, and sent later",
    "enabled = false",
)
#: Options that the settings give under a name of their own.
_OWN_NAMES = ("queue", "container")


def local_template(directory: Path) -> str:
    """Settings for a whole rehearsal on this machine, with everything in ``directory``; they work as they are."""
    lines = [
        "# Settings of clouddirect, for trying it out: everything is kept on this machine, in the directory",
        f"# {directory}",
        "",
        "# Identifies your organisation. This one is made up; IRIS gives you yours.",
        f'client_guid = "{uuid.uuid4()}"',
        "# The site of orders that name none.",
        'site = "SITE1"',
        "# What must survive a restart: where orders stand, what waits to be sent, what could not be processed.",
        f"data_dir = {_toml(str(directory / 'data'))}",
        "",
        *_KEEPING,
    ]
    for name, meaning in (_SENDS | _RECEIVES).items():
        lines += _local_queue("endpoints", name, meaning, directory, "send" if name in _SENDS else "receive")
    for name, meaning in _STORES.items():
        lines += _local_store("stores", name, meaning, directory)
    lines += [
        "",
        '# The other side, which "clouddirect sandbox" plays: the same queues seen from IRIS, the same images.',
        "[sandbox]",
        "seed = 0            # the same seed grades the same orders alike",
        "stage_delay = 0.5   # seconds between the stages of an order",
        "auto_grade = true   # false: orders wait for a grading submission",
    ]
    for name in _SENDS | _RECEIVES:
        lines += _local_queue("sandbox.endpoints", name, "", directory, "receive" if name in _SENDS else "send")
    lines += _local_store("sandbox.stores", "images", "", directory)
    return "\n".join(lines) + "\n"


def _local_queue(section: str, name: str, meaning: str, directory: Path, access: str) -> list[str]:
    return [
        "", *([f"# {meaning}"] if meaning else []),
        f"[{section}.{name}]", 'provider = "local"', f'queue = "{name}"',
        f"path = {_toml(str(directory / 'queues.db'))}", "create = true", f'access = "{access}"',
    ]  # fmt: skip


def _local_store(section: str, name: str, meaning: str, directory: Path) -> list[str]:
    return [
        "", *([f"# {meaning}"] if meaning else []),
        f"[{section}.{name}]", 'provider = "local"', f'container = "{name.replace("_", "-")}"',
        f"path = {_toml(str(directory / 'files'))}", "create = true",
    ]  # fmt: skip


def provider_template(provider: Provider) -> str:
    """Settings to be filled in, with every option of the provider: required ones set, the others in comments."""
    lines = [
        f"# Settings of clouddirect for {_comment(provider.title)}.",
        f'# Replace each "{FILL_IN}". Each endpoint and store may use another provider; leave out what you do not use.',
        "",
        "# Identifies your organisation; IRIS gives it to you. With a wrong one no event ever comes.",
        f'client_guid = "{FILL_IN}"',
        "# The site of orders that name none.",
        '# site = "PC1234"',
        "# What must survive a restart is kept there; your user's data directory by default.",
        '# data_dir = "clouddirect-data"',
        "",
        *_KEEPING,
    ]
    if provider.broker_options is None:
        lines += ["", f"# {provider.name} has no queues: add [endpoints.orders], [endpoints.events] and",
                  "# [endpoints.results] with another provider."]  # fmt: skip
    else:
        for number, (name, meaning) in enumerate((_SENDS | _RECEIVES).items()):
            lines += [
                "",
                f"# {meaning}",
                f"[endpoints.{name}]",
                f'provider = "{provider.name}"',
                f'queue = "{FILL_IN}"',
            ]
            lines += _options(provider.broker_options, name, whole=number == 0)
    if provider.store_options is None:
        lines += ["", f"# {provider.name} has no files: add [stores.images] with another provider."]
    else:
        for number, (name, meaning) in enumerate(_STORES.items()):
            lines += [
                "",
                f"# {meaning}",
                f"[stores.{name}]",
                f'provider = "{provider.name}"',
                f'container = "{FILL_IN}"',
            ]
            lines += _options(provider.store_options, name, whole=number == 0)
    return "\n".join(lines) + "\n"


class Option(NamedTuple):
    """One option of a provider: as it is written, what may be written there, what it means, whether it is required."""

    key: str
    kind: str
    meaning: str
    required: bool
    field: FieldInfo


def options_of(model: type[BaseModel]) -> list[Option]:
    """The options of a provider's model, without those that the settings give under a name of their own."""
    described = _described(model)
    return [
        Option(
            field.alias or name, _kind(field.annotation), _comment(field.description or described.get(name, "")),
            field.is_required(), field,
        )
        for name, field in model.model_fields.items()
        if (field.alias or name) not in _OWN_NAMES
    ]  # fmt: skip


def _options(model: type[BaseModel], section: str, *, whole: bool) -> Iterator[str]:
    """The lines of one section: what is required and, if ``whole``, what may be given, as comments."""
    optional = False
    for option in options_of(model):
        if not option.required and not whole:
            optional = True
            continue
        yield f"# {option.kind}{': ' if option.meaning else ''}{option.meaning}"
        yield f"{'' if option.required else '# '}{option.key} = {_value(option.field, section, option.key)}"
    if optional:
        yield "# further options: see the first section above"


def _value(field: FieldInfo, section: str, key: str) -> str:
    if _is_secret(field.annotation):
        return f'{{ env = "IRIS_{section.upper()}_{key.upper()}" }}'
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if default is not None:
        return _toml(default)
    first = next((kind for kind in _parts(field.annotation) if kind is not type(None)), str)
    if get_origin(first) is Literal:
        return _toml(get_args(first)[0])
    return {bool: "false", int: "1", float: "1.0"}.get(first, f'"{FILL_IN}"')


def _toml(value: object) -> str:
    """A value in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, enum.Enum):
        return _toml(value.value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_toml(str(key))} = {_toml(item)}' for key, item in value.items())} }}"
    text = str(value)
    # a literal string, so that Windows paths stay readable; JSON's escapes are TOML's too
    return (
        f"'{text}'" if "\\" in text and "'" not in text and text.isprintable() else json.dumps(text, ensure_ascii=False)
    )


def _parts(annotation: Any) -> list[Any]:
    """The types that an annotation permits, each on its own."""
    if get_origin(annotation) is Annotated:
        return _parts(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [part for one in get_args(annotation) for part in _parts(one)]
    return [annotation]


def _is_secret(annotation: Any) -> bool:
    from pydantic import SecretBytes, SecretStr

    return any(part in (SecretStr, SecretBytes) for part in _parts(annotation))


def _kind(annotation: Any) -> str:
    """What may be written there, in words."""
    if _is_secret(annotation):
        return 'secret, as { env = "NAME" } or { file = "PATH" }'
    words = []
    for part in _parts(annotation):
        if get_origin(part) is Literal:
            words += [_toml(choice) for choice in get_args(part)]
        elif isinstance(part, type) and issubclass(part, enum.Enum):
            words += [_toml(choice) for choice in part]
        elif part is not type(None):
            words.append(_WORDS.get(get_origin(part) or part, "text"))
    return " or ".join(dict.fromkeys(words))


_WORDS: dict[Any, str] = {
    bool: "true or false", dict: "table", float: "number", frozenset: "list", int: "whole number", list: "list",
    Path: "path", str: "text", tuple: "list",
}  # fmt: skip


def _described(model: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of an option model, and of those it inherits from, say of its fields, under "Attributes:"."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        _, _, section = cleandoc(vars(base).get("__doc__") or "").partition("Attributes:\n")
        found |= re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section, flags=re.MULTILINE)
    return found


def _comment(text: str) -> str:
    return " ".join(text.replace("``", "").split())
