"""The IRIS order workflow: the object model and the client that speaks it over any broker and store."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clouddirect.orders.checkup import Finding, check_up
    from clouddirect.orders.client import CloudDirect, SentGrading, Submission
    from clouddirect.orders.csv_import import CsvImport, CsvReport, CsvRow
    from clouddirect.orders.csv_mapping import CsvMapping
    from clouddirect.orders.csv_reading import RowProblem
    from clouddirect.orders.dead_letters import DeadLetter, DeadLetters
    from clouddirect.orders.images import ImageFile, ImageProgress, UploadedImage
    from clouddirect.orders.incoming import Incoming
    from clouddirect.orders.naming import NamingTemplate
    from clouddirect.orders.reports import save_message, save_report
    from clouddirect.orders.result_table import append_results
    from clouddirect.orders.shared_images import SavedImage

__all__ = [
    "CloudDirect",
    "CsvImport",
    "CsvMapping",
    "CsvReport",
    "CsvRow",
    "DeadLetter",
    "DeadLetters",
    "Finding",
    "ImageFile",
    "ImageProgress",
    "Incoming",
    "NamingTemplate",
    "RowProblem",
    "SavedImage",
    "SentGrading",
    "Submission",
    "UploadedImage",
    "append_results",
    "check_up",
    "save_message",
    "save_report",
]

# loaded when asked for, so that the models alone can be imported without the client
_HOMES = {
    "CloudDirect": "client",
    "CsvImport": "csv_import",
    "CsvMapping": "csv_mapping",
    "CsvReport": "csv_import",
    "CsvRow": "csv_import",
    "DeadLetter": "dead_letters",
    "DeadLetters": "dead_letters",
    "Finding": "checkup",
    "ImageFile": "images",
    "ImageProgress": "images",
    "Incoming": "incoming",
    "NamingTemplate": "naming",
    "RowProblem": "csv_reading",
    "SavedImage": "shared_images",
    "SentGrading": "client",
    "Submission": "client",
    "UploadedImage": "images",
    "append_results": "result_table",
    "check_up": "checkup",
    "save_message": "reports",
    "save_report": "reports",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'clouddirect.orders' has no attribute {name!r}")
    value = getattr(import_module(f"clouddirect.orders.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
