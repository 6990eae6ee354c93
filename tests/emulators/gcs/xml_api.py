"""The XML API: objects by their plain URL (also signed ones), and multipart uploads.

Sources: the Cloud Storage XML API reference (GET, HEAD, PUT, POST, DELETE object; multipart uploads; headers).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from .access import Access, Caller
from .errors import HttpError, bad_request
from .http import Request, Response
from .media import describe, media
from .objects import Conditions, Store
from .uploads import Multipart, Session, Uploads, declared_hashes

__all__ = ["XmlApi"]

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_FIELDS = {
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "content-language": "contentLanguage",
    "content-type": "contentType",
    "x-goog-custom-time": "customTime",
    "x-goog-encryption-kms-key-name": "kmsKeyName",
    "x-goog-storage-class": "storageClass",
}


class XmlApi:
    """Answers everything under ``/<bucket>/<object>``. Arguments as `JsonApi`."""

    def __init__(self, store: Store, uploads: Uploads, access: Access, base: str) -> None:
        self._store = store
        self._uploads = uploads
        self._access = access
        self._base = base

    def serve(self, request: Request) -> Response | None:
        """Answer a request; None where its connection broke."""
        if not request.body.complete:
            return None
        bucket, name = request.segments[0], "/".join(request.segments[1:])
        caller = self._access.caller(request)
        if not name:
            raise HttpError(405, "methodNotAllowed", "Buckets are administered over the JSON API.", "MethodNotAllowed")
        if "uploads" in request.query or "uploadId" in request.query:
            caller.need("create")
            return self._multipart(request, caller, bucket, name)
        if request.method in ("GET", "HEAD"):
            return self._get(request, caller, bucket, name)
        if request.method == "PUT":
            return self._put(request, caller, bucket, name)
        if request.method == "DELETE":
            caller.need("delete")
            self._store.delete(bucket, name, None, _conditions(request))
            return Response(204)
        if request.method == "POST" and request.headers.get("x-goog-resumable") == "start":
            return self._begin(request, caller, bucket, name)
        raise HttpError(405, "methodNotAllowed", "The specified method is not allowed.", "MethodNotAllowed")

    def _get(self, request: Request, caller: Caller, bucket: str, name: str) -> Response:
        caller.need("get")
        if self._store.find(bucket, name) is None:
            caller.need("list")
        found = self._store.get(bucket, name, request.number("generation"), _conditions(request))
        response = media(found, request)
        overridden = {
            header: request.query[f"response-{header}"]
            for header in ("content-type", "content-disposition")
            if f"response-{header}" in request.query
        }
        kept = {key: value for key, value in response.headers.items() if key.lower() not in overridden}
        return Response(response.status, {**kept, **overridden}, response.body)

    def _put(self, request: Request, caller: Caller, bucket: str, name: str) -> Response:
        caller.need("create")
        conditions = _conditions(request)
        self._store.check_put(bucket, name, conditions, caller)
        stored = self._store.put(
            bucket,
            name,
            request.body.data,
            _fields(request),
            conditions=conditions,
            declared=declared_hashes(request.headers),
        )
        kept = {key: value for key, value in describe(stored).items() if key in ("ETag", "X-Goog-Hash")}
        return Response(200, {**kept, "X-Goog-Generation": str(stored.generation)})

    def _begin(self, request: Request, caller: Caller, bucket: str, name: str) -> Response:
        caller.need("create")
        conditions = _conditions(request)
        self._store.check_put(bucket, name, conditions, caller)
        session = Session(bucket, name, _fields(request), conditions, {}, caller)
        upload_id = self._uploads.begin(session)
        location = f"{self._base}/upload/storage/v1/b/{bucket}/o?name={quote(name, safe='')}&upload_id={upload_id}"
        return Response(201, {"Location": location})

    # Multipart uploads

    def _multipart(self, request: Request, caller: Caller, bucket: str, name: str) -> Response:
        if request.method == "POST" and "uploads" in request.query:
            return self._initiate(request, bucket, name)
        upload_id = request.query.get("uploadId", "")
        multipart = self._uploads.multipart(upload_id)
        if (multipart.bucket, multipart.name) != (bucket, name):
            raise bad_request("The upload is of another object.")
        if request.method == "PUT":
            return self._part(request, multipart)
        if request.method == "POST":
            return self._complete(request, caller, upload_id, bucket, name)
        if request.method == "DELETE":
            self._uploads.abort(upload_id)
            return Response(204)
        raise HttpError(405, "methodNotAllowed", "The specified method is not allowed.", "MethodNotAllowed")

    def _initiate(self, request: Request, bucket: str, name: str) -> Response:
        if any(header.startswith("x-goog-if-") for header in request.headers):
            # "XML API multipart uploads": preconditions are not supported.
            raise HttpError(501, "notImplemented", "A header you provided is not implemented.", "NotImplemented")
        upload_id = self._uploads.initiate(Multipart(bucket, name, _fields(request)))
        return Response.of_xml(
            f"<InitiateMultipartUploadResult xmlns='{_NAMESPACE}'><Bucket>{escape(bucket)}</Bucket>"
            f"<Key>{escape(name)}</Key><UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>"
        )

    def _part(self, request: Request, multipart: Multipart) -> Response:
        number = request.query.get("partNumber", "")
        declared = declared_hashes(request.headers)
        etag, crc32c = self._uploads.add_part(
            multipart, int(number) if number.isdigit() else 0, request.body.data, declared
        )
        told = [f"crc32c={crc32c}", *([f"md5={declared['md5']}"] if "md5" in declared else [])]
        return Response(200, {"ETag": etag, "X-Goog-Hash": ",".join(told)})

    def _complete(self, request: Request, caller: Caller, upload_id: str, bucket: str, name: str) -> Response:
        try:
            root = ElementTree.fromstring(bytes(request.body.data))
            listed = [(int(part.findtext("{*}PartNumber", "")), part.findtext("{*}ETag", "")) for part in root]
        except (ElementTree.ParseError, ValueError):
            raise bad_request("The XML you provided was not well-formed.", xml_code="MalformedXML") from None
        self._store.check_put(bucket, name, Conditions(), caller)
        stored = self._uploads.complete(upload_id, listed)
        return Response.of_xml(
            f"<CompleteMultipartUploadResult xmlns='{_NAMESPACE}'><Location>{self._base}/{bucket}/{quote(name)}"
            f"</Location><Bucket>{escape(bucket)}</Bucket><Key>{escape(name)}</Key><ETag>{escape(stored.etag)}</ETag>"
            "</CompleteMultipartUploadResult>",
            {"X-Goog-Hash": f"crc32c={stored.crc32c}", "X-Goog-Generation": str(stored.generation)},
        )


def _conditions(request: Request) -> Conditions:
    values: list[int | None] = []
    for header in ("x-goog-if-generation-match", "x-goog-if-metageneration-match"):
        text = request.headers.get(header)
        if text is not None and not re.fullmatch(r"\d+", text):
            raise bad_request(f"Invalid argument: {header}")
        values.append(None if text is None else int(text))
    return Conditions(generation=values[0], metageneration=values[1])


def _fields(request: Request) -> dict[str, Any]:
    """Return what headers say of an object, as the JSON representation names it."""
    headers = request.headers
    fields: dict[str, Any] = {field: headers[header] for header, field in _FIELDS.items() if header in headers}
    metadata = {
        header.removeprefix("x-goog-meta-"): value
        for header, value in headers.items()
        if header.startswith("x-goog-meta-")
    }
    return {**fields, **({"metadata": metadata} if metadata else {})}
