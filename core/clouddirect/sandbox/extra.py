"""Whether what the ``sandbox`` extra brings is installed."""

from __future__ import annotations

from importlib.util import find_spec

from clouddirect.errors import MissingExtraError

__all__ = ["require_extra"]

#: What has to be importable, and the distribution that brings it.
_NEEDED = {"PIL": "pillow", "fpdf": "fpdf2", "numpy": "numpy", "pydicom": "pydicom"}


def require_extra() -> None:
    """Return if everything is there that reports and images need.

    Raises:
        MissingExtraError: says what is missing and the pip command that installs it.
    """
    missing = [distribution for module, distribution in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise MissingExtraError(
            f"the sandbox needs {', '.join(missing)}, which is not installed: pip install 'clouddirect[sandbox]'",
            operation="sandbox",
        )
