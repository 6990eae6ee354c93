"""Reading: blobs that others have stored, ranges that are verified one by one, and what a damaged line does to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from azure.storage.blob import ContentSettings

from clouddirect.conformance.storage_harness import content
from clouddirect.errors import ChangedError, IntegrityError, NotFoundError, PreconditionFailedError
from emulators.http_line import Cut, Damage, Fault, Reply, Request
from unit.azure.blob_fixtures import Blobs

_MIB = 1 << 20
_RANGE = 4 * _MIB


def ranges(line_seen: list[Request]) -> list[tuple[str, bool]]:
    """The ranges that were asked for, and whether with their MD5."""
    return [
        (one.headers["x-ms-range"].removeprefix("bytes="), "x-ms-range-get-content-md5" in one.headers)
        for one in line_seen
        if one.method == "GET"
    ]


@pytest.mark.parametrize("size", [0, 1, _RANGE - 1, _RANGE, _RANGE + 1, 9 * _MIB + 7])
def test_blob_without_a_digest(blobs: Blobs, size: int, tmp_path: Path) -> None:
    """It is read in ranges of at most 4 MiB, each compared with the MD5 that the service computes."""
    data = content(size)
    blobs.put_without_md5("foreign", data)
    line = blobs.line()
    store = blobs.store(line, "rl", part_size=6 * _MIB)
    assert store.get("foreign") == data
    fetched = store.download("foreign", tmp_path / "foreign")
    assert (tmp_path / "foreign").read_bytes() == data
    assert fetched.digest is None
    assert fetched.verified == ("md5-ranges" if size else None)
    asked = ranges(line.seen)
    assert all(verified for _, verified in asked)
    for one, _ in asked:
        first, last = map(int, one.split("-"))
        assert last - first < _RANGE


def test_blob_with_a_digest(blobs: Blobs, tmp_path: Path) -> None:
    """The first range tells that there is one; then ranges are as long as parts, and the whole is compared."""
    store = blobs.store(line := blobs.line(), part_size=6 * _MIB, concurrency=2)
    stored = store.put("ours", content(20 * _MIB))
    fetched = store.download("ours", tmp_path / "ours")
    assert (fetched.verified, fetched.digest) == ("md5", stored.digest)
    assert stored.digest == hashlib.md5(content(20 * _MIB)).hexdigest()
    asked = ranges(line.seen)
    assert asked[0] == ("0-4194303", True)
    rest = {"4194304-6291455", "6291456-12582911", "12582912-18874367", "18874368-25165823"}
    assert set(asked[1:]) == {(one, False) for one in rest}


def test_small_blob_is_one_request(blobs: Blobs) -> None:
    """What fits into one range costs one request, and is verified whoever has stored it."""
    blobs.put_without_md5("foreign", b"foreign")
    store = blobs.store(line := blobs.line(), "r")
    with store.open("foreign") as stream:
        assert stream.read() == b"foreign"
        assert stream.file.verified == "md5-ranges"
    assert len(line.seen) == 1


def test_parts_of_a_blob(blobs: Blobs) -> None:
    """A range is exactly its bytes, across the ranges that are verified."""
    data = content(9 * _MIB)
    blobs.put_without_md5("foreign", data)
    store = blobs.store()
    size = len(data)
    for offset, length in ((0, 10), (_RANGE - 5, 10), (3, 2 * _RANGE), (8 * _MIB, None), (size, 5), (size - 1, 9)):
        with store.open("foreign", offset, length) as stream:
            assert stream.read() == data[offset : None if length is None else offset + length]


@pytest.mark.parametrize("kind", ["append", "page"])
def test_other_types_of_blobs(blobs: Blobs, kind: str, tmp_path: Path) -> None:
    """Append and page blobs are read and verified like others, and refuse to be overwritten in blocks."""
    blob, data = blobs.sdk.get_blob_client(kind), content(5 * 512)
    if kind == "append":
        blob.create_append_blob()
        blob.append_block(data[:1024])
        blob.append_block(data[1024:])
    else:
        blob.create_page_blob(len(data))
        blob.upload_page(data, 0, len(data))
    store = blobs.store()
    assert store.stat(kind).size == len(data)
    assert store.get(kind) == data
    assert store.download(kind, tmp_path / kind).verified == "md5-ranges"
    with pytest.raises(PreconditionFailedError, match="append or page blob"):
        blobs.store(part_size=1000).put(kind, data)
    assert store.get(kind) == data


def test_wrong_digest_of_somebody_else(blobs: Blobs, tmp_path: Path) -> None:
    """A digest that was never true is damage as far as anybody can tell; the destination stays."""
    blobs.sdk.get_blob_client("wrong").stage_block("AAAA", b"content")
    blobs.sdk.get_blob_client("wrong").commit_block_list(
        ["AAAA"], content_settings=ContentSettings(content_md5=bytearray(hashlib.md5(b"other").digest()))
    )
    with pytest.raises(IntegrityError):
        blobs.store().download("wrong", tmp_path / "wrong")
    assert not list(tmp_path.iterdir())


def test_content_encoding_is_left_alone(blobs: Blobs) -> None:
    """A blob that calls itself compressed is handed over as it is stored."""
    blobs.sdk.get_blob_client("odd").upload_blob(b"not gzip", content_settings=ContentSettings(content_encoding="gzip"))
    assert blobs.store().get("odd") == b"not gzip"


def once(of_get: int, fault: Fault) -> Callable[[Request], Fault | None]:
    """A rule that disturbs one GET only, counted from 1."""
    seen: list[Request] = []

    def rule(request: Request) -> Fault | None:
        if request.method == "GET":
            seen.append(request)
            return fault if len(seen) == of_get else None
        return None

    return rule


@pytest.mark.parametrize("of_get", [1, 2, 3])
@pytest.mark.parametrize("fault", [Damage(1000, of="response"), Cut(1000, of="response")], ids=["damage", "cut"])
def test_damage_on_the_way_costs_a_range(blobs: Blobs, of_get: int, fault: Fault, tmp_path: Path) -> None:
    """A range that was damaged or cut off is fetched again, and only that one."""
    data = content(9 * _MIB)
    blobs.put_without_md5("foreign", data)
    line = blobs.line(once(of_get, fault))
    store = blobs.store(line, concurrency=1)
    assert store.download("foreign", tmp_path / "foreign").verified == "md5-ranges"
    assert (tmp_path / "foreign").read_bytes() == data
    assert len(ranges(line.seen)) == 4


def test_damage_that_stays(blobs: Blobs, tmp_path: Path) -> None:
    """A line that damages every range is `IntegrityError`, though the blob has no digest of its own."""
    blobs.put_without_md5("foreign", content(9 * _MIB))
    store = blobs.store(blobs.line(lambda request: Damage(5, of="response")))
    with pytest.raises(IntegrityError, match="MD5"):
        store.download("foreign", tmp_path / "foreign")
    with pytest.raises(IntegrityError):
        store.get("foreign")
    assert not list(tmp_path.iterdir())


def test_changed_between_two_ranges(blobs: Blobs) -> None:
    """What is replaced or deleted after its first range was read is told as changed."""
    store = blobs.store()
    for change in (lambda: store.put("key", content(9 * _MIB, "new")), lambda: store.delete("key")):
        blobs.put_without_md5("key", content(9 * _MIB))
        with store.open("key") as stream:
            assert stream.read(10) == content(9 * _MIB)[:10]
            change()
            with pytest.raises(ChangedError):
                stream.read()


def test_deleted_between_two_ranges(blobs: Blobs) -> None:
    """So it is where the service says that it is missing, rather than that the condition does not hold."""
    blobs.put_without_md5("key", content(9 * _MIB))
    gone = once(2, Reply(404, {"x-ms-error-code": "BlobNotFound", "x-ms-request-id": "1"}))
    with blobs.store(blobs.line(gone)).open("key") as stream, pytest.raises(ChangedError, match="deleted"):
        stream.read()


def test_every_blob_is_listed(blobs: Blobs) -> None:
    """Listings tell sizes, versions and digests as ``stat`` does."""
    store = blobs.store()
    store.put("ours", b"content")
    blobs.put_without_md5("theirs", b"content")
    for one in store.list():
        found = store.stat(one.key)  # type: ignore[union-attr]
        assert (one.size, one.version, one.modified_at, one.digest, one.digest_algorithm) == (  # type: ignore[union-attr]
            found.size, found.version, found.modified_at, found.digest, found.digest_algorithm,
        )  # fmt: skip
    assert [one.digest is None for one in store.list()] == [False, True]  # type: ignore[union-attr]


def test_snapshots_go_with_their_blob(blobs: Blobs) -> None:
    """Deleting a blob of which somebody made snapshots deletes them too."""
    store = blobs.store()
    store.put("key", b"content")
    blobs.sdk.get_blob_client("key").create_snapshot()
    store.delete("key")
    with pytest.raises(NotFoundError):
        store.stat("key")


def test_connections_are_kept(blobs: Blobs, tmp_path: Path) -> None:
    """Ranges and parts use few connections over and over again."""
    line = blobs.line()
    store = blobs.store(line, part_size=65536, concurrency=4)
    store.put("key", content(40 * 65536))
    store.download("key", tmp_path / "key")
    store.get("key")
    pools = store._http.transport.session.get_adapter(line.url).poolmanager.pools
    (pool,) = [pools[key] for key in pools.keys()]  # noqa: SIM118 - no mapping, and not to be iterated
    assert pool.num_requests == len(line.seen) > 80
    assert pool.num_connections <= 6
