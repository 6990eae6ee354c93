"""Settings: one TOML file, every value also from the environment.

The file is the one given, else ``$CLOUDDIRECT_CONFIG``, else ``./clouddirect.toml``, else ``clouddirect.toml`` in the
user's configuration directory. An environment variable such as ``CLOUDDIRECT_ENDPOINTS__ORDERS__QUEUE`` overrides the
file's value. Any option may be written as ``{ env = "NAME" }`` or ``{ file = "PATH" }``: it is read from there when
the endpoint is opened, and the settings never hold it.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from clouddirect.errors import ConfigurationError
from clouddirect.settings.parts import (
    ENDPOINTS,
    STORES,
    DeadLetterSettings,
    Endpoints,
    EndpointSettings,
    FaultSettings,
    OutboxSettings,
    SandboxSettings,
    Stores,
    StoreSettings,
    TrackingSettings,
)

__all__ = [
    "DeadLetterSettings",
    "ENDPOINTS",
    "EndpointSettings",
    "Endpoints",
    "FaultSettings",
    "OutboxSettings",
    "STORES",
    "SandboxSettings",
    "Settings",
    "StoreSettings",
    "Stores",
    "TrackingSettings",
    "load_settings",
    "resolve_options",
    "search_path",
]

FILE_NAME = "clouddirect.toml"


class Settings(BaseSettings):
    """Everything that clouddirect is told from outside; made by `load_settings`.

    Attributes:
        client_guid: identifies the organisation to IRIS; it goes into every order.
        site: ``Site.LocalId`` of orders that name none.
        mobile: exams take place in other US states than the site's too, so that every order must name its own
            (``Order.State``).
        endpoints: the queues.
        stores: the stores.
        observers: names of the installed observers to enable.
        data_dir: where clouddirect keeps what must survive a restart; None for the user's data directory.
        outbox: whether what is sent is kept on the disk until it is confirmed.
        tracking: whether a ledger is kept of where each order stands.
        sandbox: the other side, for rehearsals.
    """

    model_config = SettingsConfigDict(
        env_prefix="CLOUDDIRECT_",
        env_nested_delimiter="__",
        extra="forbid",
        hide_input_in_errors=True,
    )

    client_guid: str | None = None
    site: str | None = None
    mobile: bool = False
    endpoints: Endpoints = Field(default_factory=Endpoints)
    stores: Stores = Field(default_factory=Stores)
    observers: list[str] = Field(default_factory=list)
    data_dir: Path | None = None
    outbox: OutboxSettings = Field(default_factory=OutboxSettings)
    tracking: TrackingSettings = Field(default_factory=TrackingSettings)
    sandbox: SandboxSettings = Field(default_factory=SandboxSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment overrides the file, whose content is passed in."""
        return env_settings, init_settings

    def __repr__(self) -> str:
        return f"Settings(client_guid=…, site={self.site!r}, endpoints={self.endpoints!r}, stores={self.stores!r})"

    __str__ = __repr__

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Check ``values`` (the content of a settings file) and the environment together.

        Raises:
            ConfigurationError: says all that is wrong at once, each by its path.
        """
        _refuse_unknown_variables(cls)
        try:
            return cls(**values)
        except ValidationError as error:
            problems = [_problem(detail) for detail in error.errors(include_input=False, include_url=False)]
        except SettingsError as error:  # names the setting, not the value
            problems = [f'{error}; lists and tables in the environment are written as JSON, such as ["audit"]']
        raise ConfigurationError("the settings are wrong: " + "; ".join(problems))


def search_path(config: str | Path | None = None) -> list[Path]:
    """Return the files where settings are looked for, in order; a file that is named outright is the only one."""
    named = config or os.environ.get("CLOUDDIRECT_CONFIG")
    if named:
        return [Path(named).expanduser()]
    import platformdirs

    return [Path(FILE_NAME), Path(platformdirs.user_config_dir("clouddirect", appauthor=False)) / FILE_NAME]


def load_settings(config: str | Path | None = None) -> Settings:
    """Load the settings from the first file found and the environment.

    Raises:
        ConfigurationError: there is no file and no ``CLOUDDIRECT_…`` variable either; or something in them is wrong.
    """
    looked = search_path(config)
    path = next((candidate for candidate in looked if candidate.is_file()), None)
    if path is None:
        if (
            config is None
            and not os.environ.get("CLOUDDIRECT_CONFIG")
            and any(name.startswith(("CLOUDDIRECT_ENDPOINTS__", "CLOUDDIRECT_STORES__")) for name in os.environ)
        ):
            return Settings.of({})
        where = "".join(f"\n  {candidate.absolute()}" for candidate in looked)
        raise ConfigurationError(
            f"no settings were found. Looked for:{where}\nMake a first file with: clouddirect init --provider local"
        )
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {type(error).__name__}") from error
    return Settings.of(values)


def resolve_options(where: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Replace ``{ env = … }`` and ``{ file = … }`` by what they point at; ``where`` names the endpoint in errors.

    Raises:
        ConfigurationError: the variable is not set or the file cannot be read.
    """
    return {name: _resolve(f"{where}.{name}", value) for name, value in options.items()}


def _resolve(where: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_resolve(f"{where}[{place}]", one) for place, one in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    kind = next((name for name in ("env", "file") if name in value), None)
    if kind is None:
        return {name: _resolve(f"{where}.{name}", one) for name, one in value.items()}
    source = value[kind]
    if len(value) != 1 or not isinstance(source, str):
        raise ConfigurationError(f'{where}: write exactly {{ {kind} = "…" }}, with one text and nothing beside it')
    if kind == "env":
        if source not in os.environ:
            raise ConfigurationError(f"{where}: the environment variable {source} is not set")
        return os.environ[source]
    try:
        return Path(source).expanduser().read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{where}: the file {source} cannot be read ({type(error).__name__})") from error


def _refuse_unknown_variables(model: type[BaseSettings]) -> None:
    """A misspelt variable would leave the file's value in force, so that an order went to the wrong queue."""
    known = {name.upper() for name in model.model_fields}
    for variable in os.environ:
        first, parted, _ = variable.upper().removeprefix("CLOUDDIRECT_").partition("__")
        if variable.upper().startswith("CLOUDDIRECT_") and parted and first not in known:
            near = difflib.get_close_matches(first, known, n=1, cutoff=0.5)
            hint = f" (did you mean CLOUDDIRECT_{near[0]}__…?)" if near else ""
            raise ConfigurationError(f"the environment variable {variable} names no setting{hint}; correct or unset it")


def _problem(detail: Any) -> str:
    path = ".".join(str(part) for part in detail["loc"])
    if detail["type"] != "extra_forbidden":
        return f"{path}: {detail['msg'].lower().removeprefix('value error, ')}"
    model: type[BaseModel] = Settings
    for part in detail["loc"][:-1]:
        inner = model.model_fields[str(part)].annotation
        model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else model
    near = difflib.get_close_matches(str(detail["loc"][-1]), list(model.model_fields), n=1, cutoff=0.5)
    return f"{path}: there is no such setting{f' (did you mean {near[0]}?)' if near else ''}"
