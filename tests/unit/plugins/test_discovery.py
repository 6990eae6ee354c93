"""Discovery, loading and opening of providers, with distributions that pip installed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from clouddirect.errors import (
    ConfigurationError,
    ProviderNotFoundError,
)
from clouddirect.orders.connections import Connections
from clouddirect.plugins import installed_providers, load_provider, open_broker, open_store
from clouddirect.settings import Settings

HOOK = "from clouddirect.plugins import hookimpl\n@hookimpl"


def test_local_is_installed() -> None:
    provider = load_provider("local")
    assert provider.broker_options is not None
    assert provider.store_options is not None


def test_an_unknown_name_is_refused_with_the_nearest_and_the_list() -> None:
    with pytest.raises(ProviderNotFoundError, match=r"'locl' \(did you mean 'local'\?\); installed are: .*local"):
        open_broker("locl")


def test_an_unknown_option_is_refused_by_name_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown option 'pth' \(did you mean 'path'\?\)"):
        open_broker("local", pth="x")
    with pytest.raises(ConfigurationError, match=r"unknown option 'contaner' \(did you mean 'container'\?\)"):
        open_store("local", contaner="x")


def test_a_strangers_provider_opens_on_equal_terms(site: Any) -> None:
    site.label("acme-clouddirect", "acme")
    opened = site.run(
        """
        import json, clouddirect
        from clouddirect.plugins import installed_providers
        options, runtime = clouddirect.open_broker("acme", path="/a", size="3")
        names = {one.name: [list(one.distributions), list(one.missing)] for one in installed_providers()}
        seen = {"path": options.path, "size": options.size, "runtime": type(runtime).__name__, "names": names}
        print(json.dumps(seen))
        """
    )
    assert opened["path"] == "/a"
    assert opened["size"] == 3
    assert opened["runtime"] == "BrokerRuntime"
    assert opened["names"]["acme"] == [["acme-clouddirect 1.0"], ["acme_sdk", "acme.queue"]]
    assert "local" in opened["names"]


def test_a_missing_sdk_is_answered_with_the_pip_command(site: Any) -> None:
    site.label("acme-clouddirect", "acme", opener="import acme_sdk.client")
    error = site.error("clouddirect.open_broker('acme')")
    assert error["kind"] == "MissingExtraError"
    assert "pip install 'acme-clouddirect[sdk]'" in error["text"]
    assert error["cause"] == "ModuleNotFoundError"


def test_a_missing_parent_package_of_the_sdk_is_a_missing_sdk(site: Any) -> None:
    site.label("acme-clouddirect", "acme", opener="import acme.queue")
    assert site.error("clouddirect.open_broker('acme')")["kind"] == "MissingExtraError"


def test_a_broken_import_is_not_taken_for_a_missing_sdk(site: Any) -> None:
    site.label("acme-clouddirect", "acme", opener="import acme_clouddirect_typo")
    error = site.error("clouddirect.open_broker('acme')")
    assert error["kind"] == "ProviderLoadError"
    assert "acme_clouddirect_typo" in error["text"]
    assert "acme-clouddirect 1.0" in error["text"]


def test_a_label_that_imports_its_sdk_names_the_module(site: Any, label_source: Any) -> None:
    source = "import acme_sdk\n" + label_source(name="acme", opener="pass")
    site.install("acme-clouddirect", {"acme_label.py": source}, {"clouddirect": {"acme": "acme_label"}})
    error = site.error("clouddirect.open_broker('acme')")
    assert error["kind"] == "MissingExtraError"
    assert "'acme_sdk'" in error["text"]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("raise RuntimeError('boom')", "RuntimeError"),
        ("def clouddirect_provider(", "SyntaxError"),
        ("x = 1", "must have one @hookimpl function clouddirect_provider"),
        (f"{HOOK}\ndef clouddirect_provdier():\n    pass", "clouddirect_provdier"),
        (f"{HOOK}\ndef clouddirect_provider():\n    return 5", "returns a Provider"),
    ],
    ids=["raises", "syntax", "no hook", "misspelt hook", "not a Provider"],
)  # fmt: skip
def test_a_broken_neighbour_breaks_itself_alone(site: Any, source: str, text: str) -> None:
    site.install("acme-clouddirect", {"acme_label.py": source}, {"clouddirect": {"acme": "acme_label"}})
    error = site.error("clouddirect.open_broker('acme')")
    assert error["kind"] == "ProviderLoadError"
    assert text in error["text"]
    assert error["provider"] == "acme"
    assert (
        site.run("import json, clouddirect.plugins as p; print(json.dumps(p.load_provider('local').name))") == "local"
    )
    listed = site.run(
        "import json, clouddirect.plugins as p; "
        "print(json.dumps({o.name: [o.usable, type(o.error).__name__] for o in p.installed_providers()}))"
    )
    assert listed["local"] == [True, "NoneType"]
    assert listed["acme"] == [False, "ProviderLoadError"]


def test_a_broken_neighbour_is_not_even_imported(site: Any, tmp_path: Any) -> None:
    mark = tmp_path / "imported"
    source = f"open({str(mark)!r}, 'w').close()"
    site.install("acme-clouddirect", {"acme_label.py": source}, {"clouddirect": {"acme": "acme_label"}})
    site.run("import json, clouddirect.plugins as p; print(json.dumps(p.load_provider('local').name))")
    assert not mark.exists()


def test_two_distributions_with_one_name_are_an_error_for_that_name_alone(site: Any) -> None:
    site.label("acme-one", "acme")
    site.label("acme-two", "acme")
    error = site.error("clouddirect.open_broker('acme')")
    assert error["kind"] == "ProviderConflictError"
    assert "acme-one 1.0" in error["text"]
    assert "acme-two 1.0" in error["text"]
    assert (
        site.run("import json, clouddirect.plugins as p; print(json.dumps(p.load_provider('local').name))") == "local"
    )


def test_an_entry_point_and_its_provider_must_agree_on_the_name(site: Any, label_source: Any) -> None:
    source = label_source(name="other", opener="pass")
    site.install("acme-clouddirect", {"acme_label.py": source}, {"clouddirect": {"acme": "acme_label"}})
    error = site.error("clouddirect.open_broker('acme')")
    assert error["kind"] == "ProviderLoadError"
    assert "'other'" in error["text"]


def test_a_wrong_option_never_shows_its_value(site: Any) -> None:
    site.label("acme-clouddirect", "acme")
    error = site.error("clouddirect.open_broker('acme', size='s3cret', password=5)")
    assert error["kind"] == "ConfigurationError"
    assert "size" in error["text"]
    assert "s3cret" not in error["text"]
    assert error["cause"] == "NoneType"


def test_a_side_that_a_provider_does_not_have_is_unsupported(site: Any) -> None:
    site.label("acme-clouddirect", "acme")
    error = site.error("clouddirect.open_store('acme')")
    assert error["kind"] == "UnsupportedError"


OBSERVER = """
from clouddirect.observers import hookimpl
seen = []
@hookimpl
def clouddirect_message_sent(event):
    seen.append(event.message_id)
"""


def test_observers_are_loaded_only_when_named(site: Any) -> None:
    group = "clouddirect.observers"
    site.install("acme-audit", {"acme_audit.py": OBSERVER}, {group: {"audit": "acme_audit"}})
    site.install("acme-bad", {"acme_bad.py": "raise RuntimeError"}, {group: {"bad": "acme_bad"}})
    site.install("acme-typo", {"acme_typo.py": OBSERVER.replace("_sent", "_snet")}, {group: {"typo": "acme_typo"}})
    loaded = site.run("import json, clouddirect.plugins as p; print(json.dumps(bool(p.load_observers(['audit']))))")
    assert loaded is True
    assert "did you mean 'audit'" in site.error("clouddirect.plugins.load_observers(['audti'])")["text"]
    assert site.error("clouddirect.plugins.load_observers(['bad'])")["kind"] == "ProviderLoadError"
    misspelt = site.error("clouddirect.plugins.load_observers(['typo'])")
    assert misspelt["kind"] == "ConfigurationError"
    assert "clouddirect_message_snet" in misspelt["text"]


def test_every_installed_provider_is_usable_here() -> None:
    assert all(one.usable for one in installed_providers() if one.distributions[0].startswith("clouddirect "))


def test_importing_clouddirect_loads_no_sdk_and_no_provider() -> None:
    script = """
import sys, json
import clouddirect, clouddirect.errors, clouddirect.plugins, clouddirect.settings, clouddirect.orders.client
print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    roots = set(json.loads(done.stdout))
    forbidden = {"azure", "boto3", "botocore", "google", "grpc", "fpdf", "PIL", "pydicom", "numpy", "pytest"}
    assert not roots & forbidden
    assert not {root for root in roots if root.startswith("clouddirect_")}


CHECKED = """
from pydantic import BaseModel, ConfigDict, field_validator
from clouddirect.plugins import Provider, hookimpl

class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    key: str = ""

    @field_validator("key")
    @classmethod
    def _check(cls, value):
        if value.startswith("Endpoint"):
            return value
        if value == "plain-s3cret":
            raise KeyError(value)
        raise ValueError(f"no Endpoint in {value!r}")

def opener(options, runtime):
    raise ValueError(options.key)

@hookimpl
def clouddirect_provider():
    return Provider(name="acme", title="Test", broker_options=Options, open_broker=opener)
"""


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("SharedAccessKey=s3cret", "ConfigurationError"),
        ("plain-s3cret", "ConfigurationError"),
        ("Endpoint=s3cret", "ProviderLoadError"),
    ],
    ids=["validator", "validator's own mistake", "opener"],
)
def test_what_a_provider_says_of_its_options_never_shows_a_secret(site: Any, key: str, kind: str) -> None:
    site.install("acme-clouddirect", {"acme_label.py": CHECKED}, {"clouddirect": {"acme": "acme_label"}})
    error = site.error(f"clouddirect.open_broker('acme', key={key!r})")
    assert error["kind"] == kind
    assert "s3cret" not in error["text"]
    assert "s3cret" not in error["traceback"]


@pytest.mark.parametrize("option", ["name", "runtime"])
def test_an_option_of_any_name_is_refused_by_name(option: str) -> None:
    queue = {"provider": "local", "queue": "q", "path": "q.db", option: "x"}
    settings = Settings.of({"endpoints": {"orders": queue}})
    with pytest.raises(ConfigurationError, match=f"unknown option '{option}'"):
        Connections(settings.endpoints, settings.stores).queue("orders")


def test_an_observer_that_two_distributions_register_is_refused(site: Any) -> None:
    group = "clouddirect.observers"
    site.install("acme-audit", {"acme_audit.py": OBSERVER}, {group: {"audit": "acme_audit"}})
    site.install("other-audit", {"other_audit.py": OBSERVER}, {group: {"audit": "other_audit"}})
    error = site.error("clouddirect.plugins.load_observers(['audit'])")
    assert error["kind"] == "ConfigurationError"
    assert "acme-audit 1.0 and other-audit 1.0" in error["text"]
