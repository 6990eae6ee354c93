"""Inheritable test suites that every provider passes: `MessagingConformance` and `StorageConformance`.

They run with pytest: ``pip install 'clouddirect[conformance]'``.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from typing import TYPE_CHECKING

from clouddirect.errors import MissingExtraError

if TYPE_CHECKING:
    from clouddirect.conformance.messaging import MessagingConformance, MessagingHarness
    from clouddirect.conformance.storage import StorageConformance, StorageHarness

__all__ = ["MessagingConformance", "MessagingHarness", "StorageConformance", "StorageHarness"]

if importlib.util.find_spec("pytest") is None:
    raise MissingExtraError(
        "the conformance suites run with pytest, which is not installed; run: pip install 'clouddirect[conformance]'"
    )

import pytest

# failing cases are to show what they compared, as those in test modules do
pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))

_MODULES = {name: "messaging" if name.startswith("Messaging") else "storage" for name in __all__}


def __getattr__(name: str) -> object:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
