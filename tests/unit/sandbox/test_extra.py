from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from clouddirect.errors import MissingExtraError
from clouddirect.sandbox import Sandbox, demo_image
from clouddirect.settings import Settings


@pytest.mark.parametrize("missing", ["fpdf", "PIL", "numpy", "pydicom"])
def test_without_the_extra_the_error_says_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "clouddirect.sandbox.extra.find_spec", lambda name, *rest: None if name == missing else find(name, *rest)
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'clouddirect\[sandbox\]'"):
        Sandbox(Settings.of({}))
    with pytest.raises(MissingExtraError):
        demo_image(1, "OD")


def test_importing_the_sandbox_loads_nothing_of_the_extra() -> None:
    code = (
        "import sys, clouddirect.sandbox; print([n for n in ('fpdf', 'PIL', 'numpy', 'pydicom') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
