"""Checksums of S3: those we send, those of others' objects, and none where the server wants none."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from clouddirect.conformance.storage_harness import content
from clouddirect.errors import IntegrityError, UnsupportedError
from clouddirect_aws.s3_checksums import digest_of, new_s3_hasher
from emulators.http_line import Damage, Reply
from emulators.s3.objects import ALGORITHMS
from unit.aws.s3_fixtures import MIB, Rig, error_reply, is_download, once

CHECK = b"123456789"


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("crc32", "cbf43926"),
        ("crc32c", "e3069283"),
        ("crc64nvme", "ae8b14860a799888"),
        ("sha512", hashlib.sha512(CHECK).hexdigest()),
        ("md5", "25f9e794323b453885f5181f1b624d0b"),
    ],
)
def test_hashers_compute_the_published_check_values(algorithm: str, expected: str) -> None:
    """Each algorithm, fed in pieces, gives its check value over the digits 1 to 9 (the catalogue of CRCs)."""
    hasher = new_s3_hasher(algorithm)
    assert hasher is not None
    for piece in (CHECK[:4], b"", CHECK[4:]):
        hasher.update(piece)
    assert hasher.digest().hex() == expected


def test_unknown_algorithms_have_no_hasher() -> None:
    """What cannot be computed here is told as such, for a whole and for parts."""
    assert new_s3_hasher("xxhash3") is None
    assert new_s3_hasher("xxhash3-parts-5") is None


@pytest.mark.parametrize("size", [1, 9, 10, 11, 20, 25])
def test_checksum_of_parts_does_not_depend_on_pieces(size: int) -> None:
    """However the bytes come, the checksum is that of the parts' checksums."""
    data = content(size)
    parts = [data[start : start + 10] for start in range(0, size, 10)]
    expected = ALGORITHMS["sha256"](b"".join(ALGORITHMS["sha256"](part) for part in parts))
    for step in (1, 7, 10, 100):
        hasher = new_s3_hasher("sha256-parts-10")
        assert hasher is not None
        for start in range(0, size, step):
            hasher.update(memoryview(data)[start : start + step])
        assert hasher.digest() == expected


def test_checksum_of_parts_is_told_only_where_the_parts_are_known() -> None:
    """Without their size, or with one that does not give their number, there is nothing to compare with."""
    answer = {"ChecksumCRC32": "y/Q5Jg==-3", "ChecksumType": "COMPOSITE"}
    assert digest_of(answer, 25, 10) == ("crc32-parts-10", "cbf43926")
    assert digest_of(answer, 25, None) == (None, None)
    assert digest_of(answer, 31, 10) == (None, None)
    assert digest_of({"ChecksumCRC32": "y/Q5Jg==", "ChecksumType": "FULL_OBJECT"}, 25, None) == ("crc32", "cbf43926")


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_others_objects_are_verified(s3: Rig, algorithm: str, tmp_path: Path) -> None:
    """An object that another program wrote is verified by the checksum it was given; damage is found, too."""
    s3.raw().put_object(Bucket="acme-retina", Key="other", Body=content(MIB), ChecksumAlgorithm=algorithm)
    store = s3.store()
    assert store.download("other", tmp_path / "other").verified == algorithm.lower()
    assert store.get("other") == content(MIB)
    s3.line.rule = lambda request: Damage(1000, of="response") if is_download(request) else None
    with pytest.raises(IntegrityError):
        store.download("other", tmp_path / "other")
    with pytest.raises(IntegrityError):
        store.get("other")


def in_parts(sdk: Any, sizes: tuple[int, ...], algorithm: str = "SHA256") -> bytes:
    """Store ``other`` as another program would, in parts of these sizes; return its content."""
    begun = sdk.create_multipart_upload(Bucket="acme-retina", Key="other", ChecksumAlgorithm=algorithm)
    wishes = {"Bucket": "acme-retina", "Key": "other", "UploadId": begun["UploadId"]}
    pieces, parts = [content(size, number) for number, size in enumerate(sizes)], []
    for number, piece in enumerate(pieces, 1):
        told = sdk.upload_part(**wishes, PartNumber=number, Body=piece, ChecksumAlgorithm=algorithm)
        name = f"Checksum{algorithm}"
        parts.append({"PartNumber": number, "ETag": told["ETag"], name: told[name]})
    sdk.complete_multipart_upload(**wishes, MultipartUpload={"Parts": parts})
    return b"".join(pieces)


def test_others_objects_in_even_parts_are_verified(s3: Rig, tmp_path: Path) -> None:
    """The checksum of parts' checksums is compared where the service tells the parts' sizes, by every way to read."""
    data = in_parts(s3.raw(), (6 * MIB, 6 * MIB, 1000))
    reader = s3.store(("reader", "reader-secret"))
    assert reader.download("other", tmp_path / "other").verified == f"sha256-parts-{6 * MIB}"
    assert (tmp_path / "other").read_bytes() == data
    with reader.open("other") as stream:
        assert stream.read() == data
        assert stream.file.verified == f"sha256-parts-{6 * MIB}"
    s3.line.rule = lambda request: Damage(1000, of="response") if is_download(request) else None
    with pytest.raises(IntegrityError):
        reader.get("other")


def test_others_objects_in_uneven_parts_are_not_called_verified(s3: Rig, tmp_path: Path) -> None:
    """Where parts differ in size nothing is compared, and nothing is claimed; even where a count would fit."""
    data = in_parts(s3.raw(), (5 * MIB, 6 * MIB, 4 * MIB))
    fetched = s3.store().download("other", tmp_path / "other")
    assert (fetched.verified, fetched.digest) == (None, None)
    assert (tmp_path / "other").read_bytes() == data


def test_parts_sizes_are_not_asked_for_twice_in_vain(s3: Rig, tmp_path: Path) -> None:
    """A credential that may not ask for them reads all the same, unverified, and asks once."""
    data = in_parts(s3.raw(), (5 * MIB, 1000))
    policy = s3.server.users["reader"].policy
    assert policy is not None
    policy["Statement"][0]["Action"] = "s3:GetObject"
    store = s3.store(("reader", "reader-secret"))
    for _ in range(2):
        assert store.download("other", tmp_path / "other").verified is None
    assert store.get("other") == data
    assert len(s3.requests("GET", attributes="")) == 1


def test_a_server_that_does_not_tell_the_parts_is_read_from(s3: Rig) -> None:
    """One that overlooks what was asked for, and answers with the object, is read from all the same, unverified."""
    data = in_parts(s3.raw(), (5 * MIB, 1000))
    s3.line.rule = lambda request: Reply(200, {"ETag": '"x"'}, data) if "attributes" in request.query else None
    store = s3.store()
    for _ in range(2):
        assert store.get("other") == data
    assert len(s3.requests("GET", attributes="")) == 1


def test_trouble_in_asking_for_the_parts_passes(s3: Rig) -> None:
    """An object that went away in between, and a service that fails for a while, cost no later verification."""
    data = in_parts(s3.raw(), (5 * MIB, 1000))
    store = s3.store()
    for trouble, told in ((error_reply(404, "NoSuchKey"), False), (error_reply(500, "InternalError"), True)):
        s3.line.rule = once(trouble, lambda request: "attributes" in request.query)
        assert (store.stat("other").digest is not None) is told
    with store.open("other") as stream:
        assert stream.read() == data
        assert stream.file.verified == f"sha256-parts-{5 * MIB}"


@pytest.mark.parametrize("size", [1000, 12 * MIB])
def test_checksum_off_sends_and_asks_for_none(s3: Rig, size: int, tmp_path: Path) -> None:
    """No request holds a checksum header; a server that knows none is written to and read from. Its ETags are MD5s, so
    the upload is confirmed nevertheless."""
    s3.server.knows_checksums = False
    store = s3.store(checksum="off")
    stored = store.put("plain", content(size))
    assert stored.verified == ("md5" if size == 1000 else "md5-ranges")
    fetched = store.download("plain", tmp_path / "plain")
    assert (fetched.verified, fetched.digest) == (None, None)
    assert (tmp_path / "plain").read_bytes() == content(size)
    sent = {name for request in s3.line.seen for name in request.headers}
    assert not [name for name in sent if "checksum" in name]


@pytest.mark.parametrize("size", [1000, 12 * MIB])
def test_required_wants_a_confirmation(s3: Rig, size: int) -> None:
    """A server that confirms nothing is refused with ``required``, and taken as it is with ``auto``."""
    s3.server.knows_checksums, s3.server.encrypts = False, True
    with pytest.raises(UnsupportedError, match="checksum"):
        s3.store(checksum="required").put("plain", content(size))
    assert not s3.server.buckets["acme-retina"].uploads
    assert s3.store().put("plain", content(size)).verified is None


@pytest.mark.parametrize("size", [1000, 12 * MIB])
def test_required_is_content_with_a_service_that_compares(s3: Rig, size: int) -> None:
    """Against a service that compares, ``required`` changes nothing, encrypted or not."""
    s3.server.encrypts = True
    assert s3.store(checksum="required").put("kept", content(size)).verified == "crc32"


def test_another_checksum_in_the_answer_is_an_error(s3: Rig) -> None:
    """A service that says it holds other bytes is not believed to hold ours."""
    answer = {"ETag": '"x"', "x-amz-checksum-crc32": "AAAAAA=="}
    s3.line.rule = lambda request: Reply(200, answer) if request.method == "PUT" else None
    with pytest.raises(IntegrityError):
        s3.store().put("other", b"content")


def test_checksums_go_before_the_body(s3: Rig) -> None:
    """No request is chunked, and each body's CRC32 is in its head: what S3-compatible servers understand."""
    s3.store().put("small", content(1000))
    s3.store().put("parts", content(12 * MIB))
    bodies = [request for request in s3.line.seen if request.method == "PUT"]
    assert len(bodies) == 4
    for request in bodies:
        assert "x-amz-checksum-crc32" in request.headers
        assert not {"transfer-encoding", "x-amz-trailer", "content-encoding"} & request.headers.keys()
    (commit,) = s3.requests("POST", uploadId="")
    assert commit.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert commit.headers["x-amz-mp-object-size"] == str(12 * MIB)
    assert commit.headers["x-amz-checksum-crc32"] == s3.objects["parts"].checksum
