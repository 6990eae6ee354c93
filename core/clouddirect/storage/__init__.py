"""Files in any object store: `FileStore`, `StoredFile`."""

from clouddirect.storage.capabilities import CheckResult, StoreAccess, StoreCapabilities
from clouddirect.storage.digests import Hasher
from clouddirect.storage.keys import MAX_KEY_BYTES, validate_key, validate_prefix
from clouddirect.storage.parts import Part
from clouddirect.storage.primitives import ListPage, PutRequest, RangeRead, StoreRuntime, Upload
from clouddirect.storage.reader import FileReader
from clouddirect.storage.sources import Source
from clouddirect.storage.store import FileStore
from clouddirect.storage.stored import PresignedUrl, StoredFile, StoredPrefix
from clouddirect.storage.transfer import ProgressCallback

__all__ = [
    "CheckResult",
    "FileReader",
    "FileStore",
    "Hasher",
    "ListPage",
    "MAX_KEY_BYTES",
    "Part",
    "PresignedUrl",
    "ProgressCallback",
    "PutRequest",
    "RangeRead",
    "Source",
    "StoreAccess",
    "StoreCapabilities",
    "StoreRuntime",
    "StoredFile",
    "StoredPrefix",
    "Upload",
    "validate_key",
    "validate_prefix",
]
