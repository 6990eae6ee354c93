"""First settings files, made from option models."""

from __future__ import annotations

import enum
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from clouddirect.cli.template import FILL_IN, local_template, provider_template
from clouddirect.plugins import Provider
from clouddirect.settings import ENDPOINTS, STORES, Settings


class Tier(enum.Enum):
    FAST = "fast"
    CHEAP = "cheap"


class CommonOptions(BaseModel):
    """What queues and files have in common.

    Attributes:
        region: where the queues are;
            a code such as ``eu-1``.
    """

    region: str


class BrokerOptions(CommonOptions):
    """How to reach the queues.

    Attributes:
        connection_string: the whole secret.
    """

    model_config = ConfigDict(extra="forbid")

    connection_string: SecretStr
    size: int
    mode: Literal["send", "receive"]
    token: SecretStr | None = None
    timeout: Annotated[float, Field(gt=0)] = 2.5
    tier: Tier = Field(Tier.CHEAP, description="What it costs.")
    tags: list[str] = ["a", 'b"']
    folder: Path | None = None
    eager: bool = True


class StoreOptions(BaseModel):
    container: str
    account: str = Field(description="Name of the\naccount.")


PROVIDER = Provider(name="acme", title="Acme Queue and\nBox", broker_options=BrokerOptions, store_options=StoreOptions)


def test_the_template_is_toml_that_settings_take() -> None:
    values = tomllib.loads(provider_template(PROVIDER))
    settings = Settings.of(values)
    assert set(values["endpoints"]) == set(ENDPOINTS)
    assert set(values["stores"]) == set(STORES)
    assert settings.endpoints.orders is not None
    assert settings.endpoints.orders.options == {
        "region": FILL_IN,
        "connection_string": {"env": "IRIS_ORDERS_CONNECTION_STRING"},
        "size": 1,
        "mode": "send",
    }
    assert settings.stores.images is not None
    assert settings.stores.images.options == {"account": FILL_IN}
    assert values["client_guid"] == FILL_IN


def test_it_says_what_each_option_means() -> None:
    text = provider_template(PROVIDER)
    assert "# text: where the queues are; a code such as eu-1." in text
    assert '# secret, as { env = "NAME" } or { file = "PATH" }: the whole secret.' in text
    assert "# number\n# timeout = 2.5" in text
    assert '# "fast" or "cheap": What it costs.\n# tier = "cheap"' in text
    assert '# tags = ["a", "b\\""]' in text
    assert f'# path\n# folder = "{FILL_IN}"' in text
    assert "# true or false\n# eager = true" in text
    assert "# text: Name of the account.\n" in text
    assert "Acme Queue and Box" in text


def test_its_commented_options_are_toml_too() -> None:
    lines = [line.removeprefix("# ") for line in provider_template(PROVIDER).splitlines() if line.startswith("# t")]
    options: dict[str, Any] = {}
    for line in lines:
        if " = " in line and ":" not in line:
            options |= tomllib.loads(line)
    assert options["timeout"] == 2.5
    assert options["token"] == {"env": "IRIS_ORDERS_TOKEN"}


@pytest.mark.parametrize("side", ["broker_options", "store_options"])
def test_a_side_that_the_provider_lacks_is_left_out_and_said(side: str) -> None:
    options: dict[str, Any] = {"broker_options": BrokerOptions, "store_options": StoreOptions, side: None}
    text = provider_template(Provider(name="acme", title="Acme", **options))
    values = tomllib.loads(text)
    assert set(values) & {"endpoints", "stores"} == {"stores" if side == "broker_options" else "endpoints"}
    assert "with another provider" in text.replace("\n# ", " ")


@pytest.mark.parametrize("folder", ["/tmp/plain", "C:\\Users\\Zoë\\it's", "C:\\new\\table", '/odd "name"/ü'])
def test_the_local_settings_hold_any_directory(folder: str) -> None:
    directory = Path(folder)
    values = tomllib.loads(local_template(directory))
    settings = Settings.of(values)
    assert values["endpoints"]["orders"]["path"] == str(directory / "queues.db")
    for part in (settings, settings.sandbox):
        assert all(getattr(part.endpoints, name) is not None for name in ENDPOINTS)
        assert part.stores.images is not None
    assert settings.client_guid != Settings.of(tomllib.loads(local_template(directory))).client_guid
