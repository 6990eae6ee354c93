"""Reading a range of one generation of an object, by the XML API, as it is stored.

After https://cloud.google.com/storage/docs/xml-api/get-object-download. Asked for ``Accept-Encoding: gzip``, the
service hands out objects stored with ``Content-Encoding: gzip`` as they are, so that sizes, ranges and digests fit
(https://cloud.google.com/storage/docs/transcoding).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import requests

from clouddirect.errors import ChangedError, NotFoundError, UnavailableError
from clouddirect.storage import RangeRead
from clouddirect_gcp.gcs_answers import not_understood
from clouddirect_gcp.gcs_objects import file_of_headers
from clouddirect_gcp.gcs_wire import Wire

__all__ = ["read_range"]

_PIECE = 256 << 10
_SPAN = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_PARTIAL = 206
_UNSATISFIABLE = 416


def read_range(
    wire: Wire, key: str, offset: int, length: int | None, version: str | None, timeout: float
) -> RangeRead | None:
    """Begin to read; None if the range begins at or behind the end, of which the service tells nothing more.

    Raises:
        ChangedError: the generation ``version`` is gone.
        UnavailableError: something on the way does not honour ranges.
    """
    end = "" if length is None else str(offset + length - 1)
    try:
        response = wire.send(
            "GET", wire.plain(key), about="object", timeout=timeout, stream=True,
            query={} if version is None else {"generation": version},
            headers={"Range": f"bytes={offset}-{end}", "Accept-Encoding": "gzip"},
            expected=(200, _PARTIAL, _UNSATISFIABLE),
        )  # fmt: skip
    except NotFoundError as error:
        if version is None:
            raise
        raise ChangedError(
            "the object was replaced or deleted while it was being read; read it again", code=error.code
        ) from error.__cause__
    if response.status_code == _UNSATISFIABLE:
        response.close()
        return None
    size = _size(response, offset)
    if "x-goog-generation" not in response.headers:
        response.close()
        raise not_understood(response, "the header x-goog-generation")
    return RangeRead(file=file_of_headers(key, size, response.headers), chunks=_chunks(response), close=response.close)


def _size(response: requests.Response, offset: int) -> int:
    """The size of the whole object, of which the answer may be a part."""
    if "Content-Length" not in response.headers:
        pass  # it was unpacked on the way, so that nothing is known of its ranges
    elif response.status_code == _PARTIAL:
        span = _SPAN.fullmatch(response.headers.get("Content-Range", ""))
        if span is not None and int(span[1]) == offset:
            return int(span[3])
    elif offset == 0:
        return int(response.headers["Content-Length"])
    response.close()
    raise UnavailableError(
        "Cloud Storage, or a proxy before it, did not answer with the range asked for", retryable=False
    )


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """The bytes as they are stored. The connection goes back to the pool with the last one."""
    while piece := response.raw.read(_PIECE, decode_content=False):
        yield piece
