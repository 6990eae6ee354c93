"""Reading one page of a listing (https://learn.microsoft.com/rest/api/storageservices/list-blobs)."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from email.utils import parsedate_to_datetime
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from clouddirect.errors import UnavailableError
from clouddirect.storage import ListPage, StoredFile, StoredPrefix
from clouddirect_azure.blob_headers import md5_hex, unquoted

__all__ = ["PAGE_SIZE", "read_page"]

#: Entries asked for at once; Azure would give up to 5,000.
PAGE_SIZE = 1000


def read_page(body: bytes) -> ListPage:
    """Return the entries of a page, and the marker of the next one.

    Raises:
        UnavailableError: this is no listing (a proxy's page, perhaps).
    """
    try:
        # the parser takes no external entities, and expat bounds internal ones
        root = ElementTree.fromstring(body.decode("utf-8-sig"))  # noqa: S314
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise _no_listing() from error
    if root.tag != "EnumerationResults":
        raise _no_listing()
    entries: list[StoredFile | StoredPrefix] = []
    for one in root.iterfind("Blobs/*"):
        if one.tag == "BlobPrefix":
            entries.append(StoredPrefix(_name(one)))
        elif one.tag == "Blob" and one.findtext("Properties/ResourceType") != "directory":
            entries.append(_file(one))
    # some servers list prefixes behind the blobs of a page
    entries.sort(key=lambda entry: (entry.key if isinstance(entry, StoredFile) else entry.prefix).encode())
    return ListPage(entries, root.findtext("NextMarker") or None)


def _no_listing() -> UnavailableError:
    return UnavailableError("the answer is no listing; perhaps a proxy on the way has made it")


def _file(blob: Element) -> StoredFile:
    def told(name: str) -> str | None:
        return blob.findtext(f"Properties/{name}") or None

    modified, digest = told("Last-Modified"), md5_hex(told("Content-MD5"))
    return StoredFile(
        key=_name(blob),
        size=int(told("Content-Length") or 0),
        version=unquoted(told("Etag")),
        modified_at=parsedate_to_datetime(modified) if modified else None,
        digest_algorithm="md5" if digest else None,
        digest=digest,
    )


def _name(entry: Element) -> str:
    """Names with characters that XML cannot hold are told percent-encoded."""
    name = entry.find("Name")
    if name is None:
        return ""
    text = name.text or ""
    return unquote(text) if name.get("Encoded", "").lower() == "true" else text
