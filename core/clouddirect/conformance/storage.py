"""`StorageConformance`: what every file store passes, ours and third parties'.

Inherit it in a test module, override what `StorageHarness` asks for, and run it with pytest::

    class TestMyStorage(StorageConformance):
        def make_store(self, **runtime):
            return MyStore(options_of_this_test, StoreRuntime(**runtime))

Each case states its promise in its docstring. A case for which the harness has nothing to offer is skipped with a
reason; a case for something that the provider does not declare checks that it is refused.
"""

from __future__ import annotations

from clouddirect.conformance.storage_access import AccessCases
from clouddirect.conformance.storage_content import ContentCases
from clouddirect.conformance.storage_faults import FaultCases
from clouddirect.conformance.storage_harness import StorageHarness
from clouddirect.conformance.storage_keys import KeyCases
from clouddirect.conformance.storage_listing import ListingCases
from clouddirect.conformance.storage_reading import ReadingCases

__all__ = ["StorageConformance", "StorageHarness"]


class StorageConformance(ContentCases, ReadingCases, KeyCases, ListingCases, FaultCases, AccessCases):
    """All cases; see `StorageHarness` for what a provider's test class overrides."""
