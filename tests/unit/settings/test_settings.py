"""The settings file and the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from clouddirect.errors import ConfigurationError
from clouddirect.settings import Settings, load_settings, resolve_options, search_path

FILE = """
client_guid = "63E3C9EF-66AC-4154-B0C2-494515EB99A7"
site = "PC1234"

[endpoints.orders]
provider = "azure"
queue = "orders"
dead_letter_send = "orders-dead"
connection_string = { env = "IRIS_ORDERS" }

[stores.images]
provider = "gcp"
container = "acme-retina"
"""


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory and a user's configuration directory without settings."""
    for name in ("CLOUDDIRECT_CONFIG", "CLOUDDIRECT_SITE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def write(path: Path, text: str = FILE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_file_is_read(nowhere: Path) -> None:
    settings = load_settings(write(nowhere / "a.toml"))
    assert settings.site == "PC1234"
    orders = settings.endpoints.require("orders")
    assert (orders.provider, orders.queue, orders.dead_letter_send) == ("azure", "orders", "orders-dead")
    assert orders.options == {"connection_string": {"env": "IRIS_ORDERS"}}
    images = settings.stores.require("images")
    assert (images.provider, images.container, images.wire_container) == ("gcp", "acme-retina", None)


def test_a_file_with_a_byte_order_mark_is_read(nowhere: Path) -> None:
    path = nowhere / "bom.toml"
    path.write_bytes(b"\xef\xbb\xbf" + FILE.encode())
    assert load_settings(path).site == "PC1234"


def test_files_are_looked_for_in_the_documented_order(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = search_path()[1]
    assert user.is_relative_to(nowhere) or not user.is_file()
    write(user, 'site = "user"')
    assert load_settings().site == "user"
    write(Path("clouddirect.toml"), 'site = "here"')
    assert load_settings().site == "here"
    monkeypatch.setenv("CLOUDDIRECT_CONFIG", str(write(nowhere / "variable.toml", 'site = "variable"')))
    assert load_settings().site == "variable"
    assert load_settings(write(nowhere / "named.toml", 'site = "named"')).site == "named"


def test_nothing_found_says_where_it_looked_and_how_to_begin(nowhere: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    for path in search_path():
        assert str(path.absolute()) in str(caught.value)
    assert "clouddirect init" in str(caught.value)


def test_a_named_file_that_is_missing_is_not_replaced_by_another(nowhere: Path) -> None:
    write(Path("clouddirect.toml"))
    with pytest.raises(ConfigurationError, match=r"missing\.toml"):
        load_settings(nowhere / "missing.toml")


def test_the_environment_overrides_single_values(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDDIRECT_ENDPOINTS__ORDERS__QUEUE", "other")
    monkeypatch.setenv("CLOUDDIRECT_ENDPOINTS__EVENTS__PROVIDER", "local")
    monkeypatch.setenv("CLOUDDIRECT_ENDPOINTS__EVENTS__QUEUE", "events")
    monkeypatch.setenv("CLOUDDIRECT_ENDPOINTS__EVENTS__PATH", "q.db")
    monkeypatch.setenv("CLOUDDIRECT_SITE", "PC9")
    settings = load_settings(write(nowhere / "a.toml"))
    assert settings.endpoints.require("orders").queue == "other"
    assert settings.endpoints.require("orders").provider == "azure"
    assert settings.endpoints.require("events").options == {"path": "q.db"}
    assert settings.site == "PC9"


def test_the_environment_alone_suffices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDDIRECT_ENDPOINTS__ORDERS__PROVIDER", "local")
    monkeypatch.setenv("CLOUDDIRECT_ENDPOINTS__ORDERS__QUEUE", "orders")
    monkeypatch.setenv("CLOUDDIRECT_OBSERVERS", '["audit"]')
    settings = load_settings()
    assert settings.endpoints.require("orders").queue == "orders"
    assert settings.observers == ["audit"]


def test_all_that_is_wrong_is_said_at_once_with_paths(nowhere: Path) -> None:
    path = write(
        nowhere / "a.toml",
        '[endpoints.odrers]\nprovider = "local"\nqueue = "q"\n'
        '[endpoints.events]\nqueue = "q"\n[sandbox]\nstage_delay = -1\n',
    )
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    text = str(caught.value)
    assert "endpoints.odrers: there is no such setting (did you mean orders?)" in text
    assert "endpoints.events.provider" in text
    assert "sandbox.stage_delay" in text


@pytest.mark.parametrize("text", ["site = ", "[endpoints", "\x00"])
def test_broken_toml_names_the_file(nowhere: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"a\.toml is not valid TOML"):
        load_settings(write(nowhere / "a.toml", text))


def test_a_missing_endpoint_says_what_to_add() -> None:
    settings = Settings.of({})
    with pytest.raises(ConfigurationError, match=r"add \[endpoints.results\]"):
        settings.endpoints.require("results")
    with pytest.raises(ConfigurationError, match=r"add \[stores.images\]"):
        settings.stores.require("images")


def test_secrets_come_from_the_environment_or_a_file(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "one")
    path = write(nowhere / "secret", "two\n")
    options = {"a": {"env": "A_SECRET"}, "b": {"file": str(path)}, "c": {"x": 1, "y": 2}, "d": 5}
    assert resolve_options("endpoints.orders", options) == {"a": "one", "b": "two", "c": {"x": 1, "y": 2}, "d": 5}


def test_a_secret_that_is_not_there_is_named_by_its_place(nowhere: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"endpoints\.orders\.key: the environment variable NOT_SET is not set"
    ):
        resolve_options("endpoints.orders", {"key": {"env": "NOT_SET"}})
    with pytest.raises(ConfigurationError, match=r"endpoints\.orders\.key: the file .*gone cannot be read"):
        resolve_options("endpoints.orders", {"key": {"file": str(nowhere / "gone")}})


def test_no_repr_shows_an_option(nowhere: Path) -> None:
    text = FILE.replace('{ env = "IRIS_ORDERS" }', '"Endpoint=sb://x;SharedAccessKey=s3cret"')
    settings = load_settings(write(nowhere / "a.toml", text))
    for shown in (repr(settings), str(settings), repr(settings.endpoints.orders), str(settings.endpoints)):
        assert "s3cret" not in shown
    assert "connection_string" in repr(settings.endpoints.orders)
    assert "63E3C9EF" not in repr(settings)


def test_no_error_shows_a_value(nowhere: Path) -> None:
    path = write(nowhere / "a.toml", '[endpoints.orders]\nprovider = "local"\nqueue = ["s3cret"]\n')
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    assert "endpoints.orders.queue" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_secrets_are_found_within_lists_and_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "one")
    options = {"hosts": [{"env": "A_SECRET"}], "credential": {"id": "x", "secret": {"env": "A_SECRET"}}}
    assert resolve_options("e", options) == {"hosts": ["one"], "credential": {"id": "x", "secret": "one"}}


@pytest.mark.parametrize("reference", [{"env": "A_SECRET", "default": "y"}, {"env": 5}, {"file": ["a"]}])
def test_a_reference_that_is_not_one_is_refused(reference: object) -> None:
    with pytest.raises(ConfigurationError, match=r"e\.key\[0\]: write exactly"):
        resolve_options("e", {"key": [reference]})


@pytest.mark.parametrize(
    ("name", "value"),
    [("CLOUDDIRECT_OBSERVERS", "x"), ("CLOUDDIRECT_STORES", "{s3cret"), ("CLOUDDIRECT_SANDBOX__CLIENT_GUIDS", "x")],
)
def test_a_list_or_table_in_the_environment_is_json(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        Settings.of({})
    assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_variable_that_names_no_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDDIRECT_ENDPOINT__ORDERS__QUEUE", "elsewhere")
    with pytest.raises(ConfigurationError, match=r"did you mean CLOUDDIRECT_ENDPOINTS__"):
        Settings.of({})


def test_a_file_named_by_the_environment_is_not_replaced_by_variables(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDDIRECT_CONFIG", str(nowhere / "typo.toml"))
    monkeypatch.setenv("CLOUDDIRECT_ENDPOINTS__ORDERS__PROVIDER", "local")
    with pytest.raises(ConfigurationError, match=r"typo\.toml"):
        load_settings()
