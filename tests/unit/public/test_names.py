"""Public names: sorted, importable, documented, and the packages that hold them complete."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import pytest

import clouddirect

ROOT = Path(__file__).parents[3]
PACKAGES = ["clouddirect", "clouddirect_aws", "clouddirect_azure", "clouddirect_gcp", "clouddirect_local"]


def _modules() -> list[str]:
    names = list(PACKAGES)
    for package in PACKAGES:
        path = importlib.import_module(package).__path__
        names += [found.name for found in pkgutil.walk_packages(path, f"{package}.")]
    return sorted(name for name in names if not name.endswith("__main__"))


MODULES = _modules()


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_a_docstring_and_a_sorted_all_that_is_true(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, "say what it holds"
    names = getattr(module, "__all__", None)
    assert names is not None, "a module says what is public in it"
    assert list(names) == sorted(set(names))
    for public in names:
        assert hasattr(module, public)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_class_and_function_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    missing = [f"{name}.{public}" for public in getattr(module, "__all__", ()) if not _documented(module, public)]
    for public in getattr(module, "__all__", ()):
        value = getattr(module, public)
        if inspect.isclass(value) and value.__module__ == name:
            missing += [f"{name}.{public}.{member}" for member in _undocumented_members(value)]
    assert not missing


def _documented(module: ModuleType, public: str) -> bool:
    value = getattr(module, public)
    own = (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__
    return not own or bool(inspect.getdoc(value))


def _undocumented_members(value: type) -> list[str]:
    """Public methods and properties without a docstring; overriding a documented one is enough."""
    found = []
    for member, defined in list(vars(value).items()):
        function = defined.fget if isinstance(defined, property) else getattr(defined, "__func__", defined)
        if member.startswith("_") or not inspect.isfunction(function):
            continue
        if not any(inspect.getdoc(vars(base).get(member)) for base in value.__mro__ if member in vars(base)):
            found.append(member)
    return found


def test_the_lazy_names_are_the_promised_ones() -> None:
    assert set(clouddirect._HOMES) | {"CloudDirectError"} == set(clouddirect.__all__)
    assert dir(clouddirect) == clouddirect.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = clouddirect.nothing


def test_the_wheel_lists_the_packages_on_disk_and_the_entry_points() -> None:
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("not run from a checkout")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    on_disk = {
        f"{root}/{path.parent.name}" for root in ("core", "providers") for path in (ROOT / root).glob("*/__init__.py")
    }
    assert listed == on_disk
    providers = {path.removeprefix("providers/") for path in on_disk if path.startswith("providers/")}
    declared = project["project"]["entry-points"]["clouddirect"]
    assert set(declared.values()) == providers
    assert {f"clouddirect_{name}" for name in declared} == providers
    assert set(declared) <= {entry.name for entry in entry_points(group="clouddirect")}
    for path in on_disk:
        assert (ROOT / path / "py.typed").is_file()


def test_importing_clouddirect_costs_little() -> None:
    script = "import sys, clouddirect; print(sorted(name.partition('.')[0] for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for heavy in ("pydantic", "rich", "click", "sqlite3", "pydantic_settings", "platformdirs"):
        assert f"'{heavy}'" not in done.stdout


@pytest.mark.parametrize("benchmark", sorted((ROOT / "benchmarks").glob("bench_*.py")), ids=lambda path: path.name)
def test_every_benchmark_says_how_it_is_used(benchmark: Path) -> None:
    done = subprocess.run([sys.executable, str(benchmark), "--help"], capture_output=True, encoding="utf-8", check=True)
    assert "--json" in done.stdout


def test_all_benchmarks_make_one_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- last run: begins -->\nold\n<!-- last run: ends -->\nbehind\n", encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "local-store", "wire", "--write", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 2 + 6
    assert "| gcp download, 10 MiB: bytes of bodies on the wire | 1.0000 of the file's |" in done.stdout
    written = page.read_text(encoding="utf-8")
    assert (written.startswith("before\n"), written.endswith("\nbehind\n"), "old" in written) == (True, True, False)
    assert all(row in written for row in rows)
