"""The suites themselves: lazily there, documented case by case, and told how to install when pytest is missing."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from clouddirect import conformance
from clouddirect.conformance import MessagingConformance, MessagingHarness, StorageConformance

WITHOUT_PYTEST = """
import importlib.util, sys

real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "pytest" else real(name, package)
try:
    {statement}
except ImportError as error:
    print(type(error).__name__, error)
"""


def cases(suite: type) -> dict[str, object]:
    return {name: getattr(suite, name) for name in dir(suite) if name.startswith("test_")}


@pytest.mark.parametrize("suite", [MessagingConformance, StorageConformance])
def test_every_case_states_its_promise(suite: type) -> None:
    found = cases(suite)
    assert len(found) > 40
    assert [name for name, case in found.items() if not inspect.getdoc(case)] == []


@pytest.mark.parametrize("suite", [MessagingConformance, StorageConformance])
def test_no_case_hides_another(suite: type) -> None:
    owners = [(name, base.__name__) for base in suite.__mro__ for name in vars(base) if name.startswith("test_")]
    assert len({name for name, _ in owners}) == len(owners)


def test_the_names_are_the_public_ones() -> None:
    assert conformance.__all__ == sorted(conformance.__all__)
    assert set(conformance.__all__) <= set(dir(conformance))
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = conformance.Nonsense


@pytest.mark.parametrize(
    "statement",
    ["from clouddirect.conformance import MessagingConformance", "import clouddirect.conformance.storage"],
)
def test_without_pytest_it_says_what_to_install(statement: str) -> None:
    program = WITHOUT_PYTEST.format(statement=statement)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("MissingExtraError")
    assert "pip install 'clouddirect[conformance]'" in done.stdout


class _Nothing(MessagingHarness):
    without = {"secrets": "it has none"}  # noqa: RUF012 - declared as a class variable by the harness


class _Complete(_Nothing):
    complete = True


def test_what_a_harness_does_not_offer_is_skipped_with_the_reason() -> None:
    with pytest.raises(pytest.skip.Exception, match="it has none"):
        _Nothing().need("secrets")
    with pytest.raises(pytest.skip.Exception, match=r"does not override cut_connections\(\)"):
        _Nothing().need("cut_connections")


def test_a_complete_harness_must_offer_everything_or_say_why() -> None:
    with pytest.raises(pytest.skip.Exception, match="it has none"):
        _Complete().need("secrets")
    with pytest.raises(pytest.fail.Exception, match=r"complete, but its cut_connections\(\) offers nothing"):
        _Complete().need("cut_connections")
