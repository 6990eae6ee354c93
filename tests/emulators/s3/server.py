"""`S3Server`: a small S3, in threads of this process, for what installable servers cannot show.

It compares full-object checksums, refuses parts that are too small, tells what it is asked in the order S3 does, checks
signatures and policies, and hides missing keys from those who may not list. Whatever the tests do not need is answered
with NotImplemented. After the public "Amazon S3 API Reference".

As a process of its own, for benchmarks, with tests/ on PYTHONPATH::

    python -m emulators.s3.server --bucket NAME --access-key ID --secret-key KEY [--port P]
"""

from __future__ import annotations

import argparse
import base64
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

from emulators.s3.access import User, authenticate
from emulators.s3.objects import (
    ALGORITHMS,
    Bucket,
    Bucketful,
    Refusal,
    StoredObject,
    UploadInParts,
    checksum,
    part_etag,
)

__all__ = ["S3Server"]

_KEPT = (
    "content-type",
    "x-amz-storage-class",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
)
_HTTP_TIME = "%a, %d %b %Y %H:%M:%S GMT"
_ISO_TIME = "%Y-%m-%dT%H:%M:%S.000Z"


class S3Server:
    """The server; use it in a ``with`` statement.

    Attributes:
        users: who may ask, by access key.
        buckets: what there is, by name.
        composite_only: know no full-object checksums, as older servers.
        knows_checksums: else checksum headers are neither compared nor answered.
        encrypts: ETags are no digests of the content, as those of encrypted objects.
        port, url: where it listens.
    """

    def __init__(
        self,
        users: Mapping[str, User],
        *buckets: str,
        composite_only: bool = False,
        knows_checksums: bool = True,
        encrypts: bool = False,
        port: int = 0,
    ) -> None:
        self.users = dict(users)
        self.buckets = {name: Bucket(name) for name in buckets}
        self.composite_only = composite_only
        self.knows_checksums = knows_checksums
        self.encrypts = encrypts
        self._http = _Listener(("127.0.0.1", port), self)
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # clients keep idle connections open
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], s3: S3Server) -> None:
        super().__init__(address, _Handler)
        self.s3 = s3

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error; anything else is printed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 64 << 10
    server: _Listener

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_HEAD(self) -> None:
        self._answer(self._get)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests are seen by the line in front."""

    def handle_expect_100(self) -> bool:
        """Give leave to send the body; the usual one would stay in the buffer."""
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.wfile.flush()
        return True

    # -- every request --------------------------------------------------------------------------------------

    def _answer(self, operation: Any) -> None:
        parts = urlsplit(self.path)
        self._asked = {name.lower(): value for name, value in self.headers.items()}
        self._query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        body = self.rfile.read(int(self._asked.get("content-length", "0")))
        name, _, key = parts.path.removeprefix("/").partition("/")
        self._key = unquote(key)
        try:
            if "transfer-encoding" in self._asked:
                raise Refusal(
                    501, "NotImplemented", "A header you provided implies functionality that is not implemented"
                )
            user = authenticate(self.server.s3.users, self.command, parts.path, parts.query, self._asked, body)
            if unquote(name) not in self.server.s3.buckets:
                raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist")
            self._user, self._bucket = user, self.server.s3.buckets[unquote(name)]
            operation(body)
        except Refusal as refusal:
            root = ET.Element("Error")
            for tag, text in {"Code": refusal.code, "Message": refusal.text, **refusal.elements}.items():
                ET.SubElement(root, tag).text = text
            self._send(refusal.status, {"Content-Type": "application/xml"}, ET.tostring(root))

    def _send(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def _send_xml(self, root: ET.Element, headers: Mapping[str, str] | None = None) -> None:
        self._send(200, {"Content-Type": "application/xml", **(headers or {})}, ET.tostring(root))

    def _require(self, action: str, on_bucket: bool = False) -> None:
        resource = f"arn:aws:s3:::{self._bucket.name}"
        if not self._user.may(f"s3:{action}", resource if on_bucket else f"{resource}/{self._key}"):
            raise Refusal(403, "AccessDenied", "Access Denied")

    def _object(self) -> StoredObject:
        found = self._bucket.objects.get(self._key)
        if found is None:
            self._require("ListBucket", on_bucket=True)  # else nobody is told what is missing
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        if self._asked.get("if-match", found.etag) != found.etag:
            raise Refusal(412, "PreconditionFailed", "At least one of the preconditions you specified did not hold")
        return found

    # -- reading --------------------------------------------------------------------------------------------

    def _get(self, body: bytes) -> None:
        if not self._key and "list-type" in self._query:
            self._list()
        elif not self._key:
            raise Refusal(501, "NotImplemented")
        elif "attributes" in self._query:
            self._attributes()
        else:
            self._get_object()

    def _get_object(self) -> None:
        self._require("GetObject")
        found = self._object()
        size, status, content = len(found.body), 200, found.body
        headers = {
            "content-type": "binary/octet-stream",
            **found.headers,
            "ETag": found.etag,
            "Last-Modified": found.modified.strftime(_HTTP_TIME),
            "Accept-Ranges": "bytes",
        }
        if wanted := self._asked.get("range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or size), size - 1)
            if start >= size:
                raise Refusal(416, "InvalidRange", "The requested range is not satisfiable", ActualObjectSize=str(size))
            status, content = 206, found.body[start : end + 1]
            headers["Content-Range"] = f"bytes {start}-{end}/{size}"
        elif self._asked.get("x-amz-checksum-mode") == "ENABLED" and found.algorithm:
            headers[f"x-amz-checksum-{found.algorithm}"] = found.checksum
            headers["x-amz-checksum-type"] = found.checksum_type
        self._send(status, {**headers, "Content-Length": str(len(content))}, content)

    def _list(self) -> None:
        self._require("ListBucket", on_bucket=True)
        query = self._query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = base64.b64decode(query.get("continuation-token", "")).decode()
        page = Bucketful.of(self._bucket, prefix, delimiter, after, int(query.get("max-keys", "1000")))
        encode = (lambda text: quote(text, safe="/-_.*~")) if query.get("encoding-type") == "url" else str
        root = ET.Element("ListBucketResult")
        for tag, text in (
            ("Name", self._bucket.name),
            ("Prefix", encode(prefix)),
            ("IsTruncated", str(bool(page.next)).lower()),
        ):
            ET.SubElement(root, tag).text = text
        if "encoding-type" in query:
            ET.SubElement(root, "EncodingType").text = "url"
        if page.next:
            ET.SubElement(root, "NextContinuationToken").text = base64.b64encode(page.next.encode()).decode()
        for key in page.keys:
            if (found := self._bucket.objects.get(key)) is not None:
                one = ET.SubElement(root, "Contents")
                modified = found.modified.strftime(_ISO_TIME)
                for tag, text in (
                    ("Key", encode(key)),
                    ("LastModified", modified),
                    ("ETag", found.etag),
                    ("Size", str(len(found.body))),
                ):
                    ET.SubElement(one, tag).text = text
        for entry in page.prefixes:
            ET.SubElement(ET.SubElement(root, "CommonPrefixes"), "Prefix").text = encode(entry)
        self._send_xml(root)

    def _attributes(self) -> None:
        self._require("GetObject")
        self._require("GetObjectAttributes")
        found = self._object()
        root = ET.Element("GetObjectAttributesResponse")
        ET.SubElement(root, "ETag").text = found.etag.strip('"')
        if found.part_sizes:
            parts = ET.SubElement(root, "ObjectParts")
            ET.SubElement(parts, "PartsCount").text = str(len(found.part_sizes))
            for number, size in enumerate(found.part_sizes, 1):
                part = ET.SubElement(parts, "Part")
                ET.SubElement(part, "PartNumber").text = str(number)
                ET.SubElement(part, "Size").text = str(size)
        self._send_xml(root)

    # -- writing --------------------------------------------------------------------------------------------

    def _put(self, body: bytes) -> None:
        self._require("PutObject")
        if not self._key:
            raise Refusal(501, "NotImplemented")
        if "uploadId" in self._query:
            upload = self._bucket.upload(self._query["uploadId"], self._key)
            answered = self._compare(body, upload.algorithm)[2]
            upload.parts[int(self._query["partNumber"])] = body
            self._send(200, {"ETag": part_etag(self._seal(body)), **answered})
            return
        algorithm, value, answered = self._compare(body, "crc64nvme")
        item = StoredObject(body, self._described(), algorithm, value, etag=part_etag(self._seal(body)))
        self._bucket.store(self._key, item, self._asked.get("if-none-match") == "*")
        self._send(200, {"ETag": item.etag, **answered})

    def _seal(self, body: bytes) -> bytes:
        """Return what the ETag is the MD5 of."""
        return b"sealed" + body if self.server.s3.encrypts else body

    def _compare(self, body: bytes, usual: str) -> tuple[str, str, dict[str, str]]:
        """Compare a checksum in the headers; return algorithm and value, and what is answered of them."""
        if not self.server.s3.knows_checksums:
            return "", "", {}
        told = [name for name in ALGORITHMS if f"x-amz-checksum-{name}" in self._asked]
        algorithm = told[0] if told else usual
        value = checksum(algorithm, body)
        if told and self._asked[f"x-amz-checksum-{algorithm}"] != value:
            raise Refusal(400, "BadDigest", f"The {algorithm.upper()} you specified did not match what we received.")
        return algorithm, value, {f"x-amz-checksum-{algorithm}": value, "x-amz-checksum-type": "FULL_OBJECT"}

    def _described(self) -> dict[str, str]:
        return {name: value for name, value in self._asked.items() if name in _KEPT or name.startswith("x-amz-meta-")}

    def _post(self, body: bytes) -> None:
        self._require("PutObject")
        if "uploads" in self._query:
            self._begin()
        elif "uploadId" in self._query:
            self._complete(body)
        else:
            raise Refusal(501, "NotImplemented")

    def _begin(self) -> None:
        knows = self.server.s3.knows_checksums
        algorithm = self._asked.get("x-amz-checksum-algorithm", "CRC64NVME").lower()
        kind = self._asked.get("x-amz-checksum-type", "COMPOSITE" if algorithm != "crc64nvme" else "FULL_OBJECT")
        if kind == "FULL_OBJECT" and algorithm.startswith("sha"):
            raise Refusal(400, "InvalidRequest", "The FULL_OBJECT checksum type cannot be used with the sha algorithms")
        if self.server.s3.composite_only:
            kind = "COMPOSITE"
        upload = UploadInParts(self._key, self._described(), algorithm if knows else "", kind)
        root = ET.Element("InitiateMultipartUploadResult")
        ET.SubElement(root, "UploadId").text = self._bucket.begin(upload)
        told = {"x-amz-checksum-algorithm": algorithm.upper(), "x-amz-checksum-type": kind} if knows else {}
        self._send_xml(root, told)

    def _complete(self, body: bytes) -> None:
        upload_id = self._query["uploadId"]
        upload = self._bucket.upload(upload_id, self._key)
        listed = []
        for part in ET.fromstring(body).iter():
            if part.tag.rpartition("}")[2] == "Part":
                fields = {child.tag.rpartition("}")[2]: child.text or "" for child in part}
                listed.append((int(fields["PartNumber"]), fields["ETag"]))
        expected = self._asked.get(f"x-amz-checksum-{upload.algorithm}")
        item = upload.complete(listed, self._seal, expected, self._asked.get("x-amz-mp-object-size"))
        self._bucket.store(self._key, item, self._asked.get("if-none-match") == "*")
        del self._bucket.uploads[upload_id]
        root = ET.Element("CompleteMultipartUploadResult")
        ET.SubElement(root, "ETag").text = item.etag
        if item.algorithm:
            ET.SubElement(root, f"Checksum{item.algorithm.upper()}").text = item.checksum
            ET.SubElement(root, "ChecksumType").text = item.checksum_type
        self._send_xml(root)

    def _delete(self, body: bytes) -> None:
        if "uploadId" in self._query:
            self._require("AbortMultipartUpload")
            self._bucket.upload(self._query["uploadId"], self._key)
            del self._bucket.uploads[self._query["uploadId"]]
        else:
            self._require("DeleteObject")
            self._bucket.objects.pop(self._key, None)
        self._send(204, {})


def main() -> None:
    """Run one server until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bucket", required=True, help="name of the bucket to have")
    parser.add_argument("--access-key", required=True, help="the one access key")
    parser.add_argument("--secret-key", required=True, help="its secret")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; any free one by default")
    given = parser.parse_args()
    with S3Server({given.access_key: User(given.secret_key)}, given.bucket, port=given.port) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
