"""Objects over the JSON API: metadata, media, listing, composing, and what is missing."""

from __future__ import annotations

import base64
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor

import google_crc32c
import pytest
from google.api_core.exceptions import BadRequest, NotFound, PreconditionFailed
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption

from emulators.gcs import GcsServer
from emulators.gcs.errors import HttpError
from emulators.gcs.objects import Conditions


def test_what_is_uploaded_is_described(bucket: storage.Bucket) -> None:
    blob = bucket.blob("eyes/left ü.jpg")
    blob.metadata = {"side": "left"}
    blob.cache_control = "no-store"
    blob.upload_from_string(b"picture", content_type="image/jpeg")
    found = bucket.get_blob("eyes/left ü.jpg")
    assert found is not None
    assert (found.size, found.content_type, found.metadata) == (7, "image/jpeg", {"side": "left"})
    assert found.cache_control == "no-store"
    assert base64.b64decode(found.crc32c) == google_crc32c.value(b"picture").to_bytes(4, "big")
    assert base64.b64decode(found.md5_hash) == hashlib.md5(b"picture").digest()
    assert (found.generation, found.metageneration, found.etag) == (blob.generation, 1, blob.etag)
    assert found.time_created is not None
    assert found.download_as_bytes() == b"picture"


def test_a_new_upload_is_a_new_generation(bucket: storage.Bucket) -> None:
    blob = bucket.blob("one")
    blob.upload_from_string(b"first")
    first = blob.generation
    blob.upload_from_string(b"second")
    assert blob.generation > first
    with pytest.raises(NotFound):
        bucket.blob("one", generation=first).download_as_bytes()
    assert bucket.blob("one", generation=blob.generation).download_as_bytes() == b"second"


def test_ranges(server: GcsServer, bucket: storage.Bucket) -> None:
    server.put("clinic", "digits", b"0123456789")
    blob = bucket.blob("digits")
    assert blob.download_as_bytes(start=2, end=4) == b"234"
    assert blob.download_as_bytes(start=7) == b"789"
    assert blob.download_as_bytes(start=5, end=100) == b"56789"
    with pytest.raises(Exception, match="416"):
        blob.download_as_bytes(start=10)


def test_a_download_carries_the_hash_of_the_whole(server: GcsServer, bucket: storage.Bucket) -> None:
    server.put("clinic", "scan", b"x" * 100_000)
    assert bucket.blob("scan").download_as_bytes() == b"x" * 100_000
    server.damage("clinic", "scan", 50_000)
    with pytest.raises(DataCorruption):
        bucket.blob("scan").download_as_bytes()


@pytest.mark.parametrize("kind", ["multipart", "resumable"])
def test_preconditions_of_an_upload(server: GcsServer, bucket: storage.Bucket, kind: str) -> None:
    blob = bucket.blob("one")

    def upload(data: bytes, **conditions: int) -> None:  # without a size, the SDK makes a resumable upload
        blob.upload_from_file(io.BytesIO(data), size=len(data) if kind == "multipart" else None, **conditions)

    upload(b"first", if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        upload(b"second", if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        upload(b"second", if_generation_match=blob.generation + 1)
    assert server.read("clinic", "one") == b"first"
    upload(b"second", if_generation_match=blob.generation)
    assert server.read("clinic", "one") == b"second"
    assert any(f"uploadType={kind}" in target for _, target in server.seen)


def test_one_of_many_that_create_at_once_wins(server: GcsServer) -> None:
    def create(n: int) -> int:
        try:
            server.store.put("clinic", f"{n % 50}", b"%d" % n, {}, conditions=Conditions(generation=0))
        except HttpError as error:
            return error.status
        return 200

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(create, range(400))) == [200] * 50 + [412] * 350


def test_preconditions_of_reading_changing_and_deleting(server: GcsServer, bucket: storage.Bucket) -> None:
    generation = server.put("clinic", "one", b"first")
    blob = bucket.blob("one")
    assert blob.download_as_bytes(if_generation_match=generation) == b"first"
    for call in (blob.download_as_bytes, blob.reload, blob.delete):
        with pytest.raises(PreconditionFailed):
            call(if_generation_match=generation + 1)
    blob.reload()
    blob.metadata = {"side": "right"}
    blob.patch(if_metageneration_match=1)
    assert blob.metageneration == 2
    with pytest.raises(PreconditionFailed):
        blob.patch(if_metageneration_match=1)
    blob.delete(if_generation_match=generation)
    assert server.names("clinic") == []


def test_metadata_are_changed_key_by_key(server: GcsServer, bucket: storage.Bucket) -> None:
    server.put("clinic", "one", b"x", metadata={"a": "1", "b": "2"}, contentType="image/png")
    blob = bucket.blob("one")
    blob.metadata = {"a": None, "c": "3"}
    blob.content_type = None
    blob.patch()
    blob.reload()
    assert (blob.metadata, blob.content_type) == ({"b": "2", "c": "3"}, None)


@pytest.mark.parametrize("kind", ["crc32c", "md5_hash"])
def test_content_that_is_not_what_was_declared_is_refused(server: GcsServer, bucket: storage.Bucket, kind: str) -> None:
    blob = bucket.blob("one")
    other = {"crc32c": "AAAAAA==", "md5_hash": base64.b64encode(bytes(16)).decode()}
    setattr(blob, kind, other[kind])
    with pytest.raises(BadRequest, match="doesn't match calculated"):
        blob.upload_from_string(b"content", checksum=None)
    assert server.names("clinic") == []


def test_listing_by_prefix_delimiter_and_pages(server: GcsServer, bucket: storage.Bucket) -> None:
    for name in ("a/1", "a/2", "a/b/3", "a/c/4", "a/c/5", "b/6"):
        server.put("clinic", name, b"")
    assert [one.name for one in bucket.list_blobs()] == server.names("clinic")
    listing = bucket.list_blobs(prefix="a/", delimiter="/", page_size=2)
    pages = [([one.name for one in page], sorted(page.prefixes)) for page in listing.pages]
    assert pages == [(["a/1", "a/2"], []), ([], ["a/b/", "a/c/"])]
    assert [one.name for one in bucket.list_blobs(start_offset="a/c", end_offset="b")] == ["a/c/4", "a/c/5"]
    assert [one.name for one in bucket.list_blobs(max_results=1)] == ["a/1"]


def test_composing(server: GcsServer, bucket: storage.Bucket) -> None:
    server.put("clinic", "1", b"one")
    generation = server.put("clinic", "2", b"two")
    target = bucket.blob("all")
    target.content_type = "text/plain"
    sources = [bucket.blob("1"), bucket.blob("2")]
    target.compose(sources, if_generation_match=0, if_source_generation_match=[None, generation])
    assert server.read("clinic", "all") == b"onetwo"
    target.reload()
    assert (target.component_count, target.md5_hash, target.content_type) == (2, None, "text/plain")
    with pytest.raises(PreconditionFailed):
        target.compose(sources, if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        target.compose(sources, if_source_generation_match=[None, generation + 1])
    with pytest.raises(NotFound):
        target.compose([bucket.blob("missing")])


def test_a_missing_object_and_a_missing_bucket_read_differently(bucket: storage.Bucket) -> None:
    with pytest.raises(NotFound, match="No such object: clinic/gone"):
        bucket.blob("gone").reload()
    with pytest.raises(NotFound, match="No such object: clinic/gone"):
        bucket.blob("gone").download_as_bytes()
    elsewhere = bucket.client.bucket("nowhere")
    for call in (
        lambda: elsewhere.blob("gone").download_as_bytes(),
        lambda: elsewhere.blob("new").upload_from_string(b"x"),
        lambda: list(elsewhere.list_blobs()),
        lambda: elsewhere.reload(),
    ):
        with pytest.raises(NotFound, match="The specified bucket does not exist"):
            call()


def test_names_over_1024_bytes_are_refused(bucket: storage.Bucket) -> None:
    bucket.blob("n" * 1024).upload_from_string(b"x")
    with pytest.raises(BadRequest):
        bucket.blob("n" * 1025).upload_from_string(b"x")


def test_buckets_are_made_and_described(bucket: storage.Bucket) -> None:
    made = bucket.client.create_bucket("second")
    assert made.exists()
    assert not bucket.client.bucket("third").exists()
