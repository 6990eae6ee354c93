"""`CsvMapping`: how the columns of a CSV file that is not in the published form stand for the published ones."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Self

from clouddirect.errors import ConfigurationError
from clouddirect.orders.csv_columns import nearest, published

__all__ = ["CsvMapping"]

_TABLES = ("columns", "constants", "values", "ignore")


@dataclass(frozen=True, slots=True)
class CsvMapping:
    """What the columns of a file mean; names of published columns may be written as in a file's header.

    Attributes:
        columns: published column to the header that stands for it in the file.
        constants: published column to the value that it has in every row, for columns that the file lacks.
        values: published column to a table from what the file's cells say, in any case, to what is to be sent.
        ignore: headers of the file that are left aside.

    Raises:
        ConfigurationError: a published column does not exist, or is given twice.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict, repr=False)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    ignore: Sequence[str] = ()

    def __post_init__(self) -> None:
        set_once = object.__setattr__  # the class is frozen
        set_once(self, "columns", _by_column("columns", self.columns))
        set_once(self, "constants", _by_column("constants", self.constants))
        set_once(self, "values", _by_column("values", self.values))
        for column, header in self.columns.items():
            if not header.strip():
                raise ConfigurationError(f"columns.{column}: names no header; leave it out")
            if column in self.constants:
                raise ConfigurationError(f"{column} stands in columns and in constants; one of them must go")
        tables = {
            column: {said.strip().casefold(): meant for said, meant in table.items()}
            for column, table in self.values.items()
        }
        set_once(self, "values", tables)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a mapping file (TOML).

        Raises:
            ConfigurationError: it cannot be read, is no TOML, or holds what a mapping has not.
        """
        try:
            loaded = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"the mapping {os.fspath(path)} is not valid TOML: {error}") from None
        except UnicodeDecodeError:
            raise ConfigurationError(f"the mapping {os.fspath(path)} is not UTF-8; save it as UTF-8") from None
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise ConfigurationError(f"the mapping {os.fspath(path)} cannot be read ({why})") from error
        try:
            return cls(**_checked(loaded))
        except ConfigurationError as error:
            raise ConfigurationError(f"the mapping {os.fspath(path)}: {error}") from None

    def value(self, column: str, text: str) -> str:
        """What a cell of a column is to say."""
        table = self.values.get(column)
        return table.get(text.casefold(), text) if table else text


def _checked(loaded: Mapping[str, Any]) -> dict[str, Any]:
    for name in loaded:
        if name not in _TABLES:
            raise ConfigurationError(
                f"there is no {name!r} in a mapping; it has {', '.join(_TABLES)}. Headers go under [columns]"
            )
    made: dict[str, Any] = {"ignore": loaded.get("ignore", [])}
    if not (isinstance(made["ignore"], list) and all(isinstance(one, str) for one in made["ignore"])):
        raise ConfigurationError('ignore must be a list of headers, such as ["Room", "Remarks"]')
    for name in ("columns", "constants", "values"):
        table = loaded.get(name, {})
        if not isinstance(table, dict):
            raise ConfigurationError(f"{name} must be a table: write [{name}] on a line of its own")
        made[name] = {key: _entry(name, key, value) for key, value in table.items()}
    return made


def _entry(name: str, key: str, value: Any) -> Any:
    if name == "values":
        if not isinstance(value, dict):
            raise ConfigurationError(f"values.{key} must be a table: what the file says = what is to be sent")
        return {said: _text(f"values.{key}", meant) for said, meant in value.items()}
    if name == "columns" and not isinstance(value, str):
        raise ConfigurationError(f"columns.{key} must be a header of the file, in quotes")
    return _text(f"{name}.{key}", value)


def _text(where: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str | int):
        return str(value)
    raise ConfigurationError(f"{where} must be text in quotes")


def _by_column(table: str, entries: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in entries.items():
        column = published(name)
        if column is None:
            near = nearest(name)
            hint = f"did you mean {near}?" if near else "see docs/csv-import.md for their list"
            raise ConfigurationError(f"{table}: {name!r} is not a published column; {hint}")
        if column in made:
            raise ConfigurationError(f"{table}: {column} is given twice")
        made[column] = value
    return made
