"""What a store says about its objects: `StoredFile`, `StoredPrefix`, `PresignedUrl`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

__all__ = ["PresignedUrl", "StoredFile", "StoredPrefix"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One object in a store. What a service did not tell in the call at hand is None. Its repr shows no metadata.

    Attributes:
        key: the object's key, exactly as stored.
        size: length of the content in bytes.
        content_type: media type as given to `FileStore.put`, or as the service has it. Listings do not tell it.
        metadata: text pairs as given to `FileStore.put`. Listings do not tell them.
        version: identifies this content (an ETag, a generation): opaque, equal only while nothing was replaced.
        modified_at: when this content was stored, in UTC.
        digest_algorithm: name of the digest that the service holds of the whole content, such as ``sha256``.
        digest: that digest, in lower-case hexadecimal.
        verified: the digest that was compared in the call that returned this, or None if there was nothing to compare
            with. After a ``put`` the service (for ``local``, a second reading) compared it, after a ``download`` or
            ``get`` we did. It is an algorithm's name, with ``-ranges`` behind it where each range was compared on its
            own instead of the whole.
    """

    key: str
    size: int
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    version: str | None = None
    modified_at: datetime | None = None
    digest_algorithm: str | None = None
    digest: str | None = None
    verified: str | None = None


@dataclass(frozen=True, slots=True)
class StoredPrefix:
    """What stands, in a listing with a delimiter, for all the keys that begin with ``prefix``; it ends in the
    delimiter."""

    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PresignedUrl:
    """A URL that lets its holder do one thing to one object, without a credential. Its repr does not show the URL.

    Attributes:
        url: the URL; as secret as a credential until it expires.
        method: the HTTP method that it is signed for.
        headers: headers that the request must carry.
        expires_at: when the service stops honouring it, in UTC.
    """

    url: str = field(repr=False)
    method: Literal["GET", "PUT"]
    headers: Mapping[str, str] = field(default_factory=dict)
    expires_at: datetime
