"""Multipart uploads over the XML API, as transfer_manager sends them and part by part."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
import requests
from google.cloud import storage
from google.cloud.storage import transfer_manager

from emulators.gcs import GcsServer

_MIB = 1 << 20


def test_transfer_manager_uploads_in_parts(server: GcsServer, bucket: storage.Bucket, tmp_path: Path) -> None:
    data = os.urandom(17 * _MIB + 5)
    source = tmp_path / "scan"
    source.write_bytes(data)
    blob = bucket.blob("eyes/left ü.dcm")
    blob.metadata = {"side": "left"}
    transfer_manager.upload_chunks_concurrently(
        str(source), blob, content_type="image/dicom", chunk_size=5 * _MIB, worker_type="thread", max_workers=4
    )
    assert server.read("clinic", "eyes/left ü.dcm") == data
    blob.reload()
    assert (blob.component_count, blob.content_type, blob.metadata) == (4, "image/dicom", {"side": "left"})
    assert server.uploads.pending() == 0


def test_transfer_manager_downloads_in_ranges(server: GcsServer, bucket: storage.Bucket, tmp_path: Path) -> None:
    data = os.urandom(9 * _MIB)
    server.put("clinic", "scan", data)
    target = tmp_path / "scan"
    transfer_manager.download_chunks_concurrently(
        bucket.blob("scan"), str(target), chunk_size=2 * _MIB, worker_type="thread", max_workers=4
    )
    assert target.read_bytes() == data


class _Upload:
    """A multipart upload whose every request the test sends."""

    def __init__(self, server: GcsServer) -> None:
        self.url = f"{server.url}/clinic/scan"
        answer = requests.post(f"{self.url}?uploads", headers={"Content-Type": "image/dicom"}, timeout=30)
        found = ElementTree.fromstring(answer.text).findtext("{*}UploadId")
        assert found
        self.id = found

    def part(self, number: int, data: bytes, **headers: str) -> requests.Response:
        url = f"{self.url}?partNumber={number}&uploadId={self.id}"
        return requests.put(
            url, data=data, headers={name.replace("_", "-"): it for name, it in headers.items()}, timeout=30
        )

    def complete(self, *listed: tuple[int, str]) -> requests.Response:
        parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in listed)
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"
        return requests.post(f"{self.url}?uploadId={self.id}", data=body, timeout=30)


def _code(answer: requests.Response) -> tuple[int, str | None]:
    return answer.status_code, ElementTree.fromstring(answer.text).findtext("Code")


def test_a_part_sent_again_replaces_the_first(server: GcsServer) -> None:
    upload = _Upload(server)
    upload.part(1, b"first")
    again = upload.part(1, b"again")
    assert upload.complete((1, again.headers["ETag"])).status_code == 200
    assert server.read("clinic", "scan") == b"again"


def test_what_a_completion_may_not_list(server: GcsServer) -> None:
    upload = _Upload(server)
    one, two = (upload.part(n, b"small").headers["ETag"] for n in (1, 2))
    assert _code(upload.complete((2, two), (1, one))) == (400, "InvalidPartOrder")
    assert _code(upload.complete((1, two))) == (400, "InvalidPart")
    assert _code(upload.complete((3, one))) == (400, "InvalidPart")
    assert _code(upload.complete((1, one), (2, two))) == (400, "EntityTooSmall")
    assert _code(upload.complete()) == (400, "MalformedXML")
    assert server.names("clinic") == []


def test_a_part_that_is_not_what_was_declared_is_refused(server: GcsServer) -> None:
    upload = _Upload(server)
    assert _code(upload.part(1, b"data", x_goog_hash="crc32c=AAAAAA==")) == (400, "BadDigest")
    assert _code(upload.part(1, b"data", Content_MD5="AAAAAAAAAAAAAAAAAAAAAA==")) == (400, "BadDigest")


@pytest.mark.parametrize("number", [0, 10_001])
def test_part_numbers_out_of_range_are_refused(server: GcsServer, number: int) -> None:
    assert _code(_Upload(server).part(number, b"data")) == (400, "InvalidArgument")


def test_an_aborted_upload_is_gone(server: GcsServer) -> None:
    upload = _Upload(server)
    etag = upload.part(1, b"data").headers["ETag"]
    assert requests.delete(f"{upload.url}?uploadId={upload.id}", timeout=30).status_code == 204
    assert _code(upload.complete((1, etag))) == (404, "NoSuchUpload")
    assert server.uploads.pending() == 0


def test_preconditions_are_not_implemented(server: GcsServer) -> None:
    headers = {"x-goog-if-generation-match": "0"}
    answer = requests.post(f"{server.url}/clinic/scan?uploads", headers=headers, timeout=30)
    assert _code(answer) == (501, "NotImplemented")


def test_errors_are_xml(server: GcsServer) -> None:
    assert _code(requests.get(f"{server.url}/clinic/gone", timeout=30)) == (404, "NoSuchKey")
    assert _code(requests.get(f"{server.url}/nowhere/gone", timeout=30)) == (404, "NoSuchBucket")
    assert _code(requests.post(f"{server.url}/nowhere/new?uploads", timeout=30)) == (404, "NoSuchBucket")
