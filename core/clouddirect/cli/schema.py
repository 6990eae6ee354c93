"""``clouddirect schema``: the JSON Schemas of the IRIS messages."""

from __future__ import annotations

import json

import click

from clouddirect.cli.app import json_option
from clouddirect.cli.exits import DONE
from clouddirect.cli.output import emit, emit_json

__all__ = ["schema"]


@click.command(short_help="Print the JSON Schema of a kind of message.")
@click.argument("name", required=False)
@json_option
def schema(name: str | None, as_json: bool) -> int:
    """Print the JSON Schema of a kind of message; without NAME, the names there are.

    With --json the schema is printed as one line.
    """
    from clouddirect.orders.models import SCHEMA_NAMES, json_schema

    if name is None:
        for known in SCHEMA_NAMES:
            emit_json({"name": known}) if as_json else emit(known)
        return DONE
    if name not in SCHEMA_NAMES:
        raise click.UsageError(f"there is no schema {name!r}; there are {', '.join(SCHEMA_NAMES)}")
    made = json_schema(name)
    emit_json(made) if as_json else emit(json.dumps(made, indent=2))
    return DONE
