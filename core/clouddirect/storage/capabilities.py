"""What a store can do; what is not declared is refused before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clouddirect.checks import CheckResult

__all__ = ["CheckResult", "StoreAccess", "StoreCapabilities"]

StoreAccess = Literal["read", "write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCapabilities:
    """The abilities and limits of a store. Sizes are bytes, times seconds.

    Attributes:
        max_object_bytes: largest object, or None for no limit.
        max_whole_bytes: largest content that ``_put_whole`` takes; core uses it for what fits into one part. 0 when
            every upload goes through ``_begin_upload``.
        min_part_bytes: smallest part of an upload, the last one excepted.
        max_part_bytes: largest part, or None for no limit.
        part_multiple: parts, the last one excepted, are a multiple of this.
        max_parts: most parts of one upload, or None for no limit.
        max_concurrency: most requests of one transfer that are worth having under way at once.
        upload_digest: the digest of the whole content that ``_put_whole`` and ``Upload.commit`` are given, so that the
            service can compare it; None if it takes none.
        digest_from_stat: reading a range does not tell the digest of the whole object, ``_stat`` does.
        if_absent: an object can be written on condition that none is there.
        max_metadata_bytes: most bytes of metadata, names and values together in UTF-8.
        presign: the HTTP methods that URLs can be signed for with this credential.
        max_presign_seconds: longest validity of a signed URL, or None for no limit.
    """

    max_object_bytes: int | None = None
    max_whole_bytes: int = 0
    min_part_bytes: int = 1
    max_part_bytes: int | None = None
    part_multiple: int = 1
    max_parts: int | None = None
    max_concurrency: int = 16
    upload_digest: str | None = None
    digest_from_stat: bool = False
    if_absent: bool = True
    max_metadata_bytes: int = 2048
    presign: frozenset[Literal["GET", "PUT"]] = frozenset()
    max_presign_seconds: float | None = None
