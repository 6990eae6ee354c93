"""Resumable uploads: chunks, status checks, preconditions, checksums, and sessions that are gone."""

from __future__ import annotations

import io
from typing import Any

import pytest
import requests
from google.api_core.exceptions import BadRequest, PreconditionFailed
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from google.cloud.storage._media.requests import ResumableUpload
from google.cloud.storage.exceptions import InvalidResponse

from emulators.gcs import CutRequest, GcsServer, LoseReply

_CHUNK = 256 << 10
_DATA = bytes(range(256)) * (5 * _CHUNK // 512)  # two and a half chunks


def _begin(server: GcsServer, bucket: storage.Bucket, data: bytes = _DATA, **query: Any) -> tuple[ResumableUpload, Any]:
    """Begin an upload of which the test sends every chunk."""
    more = "".join(f"&{name}={value}" for name, value in query.items())
    url = f"{server.url}/upload/storage/v1/b/clinic/o?uploadType=resumable{more}"
    upload = ResumableUpload(url, _CHUNK, checksum="crc32c", retry=None)
    transport = AuthorizedSession(bucket.client._credentials)
    upload.initiate(transport, io.BytesIO(data), {"name": "scan"}, "image/dicom", total_bytes=len(data))
    return upload, transport


def _send_all(upload: ResumableUpload, transport: Any) -> list[Any]:
    responses = []
    while not upload.finished:
        responses.append(upload.transmit_next_chunk(transport))
    return responses


def test_chunks_are_joined(server: GcsServer, bucket: storage.Bucket) -> None:
    upload, transport = _begin(server, bucket)
    responses = []
    while not upload.finished:
        responses.append(upload.transmit_next_chunk(transport))
    assert [one.status_code for one in responses] == [308, 308, 200]
    assert [one.headers.get("Range") for one in responses] == [
        f"bytes=0-{_CHUNK - 1}",
        f"bytes=0-{2 * _CHUNK - 1}",
        None,
    ]
    assert server.read("clinic", "scan") == _DATA
    assert responses[-1].json()["contentType"] == "image/dicom"
    transport.close()


def test_an_upload_of_unknown_size(server: GcsServer, bucket: storage.Bucket) -> None:
    with bucket.blob("scan", chunk_size=_CHUNK).open("wb") as stream:
        stream.write(_DATA)
    assert server.read("clinic", "scan") == _DATA


def test_a_status_check_tells_what_is_here(server: GcsServer, bucket: storage.Bucket) -> None:
    upload, transport = _begin(server, bucket)

    def status(total: str) -> Any:
        return transport.put(upload.resumable_url, headers={"Content-Range": f"bytes */{total}"})

    empty = status("*")
    assert (empty.status_code, empty.headers.get("Range")) == (308, None)
    upload.transmit_next_chunk(transport)
    assert status(str(len(_DATA))).headers["Range"] == f"bytes=0-{_CHUNK - 1}"
    _send_all(upload, transport)
    assert (status("*").status_code, status("*").json()["name"]) == (200, "scan")
    transport.close()


def test_a_cut_chunk_leaves_what_came_of_it(server: GcsServer, bucket: storage.Bucket) -> None:
    whole = bytes(6 * _CHUNK)
    upload, transport = _begin(server, bucket, whole)
    upload._chunk_size = len(whole)
    server.faults.add("PUT", "upload_id=", CutRequest(after=3 * _CHUNK + 1000))
    with pytest.raises(requests.exceptions.ConnectionError):
        upload.transmit_next_chunk(transport)
    upload._make_invalid()
    upload.recover(transport)
    assert upload.bytes_uploaded == 3 * _CHUNK
    _send_all(upload, transport)
    assert server.read("clinic", "scan") == whole
    transport.close()


def test_bytes_that_are_here_already_are_not_taken_twice(server: GcsServer, bucket: storage.Bucket) -> None:
    upload, transport = _begin(server, bucket)
    upload.transmit_next_chunk(transport)
    again = {"Content-Range": f"bytes 0-{2 * _CHUNK - 1}/{len(_DATA)}"}
    answer = transport.put(upload.resumable_url, data=_DATA[: 2 * _CHUNK], headers=again)
    assert (answer.status_code, answer.headers["Range"]) == (308, f"bytes=0-{2 * _CHUNK - 1}")
    rest = {"Content-Range": f"bytes {2 * _CHUNK}-{len(_DATA) - 1}/{len(_DATA)}"}
    assert transport.put(upload.resumable_url, data=_DATA[2 * _CHUNK :], headers=rest).status_code == 200
    assert server.read("clinic", "scan") == _DATA
    transport.close()


def test_the_sdk_resumes_after_a_cut(server: GcsServer, bucket: storage.Bucket) -> None:
    server.faults.add("PUT", "upload_id=", CutRequest(after=100_000))
    bucket.blob("scan", chunk_size=_CHUNK).upload_from_file(io.BytesIO(_DATA))
    assert server.read("clinic", "scan") == _DATA
    assert server.faults.pending() == 0


def test_a_lost_answer_to_the_last_chunk(server: GcsServer, bucket: storage.Bucket) -> None:
    upload, transport = _begin(server, bucket, b"short")
    server.faults.add("PUT", "upload_id=", LoseReply())
    with pytest.raises(requests.exceptions.ConnectionError):
        upload.transmit_next_chunk(transport)
    assert server.read("clinic", "scan") == b"short"
    answer = transport.put(upload.resumable_url, headers={"Content-Range": "bytes */5"})
    assert answer.json()["size"] == "5"
    transport.close()


def test_preconditions_hold_at_the_beginning_and_at_the_end(server: GcsServer, bucket: storage.Bucket) -> None:
    upload, transport = _begin(server, bucket, ifGenerationMatch=0)
    server.put("clinic", "scan", b"somebody was faster")
    with pytest.raises(InvalidResponse) as raised:
        _send_all(upload, transport)
    assert raised.value.response.status_code == 412
    with pytest.raises(InvalidResponse) as raised:
        _begin(server, bucket, ifGenerationMatch=0)
    assert raised.value.response.status_code == 412
    assert server.read("clinic", "scan") == b"somebody was faster"
    with pytest.raises(PreconditionFailed):
        bucket.blob("scan", chunk_size=_CHUNK).upload_from_file(io.BytesIO(_DATA), if_generation_match=0)
    transport.close()


def test_a_wrong_checksum_of_the_last_chunk_refuses_the_object(server: GcsServer, bucket: storage.Bucket) -> None:
    upload, transport = _begin(server, bucket)
    upload.transmit_next_chunk(transport)
    upload._checksum_object.update(b"what was never sent")
    with pytest.raises(InvalidResponse) as raised:
        _send_all(upload, transport)
    assert raised.value.response.status_code == 400
    assert server.names("clinic") == []
    transport.close()


def test_a_wrong_checksum_in_the_metadata_refuses_the_object(server: GcsServer, bucket: storage.Bucket) -> None:
    blob = bucket.blob("scan", chunk_size=_CHUNK)
    blob.crc32c = "AAAAAA=="
    with pytest.raises(BadRequest, match="CRC32C"):
        blob.upload_from_file(io.BytesIO(_DATA), checksum=None)
    assert server.names("clinic") == []


@pytest.mark.parametrize(
    ("span", "size"),
    [
        (f"bytes {_CHUNK}-{2 * _CHUNK - 1}/{3 * _CHUNK}", _CHUNK),  # a gap
        (f"bytes 0-99999/{3 * _CHUNK}", 100_000),  # not a multiple of 256 KiB
        ("bytes zero to nine", 10),
    ],
)
def test_chunks_that_do_not_fit_are_refused(server: GcsServer, bucket: storage.Bucket, span: str, size: int) -> None:
    upload, transport = _begin(server, bucket, bytes(3 * _CHUNK))
    answer = transport.put(upload.resumable_url, data=bytes(size), headers={"Content-Range": span})
    assert answer.status_code == 400
    transport.close()


@pytest.mark.parametrize("status", [404, 410])
def test_a_session_that_is_gone(server: GcsServer, bucket: storage.Bucket, status: int) -> None:
    upload, transport = _begin(server, bucket)
    upload.transmit_next_chunk(transport)
    server.expire_sessions(status)
    with pytest.raises(InvalidResponse) as raised:
        upload.transmit_next_chunk(transport)
    assert raised.value.response.status_code == status
    transport.close()


def test_a_cancelled_session(server: GcsServer, bucket: storage.Bucket) -> None:
    upload, transport = _begin(server, bucket)
    assert transport.delete(upload.resumable_url).status_code == 499
    assert transport.put(upload.resumable_url, headers={"Content-Range": "bytes */*"}).status_code == 404
    assert server.uploads.pending() == 0
    transport.close()
