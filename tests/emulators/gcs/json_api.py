"""The JSON API: buckets, objects, media, and both kinds of upload.

Sources: the Cloud Storage JSON API reference (Buckets, Objects), "Upload objects: single-request uploads" (media and
multipart/related), "Resumable uploads".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from .access import Access, Caller
from .errors import HttpError, bad_request
from .http import Request, Response
from .media import media
from .objects import Buffer, Conditions, Store
from .uploads import Session, Uploads, declared_hashes

__all__ = ["JsonApi"]

_MAX_RESULTS = 1_000


class JsonApi:
    """Answers everything under ``/storage/v1``, ``/upload/storage/v1`` and ``/download/storage/v1``.

    Args:
        store: the objects.
        uploads: the resumable sessions.
        access: who may do what.
        base: ``http://host:port``, for links.
    """

    def __init__(self, store: Store, uploads: Uploads, access: Access, base: str) -> None:
        self._store = store
        self._uploads = uploads
        self._access = access
        self._base = base

    def serve(self, request: Request) -> Response | None:
        """Answer a request; None where its connection broke."""
        first = request.segments[0]
        if first == "upload":
            return self._upload(request)
        if not request.body.complete:
            return None
        rest = request.segments[request.segments.index("b") + 1 :] if "b" in request.segments[:4] else []
        caller = self._access.caller(request)
        if not rest or rest == [""]:
            return self._create_bucket(request, caller)
        if len(rest) == 1:
            caller.need("buckets.get")
            return Response.of_json(self._store.bucket(rest[0]).resource(self._base))
        if rest[1:] == ["iam", "testPermissions"]:
            return self._test_permissions(request, caller, rest[0])
        if rest[1] != "o":
            raise HttpError(404, "notFound", "Not Found")
        if len(rest) == 2:
            return self._list(request, caller, rest[0])
        if len(rest) == 4 and rest[3] == "compose":
            return self._compose(request, caller, rest[0], rest[2])
        return self._object(request, caller, rest[0], rest[2])

    # Buckets

    def _create_bucket(self, request: Request, caller: Caller) -> Response:
        if request.method != "POST":
            raise HttpError(404, "notFound", "Not Found")
        caller.need("buckets.create")
        name = str(request.json().get("name", ""))
        if not re.fullmatch(r"[a-z0-9][-a-z0-9_.]{1,220}[a-z0-9]", name):
            raise bad_request(f"Invalid bucket name: '{name}'")
        return Response.of_json(self._store.add_bucket(name).resource(self._base))

    def _test_permissions(self, request: Request, caller: Caller, bucket: str) -> Response:
        self._store.bucket(bucket)
        asked = re.findall(r"(?:^|[?&])permissions=([^&]*)", request.target.partition("?")[2])
        held = [name for name in asked if caller.may(name.removeprefix("storage.").removeprefix("objects."))]
        return Response.of_json({"kind": "storage#testIamPermissionsResponse", "permissions": held})

    # Objects

    def _object(self, request: Request, caller: Caller, bucket: str, name: str) -> Response:
        methods: dict[str, Callable[[Request, Caller, str, str], Response]] = {
            "GET": self._get,
            "HEAD": self._get,
            "PATCH": self._patch,
            "DELETE": self._delete,
        }
        if request.method not in methods:
            raise HttpError(405, "methodNotAllowed", "Method Not Allowed")
        return methods[request.method](request, caller, bucket, name)

    def _get(self, request: Request, caller: Caller, bucket: str, name: str) -> Response:
        caller.need("get")
        if self._store.find(bucket, name) is None:
            caller.need("list")  # whoever may not list is not told what is missing
        found = self._store.get(bucket, name, request.number("generation"), _conditions(request))
        if request.query.get("alt") == "media":
            return media(found, request)
        return Response.of_json(found.resource(self._base), {"ETag": found.etag})

    def _patch(self, request: Request, caller: Caller, bucket: str, name: str) -> Response:
        caller.need("update")
        changed = self._store.patch(bucket, name, request.json(), _conditions(request))
        return Response.of_json(changed.resource(self._base))

    def _delete(self, request: Request, caller: Caller, bucket: str, name: str) -> Response:
        caller.need("delete")
        self._store.delete(bucket, name, request.number("generation"), _conditions(request))
        return Response(204)

    def _list(self, request: Request, caller: Caller, bucket: str) -> Response:
        caller.need("list")
        query = request.query
        items, prefixes = self._store.listing(
            bucket,
            query.get("prefix", ""),
            query.get("delimiter", ""),
            query.get("startOffset", ""),
            query.get("endOffset", ""),
        )
        found = {**{one.name: one for one in items}, **dict.fromkeys(prefixes)}
        named = sorted(name for name in found if name > query.get("pageToken", ""))
        size = min(request.number("maxResults") or _MAX_RESULTS, _MAX_RESULTS)
        page = named[:size]
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if len(named) > size:
            answer["nextPageToken"] = page[-1]
        resources = [one.resource(self._base) for one in (found[name] for name in page) if one is not None]
        if resources:
            answer["items"] = resources
        if shown := [name for name in page if found[name] is None]:
            answer["prefixes"] = shown
        return Response.of_json(answer)

    def _compose(self, request: Request, caller: Caller, bucket: str, name: str) -> Response:
        caller.need("create")
        caller.need("get")
        self._store.check_put(bucket, name, _conditions(request), caller)
        asked = request.json()
        sources = []
        for source in asked.get("sourceObjects", []):
            wanted = source.get("objectPreconditions", {}).get("ifGenerationMatch") or source.get("generation")
            sources.append((source["name"], Conditions(generation=None if wanted is None else int(wanted))))
        fields = asked.get("destination", {})
        composed = self._store.compose(bucket, name, sources, fields, _conditions(request))
        return Response.of_json(composed.resource(self._base))

    # Uploads

    def _upload(self, request: Request) -> Response | None:
        upload_id = request.query.get("upload_id")
        if upload_id is not None:  # the session's URI is itself what allows its use
            return self._continue(request, upload_id)
        if not request.body.complete:
            return None
        caller = self._access.caller(request)
        caller.need("create")
        bucket = request.segments[4]
        kind = request.query.get("uploadType", "")
        if request.method != "POST" or kind not in ("media", "multipart", "resumable"):
            raise bad_request(f"Unknown uploadType: {kind}")
        self._store.bucket(bucket)
        if kind == "resumable":
            return self._begin(request, caller, bucket)
        fields, data = _multipart(request) if kind == "multipart" else _plain(request)
        name = str(request.query.get("name") or fields.get("name", ""))
        conditions = _conditions(request)
        self._store.check_put(bucket, name, conditions, caller)
        declared = {**_declared(fields), **declared_hashes(request.headers)}
        stored = self._store.put(bucket, name, data, fields, conditions=conditions, declared=declared)
        return Response.of_json(stored.resource(self._base))

    def _begin(self, request: Request, caller: Caller, bucket: str) -> Response:
        fields = request.json()
        name = str(request.query.get("name") or fields.get("name", ""))
        conditions = _conditions(request)
        self._store.check_put(bucket, name, conditions, caller)
        if "contentType" not in fields and "x-upload-content-type" in request.headers:
            fields["contentType"] = request.headers["x-upload-content-type"]
        session = Session(bucket, name, fields, conditions, _declared(fields), caller)
        upload_id = self._uploads.begin(session)
        location = (
            f"{self._base}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&name={quote(name, safe='')}"
            f"&upload_id={upload_id}"
        )
        return Response(200, {"Location": location, "X-GUploader-UploadID": upload_id})

    def _continue(self, request: Request, upload_id: str) -> Response | None:
        if request.method == "DELETE":
            return self._uploads.cancel(upload_id)
        session = self._uploads.session(upload_id)
        return self._uploads.receive(session, request.body, request.headers, self._base)


def _conditions(request: Request) -> Conditions:
    return Conditions(
        request.number("ifGenerationMatch"),
        request.number("ifGenerationNotMatch"),
        request.number("ifMetagenerationMatch"),
        request.number("ifMetagenerationNotMatch"),
    )


def _declared(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes that an object's metadata declare."""
    return {kind: fields[key] for kind, key in (("crc32c", "crc32c"), ("md5", "md5Hash")) if fields.get(key)}


def _plain(request: Request) -> tuple[dict[str, Any], Buffer]:
    return {"contentType": request.headers.get("content-type")}, request.body.data


def _multipart(request: Request) -> tuple[dict[str, Any], Buffer]:
    """Take apart a multipart/related body: metadata as JSON, then the media."""
    found = re.search(r'boundary=(?:"([^"]+)"|([^;\s]+))', request.headers.get("content-type", ""))
    if found is None:
        raise bad_request("A multipart upload needs a boundary.")
    boundary = b"--" + (found[1] or found[2]).encode()
    data = bytes(request.body.data)
    begin = data.index(boundary) + len(boundary)
    middle = data.index(b"\r\n" + boundary, begin)
    end = data.rindex(b"\r\n" + boundary + b"--")
    fields = json.loads(data[begin:middle].partition(b"\r\n\r\n")[2] or b"{}")
    head_end = data.index(b"\r\n\r\n", middle + len(boundary))
    head = data[middle:head_end].decode("latin-1")
    content_type = re.search(r"(?im)^content-type:\s*(.+?)\s*$", head)
    if "contentType" not in fields and content_type is not None:
        fields["contentType"] = content_type[1]
    return fields, memoryview(data)[head_end + 4 : end]
