"""Uploading: digests on the wire, blocks of several writers side by side, slow lines."""

from __future__ import annotations

import base64
import hashlib
import io
import threading

import pytest
from azure.storage.blob import BlobBlock

from clouddirect.conformance.storage_harness import content
from clouddirect.errors import AlreadyExistsError, IntegrityError, PreconditionFailedError
from emulators.http_line import Damage, Fault, Request
from unit.azure.blob_fixtures import Blobs

_MIB = 1 << 20
_PART = 65536


def is_block(request: Request) -> bool:
    """Whether this is a Put Block."""
    return request.query.get("comp") == "block"


def test_every_request_carries_its_digest(blobs: Blobs) -> None:
    """Blocks, block list and small blobs are sent with their MD5, and the blob keeps the MD5 of the whole."""
    bodies = {"whole": content(1000), "parts": content(3 * _PART + 5)}
    store = blobs.store(line := blobs.line(), "wc", part_size=_PART)
    for key, data in bodies.items():
        stored = store.put(key, data)
        assert stored.digest == hashlib.md5(data).hexdigest()
        assert stored.verified == ("md5" if key == "whole" else "md5-ranges")
        found = blobs.sdk.get_blob_client(key).get_blob_properties()
        assert bytes(found.content_settings.content_md5 or b"") == hashlib.md5(data).digest()
    assert len(line.seen) == 1 + 4 + 1
    assert all("content-md5" in request.headers for request in line.seen)
    sent = {base64.b64decode(one.headers["content-md5"]) for one in line.seen if is_block(one)}
    assert sent == {hashlib.md5(bodies["parts"][at : at + _PART]).digest() for at in range(0, 4 * _PART, _PART)}


@pytest.mark.parametrize("size", [1000, 3 * _PART])
def test_damage_on_the_way_costs_a_retry(blobs: Blobs, size: int) -> None:
    """The service refuses what has changed on the way, and the part is sent again."""
    damaged: list[Request] = []

    def rule(request: Request) -> Fault | None:
        if not damaged:
            damaged.append(request)
            return Damage(100)
        return None

    store = blobs.store(blobs.line(rule), part_size=_PART)
    store.put("key", content(size))
    assert damaged[0].status == 400
    assert blobs.store().get("key") == content(size)


def test_damaged_block_list_is_refused(blobs: Blobs) -> None:
    """A list of blocks that has changed on the way makes no blob."""
    line = blobs.line(lambda request: Damage(60) if request.query.get("comp") == "blocklist" else None)
    with pytest.raises((IntegrityError, PreconditionFailedError)):
        blobs.store(line, part_size=_PART).put("key", content(2 * _PART))
    assert not blobs.store().exists("key")


def test_uploads_to_one_key_do_not_mix(blobs: Blobs) -> None:
    """Blocks of all writers to a key lie side by side; each upload takes only its own."""
    start = threading.Barrier(4)
    stores = [blobs.store(part_size=_PART) for _ in range(4)]

    def write(number: int) -> None:
        start.wait()
        stores[number].put("key", content(8 * _PART, number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert blobs.store().get("key") in [content(8 * _PART, number) for number in range(4)]


@pytest.mark.parametrize("source", ["bytes", "stream", "pipe"])
def test_blocks_discarded_by_somebody_else(blobs: Blobs, source: str) -> None:
    """When another writer's commit discards our blocks, the upload begins again, or says that it has to be."""
    data = content(4 * _PART)
    overtaken: list[bool] = []

    def rule(request: Request) -> Fault | None:
        if request.query.get("comp") == "blocklist" and not overtaken:
            overtaken.append(True)
            blobs.put_without_md5("key", b"the other's", block="x" * 48)
        return None

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    store = blobs.store(blobs.line(rule), part_size=_PART)
    given = {"bytes": data, "stream": io.BytesIO(data), "pipe": Pipe(data)}[source]
    if source == "pipe":
        with pytest.raises(PreconditionFailedError) as dropped:
            store.put("key", given)
        assert dropped.value.retryable
        assert blobs.store().get("key") == b"the other's"
    else:
        store.put("key", given)
        assert blobs.store().get("key") == data


def test_if_absent_loses_to_somebody_else(blobs: Blobs) -> None:
    """With ``if_absent`` the other's blob stays."""

    def rule(request: Request) -> Fault | None:
        if request.query.get("comp") == "blocklist":
            blobs.put_without_md5("key", b"the other's", block="x" * 48)
        return None

    store = blobs.store(blobs.line(rule), part_size=_PART)
    with pytest.raises(AlreadyExistsError) as lost:
        store.put("key", content(3 * _PART), if_absent=True)
    assert not lost.value.maybe_own_write
    assert blobs.store().get("key") == b"the other's"


def test_leftovers_of_other_clients_do_no_harm(blobs: Blobs) -> None:
    """Blocks that another client left without committing have names as long as ours, or Azure would refuse ours."""
    blob = blobs.sdk.get_blob_client("key")
    ours: list[str] = []

    def rule(request: Request) -> Fault | None:
        if is_block(request):
            ours.append(request.query["blockid"])
        return None

    theirs: list[str] = []
    blobs.sdk.upload_blob(
        "theirs", content(3 * _PART), raw_request_hook=lambda request: theirs.append(request.http_request.url)
    )
    blob.stage_block("x" * 48, b"left over")
    blobs.store(blobs.line(rule), part_size=_PART).put("key", content(2 * _PART))
    assert blobs.store().get("key") == content(2 * _PART)
    assert len(set(ours)) == len(ours) == 2
    their_ids = [url.partition("blockid=")[2].partition("&")[0] for url in theirs if "comp=block&" in url]
    assert {len(one) for one in ours} == {64}
    assert {len(one.replace("%3D", "=").replace("%3d", "=")) for one in their_ids} == {64}


def test_leftovers_with_other_names(blobs: Blobs) -> None:
    """Where the names do have another length, the error says what is in the way."""
    blobs.sdk.get_blob_client("key").stage_block("x", b"left over")
    store = blobs.store(part_size=_PART)
    with pytest.raises(PreconditionFailedError, match="another key"):
        store.put("key", content(2 * _PART))
    store.put("key", content(100))
    assert store.get("key") == content(100), "a blob in one request minds no blocks"


def test_order_of_blocks(blobs: Blobs) -> None:
    """The blob is its blocks in their order, however they arrived."""
    store = blobs.store(part_size=_PART, concurrency=8)
    data = content(30 * _PART + 1)
    store.put("key", data)
    blocks, uncommitted = blobs.sdk.get_blob_client("key").get_block_list("all")
    assert [block.size for block in blocks] == [_PART] * 30 + [1]
    assert uncommitted == []
    assert all(isinstance(block, BlobBlock) for block in blocks)
    assert store.get("key") == data


def test_slow_line_in_one_request(blobs: Blobs) -> None:
    """One body may take much longer than the stall timeout, as long as its bytes move."""
    line = blobs.line(rate=_MIB)
    blobs.store(line, stall_timeout=1.5).put("key", content(4 * _MIB))
    assert [request.status for request in line.seen] == [201]


@pytest.mark.long
def test_40_mib_at_1_mib_a_second(blobs: Blobs) -> None:
    """A clinic's line of 1 MiB/s carries 40 MiB with the default settings, each byte once."""
    line = blobs.line(shared_rate=_MIB)
    store = blobs.open(
        account_url=blobs.server.url(line.port), account_key=blobs.server.key, runtime={"stall_timeout": 60.0}
    )
    data = content(40 * _MIB)
    store.put("key", data)
    assert line.bytes_up < 40 * _MIB + 10_000
    assert blobs.store().get("key") == data
