"""Uploads to S3: parts, their repair, conflicts at the commit, what is left of a failure, and what a request costs."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable

import pytest

from clouddirect.conformance.storage_harness import content
from clouddirect.errors import AlreadyExistsError, PermissionDeniedError, PreconditionFailedError
from clouddirect.retry import RetryPolicy
from clouddirect.storage import StoreRuntime
from clouddirect_aws.store import AwsStore
from emulators.http_line import Cut, Damage, Fault, HttpLine, LoseReply, Reply, Request
from emulators.tcp_line import TcpLine
from unit.aws.s3_fixtures import (
    BUCKET,
    MIB,
    ROOT,
    Rig,
    error_body,
    error_reply,
    is_commit,
    is_late_part,
    once,
    options,
)

CONFLICT = error_reply(409, "ConditionalRequestConflict")


class Pipe:
    """A stream that can be read once."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self._stream.read(size)


def test_parts_are_never_too_small(s3: Rig) -> None:
    """However small the parts that are wished for, those sent are as large as S3 wants them."""
    s3.store(runtime={"part_size": 100_000}).put("parts", content(11 * MIB))
    assert s3.objects["parts"].part_sizes == (5 * MIB, 5 * MIB, MIB)
    assert s3.objects["parts"].body == content(11 * MIB)


def test_what_fits_into_a_part_is_one_request(s3: Rig) -> None:
    """A small file costs one PutObject, a large one the beginning, its parts and the commit; nothing else is asked."""
    store = s3.store()
    store.put("small", content(5 * MIB))
    assert [(one.method, one.query) for one in s3.line.seen] == [("PUT", {})]
    store.put("large", content(5 * MIB + 1))
    assert sorted(one.method for one in s3.line.seen[1:]) == ["POST", "POST", "PUT", "PUT"]


def test_a_damaged_part_is_sent_again_alone(s3: Rig) -> None:
    """One part that was damaged on the way costs that part, and the object is whole."""
    s3.line.rule = once(Damage(1000), is_late_part)
    assert s3.store().put("parts", content(15 * MIB)).verified == "crc32"
    assert s3.objects["parts"].body == content(15 * MIB)
    assert len(s3.requests("PUT", partNumber="")) == 4


@pytest.mark.parametrize("size", [1000, 12 * MIB])
def test_a_conflict_at_the_commit_is_tried_again(s3: Rig, size: int) -> None:
    """S3 answers 409 where another write to the key is under way: then the upload is made again, every part."""
    s3.line.rule = once(CONFLICT, is_commit)
    s3.store().put("raced", content(size), if_absent=True)
    assert s3.objects["raced"].body == content(size)
    assert len(s3.requests("PUT")) == (2 if size == 1000 else 6)
    assert not s3.server.buckets[BUCKET].uploads, "the first upload was not aborted"


def test_a_conflict_is_told_where_the_source_is_gone(s3: Rig) -> None:
    """A stream that can be read once cannot be sent again; the error says that putting again may help."""
    s3.line.rule = once(CONFLICT, is_commit)
    with pytest.raises(PreconditionFailedError) as failed:
        s3.store().put("raced", Pipe(content(12 * MIB)), if_absent=True)
    assert failed.value.retryable
    assert (failed.value.code, failed.value.resource) == ("ConditionalRequestConflict", "raced")
    assert not s3.objects


def test_an_upload_that_the_service_dropped_begins_again(s3: Rig) -> None:
    """When the bucket's rules discarded the upload under way, it is made once more from its first byte."""
    uploads = s3.server.buckets[BUCKET].uploads

    def drop(request: Request) -> Fault | None:
        if is_late_part(request) and len(s3.requests("POST", uploads="")) == 1:
            uploads.clear()
        return None

    s3.line.rule = drop
    s3.store().put("dropped", content(12 * MIB))
    assert s3.objects["dropped"].body == content(12 * MIB)
    assert len(s3.requests("POST", uploads="")) == 2


def test_an_error_behind_a_status_of_success_is_an_error(s3: Rig) -> None:
    """S3 may answer a commit with 200 and then fail; the commit is tried again, not believed."""
    failed = Reply(200, {"Content-Type": "application/xml"}, error_body("InternalError"))
    s3.line.rule = once(failed, is_commit)
    s3.store().put("late", content(6 * MIB))
    assert s3.objects["late"].body == content(6 * MIB)
    assert len(s3.requests("POST", uploadId="")) == 2


def test_a_lost_answer_to_a_commit_stores_the_object(s3: Rig) -> None:
    """When the commit was carried out unheard, the upload is no longer there; the object is stored again, the same."""
    s3.line.rule = once(LoseReply(), is_commit)
    s3.store().put("unheard", content(6 * MIB))
    assert s3.objects["unheard"].body == content(6 * MIB)
    s3.line.rule = once(LoseReply(), is_commit)
    with pytest.raises(AlreadyExistsError) as refused:
        s3.store().put("own", content(6 * MIB), if_absent=True)
    assert refused.value.maybe_own_write


def test_a_failed_upload_is_aborted(s3: Rig) -> None:
    """After a refusal in the middle nothing is left in the bucket that costs storage."""
    s3.line.rule = lambda request: error_reply(403, "AccessDenied") if is_late_part(request) else None
    with pytest.raises(PermissionDeniedError):
        s3.store().put("refused", content(12 * MIB))
    bucket = s3.server.buckets[BUCKET]
    assert (bucket.objects, bucket.uploads) == ({}, {})


def test_leave_is_asked_where_a_refusal_would_cost_an_upload(s3: Rig) -> None:
    """A body over 1 MiB waits for 100 Continue: what is refused is never sent. Small bodies and parts do not wait."""
    store = s3.store()
    store.put("small", content(MIB))
    store.put("parts", content(12 * MIB))
    assert not [request for request in s3.line.seen if "expect" in request.headers]
    s3.line.rule = lambda request: error_reply(403, "AccessDenied")
    with pytest.raises(PermissionDeniedError):
        store.put("refused", content(4 * MIB))
    assert s3.line.seen[-1].headers["expect"] == "100-continue"
    assert s3.line.seen[-1].size == 0


def test_bodies_are_signed_where_nothing_else_protects_them(s3: Rig) -> None:
    """Over plain HTTP the signature covers each body, so that nobody on the way can change it."""
    s3.store().put("signed", content(1000))
    assert len(s3.line.seen[-1].headers["x-amz-content-sha256"]) == 64


def test_storage_class_and_key_go_with_every_object(s3: Rig) -> None:
    """Both ways to write an object ask for the storage class and the KMS key of the options."""
    store = s3.store(storage_class="STANDARD_IA", kms_key_id="key-1")
    store.put("small", b"content")
    store.put("parts", content(6 * MIB))
    for key in ("small", "parts"):
        headers = s3.objects[key].headers
        assert headers["x-amz-storage-class"] == "STANDARD_IA"
        assert headers["x-amz-server-side-encryption"] == "aws:kms"
        assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "key-1"


def test_slow_line_carries_little_twice(s3: Rig, long_run: bool) -> None:
    """At 1 MiB a second, with a cut in the middle, an upload completes with at most 1.1 times its bytes on the wire,
    and nothing was given up because it took long."""
    size = (40 if long_run else 10) * MIB
    with HttpLine(s3.server.port, shared_rate=MIB, rule=once(Cut(500_000), is_late_part)) as line:
        runtime = StoreRuntime(part_size=5 * MIB, concurrency=4)
        with AwsStore(options(line.url, ROOT), runtime) as store:
            store.put("slow", content(size))
        assert s3.objects["slow"].body == content(size)
        assert size <= line.bytes_up <= 1.1 * size


@pytest.mark.parametrize("fault", [Cut(0, of="response"), LoseReply()])
def test_a_beginning_whose_answer_is_lost_begins_again(s3: Rig, fault: Fault) -> None:
    """An upload of which nothing is known is left to the bucket's lifecycle rule; a second one stores the object."""
    begins: Callable[[Request], bool] = lambda request: "uploads" in request.query  # noqa: E731
    s3.line.rule = once(fault, begins)
    s3.store().put("begun", content(6 * MIB))
    assert s3.objects["begun"].body == content(6 * MIB)


def test_a_pause_while_sending_is_no_dead_line(s3: Rig) -> None:
    """A line that halts for less than the stall timeout costs no attempt, however short the connect timeout is."""
    with TcpLine(s3.server.port, rate=100 * MIB) as line:  # with a rate it holds little, so that a halt is felt
        runtime = StoreRuntime(part_size=5 * MIB, concurrency=1, retry=RetryPolicy(max_attempts=1), stall_timeout=20.0)
        with AwsStore(options(f"http://127.0.0.1:{line.port}", ROOT, connect_timeout=0.3), runtime) as store:
            store.put("before", b"content")
            halts: list[threading.Timer] = []

            def halt(count: int) -> None:
                if not halts:
                    line.stall()
                    halts.append(threading.Timer(1.5, line.resume))
                    halts[0].start()

            store.put("paused", Pipe(content(30 * MIB)), progress=halt)
            halts[0].join()
    assert s3.objects["paused"].body == content(30 * MIB)
